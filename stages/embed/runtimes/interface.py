"""What runs a gait network: one interface for torch, ONNX Runtime and TensorRT.

Importing this imports torch: tensors are how all runtimes hand over features, on whatever device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class Runtime(Protocol):
    """The two parts of a network, ready to run; see `networks.interface.GaitNetwork`.

    Attributes:
        name: torch, onnx or tensorrt.
        device: where features live between the parts.
    """

    @property
    def name(self) -> str: ...

    @property
    def device(self) -> torch.device: ...

    def frame_part(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return features [m,...] on `device`.

        Args:
            inputs: what the network reads, in its order, [m,...] each, on the processor's side:
                silhouettes uint8 [m,h,w] 0..255, theta float32 [m,85].
        """
        ...

    def head_part(self, *pooled: Tensor) -> Tensor:
        """Return embeddings float32 [n,c,p], on the processor's side.

        Args:
            pooled: features [n,...] on `device`; for a network that does not pool, its inputs
                [n,s,...] on the processor's side.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what a report should say: version, device, precision and the like."""
        ...
