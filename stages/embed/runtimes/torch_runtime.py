"""Runs a network with torch, on the processor or on a CUDA device."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ConfigError, ResourceError, WeightsError
from stages.embed import weights as weights_file
from stages.embed.clips import check_clip
from stages.embed.interface import Clip
from stages.embed.networks import smplgait

log = logging.getLogger(__name__)

# Frames in one pass: on a processor few enough for its cache, on a device enough to fill it.
CPU_CHUNK, CUDA_CHUNK = 32, 512


def _smplgait(config: Mapping[str, Any]) -> smplgait.SMPLGait:
    return smplgait.SMPLGait(smplgait.SMPLGaitConfig(**config))


NETWORKS: dict[str, Callable[[Mapping[str, Any]], smplgait.SMPLGait]] = {smplgait.NAME: _smplgait}


def choose_device(asked: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`, and say in the log which and why.

    Raises:
        ConfigError: a CUDA device is asked for and is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        device = torch.device("cuda" if count else "cpu")
        why = "a CUDA device is there" if count else "no CUDA device is there"
    else:
        device = torch.device(asked)
        why = "the configuration asks for it"
        if device.type == "cuda" and (device.index or 0) >= count:
            raise ConfigError(
                f"device {asked} is not there: torch sees {count} CUDA devices",
                hint="Choose device auto or cpu.",
            )
    log.info("the gait network runs on %s: %s", device, why)
    return device


def save_network(path: Path, network: smplgait.SMPLGait) -> str:
    """Write a network's weights and return their hash; WeightsError if that fails."""
    tensors = {name: t.detach().cpu().numpy() for name, t in network.state_dict().items()}
    return weights_file.save(path, network.name, network.export_config(), tensors)


def load_network(path: Path, name: str, **expected: Any) -> tuple[smplgait.SMPLGait, str]:
    """Return a network with its weights, in eval mode on the processor, and their hash.

    Args:
        expected: settings that the weights must have been made with, such as `class_num`.

    Raises:
        WeightsError: see `weights.load`, `check_config` and `check_shapes`.
    """
    weights = weights_file.load(path, name)
    weights_file.check_config(weights, expected)
    try:
        with torch.device("meta"):  # shapes only: the file's config may ask for any size
            network = NETWORKS[name](weights.config)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"weights {path} have a config that {name} cannot take: {error}") from (
            error
        )
    shapes = {
        key: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for key, tensor in network.state_dict().items()
    }
    weights_file.check_shapes(weights, shapes)
    tensors = {key: torch.tensor(tensor) for key, tensor in weights.tensors.items()}
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval(), weights.hash


class TorchEmbedder:
    """The `Embedder` of a torch network.

    Keeps nothing between calls. The windows of a call are run together, a chunk of frames at a
    time, so that memory does not grow with their number or length.
    """

    def __init__(
        self,
        network: smplgait.SMPLGait,
        weights_hash: str,
        *,
        device: str = "auto",
        threads: int = 0,
        use_smpl: bool = True,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._device = choose_device(device)
        network.bn_necks = None  # only training reads them
        network = network.eval().requires_grad_(False).to(self._device)
        # Channels last: a fifth faster on a processor, and the same numbers.
        self._network = network.to(memory_format=torch.channels_last)
        self.name = network.name
        self.trained = True
        self.needs_smpl = network.body is not None and use_smpl
        self.vector_shape = network.vector_shape
        self.silhouette_hw = network.silhouette_hw
        # The same weights without their bodies give other vectors, which must not be compared.
        muted = network.body is not None and not use_smpl
        self.weights_hash = _derived(weights_hash, "no-smpl") if muted else weights_hash
        self._muted = muted

    @torch.inference_mode()
    def embed(self, windows: Sequence[Clip]) -> list[np.ndarray]:
        """Return float32 [c,p] for each window, in order.

        Raises:
            InputError: a window that this network cannot read.
            ResourceError: the device's memory is full.
        """
        for window in windows:
            check_clip(window, self.silhouette_hw, self.needs_smpl)
        if not windows:
            return []
        try:
            vectors = self._network.head(self._pooled(windows))  # [n,c,p]
        except torch.cuda.OutOfMemoryError as error:
            raise ResourceError(
                f"{self._device} has no memory left for {len(windows)} windows",
                hint="Choose device cpu, or shorter windows.",
            ) from error
        return [vector.copy() for vector in vectors.cpu().numpy()]

    def _pooled(self, windows: Sequence[Clip]) -> Tensor:
        """Return the maximum over each window's frames: [n,256,h/4,side]."""
        silhouettes = np.concatenate([window.silhouettes for window in windows])  # [m,h,w]
        theta = np.concatenate([window.theta for window in windows]) if self.needs_smpl else None
        ends = np.cumsum([len(window.silhouettes) for window in windows])
        owner = np.searchsorted(ends, np.arange(ends[-1]), side="right")  # [m]
        pooled: list[Tensor | None] = [None] * len(windows)
        chunk = CPU_CHUNK if self._device.type == "cpu" else CUDA_CHUNK
        for start in range(0, len(silhouettes), chunk):
            part = slice(start, start + chunk)
            features = self._network.frame_features(
                self._tensor(silhouettes[part]).float().div_(255.0),
                None if theta is None else self._tensor(theta[part]),
            )  # [k,256,h/4,side]
            owners = owner[part]
            for index in np.unique(owners):
                first, last = np.searchsorted(owners, [index, index + 1])
                newest = features[first:last].amax(0)
                before = pooled[index]
                pooled[index] = newest if before is None else torch.maximum(before, newest)
        return torch.stack([feature for feature in pooled if feature is not None])

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def describe(self) -> Mapping[str, Any]:
        """Return what a report should say."""
        return {
            "network": self.name,
            "weights_hash": self.weights_hash,
            "trained": self.trained,
            "runtime": f"torch {torch.__version__}",
            "device": str(self._device),
            "threads": torch.get_num_threads(),
            "smpl": self.needs_smpl,
            "smpl_muted": self._muted,
            "parameters": sum(p.numel() for p in self._network.parameters()),
        }


def _derived(weights_hash: str, variant: str) -> str:
    return hashlib.sha256(f"{weights_hash} {variant}".encode()).hexdigest()[:16]
