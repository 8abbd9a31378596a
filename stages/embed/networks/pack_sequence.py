"""Pools over time, for a batch of equal lengths or for sequences of any lengths laid end to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stages.embed.networks.training_operations import shared_maximum


class PackSequenceWrapper(nn.Module):
    """Applies `pool(x, dim)` to each sequence.

    In: [n,c,s,...], or with `lengths` [1,c,s,...] where s is the sum of the lengths.
    Out: [n,c,...], with `lengths` one row for each of them.
    """

    def __init__(self, pool: Callable[[Tensor, int], Tensor] = shared_maximum) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor, lengths: Sequence[int] | None = None, dim: int = 2) -> Tensor:
        if lengths is None:
            return self.pool(x, dim)
        if x.shape[0] != 1 or sum(lengths) != x.shape[dim] or min(lengths, default=0) < 1:
            raise ValueError(
                f"packed sequences: lengths {list(lengths)} do not fit shape {list(x.shape)}"
            )
        return torch.cat([self.pool(part, dim) for part in x.split(list(lengths), dim)])
