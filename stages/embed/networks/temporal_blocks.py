"""Convolutions over time for skeletons, each joint by itself (ResGCN, see `resgcn`).

Letters: n sequences, c channels, s frames, v joints.
"""

from __future__ import annotations

from torch import Tensor, nn

WINDOW = 9
STRIDES = (1, 2)


def shortcut(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """Return what is added to a block's output: its input, fitted where it does not fit.

    Identity, or a 1x1 convolution (stride over time) with batch norm.
    """
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, (stride, 1), bias=False),
        nn.BatchNorm2d(out_channels),
    )


def narrowed(channels: int, reduction: int) -> int:
    """Return the width inside a bottleneck; ValueError unless it is a whole number."""
    if reduction < 1 or channels % reduction:
        raise ValueError(f"reduction {reduction} does not divide {channels} channels")
    return channels // reduction


def added(x: Tensor, *residuals: Tensor | None) -> Tensor:
    """Return the sum of `x` and those residuals that there are."""
    for residual in residuals:
        if residual is not None:
            x = x + residual
    return x


def _over_time(channels: int, window: int, stride: int) -> nn.Conv2d:
    """Return the convolution over time; ValueError for a window or stride that cannot be."""
    if stride not in STRIDES:
        raise ValueError(f"stride over time must be one of {STRIDES}, got {stride}")
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window over time must be odd, got {window}")
    padding = ((window - 1) // 2, 0)
    return nn.Conv2d(channels, channels, (window, 1), (stride, 1), padding, bias=False)


class TemporalBasicBlock(nn.Module):
    """Convolution over time, batch norm, residual, ReLU.

    In: [n,c,s,v]. Out: [n,c,s/stride rounded up,v].

    Args:
        channels: c.
        window: frames that the convolution sees, odd.
        stride: over time, 1 or 2.
        residual: add the block's own input. GaitGraph leaves it to the module around the block,
            which hands its residual to `forward`.

    Raises:
        ValueError: for another stride or an even window.
    """

    def __init__(
        self, channels: int, window: int = WINDOW, stride: int = 1, residual: bool = True
    ) -> None:
        super().__init__()
        self.conv = _over_time(channels, window, stride)
        self.bn = nn.BatchNorm2d(channels)
        self.residual = shortcut(channels, channels, stride) if residual else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, module_residual: Tensor | None = None) -> Tensor:
        own = None if self.residual is None else self.residual(x)
        return self.relu(added(self.bn(self.conv(x)), own, module_residual))


class TemporalBottleneckBlock(nn.Module):
    """The same over c/reduction channels, between two 1x1 convolutions; all with batch norm.

    In: [n,c,s,v]. Out: [n,c,s/stride rounded up,v].

    Args:
        channels: c.
        window: frames that the convolution sees, odd.
        stride: over time, 1 or 2.
        residual: add the block's own input.
        reduction: how many times narrower the convolution over time is.

    Raises:
        ValueError: for another stride, an even window, a reduction that does not divide c.
    """

    def __init__(
        self,
        channels: int,
        window: int = WINDOW,
        stride: int = 1,
        residual: bool = True,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        narrow = narrowed(channels, reduction)
        self.conv_down = nn.Conv2d(channels, narrow, 1, bias=False)
        self.bn_down = nn.BatchNorm2d(narrow)
        self.conv = _over_time(narrow, window, stride)
        self.bn = nn.BatchNorm2d(narrow)
        self.conv_up = nn.Conv2d(narrow, channels, 1, bias=False)
        self.bn_up = nn.BatchNorm2d(channels)
        self.residual = shortcut(channels, channels, stride) if residual else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, module_residual: Tensor | None = None) -> Tensor:
        own = None if self.residual is None else self.residual(x)
        x = self.relu(self.bn_down(self.conv_down(x)))  # [n,c/reduction,s,v]
        x = self.relu(self.bn(self.conv(x)))  # [n,c/reduction,s/stride,v]
        x = self.bn_up(self.conv_up(x))  # [n,c,s/stride,v]
        return self.relu(added(x, own, module_residual))
