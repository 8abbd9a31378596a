"""Made-up windows and networks for the embed tests. Everything is drawn from seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch

from pipeline.messages import Stamp, Window, Windows
from stages.embed.networks.catalogue import build_network
from stages.embed.networks.interface import GaitNetwork
from stages.embed.networks.smplgait import SMPLGait, SMPLGaitConfig

Network = TypeVar("Network", bound=GaitNetwork)

# Two threads on two busy cores wait for each other longer than one takes.
torch.set_num_threads(1)


def silhouettes_of(seed: int, frames: int, height: int = 64, width: int = 44) -> np.ndarray:
    """Blobs that look a little like people: uint8 [s,h,w]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / (height / 64)
    out = np.empty((frames, height, width), np.uint8)
    for i in range(frames):
        swing = np.sin(i / 4 + seed) * 6
        trunk = ((x - 22) / (6 + seed % 3)) ** 2 + ((y - 24) / 18) ** 2 < 1
        legs = (np.abs(np.abs(x - 22) - abs(swing) * (y - 38) / 26) < 3) & (y > 38)
        noise = rng.integers(0, 20, (height, width))
        out[i] = np.where(trunk | legs, 255 - noise, noise // 4)
    return out


def theta_of(seed: int, frames: int) -> np.ndarray:
    """float32 [s,85], none of it zero."""
    return np.random.default_rng(seed + 1000).normal(0.3, 0.5, (frames, 85)).astype(np.float32)


def window_of(seed: int, frames: int = 30, track_id: int | None = None) -> Window:
    """A window of `frames` frames."""
    return Window(
        track_id=seed if track_id is None else track_id,
        silhouettes=silhouettes_of(seed, frames),
        theta=theta_of(seed, frames),
        keypoints_px=np.zeros((frames, 17, 3), np.float32),
        times_ns=np.arange(frames, dtype=np.int64) * 40_000_000,
        frame_ids=np.arange(frames, dtype=np.int64),
        quality=0.8,
        left_out=0,
    )


def message_of(windows: Sequence[Window], frame_id: int = 7) -> Windows:
    """One message with these windows."""
    stamp = Stamp("cam", frame_id, frame_id * 40_000_000, 10, 20)
    visible = tuple(window.track_id for window in windows)
    return Windows(stamp, tuple(windows), visible, (99,))


def seeded_network(seed: int = 3, **config: object) -> SMPLGait:
    """A network whose every number, running statistics too, is drawn from the seed."""
    network = SMPLGait(SMPLGaitConfig(**config))  # type: ignore[arg-type]
    return seeded(network, seed)


def network_of(name: str, seed: int = 3, **config: object) -> GaitNetwork:
    """Any network of the catalogue, drawn likewise."""
    return seeded(build_network(name, config), seed)


def seeded(network: Network, seed: int) -> Network:
    """A network with all its numbers drawn from the seed, in eval mode."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            state[name] = tensor
            continue
        fan = int(np.prod(tensor.shape[1:])) if tensor.ndim > 1 else 4
        values = rng.normal(0, (2.0 / max(fan, 1)) ** 0.5, tuple(tensor.shape))
        if "running_var" in name or (tensor.ndim == 1 and name.endswith("weight")):
            values = 0.5 + np.abs(values)
        state[name] = torch.from_numpy(values.astype(np.float32))
    network.load_state_dict(state)
    return network.eval()


def tensors_of(window: Window) -> tuple[torch.Tensor, torch.Tensor]:
    """Silhouettes float [1,s,h,w], 0..1, and theta float [1,s,85]."""
    silhouettes = torch.from_numpy(window.silhouettes).float().div(255.0)
    return silhouettes[None], torch.from_numpy(window.theta)[None]
