"""Networks to and from files, checked key by key and shape by shape."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import WeightsError
from stages.embed import weights as weights_file
from stages.embed.networks.catalogue import build_network
from stages.embed.networks.interface import GaitNetwork
from stages.embed.opengait_weights import load_opengait

TORCH_SUFFIXES = (".pt", ".pth")


def save_network(path: Path, network: GaitNetwork, *, half: bool = False) -> str:
    """Write a network's weights, with `half` its matrices as float16, and return their hash.

    Raises:
        WeightsError: that fails.
    """
    tensors = {name: t.detach().cpu().numpy() for name, t in network.state_dict().items()}
    return weights_file.save(path, network.name, network.export_config(), tensors, half=half)


def load_network(path: Path, name: str, **expected: Any) -> tuple[GaitNetwork, str]:
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
            network = build_network(name, weights.config)
    except (TypeError, ValueError) as error:
        raise WeightsError(
            f"weights {path} have a config that {name} cannot take: {error}"
        ) from error
    shapes = {
        key: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for key, tensor in network.state_dict().items()
    }
    weights_file.check_shapes(weights, shapes)
    tensors = {key: torch.tensor(tensor) for key, tensor in weights.tensors.items()}
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval(), weights.hash


def load_any(path: Path, name: str, height: int | None = None) -> tuple[GaitNetwork, str]:
    """Return a network from our own weights, or from a torch checkpoint of OpenGait's or Gait3D's.

    Args:
        height: of the silhouettes, for a torch checkpoint that does not tell it.

    Raises:
        WeightsError: see `load_network` and `opengait_weights.load_opengait`.
    """
    if path.suffix.lower() in TORCH_SUFFIXES:
        return load_opengait(path, name, height=height)
    return load_network(path, name)


def embedding_only(network: GaitNetwork) -> GaitNetwork:
    """Return a network, in eval mode, without what only training reads.

    Weights with and without classifiers hash differently, though they embed the same: this makes
    the smaller file.
    """
    config = {
        field.name: getattr(network.config, field.name)
        for field in dataclasses.fields(network.config)
    }
    slim = build_network(network.name, {**config, "class_num": 0})
    kept = slim.state_dict().keys()
    slim.load_state_dict({key: t for key, t in network.state_dict().items() if key in kept})
    return slim.eval()
