"""Horizontal pyramid pooling (Fu et al., "Horizontal Pyramid Matching for Person
Re-identification", AAAI 2019): cuts a feature map into strips, coarse and fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BINS = (16, 8, 4, 2, 1)


class HorizontalPooling(nn.Module):
    """Mean plus maximum of each strip.

    In: [n,c,h,w], h divisible by the largest number of bins. Out: [n,c,p], p the sum of the bins,
    in the order of the bins, each from top to bottom. Every number divides the largest, else
    ValueError.
    """

    def __init__(self, bins: Sequence[int] = BINS) -> None:
        super().__init__()
        self.bins = tuple(bins)
        if any(max(self.bins) % count for count in self.bins):
            raise ValueError(f"bins must divide the largest of them: {self.bins}")

    @property
    def parts(self) -> int:
        """How many strips come out."""
        return sum(self.bins)

    def forward(self, x: Tensor) -> Tensor:
        finest = max(self.bins)
        # The map is read once, in the order in which it lies in memory: coarse strips are put
        # together from fine ones. Strip by strip, a channels-last map would be copied each time.
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            strips = x.permute(0, 2, 3, 1).unflatten(1, (finest, -1)).flatten(2, 3)  # [n,f,k,c]
            means, tops = strips.mean(2).transpose(1, 2), strips.amax(2).transpose(1, 2)
        else:
            strips = x.unflatten(2, (finest, -1)).flatten(3)  # [n,c,f,k]
            means, tops = strips.mean(3), strips.amax(3)  # [n,c,f]
        parts = [
            means.unflatten(2, (count, -1)).mean(3) + tops.unflatten(2, (count, -1)).amax(3)
            for count in self.bins
        ]
        return torch.cat(parts, -1)  # [n,c,p]
