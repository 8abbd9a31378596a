"""From a config to a network that is loaded and ready."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, ResourceError, WeightsError
from stages.embed.config import Config
from stages.embed.gei import GaitEnergyImage
from stages.embed.interface import Embedder
from stages.embed.shipped import shipped_weights

if TYPE_CHECKING:
    import torch

    from stages.embed.embedder import NetworkEmbedder
    from stages.embed.networks.interface import GaitNetwork
    from stages.embed.runtimes.choosing import Choice
    from stages.embed.runtimes.exported_files import Wanted
    from stages.embed.runtimes.interface import Runtime
    from stages.embed.runtimes.torch_runtime import Precision

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
    weights = config.weights or shipped_weights(config.network)
    if weights is None:
        raise WeightsError(
            f"{config.network} has no weights, and none come with the program: its numbers would "
            "be drawn at random, and so would be the names that it gives to people",
            hint=f"Give a weights file (embed.weights, or --weights FILE) made by training "
            f"{config.network}, or choose the network that needs none: gei.",
        )
    embedder = _network_embedder(config.model_copy(update={"weights": weights}))
    log.info("embedding with %s, weights %s", embedder.name, embedder.weights_hash)
    return embedder


def _network_embedder(config: Config) -> NetworkEmbedder:
    import torch

    from stages.embed.checkpoint import load_any
    from stages.embed.devices import choose_device
    from stages.embed.embedder import NetworkEmbedder, facts_of
    from stages.embed.runtimes.choosing import choose_runtime, export_hint, obstacles_of
    from stages.embed.runtimes.exported_files import Wanted

    assert config.weights is not None
    network, weights_hash = load_any(config.weights, config.network, config.height)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    facts = facts_of(network, weights_hash, use_smpl=config.use_smpl)
    wanted = Wanted(
        config.network, weights_hash, _precision(config, device), use_smpl=not facts.muted
    )
    choice = choose_runtime(
        config.runtime,
        device,
        obstacles_of(config.weights, wanted, facts.pools, device),
        free_device=config.device == "auto",
        hint=export_hint(config.weights, wanted, config.runtime),
    )
    return NetworkEmbedder(facts, _runtime(choice, network, config, wanted))


def _precision(config: Config, device: torch.device) -> Precision:
    if config.precision != "auto":
        return config.precision
    return "float16" if device.type == "cuda" and config.runtime != "onnx" else "float32"


def _runtime(choice: Choice, network: GaitNetwork, config: Config, wanted: Wanted) -> Runtime:
    from stages.embed.runtimes.exported_files import files_beside

    assert config.weights is not None
    files = files_beside(config.weights, wanted, network.pools)
    if choice.name == "tensorrt":
        from stages.embed.runtimes.tensorrt_runtime import TensorRTRuntime

        try:
            return TensorRTRuntime(files, device=choice.device, wanted=wanted)
        except (ConfigError, ResourceError) as error:
            if config.runtime != "auto":
                raise
            log.warning("TensorRT is passed over for torch: %s", error)
    if choice.name == "onnx":
        from stages.embed.runtimes.onnx_runtime import OnnxRuntime

        return OnnxRuntime(files, wanted=wanted, threads=config.threads)
    from stages.embed.runtimes.torch_runtime import TorchRuntime

    return TorchRuntime(
        network,
        choice.device,
        precision=_precision(config, choice.device),
        use_smpl=wanted.use_smpl,
    )
