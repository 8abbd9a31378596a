"""The processes that train one network together, each on its share of every batch.

Gradients are averaged in one pass after the backward one, not by torch's own wrapper while it runs:
phases freeze parts and leave classifiers without a loss, which the wrapper would have to be built
anew for. All ranks hold the same network at all times; rank 0 alone writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

# How long a rank waits for the others: rank 0 may be evaluating meanwhile.
TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Ranks:
    """One process's place among those that train together.

    Attributes:
        rank: 0 to world - 1; 0 writes the files.
        world: how many processes there are.
        device: what this one computes on.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the tensors [n,...] of all ranks end to end, [world*n,...], in the order of ranks.

        A loss that every rank computes alike from the gathered tensor has, after `average`, the
        gradient that one process would find with the whole batch. n must be the same on all ranks.
        """
        if self.world == 1:
            return tensor
        if tensor.requires_grad:
            gathered: Tensor = _Gather.apply(tensor, self.rank, self.world)
            return gathered
        return _gathered(tensor, self.world)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all ranks, which give the same ones in one order."""
        if self.world == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for group in by_type.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.all_reduce(flat)
            flat /= self.world
            parts = flat.split([tensor.numel() for tensor in group])
            for tensor, part in zip(group, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def largest(self, numbers: Sequence[float]) -> list[float]:
        """Return the largest of each number over all ranks: how they agree on what to do next."""
        if self.world == 1:
            return list(numbers)
        tensor = torch.tensor(list(numbers), dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [float(number) for number in tensor.tolist()]

    def align(self, module: nn.Module) -> None:
        """Give every rank the parameters and buffers of rank 0."""
        if self.world == 1:
            return
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


class _Gather(torch.autograd.Function):
    """All ranks' tensors; the backward pass keeps the own rows' gradient.

    Times the number of ranks, since the averaging that follows divides by it.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rank: int, world: int) -> Tensor:
        ctx.rank, ctx.world, ctx.rows = rank, world, len(tensor)
        return _gathered(tensor, world)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        own = gradients[0][ctx.rank * ctx.rows :][: ctx.rows]
        return own * ctx.world, None, None


def _gathered(tensor: Tensor, world: int) -> Tensor:
    parts = [torch.empty_like(tensor) for _ in range(world)]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def join(rank: int, world: int, device: torch.device, init_method: str = "env://") -> Ranks:
    """Meet the other processes and return the place among them.

    Args:
        init_method: where they meet, as torch says it; env:// reads what torchrun has set.
    """
    if world > 1:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, init_method=init_method, rank=rank, world_size=world, timeout=TIMEOUT
        )
    return Ranks(rank, world, device)


def leave() -> None:
    """Leave the other processes, if there are any."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
