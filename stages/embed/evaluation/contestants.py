"""What is compared on a suite: networks from files, the baseline, and untrained ones of one shape.

Each is loaded when its turn comes and let go of after, so that one network is in memory at a time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import torch

from pipeline.errors import UsageError
from stages.embed.checkpoint import TORCH_SUFFIXES, load_any
from stages.embed.config import Config
from stages.embed.devices import choose_device
from stages.embed.embedder import torch_embedder
from stages.embed.gei import GaitEnergyImage
from stages.embed.interface import Embedder
from stages.embed.loading import load_embedder
from stages.embed.networks.catalogue import build_network
from stages.embed.weights import network_of

Role = Literal["baseline", "untrained", "network", "variant", "fusion"]
UNTRAINED_HASH = "untrained"
MAX_PAIRED = 4


@dataclass(frozen=True, slots=True)
class Contestant:
    """One network to evaluate.

    Attributes:
        label: as in tables, unique.
        role: `variant` is a network without its body branch.
        load: returns the embedder of each run.
        runs: how many; several for an untrained network, each with weights of its own.
        network: its name.
    """

    label: str
    role: Role
    load: Callable[[int], Embedder]
    runs: int = 1
    network: str = ""


def contestants_of(
    weights: Sequence[Path], options: Config, *, seeds: int, without_smpl: bool
) -> list[Contestant]:
    """Return the baseline, the networks of these files, and what stands beside them.

    For each shape of network an untrained one with so many seeds; for each network with a body
    branch the same without it.

    Args:
        options: runtime, device, precision and height; `network` is that of OpenGait's .pt files.

    Raises:
        UsageError: two files of one name, or a .pt without its network's name.
        WeightsError: weights cannot be read.
    """
    baseline = Contestant("gei", "baseline", lambda run: GaitEnergyImage(), network="gei")
    untrained: dict[str, Contestant] = {}
    trained: list[Contestant] = []
    for path, label in zip(weights, _labels(weights), strict=True):
        name = _network(path, options)
        config = Config.model_validate(
            {**options.model_dump(), "network": name, "weights": path, "use_smpl": True}
        )
        network, _ = load_any(path, name, options.height)
        shape = {**network.export_config(), "class_num": 0}
        key = f"{name} {json.dumps(shape, sort_keys=True)}"
        if seeds and key not in untrained:
            load = partial(untrained_embedder, name, shape, device=options.device)
            untrained[key] = Contestant(f"untrained {label}", "untrained", load, seeds, name)
        trained.append(Contestant(label, "network", _loader(config), network=name))
        if without_smpl and network.needs_no_bodies:
            muted = _loader(config.model_copy(update={"use_smpl": False}))
            trained.append(Contestant(f"{label} without bodies", "variant", muted, network=name))
    return [baseline, *untrained.values(), *trained]


def fusions(contestants: Sequence[Contestant]) -> list[tuple[str, ...]]:
    """Return the labels of what is fused: each two trained networks, and all of them.

    Of more than four networks only all: every pair would fill a page.
    """
    labels = [each.label for each in contestants if each.role == "network"]
    pairs: list[tuple[str, ...]] = []
    if len(labels) <= MAX_PAIRED:
        pairs += combinations(labels, 2)
    return [*pairs, tuple(labels)] if len(labels) > 2 else pairs


def untrained_embedder(name: str, shape: dict[str, Any], seed: int, *, device: str) -> Embedder:
    """Return a network with weights as they are drawn before training, from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(name, shape).eval()
    where = choose_device(device)
    return torch_embedder(network, f"{UNTRAINED_HASH}-{seed}", where, trained=False)


def _loader(config: Config) -> Callable[[int], Embedder]:
    return lambda run: load_embedder(config)


def _labels(weights: Sequence[Path]) -> list[str]:
    """Return the files' names without endings; UsageError if two are the same."""
    labels = [path.stem for path in weights]
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice or "gei" in labels:
        name = (*twice, "gei")[0]
        raise UsageError(
            f"two networks would be called {name!r} in the tables",
            hint="Networks are called as their files are: give each its own name.",
        )
    return labels


def _network(path: Path, options: Config) -> str:
    if path.suffix.lower() not in TORCH_SUFFIXES:
        return network_of(path)
    if options.network == "gei":
        raise UsageError(
            f"{path} does not say which network it is of", hint="Say it with --network NAME."
        )
    return options.network
