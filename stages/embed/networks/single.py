"""Every network that stands by itself, by its name. Importing this imports torch and them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.embed.networks.gaitgln import GaitGLN, GaitGLNConfig
from stages.embed.networks.interface import GaitNetwork
from stages.embed.networks.resgcn import ResGCN, ResGCNConfig
from stages.embed.networks.smplgait import SMPLGait, SMPLGaitConfig
from stages.embed.networks.smplrows import SMPLRows, SMPLRowsConfig


@dataclass(frozen=True, slots=True)
class Entry:
    """A network's class and its config's."""

    network: type[GaitNetwork]
    config: Callable[..., Any]

    def build(self, config: Mapping[str, Any]) -> GaitNetwork:
        """Return a new network with fresh weights; TypeError, ValueError: it cannot take this."""
        return self.network(self.config(**config))


SINGLE: Mapping[str, Entry] = {
    "smplgait": Entry(SMPLGait, SMPLGaitConfig),
    "gaitgln": Entry(GaitGLN, GaitGLNConfig),
    "resgcn": Entry(ResGCN, ResGCNConfig),
    "smplrows": Entry(SMPLRows, SMPLRowsConfig),
}
