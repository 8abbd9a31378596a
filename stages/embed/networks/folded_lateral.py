"""The lateral pyramid of GLN folded for inference: the same numbers for half of the arithmetic.

Between the stages and the pooling all of it is linear, and most of the work is a 3x3 convolution
over a map that was enlarged by repeating every number four times. Here

- the 1x1 lateral convolution of a stage's own map and the 3x3 smoothing after it are one 3x3
  convolution with the product of both weights;
- the smoothing of the enlarged map is done on the map as it was before. Of three taps a, b, c along
  an axis, two fall on the same number x[i]; the third falls on x[i-1] at even places and on x[i+1]
  at odd ones. With d[i] = x[i] - x[i-1] this is

      even: (a+b+c) x[i] - a d[i]        odd: (a+b+c) x[i] + c d[i+1]

  so three products serve two places along each axis, nine serve four places in two dimensions,
  where the plain form takes 36. Zeros beyond the border are zeros before enlarging, too.
- the four kinds of places are pooled apart: a maximum and a mean ask for no order.

Letters: n sequences, c numbers, h w height and width, p parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.embed.networks.lateral import SCALES, LateralPyramid

# Along an axis: the sum of the taps for x[i], then the one for d[i], then the one for d[i+1].
TAPS = ((1.0, 1.0, 1.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
# Places of an enlarged map by row and column, even or odd.
PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))


def fixed_conv(weight: Tensor, like: Tensor) -> nn.Conv2d:
    """Return a convolution with a weight [c',c,k,k], k odd, of the dtype and device of `like`."""
    out_channels, in_channels, kernel, _ = weight.shape
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        padding=kernel // 2,
        # It means nothing to a 1x1 kernel. On one thread torch hands plain 1x1 convolutions to
        # another library, at half the speed here; this keeps them with oneDNN.
        dilation=2 if kernel == 1 else 1,
        bias=False,
        device="meta",
    )
    conv.weight = nn.Parameter(weight.to(like), requires_grad=False)
    return conv


class EnlargedSmoothing(nn.Module):
    """A 3x3 convolution of a map after enlarging it twofold, nearest.

    In: [n,c,h,w], not enlarged. Out: four maps [n,c',h,w], the result's rows and columns by
    `PLACES`.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        taps = torch.tensor(TAPS, dtype=torch.float64, device=weight.device)
        kernels = torch.einsum("ry,sx,ocyx->rsoc", taps, taps, weight.double())[..., None, None]
        # Nine, in the order of `changes`.
        self.convs = nn.ModuleList(fixed_conv(kernel, weight) for kernel in kernels.flatten(0, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        products = [conv(change) for conv, change in zip(self.convs, changes(x), strict=True)]
        # In place: most of the time of such an addition goes into fetching memory for its result.
        columns = [products[column].add_(products[0]) for column in (1, 2)]  # no change by row
        return tuple(
            products[3 * row + column].add_(products[3 * row]).add_(columns[column - 1])
            for row in (1, 2)
            for column in (1, 2)
        )


def changes(x: Tensor) -> Iterator[Tensor]:
    """Yield how a map changes from place to place, zero beyond the border.

    Args:
        x: [n,c,h,w].

    Yields:
        Nine maps [n,c,h,w]: `x`, its change from the left, its change to the right; then those
        three of its change from above; then those three of its change to below.
    """
    padded = F.pad(x, (1, 1, 1, 1))  # [n,c,h+2,w+2]
    by_row = padded[..., 1:, :] - padded[..., :-1, :]  # [n,c,h+1,w+2]
    for row in (padded[..., 1:-1, :], by_row[..., :-1, :], by_row[..., 1:, :]):  # [n,c,h,w+2]
        yield row[..., 1:-1]
        yield row[..., 1:-1] - row[..., :-2]
        yield row[..., 2:] - row[..., 1:-1]


class SmoothedSum(nn.Module):
    """The smoothing of a stage's lateral connection plus the enlarged map from above it.

    In: what the lateral connection reads [n,c,2h,2w] and the coarser sum [n,c',h,w]. Out: four maps
    [n,c',h,w], the rows and columns of the smoothed sum by `PLACES`.
    """

    def __init__(self, lateral: Tensor, smoothing: Tensor) -> None:
        super().__init__()
        self.own = fixed_conv(composed(lateral, smoothing), smoothing)
        self.from_above = EnlargedSmoothing(smoothing)

    def forward(self, level: Tensor, coarser: Tensor) -> list[Tensor]:
        own = self.own(level)  # [n,c',2h,2w]
        return [
            enlarged.add_(own[..., row::2, column::2])
            for (row, column), enlarged in zip(PLACES, self.from_above(coarser), strict=True)
        ]


def composed(lateral: Tensor, smoothing: Tensor) -> Tensor:
    """Return the weight [o,c,3,3] of a 1x1 convolution [m,c,1,1] and then a 3x3 one [o,m,3,3]."""
    return torch.einsum("omyx,mc->ocyx", smoothing.double(), lateral[:, :, 0, 0].double())


class FoldedPyramid(nn.Module):
    """`LateralPyramid` for inference: same in, same out, other weights.

    It shares the set branch with the pyramid that it is made from; the rest it computes anew.

    Raises:
        ValueError: the lateral connections are not 1x1. At the border, where each pads with its own
            zeros, two 3x3 convolutions are not one of 5x5.
    """

    def __init__(self, pyramid: LateralPyramid) -> None:
        super().__init__()
        lateral0, lateral1, lateral2 = (
            pyramid.lateral(scale).weight.detach() for scale in range(SCALES)
        )
        smoothings = [pyramid.smoothing(scale).weight.detach() for scale in range(SCALES)]
        if lateral0.shape[2:] != (1, 1):
            raise ValueError(f"lateral kernels of 1x1 expected, got {list(lateral0.shape[2:])}")
        self.set_branch = pyramid.set_branch
        self.lateral1 = fixed_conv(lateral1, lateral1)
        self.lateral2 = fixed_conv(lateral2, lateral2)
        self.smoothed0 = SmoothedSum(lateral0, smoothings[0])
        self.smoothed1 = SmoothedSum(lateral1, smoothings[1])
        self.smoothing2 = fixed_conv(smoothings[2], smoothings[2])
        self.bins = pyramid.horizontal_pooling.bins
        self.order = pyramid.order

    def forward(self, stage0: Tensor, stage1: Tensor, stage2: Tensor) -> Tensor:
        level0, level1, level2 = self.set_branch(stage0, stage1, stage2)
        sum2 = self.lateral2(level2)  # [n,c,h/4,w/4]
        sum1 = self.lateral1(level1) + F.interpolate(sum2, scale_factor=2.0)  # [n,c,h/2,w/2]
        maps = (
            self.smoothed0(level0, sum1),
            self.smoothed1(level1, sum2),
            [self.smoothing2(sum2)],
        )
        strips = [pooled_strips(maps[scale], self.bins) for scale in self.order]
        return torch.cat(strips, -1)  # [n,c,p]


def pooled_strips(maps: Sequence[Tensor], bins: Sequence[int]) -> Tensor:
    """Pool one map that is given as several of equal size, mean plus maximum of each strip.

    Args:
        maps: [n,c,h,w], each with every place of the whole in the same strip as there.
        bins: each divides the largest.

    Returns:
        [n,c,p] as `HorizontalPooling` has it.
    """
    finest = max(bins)
    strip_hw = (maps[0].shape[2] // finest, maps[0].shape[3])
    largest = torch.stack([F.max_pool2d(x, strip_hw)[..., 0] for x in maps]).amax(0)  # [n,c,finest]
    mean = torch.stack([F.avg_pool2d(x, strip_hw)[..., 0] for x in maps]).mean(0)
    strips = []
    for count in bins:
        groups = (count, finest // count)
        strips.append(mean.unflatten(-1, groups).mean(-1) + largest.unflatten(-1, groups).amax(-1))
    return torch.cat(strips, -1)
