"""Windows of a stream, each frame paid for once.

A network that pools over time by a maximum needs a frame's features once, however many windows the
frame is in. A window slid on by k frames then costs the frame part of k frames and one head.

What is kept of a track is a few runs of frames, each already pooled. Once two windows have shown
the stride k, frames that can only enter and leave windows together are pooled into one run: a
window of s frames then leaves ceil(s/k) - 1 runs behind, not s frames. A window brings all its
frames along, so what is missing here is only computed again: results never depend on what is kept.

Letters: s frames of a window, k its stride.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.messages import Window
from stages.embed.embedder import NetworkEmbedder

TrackKey = tuple[str, int]  # source_id, track_id
MB = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Neighbouring frames of a track, pooled.

    Attributes:
        frame_ids: in order.
        features: of the network's frame part, pooled over these frames: [...] each.
    """

    frame_ids: tuple[int, ...]
    features: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Memory that the features take."""
        return sum(feature.nbytes for feature in self.features)


@dataclass(frozen=True, slots=True, eq=False)
class TrackMemory:
    """What is kept of a track: its newest window's frame ids, and runs of frames within it."""

    window_ids: tuple[int, ...]
    runs: tuple[Run, ...]

    @property
    def nbytes(self) -> int:
        """Memory that the features take."""
        return sum(run.nbytes for run in self.runs)


def usable_runs(memory: TrackMemory | None, frame_ids: Sequence[int]) -> list[tuple[int, Run]]:
    """Return the runs that lie in a window as they are, with the place of their first frame."""
    if memory is None:
        return []
    places = {frame_id: place for place, frame_id in enumerate(frame_ids)}
    usable = []
    for run in memory.runs:
        first = places.get(run.frame_ids[0])
        if first is not None and tuple(frame_ids[first : first + len(run.frame_ids)]) == (
            run.frame_ids
        ):
            usable.append((first, run))
    return usable


def stride_between(memory: TrackMemory | None, frame_ids: Sequence[int]) -> int:
    """Return by how many frames a window is ahead of the one before, 0 if they do not touch."""
    if memory is None or frame_ids[0] not in memory.window_ids:
        return 0
    return memory.window_ids.index(frame_ids[0])


def joined(runs: Sequence[tuple[int, Run]], stride: int) -> tuple[Run, ...]:
    """Pool runs that the next windows, each `stride` frames on, can only use together.

    Args:
        runs: with the place in the window of their first frame, in order, without gaps or overlap.
        stride: 0 if it is not known: then nothing is joined.

    Returns:
        The runs to keep, without those that the next window has left behind.
    """
    if not stride:
        return tuple(run for _, run in runs)
    groups: dict[int, list[Run]] = {}
    for first, run in runs:
        groups.setdefault(first // stride, []).append(run)
    groups.pop(0, None)  # before the next window's first frame
    return tuple(_merged(group) for group in groups.values())


def _merged(runs: Sequence[Run]) -> Run:
    if len(runs) == 1:
        return runs[0]
    ids = tuple(frame_id for run in runs for frame_id in run.frame_ids)
    return Run(ids, pooled([run.features for run in runs]))


def pooled(features: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Return the maximum of several features, level by level."""
    first, *rest = features
    if not rest:
        return first
    total = tuple(torch.maximum(a, b) for a, b in zip(first, rest[0], strict=True))
    for more in rest[1:]:  # in place: one map is written, not a stack of them
        for level, other in zip(total, more, strict=True):
            torch.maximum(level, other, out=level)
    return total


class StreamingEmbedder:
    """Embeds windows of tracks with a network that pools, and keeps features between calls.

    Keeps, for each track, at most one window's features: for smplgait 0.26 MB a run, for gaitgln
    0.63 MB, times ceil(s/k) - 1 runs (s runs until the stride is known, s - 1 at stride 1). Beyond
    `cache_bytes` the tracks that were used longest ago are forgotten.
    """

    def __init__(self, embedder: NetworkEmbedder, cache_bytes: int) -> None:
        self.embedder = embedder
        self._cache_bytes = cache_bytes
        self._tracks: OrderedDict[TrackKey, TrackMemory] = OrderedDict()
        self.nbytes = 0
        self.frames_computed = 0
        self.frames_reused = 0
        self.forgotten = 0

    @torch.inference_mode()
    def embed(self, windows: Sequence[tuple[TrackKey, Window]]) -> list[np.ndarray]:
        """Return float32 [c,p] for each window, in order.

        Windows of one track must be in their order; frames of all tracks are run together.

        Raises:
            InputError: a window that the network cannot read.
            ResourceError: the device's memory is full.
        """
        for _, window in windows:
            self.embedder.check(window)
        vectors: list[np.ndarray | None] = [None] * len(windows)
        waiting = list(enumerate(windows))
        while waiting:
            batch, waiting = _one_a_track(waiting)
            for (index, _), vector in zip(batch, self._embed(batch), strict=True):
                vectors[index] = vector
        return [vector for vector in vectors if vector is not None]

    def forget(self, key: TrackKey) -> None:
        """Drop what is kept of a track; nothing if nothing is."""
        memory = self._tracks.pop(key, None)
        if memory is not None:
            self.nbytes -= memory.nbytes

    def forget_source(self, source_id: str) -> None:
        """Drop what is kept of a source's tracks."""
        for key in [key for key in self._tracks if key[0] == source_id]:
            self.forget(key)

    def snapshot(self) -> Any:
        """What is kept of all tracks, for `restore` in another process."""
        counts = (self.nbytes, self.frames_computed, self.frames_reused, self.forgotten)
        return self._tracks, counts

    def restore(self, state: Any) -> None:
        """Go on with the tracks of a snapshot."""
        self._tracks, counts = state
        self.nbytes, self.frames_computed, self.frames_reused, self.forgotten = counts

    def describe(self) -> Mapping[str, Any]:
        """Return what a report should say."""
        return {
            **self.embedder.describe(),
            "frames_computed": self.frames_computed,
            "frames_reused": self.frames_reused,
            "cache_mb": round(self.nbytes / MB, 2),
            "tracks_forgotten": self.forgotten,
        }

    def _embed(self, batch: Sequence[tuple[int, tuple[TrackKey, Window]]]) -> list[np.ndarray]:
        """Embed windows of different tracks."""
        plans = [_Plan.of(self._tracks.get(key), window) for _, (key, window) in batch]
        self._compute(plans, [window for _, (_, window) in batch])
        for (_, (key, _)), plan in zip(batch, plans, strict=True):
            self._keep(key, plan.memory())
        return self.embedder.heads([plan.whole() for plan in plans])

    def _compute(self, plans: Sequence[_Plan], windows: Sequence[Window]) -> None:
        """Run the frame part over all that is missing, and give each plan its own."""
        owners = [index for index, plan in enumerate(plans) if len(plan.missing)]
        inputs = [self.embedder.inputs_of(windows[i], plans[i].missing) for i in owners]
        for owner, features in self.embedder.frame_features(inputs):
            plans[owners[owner]].take(features)
        computed = sum(len(plans[owner].missing) for owner in owners)
        self.frames_computed += computed
        self.frames_reused += sum(len(window.frame_ids) for window in windows) - computed

    def _keep(self, key: TrackKey, memory: TrackMemory) -> None:
        self.forget(key)
        self._tracks[key] = memory
        self.nbytes += memory.nbytes
        while self.nbytes > self._cache_bytes and self._tracks:
            self.forget(next(iter(self._tracks)))
            self.forgotten += 1


class _Plan:
    """How one window is put together: runs that are there, and frames to compute."""

    def __init__(self, frame_ids: list[int], reused: list[tuple[int, Run]], stride: int) -> None:
        self._frame_ids = frame_ids
        self._stride = stride
        self._runs = reused
        covered = {first + i for first, run in reused for i in range(len(run.frame_ids))}
        self.missing = np.array([i for i in range(len(frame_ids)) if i not in covered], np.int64)
        self._taken = 0

    @classmethod
    def of(cls, memory: TrackMemory | None, window: Window) -> _Plan:
        """Plan a window for a track of which `memory` is kept."""
        frame_ids = window.frame_ids.tolist()
        return cls(frame_ids, usable_runs(memory, frame_ids), stride_between(memory, frame_ids))

    def take(self, features: tuple[Tensor, ...]) -> None:
        """Take the features [j,...] of the next j missing frames.

        Frames that go on together are pooled at once; single frames stay apart while the stride is
        not known. A kept frame is copied, so that it does not hold the whole batch in memory.
        """
        places = self.missing[self._taken : self._taken + len(features[0])].tolist()
        self._taken += len(places)
        start = 0
        for end in range(1, len(places) + 1):
            if end < len(places) and self._together(places[end - 1], places[end]):
                continue
            levels = tuple(f[start:end].amax(0) for f in features)
            ids = tuple(self._frame_ids[place] for place in places[start:end])
            self._runs.append((places[start], Run(ids, levels)))
            start = end

    def _together(self, before: int, after: int) -> bool:
        stride = self._stride
        return bool(stride) and after == before + 1 and before // stride == after // stride

    def whole(self) -> tuple[Tensor, ...]:
        """Return the window's features, pooled over all its frames."""
        return pooled([run.features for _, run in self._runs])

    def memory(self) -> TrackMemory:
        """Return what to keep of the track."""
        runs = sorted(self._runs, key=lambda placed: placed[0])
        return TrackMemory(tuple(self._frame_ids), joined(runs, self._stride))


def _one_a_track(
    waiting: Sequence[tuple[int, tuple[TrackKey, Window]]],
) -> tuple[list[tuple[int, tuple[TrackKey, Window]]], list[tuple[int, tuple[TrackKey, Window]]]]:
    """Return each track's first window, and the rest."""
    seen: set[TrackKey] = set()
    first: list[tuple[int, tuple[TrackKey, Window]]] = []
    rest: list[tuple[int, tuple[TrackKey, Window]]] = []
    for item in waiting:
        key = item[1][0]
        (rest if key in seen else first).append(item)
        seen.add(key)
    return first, rest
