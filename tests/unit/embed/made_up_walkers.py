"""Made-up keypoints of people who walk across the picture. Everything is drawn from seeds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Standing, in trunks from the hips' middle: x to the person's own left, y down.
STANDING = np.array(
    [
        (0.0, -1.6), (0.05, -1.7), (-0.05, -1.7), (0.1, -1.6), (-0.1, -1.6),
        (0.35, -1.0), (-0.35, -1.0), (0.4, -0.45), (-0.4, -0.45), (0.4, 0.05), (-0.4, 0.05),
        (0.18, 0.0), (-0.18, 0.0), (0.18, 0.85), (-0.18, 0.85), (0.18, 1.7), (-0.18, 1.7),
    ]
)  # fmt: skip
# How far each joint swings, in strides; left and right in turn.
SWING = np.array([0, 0, 0, 0, 0, 0, 0, -0.3, 0.3, -0.6, 0.6, 0, 0, 0.5, -0.5, 1.0, -1.0])
CYCLE_FRAMES = 28


def walker_of(
    seed: int, frames: int, trunk_px: float = 60.0, speed_px: float = 3.0, noise_px: float = 0.5
) -> Tensor:
    """Somebody walking to the right: float32 [s,17,3], x and y in pixels and confidence 0.5..1."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)
    phase = 2 * np.pi * t / CYCLE_FRAMES + rng.uniform(0, 6)
    xy = STANDING * rng.normal(1, 0.05, STANDING.shape) + np.zeros((frames, 1, 1))
    xy[:, :, 0] += rng.uniform(0.3, 0.5) * SWING * np.sin(phase)[:, None]
    xy[:, :, 1] += rng.uniform(0.02, 0.05) * np.cos(2 * phase)[:, None]
    xy = xy * trunk_px + rng.uniform(200, 400, 2)
    xy[:, :, 0] += speed_px * t[:, None]
    xy += rng.normal(0, noise_px, xy.shape)
    confidence = rng.uniform(0.5, 1, (frames, 17, 1))
    return torch.from_numpy(np.concatenate([xy, confidence], 2).astype(np.float32))


def walkers(count: int, frames: int, seed: int = 0) -> Tensor:
    """Several of them: float32 [n,s,17,3]."""
    return torch.stack([walker_of(seed + i, frames, 40 + 20.0 * i) for i in range(count)])


def without(keypoints: Tensor, share: float, seed: int = 0) -> Tensor:
    """The same with a share of the joints not found: confidence 0, coordinates 0."""
    generator = torch.Generator().manual_seed(seed)
    lost = torch.rand(keypoints.shape[:-1], generator=generator) < share
    return torch.where(lost[..., None], 0.0, keypoints)
