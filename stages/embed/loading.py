"""From a config to a network that is loaded and ready."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pipeline.errors import WeightsError
from stages.embed.config import Config
from stages.embed.gei import GaitEnergyImage
from stages.embed.interface import Embedder

if TYPE_CHECKING:
    from stages.embed.embedder import NetworkEmbedder

log = logging.getLogger(__name__)


def load_embedder(config: Config) -> Embedder:
    """Return the network that `config` names. Torch is imported only if it needs torch.

    Raises:
        WeightsError: the weights are missing or do not fit.
        ConfigError: the device or the runtime is not there.
    """
    if config.network == "gei":
        log.info("embedding with gait energy images: the baseline without weights, in numpy")
        return GaitEnergyImage()
    if config.weights is None:
        raise WeightsError(
            f"{config.network} has no weights: its numbers would be drawn at random, "
            "and so would be the names that it gives to people",
            hint=f"Give a weights file (embed.weights, or --weights FILE) made by training "
            f"{config.network}, or choose the network that needs none: gei.",
        )
    embedder = _network_embedder(config)
    log.info("embedding with %s, weights %s", embedder.name, embedder.weights_hash)
    return embedder


def _network_embedder(config: Config) -> NetworkEmbedder:
    import torch

    from stages.embed.checkpoint import load_network
    from stages.embed.devices import choose_device
    from stages.embed.embedder import torch_embedder

    assert config.weights is not None
    network, weights_hash = load_network(config.weights, config.network)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    precision = config.precision
    if precision == "auto":
        precision = "float16" if device.type == "cuda" else "float32"
    return torch_embedder(
        network, weights_hash, device, use_smpl=config.use_smpl, precision=precision
    )
