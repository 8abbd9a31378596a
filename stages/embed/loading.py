"""From a config to a network that is loaded and ready."""

from __future__ import annotations

import logging

from pipeline.errors import WeightsError
from stages.embed.config import Config
from stages.embed.gei import GaitEnergyImage
from stages.embed.interface import Embedder

log = logging.getLogger(__name__)


def load_embedder(config: Config) -> Embedder:
    """Return the network that `config` names. Torch is imported only if it needs torch.

    Raises:
        WeightsError: the weights are missing or do not fit.
        ConfigError: the device is not there.
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
    from stages.embed.torch_runtime import TorchEmbedder, load_network

    network, weights_hash = load_network(config.weights, config.network)
    embedder = TorchEmbedder(
        network,
        weights_hash,
        device=config.device,
        threads=config.threads,
        use_smpl=config.use_smpl,
    )
    log.info("embedding with %s, weights %s", embedder.name, embedder.weights_hash)
    return embedder
