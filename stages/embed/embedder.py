"""The `Embedder` of a trained network, on any runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from stages.embed.clips import check_clip
from stages.embed.interface import Clip
from stages.embed.networks.interface import KEYPOINTS, SILHOUETTES, THETA, GaitNetwork
from stages.embed.runtimes.interface import Runtime
from stages.embed.runtimes.torch_runtime import Precision, TorchRuntime

# Frames in one pass: on a processor few enough for its cache, on a device enough to fill it.
CPU_CHUNK, CUDA_CHUNK = 32, 512
# Windows in one pass of a head.
HEAD_CHUNK = 64
FIELDS = {SILHOUETTES: "silhouettes", THETA: "theta", KEYPOINTS: "keypoints_px"}


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What an embedder tells of its network.

    Attributes:
        weights_hash: of the vectors: the weights', and whether the body branch is muted.
        reads: what is asked of a clip; without theta where it is muted.
        pools: see `networks.interface.GaitNetwork`.
        muted: the network has a body branch and does without it.
    """

    name: str
    weights_hash: str
    trained: bool
    reads: tuple[str, ...]
    vector_shape: tuple[int, int]
    silhouette_hw: tuple[int, int] | None
    pools: bool
    muted: bool


def facts_of(
    network: GaitNetwork, weights_hash: str, *, use_smpl: bool = True, trained: bool = True
) -> NetworkFacts:
    """Return the facts of a network with these weights.

    Raises:
        ConfigError: it shall do without bodies and reads nothing else.
    """
    if not use_smpl and network.reads == (THETA,):
        raise ConfigError(
            f"{network.name} reads bodies and nothing else, and shall do without them",
            hint="Leave out --no-smpl (embed.use_smpl=false), or choose another network.",
        )
    muted = network.needs_no_bodies and not use_smpl
    return NetworkFacts(
        name=network.name,
        # The same weights without their bodies give other vectors, which must not be compared.
        weights_hash=_derived(weights_hash, "no-smpl") if muted else weights_hash,
        trained=trained,
        reads=tuple(name for name in network.reads if not (muted and name == THETA)),
        vector_shape=network.vector_shape,
        silhouette_hw=network.silhouette_hw,
        pools=network.pools,
        muted=muted,
    )


def torch_embedder(
    network: GaitNetwork,
    weights_hash: str,
    device: torch.device,
    *,
    use_smpl: bool = True,
    precision: Precision = "float32",
    trained: bool = True,
) -> NetworkEmbedder:
    """Return an embedder that runs a network with torch. It takes the network over."""
    facts = facts_of(network, weights_hash, use_smpl=use_smpl, trained=trained)
    runtime = TorchRuntime(network, device, precision=precision, use_smpl=use_smpl)
    return NetworkEmbedder(facts, runtime)


class NetworkEmbedder:
    """Runs whole clips, or the parts of a network for those who keep features between calls.

    Keeps nothing between calls. The clips of a call are run together, a chunk of frames at a time,
    so that memory does not grow with their number or length.
    """

    def __init__(self, facts: NetworkFacts, runtime: Runtime) -> None:
        self.facts = facts
        self.runtime = runtime
        self.name = facts.name
        self.weights_hash = facts.weights_hash
        self.trained = facts.trained
        self.reads = facts.reads
        self.vector_shape = facts.vector_shape
        self.silhouette_hw = facts.silhouette_hw
        self._chunk = CPU_CHUNK if runtime.device.type == "cpu" else CUDA_CHUNK

    def check(self, clip: Clip) -> None:
        """Check a clip; InputError if this network cannot read it."""
        check_clip(clip, self.silhouette_hw, self.reads)

    @torch.inference_mode()
    def embed(self, windows: Sequence[Clip]) -> list[np.ndarray]:
        """Return float32 [c,p] for each window, in order; lengths may differ.

        Raises:
            InputError: a window that this network cannot read.
            ResourceError: the device's memory is full.
        """
        for window in windows:
            self.check(window)
        if not self.facts.pools:
            return self._whole(windows)
        pooled: list[tuple[Tensor, ...]] = []
        for owner, features in self.frame_features([self.inputs_of(w) for w in windows]):
            newest = tuple(feature.amax(0) for feature in features)
            if owner < len(pooled):
                newest = tuple(map(torch.maximum, pooled.pop(), newest))
            pooled.append(newest)
        return self.heads(pooled)

    def inputs_of(self, clip: Clip, rows: slice | np.ndarray = slice(None)) -> list[np.ndarray]:
        """Return what the network reads of a clip's frames `rows`, in its order."""
        return [getattr(clip, FIELDS[name])[rows] for name in self.reads]

    def frame_features(
        self, inputs: Sequence[Sequence[np.ndarray]]
    ) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """Run the frame part over the frames of several owners, together.

        Args:
            inputs: for each owner what the network reads, [k,...] each, k > 0.

        Yields:
            owner and features [j,...] of some of its frames, in order: an owner comes more than
            once where a chunk ends within its frames.
        """
        if not inputs:
            return
        joined = [torch.from_numpy(np.concatenate(rows)) for rows in zip(*inputs, strict=True)]
        ends = np.cumsum([len(arrays[0]) for arrays in inputs])
        owner_of = np.searchsorted(ends, np.arange(ends[-1]), side="right")  # [m]
        for start in range(0, len(owner_of), self._chunk):
            part = slice(start, start + self._chunk)
            features = self.runtime.frame_part(*(tensor[part] for tensor in joined))
            owners = owner_of[part]
            for owner in np.unique(owners):
                first, last = np.searchsorted(owners, [owner, owner + 1])
                yield int(owner), tuple(feature[first:last] for feature in features)

    @torch.inference_mode()
    def heads(self, pooled: Sequence[tuple[Tensor, ...]]) -> list[np.ndarray]:
        """Return float32 [c,p] of each owner's pooled features."""
        vectors: list[np.ndarray] = []
        for start in range(0, len(pooled), HEAD_CHUNK):
            levels = zip(*pooled[start : start + HEAD_CHUNK], strict=True)
            batch = self.runtime.head_part(*(torch.stack(level) for level in levels))
            vectors.extend(vector.copy() for vector in batch.numpy())
        return vectors

    def _whole(self, windows: Sequence[Clip]) -> list[np.ndarray]:
        """Embed clips whose frames cannot be taken one by one: those of one length together."""
        vectors: list[np.ndarray | None] = [None] * len(windows)
        by_length: dict[int, list[int]] = {}
        for index, window in enumerate(windows):
            by_length.setdefault(len(self.inputs_of(window)[0]), []).append(index)
        for places in by_length.values():
            for start in range(0, len(places), HEAD_CHUNK):
                chunk = places[start : start + HEAD_CHUNK]
                arrays = zip(*(self.inputs_of(windows[index]) for index in chunk), strict=True)
                tensors = (torch.from_numpy(np.stack(array)) for array in arrays)
                batch = self.runtime.head_part(*tensors).numpy()
                for index, vector in zip(chunk, batch, strict=True):
                    vectors[index] = vector.copy()
        return [vector for vector in vectors if vector is not None]

    def describe(self) -> Mapping[str, Any]:
        """Return what a report should say."""
        return {
            "network": self.name,
            "weights_hash": self.weights_hash,
            "trained": self.trained,
            "smpl": THETA in self.reads,
            "smpl_muted": self.facts.muted,
            **self.runtime.describe(),
        }


def _derived(weights_hash: str, variant: str) -> str:
    return hashlib.sha256(f"{weights_hash} {variant}".encode()).hexdigest()[:16]
