"""Operations whose gradient torch finds slowly on a processor: the same numbers, sooner.

Only for training: where no gradient is asked for, or a network is exported, they are what they are
called. They have no second derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def shared_maximum(x: Tensor, dim: int) -> Tensor:
    """Return the maximum over `dim`. Where values tie, the gradient is shared among them."""
    if x.requires_grad and torch.is_grad_enabled():
        maximum: Tensor = _SharedMaximum.apply(x, dim)
        return maximum
    return x.amax(dim)


def rows_first(feature: Tensor) -> Tensor:
    """Return a map [m,c,h,w] that lies in memory in this order.

    The gradient goes back in the order that the map came in: activations before it would else work
    on two orders at once, which takes ten times as long.
    """
    if feature.requires_grad and torch.is_grad_enabled() and not feature.is_contiguous():
        contiguous: Tensor = _RowsFirst.apply(feature)
        return contiguous
    return feature


class _SharedMaximum(torch.autograd.Function):
    """torch counts what ties in 64-bit integers, over a mask of another type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        maximum = x.amax(dim)
        ctx.save_for_backward(x, maximum)
        ctx.dim = dim
        return maximum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, maximum = ctx.saved_tensors
        reached = torch.empty_like(x)
        torch.eq(x, maximum.unsqueeze(ctx.dim), out=reached)  # 1 or 0 in x's own type
        share = gradient / reached.sum(ctx.dim)
        return reached.mul_(share.unsqueeze(ctx.dim)), None


class _RowsFirst(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feature: Tensor) -> Tensor:
        ctx.channels_last = feature.is_contiguous(memory_format=torch.channels_last)
        return feature.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        if ctx.channels_last:
            return gradient.contiguous(memory_format=torch.channels_last)
        return gradient
