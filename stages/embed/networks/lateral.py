"""Lateral connections of GLN (Hou et al., "Gait Lateral Network", ECCV 2020): a feature pyramid
over the set-pooled maps of all stages, summed from the coarsest down to the finest.

Letters: n sequences, c numbers a part, h w height and width of a silhouette, p parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.embed.networks.horizontal_pooling import HorizontalPooling
from stages.embed.networks.set_pooled_trunk import two_convs

SCALES = 3


class SetBranch(nn.Module):
    """The branch of GLN that looks at whole sets, beside the trunk that looks at silhouettes.

    In: the set-pooled maps [n,c0,h,w], [n,c1,h/2,w/2], [n,c2,h/4,w/4]. Out: what the lateral
    connections read, [n,c0,h,w], [n,2*c1,h/2,w/2], [n,2*c2,h/4,w/4]: from the second stage on both
    branches, side by side.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        first, second, third = channels
        self.stages = nn.ModuleList([two_convs(first, second), two_convs(second, third)])

    def forward(self, stage0: Tensor, stage1: Tensor, stage2: Tensor) -> tuple[Tensor, ...]:
        # The branch begins with the pooled map of stage 0: halving, a maximum too, may come after
        # the maximum over time.
        set1 = self.stages[0](torch.max_pool2d(stage0, 2)) + stage1  # [n,c1,h/2,w/2]
        set2 = self.stages[1](torch.max_pool2d(set1, 2)) + stage2  # [n,c2,h/4,w/4]
        return stage0, torch.cat([stage1, set1], 1), torch.cat([stage2, set2], 1)


class LateralPyramid(nn.Module):
    """From the set-pooled maps of the three stages to the strips of three scales.

    In: [n,c0,h,w], [n,c1,h/2,w/2], [n,c2,h/4,w/4]. Out: [n,c,p], p three times the sum of the bins,
    in the order of `order`, within a scale as `HorizontalPooling` has them.

    Args:
        channels: c0, c1, c2.
        lateral_channels: c.
        lateral_kernel: 1, or 3 as early OpenGait has it.
        bins: strips of each scale.
        shared_smoothing: one smoothing convolution for all scales, else one each.
        order: of the scales in the output; 0 is the finest.
    """

    def __init__(
        self,
        channels: Sequence[int],
        lateral_channels: int,
        lateral_kernel: int,
        bins: Sequence[int],
        shared_smoothing: bool,
        order: Sequence[int],
    ) -> None:
        super().__init__()
        first, second, third = channels
        self.set_branch = SetBranch(channels)
        self.laterals = nn.ModuleList(
            nn.Conv2d(
                width, lateral_channels, lateral_kernel, padding=lateral_kernel // 2, bias=False
            )
            for width in (first, 2 * second, 2 * third)
        )
        self.smoothings = nn.ModuleList(
            nn.Conv2d(lateral_channels, lateral_channels, 3, padding=1, bias=False)
            for _ in range(1 if shared_smoothing else SCALES)
        )
        self.horizontal_pooling = HorizontalPooling(bins)
        self.order = tuple(order)

    def lateral(self, scale: int) -> nn.Conv2d:
        """Return the lateral convolution of this scale, 0 the finest."""
        module = self.laterals[scale]
        assert isinstance(module, nn.Conv2d)
        return module

    def smoothing(self, scale: int) -> nn.Conv2d:
        """Return the convolution that smooths this scale."""
        module = self.smoothings[min(scale, len(self.smoothings) - 1)]
        assert isinstance(module, nn.Conv2d)
        return module

    def forward(self, stage0: Tensor, stage1: Tensor, stage2: Tensor) -> Tensor:
        levels = self.set_branch(stage0, stage1, stage2)
        maps = [self.lateral(scale)(level) for scale, level in enumerate(levels)]  # c channels each
        for scale in (1, 0):  # from the coarsest down
            maps[scale] = maps[scale] + F.interpolate(maps[scale + 1], scale_factor=2.0)
        strips = [self.horizontal_pooling(self.smoothing(i)(maps[i])) for i in self.order]
        return torch.cat(strips, -1)  # [n,c,p]
