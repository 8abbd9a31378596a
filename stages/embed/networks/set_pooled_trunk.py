"""The silhouette trunk of GaitSet (Chao et al., AAAI 2019) as GLN cuts it into stages: each stage
is read before it is halved, so that the pooled maps keep their full size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def two_convs(in_channels: int, out_channels: int, first_kernel: int = 3) -> nn.Sequential:
    """Return two convolutions without bias, each with a leaky ReLU: the size stays."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, first_kernel, padding=first_kernel // 2, bias=False),
        nn.LeakyReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.LeakyReLU(inplace=True),
    )


class SetPooledTrunk(nn.Module):
    """Three stages of two convolutions, with a halving before the second and the third.

    In: single silhouettes [m,1,h,w]. Out: what each stage makes of them, to be pooled over the
    frames of a sequence: [m,c0,h,w], [m,c1,h/2,w/2], [m,c2,h/4,w/4].
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        first, second, third = channels
        self.stages = nn.ModuleList(
            [two_convs(1, first, 5), two_convs(first, second), two_convs(second, third)]
        )

    def forward(self, silhouettes: Tensor) -> tuple[Tensor, ...]:
        x = silhouettes
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(torch.max_pool2d(x, 2) if index else x)
            features.append(x)
        return tuple(features)
