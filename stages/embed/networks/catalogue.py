"""Every network by its name. Importing this imports torch and all networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.embed.networks.interface import GaitNetwork
from stages.embed.networks.joined import Joined, JoinedConfig
from stages.embed.networks.single import SINGLE, Entry

CATALOGUE: Mapping[str, Entry] = {**SINGLE, "joined": Entry(Joined, JoinedConfig)}


def build_network(name: str, config: Mapping[str, Any]) -> GaitNetwork:
    """Return a new network with fresh weights.

    Raises:
        KeyError: no such network. TypeError, ValueError: it cannot take this config.
    """
    return CATALOGUE[name].build(config)
