"""Made-up sequences, networks and sets for the evaluation tests. Everything is drawn from seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pipeline.errors import InputError
from stages.embed.data.interface import Entry, StoredClip
from stages.embed.evaluation.embedding import EmbeddedSet
from stages.embed.interface import Clip

# Two threads on two busy cores wait for each other longer than one takes.
torch.set_num_threads(1)


class ArrayStore:
    """Sequences in memory. Each person is a bright column whose place and width are theirs."""

    def __init__(
        self,
        entries: Sequence[Entry],
        height: int = 64,
        broken: Sequence[str] = (),
        sway_px: int = 0,
    ) -> None:
        self.entries = list(entries)
        self.height = height
        self.has = frozenset({"silhouettes"})
        self.reads = 0
        self._broken = set(broken)
        self._sway_px = sway_px

    def read(
        self, index: int, frames: np.ndarray | None = None, wanted: frozenset[str] | None = None
    ) -> StoredClip:
        entry = self.entries[index]
        self.reads += 1
        if entry.name in self._broken:
            raise InputError("the file is damaged")
        rows = np.arange(entry.frames) if frames is None else frames
        assert len(rows) == 0 or (rows.min() >= 0 and rows.max() < entry.frames)
        rng = np.random.default_rng(sum(map(ord, entry.subject)) + 1)
        width = self.height * 11 // 16
        centre, half = rng.integers(10, width - 10), rng.integers(2, 8)
        noise = np.random.default_rng(index).integers(0, 120, (entry.frames, self.height, width))
        sils = noise.astype(np.uint8)
        sils[:, 4:, centre - half : centre + half] += np.uint8(130)
        if self._sway_px:  # so that one frame says little
            sway = np.random.default_rng(index).integers(-self._sway_px, self._sway_px, len(sils))
            sils = np.stack([np.roll(s, step, 1) for s, step in zip(sils, sway, strict=True)])
        nothing = np.zeros((0, 85), np.float32), np.zeros((0, 17, 3), np.float32)
        return StoredClip(sils[rows], *nothing)

    def stamp(self, index: int) -> str:
        return self.entries[index].name


class MeanEmbedder:
    """A stand-in for a trained network: mean columns and rows as float32 [11,2]. Knows no torch."""

    name = "mean"
    weights_hash = "0123456789abcdef"
    trained = True
    vector_shape = (11, 2)

    def __init__(
        self,
        reads: tuple[str, ...] = ("silhouettes",),
        silhouette_hw: tuple[int, int] | None = (64, 44),
    ) -> None:
        self.reads = reads
        self.silhouette_hw = silhouette_hw
        self.frames: list[int] = []
        self.batches: list[int] = []

    def embed(self, windows: Sequence[Clip]) -> list[np.ndarray]:
        for window in windows:
            if window.silhouettes.shape[1:] != self.silhouette_hw:
                raise InputError(f"silhouettes are {window.silhouettes.shape[1:]}")
        self.frames += [len(window.silhouettes) for window in windows]
        self.batches.append(sum(len(window.silhouettes) for window in windows))
        return [self._one(window.silhouettes) for window in windows]

    def _one(self, silhouettes: np.ndarray) -> np.ndarray:
        mean = silhouettes.mean(axis=0) / 255.0  # [h,w]
        columns = mean.mean(axis=0).reshape(11, -1).mean(axis=1)
        rows = mean.mean(axis=1)[:55].reshape(11, -1).mean(axis=1)
        return np.stack([columns, rows], axis=1).astype(np.float32)

    def describe(self) -> Mapping[str, Any]:
        return {"network": self.name, "weights_hash": self.weights_hash, "trained": True}


def entries_of(
    subjects: int,
    kinds: Sequence[str] = ("nm-01", "nm-02", "cl-01"),
    views: Sequence[str] = ("000", "090"),
    frames: int = 20,
) -> list[Entry]:
    """Every subject in every kind and view, in the order of names."""
    names = [f"{number + 1:03d}" for number in range(subjects)]
    return [Entry(who, kind, view, frames) for who in names for kind in kinds for view in views]


def set_of(entries: Sequence[Entry], vectors: np.ndarray) -> EmbeddedSet:
    """An embedded set with these vectors [N,c,p]."""
    return EmbeddedSet(
        vectors=vectors.astype(np.float32),
        indices=np.arange(len(entries)),
        subjects=tuple(entry.subject for entry in entries),
        kinds=tuple(entry.kind for entry in entries),
        views=tuple(entry.view for entry in entries),
        frames=np.array([entry.frames for entry in entries]),
    )


def noisy_vectors(entries: Sequence[Entry], noise: float, seed: int = 0) -> np.ndarray:
    """float32 [N,6,3]: a centre for each subject, and noise."""
    rng = np.random.default_rng(seed)
    names = sorted({entry.subject for entry in entries})
    centres = dict(zip(names, rng.normal(size=(len(names), 6, 3)), strict=True))
    found = [centres[e.subject] + noise * rng.normal(size=(6, 3)) for e in entries]
    return np.array(found, np.float32)


def plain_fused(vectors: np.ndarray) -> np.ndarray:
    """The mean of vectors [k,c,p], as long as they are on average: float64 [c,p]."""
    wide = vectors.astype(np.float64)
    mean = wide.mean(axis=0)
    return np.asarray(mean * np.mean([np.sqrt((v**2).sum()) for v in wide]) / np.linalg.norm(mean))


def plain_distances(probes: np.ndarray, gallery: np.ndarray, metric: str) -> np.ndarray:
    """float64 [n,m], one pair at a time."""
    probes, gallery = probes.astype(np.float64), gallery.astype(np.float64)
    found = np.empty((len(probes), len(gallery)))
    for i, q in enumerate(probes):
        for j, g in enumerate(gallery):
            if metric == "euclidean":
                found[i, j] = np.sqrt(((q - g) ** 2).sum(axis=0)).mean()
                continue
            norms = np.sqrt((q**2).sum(axis=0) * (g**2).sum(axis=0))
            cosine = np.where(norms > 0, (q * g).sum(axis=0) / np.where(norms > 0, norms, 1), 0)
            found[i, j] = (1 - cosine).mean()
    return found
