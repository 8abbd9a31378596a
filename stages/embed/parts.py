"""The two parts of a network as modules of tensors only: what runs, is compiled and is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.embed.networks.interface import SILHOUETTES, THETA, GaitNetwork


class FramePart(nn.Module):
    """`frame_part` of a network that pools, from bytes.

    In: silhouettes uint8 [m,h,w] 0..255 and, unless muted, theta float [m,85]. Out: features.
    """

    def __init__(self, network: GaitNetwork, use_smpl: bool = True) -> None:
        super().__init__()
        self.network = network
        self.reads = tuple(name for name in network.reads if use_smpl or name != THETA)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.reads, inputs, strict=True))
        silhouettes = given[SILHOUETTES].to(self.dtype) / 255.0
        rest = (given.get(name) for name in self.network.reads if name != SILHOUETTES)
        return self.network.frame_part(silhouettes, *rest)

    @property
    def dtype(self) -> torch.dtype:
        """The weights' dtype."""
        return next(self.network.parameters()).dtype


class HeadPart(nn.Module):
    """`head_part` of a network."""

    def __init__(self, network: GaitNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *pooled: Tensor) -> Tensor:
        return self.network.head_part(*pooled)
