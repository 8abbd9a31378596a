"""Horizontal pyramid pooling (Fu et al., "Horizontal Pyramid Matching for Person
Re-identification", AAAI 2019): cuts a feature map into strips, coarse and fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BINS = (16, 8, 4, 2, 1)


class HorizontalPooling(nn.Module):
    """Mean plus maximum of each strip.

    In: [n,c,h,w], h divisible by every number of bins. Out: [n,c,p], p the sum of the bins, in the
    order of the bins, each from top to bottom.
    """

    def __init__(self, bins: Sequence[int] = BINS) -> None:
        super().__init__()
        self.bins = tuple(bins)

    @property
    def parts(self) -> int:
        """How many strips come out."""
        return sum(self.bins)

    def forward(self, x: Tensor) -> Tensor:
        strips = []
        for count in self.bins:
            strip = x.reshape(*x.shape[:2], count, -1)  # [n,c,count,h/count*w]
            strips.append(strip.mean(-1) + strip.amax(-1))  # [n,c,count]
        return torch.cat(strips, -1)  # [n,c,p]
