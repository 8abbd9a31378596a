"""CUDA graphs: a part of a network, captured once for each batch size, replayed as one launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_BATCH = 512
WARM_UPS = 3


@dataclass(frozen=True, slots=True, eq=False)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def bucket(count: int) -> int:
    """Return the power of two that is at least `count`: the batch that is captured for it."""
    return 1 << (count - 1).bit_length()


class GraphedPart:
    """Calls `part` through CUDA graphs.

    A batch is padded to the next power of two, so that ten graphs serve all sizes to 512; larger
    batches run as they are. Outputs are copies: the next call does not change them.
    """

    def __init__(self, part: Callable[..., tuple[Tensor, ...]], device: torch.device) -> None:
        self._part = part
        self._device = device
        self._captured: dict[tuple[tuple[int, ...], ...], _Captured] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        count = len(inputs[0])
        size = bucket(count)
        if size > MAX_BATCH:
            return self._part(*inputs)
        shapes = tuple((size, *tensor.shape[1:]) for tensor in inputs)
        captured = self._captured.get(shapes)
        if captured is None:
            captured = self._captured[shapes] = self._capture(inputs, size)
        for place, tensor in zip(captured.inputs, inputs, strict=True):
            place[:count].copy_(tensor)
        captured.graph.replay()
        return tuple(output[:count].clone() for output in captured.outputs)

    def _capture(self, inputs: tuple[Tensor, ...], size: int) -> _Captured:
        # The padding is zeros: features of frames that nobody reads.
        places = tuple(t.new_zeros((size, *t.shape[1:])) for t in inputs)
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self._part(*places)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._part(*places)
        return _Captured(graph, places, outputs)
