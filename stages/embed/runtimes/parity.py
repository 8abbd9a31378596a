"""How far a runtime's numbers lie from torch's, measured on made-up people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.embed.networks.interface import KEYPOINTS, SILHOUETTES, THETA, GaitNetwork
from stages.embed.parts import FramePart
from stages.embed.runtimes.interface import Runtime

# Of the largest number of torch's answer. Half a float32's digits are lost in float16: seen with
# SMPLGait are 5e-4 (features) and 1e-3 (embeddings).
TOLERANCES = {"float32": 1e-4, "float16": 1e-2}
# Three windows of unequal length, no batch of the size that was exported.
LENGTHS = (7, 1, 5)
THETA_SIZE, JOINTS = 85, 17


@dataclass(frozen=True, slots=True)
class Differences:
    """The largest difference of any number, as a share of the largest number of torch's answer.

    Attributes:
        frames: of the frame part's features; 0 for a network without.
        head: of the head's embeddings, given torch's features.
        whole: of the embeddings, frames to end.
    """

    frames: float
    head: float
    whole: float

    @property
    def largest(self) -> float:
        """The largest of them; infinite if a number was not finite."""
        return max(self.frames, self.head, self.whole)

    def __str__(self) -> str:
        return f"features {self.frames:.1e}, head {self.head:.1e}, whole {self.whole:.1e}"


def made_up_inputs(
    network: GaitNetwork, reads: Sequence[str], frames: int, seed: int
) -> list[Tensor]:
    """Return what is read of `frames` frames of a made-up walker, in that order.

    Silhouettes uint8 [m,h,w]; theta float32 [m,85]; keypoints float32 [m,17,3]. No row of theta is
    near zero: a runtime that passes over the bodies would go unnoticed on zeros.
    """
    rng = np.random.default_rng(seed)
    made = {
        SILHOUETTES: lambda: _silhouettes(rng, frames, network.silhouette_hw or (64, 44)),
        THETA: lambda: rng.normal(0.3, 0.5, (frames, THETA_SIZE)).astype(np.float32),
        KEYPOINTS: lambda: _keypoints(rng, frames),
    }
    return [torch.from_numpy(made[name]()) for name in reads]


@torch.inference_mode()
def differences(runtime: Runtime, network: GaitNetwork, use_smpl: bool = True) -> Differences:
    """Run a runtime and torch, float32 on the processor, on the same windows.

    Args:
        network: in eval mode, float32, on the processor.
        use_smpl: let the network read the bodies.
    """
    reads = [name for name in network.reads if use_smpl or name != THETA]
    if not network.pools:
        whole = _sequence_difference(runtime, network, reads)
        return Differences(0.0, whole, whole)
    windows = [made_up_inputs(network, reads, length, seed) for seed, length in enumerate(LENGTHS)]
    inputs = [torch.cat(rows) for rows in zip(*windows, strict=True)]
    want = FramePart(network, use_smpl).eval()(*inputs)
    got = runtime.frame_part(*inputs)
    pairs = zip(_pool(want), got, strict=True)
    placed = [level.to(runtime.device, feature.dtype) for level, feature in pairs]
    embeddings = network.head_part(*_pool(want))
    return Differences(
        frames=max(_difference(g, w) for g, w in zip(got, want, strict=True)),
        head=_difference(runtime.head_part(*placed), embeddings),
        whole=_difference(runtime.head_part(*_pool(got)), embeddings),
    )


def _sequence_difference(runtime: Runtime, network: GaitNetwork, reads: Sequence[str]) -> float:
    """Of a network that takes whole sequences: several in a batch, then one, of another length."""
    largest = 0.0
    for count, frames in ((3, 30), (1, 17)):
        windows = [made_up_inputs(network, reads, frames, seed) for seed in range(count)]
        inputs = [torch.stack(rows) for rows in zip(*windows, strict=True)]
        largest = max(largest, _difference(runtime.head_part(*inputs), network.head_part(*inputs)))
    return largest


def _pool(features: Sequence[Tensor]) -> list[Tensor]:
    """Return the maximum over each window's frames: [n,...] of [m,...]."""
    return [torch.stack([part.amax(0) for part in level.split(LENGTHS)]) for level in features]


def _difference(got: Tensor, want: Tensor) -> float:
    got = got.float().cpu()
    if got.shape != want.shape:
        raise ValueError(f"expected {list(want.shape)}, got {list(got.shape)}")
    share = float((got - want).abs().max() / want.abs().max().clamp_min(1e-30))
    # Not "no number": that is neither more nor less than a tolerance.
    return share if math.isfinite(share) else math.inf


def _silhouettes(rng: np.random.Generator, frames: int, size_hw: tuple[int, int]) -> np.ndarray:
    """A trunk and two legs that swing, with grey edges: uint8 [m,h,w]."""
    height, width = size_hw
    y, x = np.mgrid[0:height, 0:width] * (64 / height)
    middle = width * 32 / height
    phase = rng.uniform(0, 6)
    out = np.empty((frames, height, width), np.uint8)
    for i in range(frames):
        swing = 6 * np.sin(phase + i / 4)
        trunk = ((x - middle) / rng.uniform(6, 8)) ** 2 + ((y - 24) / 20) ** 2
        legs = np.where(y > 36, np.abs(np.abs(x - middle) - abs(swing) * (y - 36) / 28) / 3, 9)
        out[i] = np.clip(255 * (2.5 - 1.5 * np.minimum(trunk, legs)), 0, 255)
    return out


def _keypoints(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Somebody of 200 pixels who crosses the picture: float32 [m,17,3], pixels and confidence."""
    body = rng.normal((300, 200), (20, 50), (JOINTS, 2))
    moving = np.cumsum(rng.normal(0, 2, (frames, JOINTS, 2)), axis=0)
    walk = np.stack([np.arange(frames) * 3.0, np.zeros(frames)], axis=1)[:, None]
    places = body + moving + walk
    confidence = rng.uniform(0.5, 1, (frames, JOINTS, 1))
    return np.concatenate([places, confidence], axis=2).astype(np.float32)
