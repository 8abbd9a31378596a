"""In which numbers the forward pass computes, and how they lie in memory."""

from __future__ import annotations

import os
from typing import Literal

import torch
from torch import nn

from stages.embed.allocation import keep_freed_memory
from stages.embed.training.config import MemoryFormat, Precision

Resolved = Literal["float32", "bfloat16", "float16"]

DTYPES: dict[Resolved, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
Laid = Literal["contiguous", "channels_last"]
MEMORY_FORMATS: dict[Laid, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


def resolve(precision: Precision, device: torch.device) -> Resolved:
    """Return what `auto` means on a device; any other choice is kept."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def resolve_memory(
    asked: MemoryFormat, precision: Resolved, device: torch.device, network: nn.Module
) -> Laid:
    """Return what `auto` means for a network; any other choice is kept.

    Channels last is what the convolutions of processors, and GPUs' in half precision, compute in:
    given anything else they copy each map there and back.
    """
    if asked != "auto":
        return asked
    flat = any(isinstance(module, nn.Conv2d) for module in network.modules())
    faster = device.type == "cpu" or precision != "float32"
    return "channels_last" if flat and faster else "contiguous"


def settle(device: torch.device, *, threads: int, deterministic: bool, processes: int) -> None:
    """Set what holds for the whole process: threads, memory, and how torch chooses its kernels."""
    if device.type == "cpu":
        keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    elif device.type == "cpu" and processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    if deterministic:
        # Read when CUDA's matrix products are first used: they then keep their sums in one order.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
