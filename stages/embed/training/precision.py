"""In which numbers the forward pass computes."""

from __future__ import annotations

import os
from typing import Literal

import torch

from stages.embed.training.config import Precision

Resolved = Literal["float32", "bfloat16", "float16"]

DTYPES: dict[Resolved, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def resolve(precision: Precision, device: torch.device) -> Resolved:
    """Return what `auto` means on a device; any other choice is kept."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def settle(device: torch.device, *, threads: int, deterministic: bool, processes: int) -> None:
    """Set what torch keeps for the whole process: threads, and how it chooses its kernels."""
    if threads:
        torch.set_num_threads(threads)
    elif device.type == "cpu" and processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))
    if deterministic:
        # Read when CUDA's matrix products are first used: they then keep their sums in one order.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
