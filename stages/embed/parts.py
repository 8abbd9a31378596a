"""The two parts of a network as modules of tensors only: what runs, is compiled and is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.embed.networks.interface import SILHOUETTES, THETA, GaitNetwork


class FramePart(nn.Module):
    """`frame_part` of a network that pools, from bytes.

    In: what the network reads: silhouettes uint8 [m,h,w] 0..255 and, unless muted, theta float32
    [m,85]. Out: features, of the weights' dtype.
    """

    def __init__(self, network: GaitNetwork, use_smpl: bool = True) -> None:
        super().__init__()
        self.network = network
        self.reads = tuple(name for name in network.reads if use_smpl or name != THETA)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.reads, inputs, strict=True))
        cast = (self._cast(name, given.get(name)) for name in self.network.reads)
        return self.network.frame_part(*cast)

    def _cast(self, name: str, rows: Tensor | None) -> Tensor | None:
        if rows is None:
            return None
        return rows.to(self.dtype) / 255.0 if name == SILHOUETTES else rows.to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The weights' dtype."""
        return next(self.network.parameters()).dtype


class HeadPart(nn.Module):
    """`head_part` of a network, in float32 whatever its weights are.

    Nothing is cast on the way in: features have the weights' dtype, and a network that reads pixels
    (keypoints) has to centre and scale them first, for which float16 is too coarse.
    """

    def __init__(self, network: GaitNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *pooled: Tensor) -> Tensor:
        return self.network.head_part(*pooled).float()
