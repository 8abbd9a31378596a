"""Runs a network with torch, on the processor or on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline.errors import ResourceError
from stages.embed.networks.interface import GaitNetwork
from stages.embed.parts import FramePart, HeadPart
from stages.embed.runtimes.graphs import GraphedPart

Precision = Literal["float32", "float16"]


class TorchRuntime:
    """The `Runtime` of a torch network.

    On a processor it keeps to torch's own thread count. On a CUDA device each batch size is
    captured once as a CUDA graph, padded up to a power of two, so that a call is one launch.
    The network is taken over: moved, cast, and without the parts that only training reads.
    """

    name = "torch"

    def __init__(
        self,
        network: GaitNetwork,
        device: torch.device,
        *,
        precision: Precision = "float32",
        use_smpl: bool = True,
    ) -> None:
        self.device = device
        self._precision: Precision = precision
        network.drop_training_parts()
        network = network.eval().requires_grad_(False).to(device)
        if precision == "float16":
            network = network.half()
        optimise = getattr(network, "optimise_for_inference", None)
        if optimise is not None:
            optimise()
        # Channels last: up to half faster on a processor, and the same numbers.
        network = network.to(memory_format=torch.channels_last)
        self._network = network
        self._frames: Callable[..., tuple[Tensor, ...]] = FramePart(network, use_smpl)
        self._head: Callable[..., tuple[Tensor, ...]] = _Tupled(HeadPart(network))
        if device.type == "cuda":
            self._frames = GraphedPart(self._frames, device)
            if network.pools:
                self._head = GraphedPart(self._head, device)

    @torch.inference_mode()
    def frame_part(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return features [m,...] on the device; ResourceError if its memory is full."""
        return self._guarded(self._frames, inputs)

    @torch.inference_mode()
    def head_part(self, *pooled: Tensor) -> Tensor:
        """Return float32 [n,c,p] on the processor's side; ResourceError as above."""
        (vectors,) = self._guarded(self._head, pooled)
        return vectors.cpu()

    def _guarded(
        self, part: Callable[..., tuple[Tensor, ...]], inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        try:
            return part(*(tensor.to(self.device, non_blocking=True) for tensor in inputs))
        except torch.cuda.OutOfMemoryError as error:
            raise ResourceError(
                f"{self.device} has no memory left for a batch of {len(inputs[0])}",
                hint="Choose device cpu, a smaller embed.cache_mb, or shorter windows.",
            ) from error

    def describe(self) -> Mapping[str, Any]:
        """Return what a report should say."""
        return {
            "runtime": f"torch {torch.__version__}",
            "device": str(self.device),
            "precision": self._precision,
            "threads": torch.get_num_threads(),
            "parameters": sum(p.numel() for p in self._network.parameters()),
        }


class _Tupled:
    """A part with one output as a part with a tuple of outputs."""

    def __init__(self, part: Callable[..., Tensor]) -> None:
        self._part = part

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self._part(*inputs),)
