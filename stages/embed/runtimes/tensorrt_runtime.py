"""Runs an exported network with TensorRT, on a CUDA device."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ConfigError, ResourceError
from stages.embed.runtimes.engine_cache import EngineCache, PrivateFolder
from stages.embed.runtimes.exported_files import (
    FRAMES,
    HEAD,
    ExportedFiles,
    PartFacts,
    PartFile,
    Shape,
    Wanted,
    read_parts,
)
from stages.embed.runtimes.graphs import bucket
from stages.embed.runtimes.tensorrt_builder import Engine, Limits, engine_for, gpu_of
from stages.embed.runtimes.tensorrt_module import TensorRT, Words, find_tensorrt, logger_for

log = logging.getLogger(__name__)

HINT = "Choose runtime auto or torch; for the processor also onnx."
# Shapes that are kept ready, each with its buffers and its graph; the longest unused one goes.
MAX_READY = 32


class TensorRTRuntime:
    """The `Runtime` of exported files, on a CUDA device.

    Each part is an engine, from the cache or built at construction. A batch is padded to the next
    power of two, so that few shapes occur; the first call of a shape runs it once and captures it
    as a CUDA graph, later calls are one launch. Larger batches than the engine takes are cut up.

    Everything runs on one stream of its own, between two waits with torch's current stream. All
    shapes of a part share its scratch memory. For one thread at a time.
    """

    name = "tensorrt"

    def __init__(
        self,
        files: ExportedFiles,
        *,
        device: torch.device,
        wanted: Wanted | None = None,
        limits: Limits | None = None,
        cache: EngineCache | None = None,
    ) -> None:
        """Load or build the engines.

        Args:
            wanted: what the files must be of; None takes any network of ours.
            cache: where engines are kept; None for the user's own folder.

        Raises:
            ConfigError: no CUDA device or no TensorRT for it, TensorRT cannot read a file, or the
                cache folder is not private.
            WeightsError: a file is missing, damaged or of something else.
            ResourceError: the device's memory is full.
        """
        if device.type != "cuda" or not torch.cuda.is_available():
            raise ConfigError(
                f"runtime tensorrt needs a CUDA device, got {device}; torch sees "
                f"{torch.cuda.device_count()}",
                hint=HINT,
            )
        parts = read_parts(files, wanted)
        self.device = device
        self._tensorrt = find_tensorrt()
        reason = self._tensorrt.why_not_on(torch.cuda.get_device_capability(device))
        if reason:
            raise ConfigError(reason, hint=HINT)
        self._limits = limits or Limits()
        self._facts = parts[HEAD].facts
        cache = cache or EngineCache()
        with torch.cuda.device(device):
            stream = torch.cuda.Stream(device)
            self._parts = {
                name: _Part(self._tensorrt, file, self._limits, device, stream, cache)
                for name, file in parts.items()
            }

    @torch.inference_mode()
    def frame_part(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return features [m,...] on the device; ResourceError if its memory is full."""
        if FRAMES not in self._parts:
            raise ValueError(f"{self._facts.network} has no frame part: it takes whole sequences")
        return self._run(FRAMES, inputs)

    @torch.inference_mode()
    def head_part(self, *pooled: Tensor) -> Tensor:
        """Return embeddings float32 [n,c,p] on the processor's side; ResourceError as above."""
        (embeddings,) = self._run(HEAD, pooled)
        return embeddings.cpu()

    def describe(self) -> Mapping[str, Any]:
        """Return what a report should say."""
        return {
            "runtime": str(self._tensorrt),
            "device": f"{self.device} ({torch.cuda.get_device_name(self.device)})",
            "precision": self._facts.precision,
            "engine_bytes": {name: part.size for name, part in self._parts.items()},
        }

    def _run(self, name: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        part = self._parts[name]
        try:
            with torch.cuda.device(self.device):
                pieces = [part(*piece) for piece in pieces_of(inputs, part.largest)]
        except torch.cuda.OutOfMemoryError as error:
            raise ResourceError(
                f"{self.device} has no memory left for a batch of {len(inputs[0])}",
                hint="Choose device cpu, a smaller embed.cache_mb, or shorter windows.",
            ) from error
        if len(pieces) == 1:
            return pieces[0]
        return tuple(torch.cat(outputs) for outputs in zip(*pieces, strict=True))


def pieces_of(inputs: Sequence[Tensor], largest: int) -> list[tuple[Tensor, ...]]:
    """Cut a batch into batches of at most `largest`; an empty one stays one."""
    return list(zip(*(tensor.split(largest) for tensor in inputs), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """One shape, ready to run: its context keeps the shape, the graph the buffers' addresses."""

    context: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    graph: torch.cuda.CUDAGraph | None


class _Part:
    """One engine. Takes batches to `largest`, on any device; gives tensors on its own."""

    def __init__(
        self,
        tensorrt: TensorRT,
        file: PartFile,
        limits: Limits,
        device: torch.device,
        stream: torch.cuda.Stream,
        cache: EngineCache,
    ) -> None:
        self._facts: PartFacts = file.facts
        self._device = device
        self._stream = stream
        self._trt = tensorrt.module
        self._words = Words()
        self._logger = logger_for(tensorrt, self._words)
        self._runtime = self._trt.Runtime(self._logger)
        self._engine = self._loaded(tensorrt, file, limits, cache)
        self.largest = limits.frames if file.facts.part == FRAMES else limits.windows
        # The scratch memory of whichever shape is running: never of two at once.
        self._scratch_bytes = int(self._engine.device_memory_size_v2)
        self._scratch = torch.empty(
            max(1, self._scratch_bytes), dtype=torch.uint8, device=device
        )  # torch's blocks begin at multiples of 512 bytes, TensorRT wants 256
        self._kernels = CompiledKernels(
            self._trt, self._engine, cache.folder, f"{self._label}.kernels"
        )
        self._ready: OrderedDict[tuple[Shape, ...], _Ready] = OrderedDict()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        count = len(inputs[0])
        size = min(bucket(count), self.largest)
        shapes = tuple((size, *tensor.shape[1:]) for tensor in inputs)
        ready = self._ready.get(shapes) or self._prepare(shapes)
        self._ready.move_to_end(shapes)
        current = torch.cuda.current_stream(self._device)
        # Of the current stream's memory, so that nothing is freed while the other stream writes.
        results = tuple(torch.empty_like(output[:count]) for output in ready.outputs)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for place, tensor in zip(ready.inputs, inputs, strict=True):
                place[:count].copy_(tensor, non_blocking=True)
            if ready.graph is not None:
                ready.graph.replay()
            else:
                self._enqueue(ready.context)
            for result, output in zip(results, ready.outputs, strict=True):
                result.copy_(output[:count])
        current.wait_stream(self._stream)
        return results

    def _loaded(
        self, tensorrt: TensorRT, file: PartFile, limits: Limits, cache: EngineCache
    ) -> Any:
        """Return the engine; a kept plan that does not load is built anew, once."""
        gpu = gpu_of(self._device)
        kept = engine_for(tensorrt, file, limits, gpu, cache)
        self._note(kept)
        engine = self._runtime.deserialize_cuda_engine(kept.plan)
        if engine is None and kept.built is None:
            why = f"the kept one does not load: {self._words.complaint()}"
            kept = engine_for(tensorrt, file, limits, gpu, cache, refused=why)
            engine = self._runtime.deserialize_cuda_engine(kept.plan)
        if engine is None:
            raise ConfigError(
                f"{tensorrt} does not load the engine it built; its own words: "
                f"{self._words.complaint()}",
                hint=HINT,
            )
        return engine

    def _note(self, engine: Engine) -> None:
        self.size = len(engine.plan)
        self._label = engine.key.file_name

    def _prepare(self, shapes: tuple[Shape, ...]) -> _Ready:
        """Make buffers and a context for these shapes, run it once, and capture it."""
        if len(self._ready) >= MAX_READY:
            self._stream.synchronize()
            self._ready.popitem(last=False)
        size = shapes[0][0]
        facts = self._facts
        outputs = ((size, *port.shape[1:]) for port in facts.outputs)
        with torch.cuda.stream(self._stream):
            places = self._buffers(facts.inputs, shapes)
            answers = self._buffers(facts.outputs, outputs)
        context = self._context()
        for port, tensor in zip(facts.inputs, places, strict=True):
            if not context.set_input_shape(port.name, tuple(tensor.shape)):
                raise self._failed(f"refuses {port.name} of shape {list(tensor.shape)}")
        for port, tensor in zip((*facts.inputs, *facts.outputs), (*places, *answers), strict=True):
            context.set_tensor_address(port.name, tensor.data_ptr())
        # Once outside of a capture: what a new shape sets off must not be part of the graph.
        self._enqueue(context)
        self._stream.synchronize()
        self._kernels.save()
        ready = _Ready(context, places, answers, self._captured(context))
        self._ready[shapes] = ready
        return ready

    def _buffers(self, ports: Sequence[Any], shapes: Any) -> tuple[Tensor, ...]:
        return tuple(
            torch.zeros(shape, dtype=getattr(torch, port.dtype), device=self._device)
            for port, shape in zip(ports, shapes, strict=True)
        )

    def _context(self) -> Any:
        """Return a context that runs in our scratch memory."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        config = self._kernels.runtime_config
        if config is not None:
            config.set_execution_context_allocation_strategy(strategy)
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context(strategy)
        if context is None:
            raise self._failed("cannot make an execution context")
        context.set_device_memory(self._scratch.data_ptr(), self._scratch_bytes)
        return context

    def _enqueue(self, context: Any) -> None:
        if not context.execute_async_v3(self._stream.cuda_stream):
            raise self._failed("cannot run")

    def _captured(self, context: Any) -> torch.cuda.CUDAGraph | None:
        """Return the run as a graph; None, said in the log, if TensorRT cannot be captured."""
        capturable = getattr(context, "is_stream_capturable", None)
        if capturable is not None and not capturable(self._stream.cuda_stream):
            log.info(
                "%s %s: TensorRT runs without a CUDA graph", self._facts.network, self._facts.part
            )
            return None
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls count: others may well be using the device.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._enqueue(context)
        return graph

    def _failed(self, what: str) -> ResourceError:
        return ResourceError(
            f"TensorRT {what} ({self._facts.network}, {self._facts.part}); its own words: "
            f"{self._words.complaint()}",
            hint=HINT,
        )


class CompiledKernels:
    """What TensorRT for RTX compiles at the first run of a shape, kept between processes.

    `runtime_config` is None for a TensorRT that knows no such thing.
    """

    def __init__(self, trt: ModuleType, engine: Any, folder: PrivateFolder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._cache: Any = None
        self._saved = b""
        self.runtime_config: Any = None
        if not hasattr(engine, "create_runtime_config"):
            return
        self.runtime_config = config = engine.create_runtime_config()
        if not hasattr(config, "create_runtime_cache"):
            return
        # A graph is to hold the kernels for its shape, not the makeshift ones that run until
        # those are compiled.
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        self._cache = config.create_runtime_cache()
        self._load()
        config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Write what has been compiled since the last time."""
        if self._cache is None:
            return
        data = bytes(self._cache.serialize())
        if data == self._saved:
            return
        try:
            self._folder.write(self._name, data)
            self._saved = data
        except OSError as error:
            log.warning("compiled kernels cannot be kept: %s", error.strerror)

    def _load(self) -> None:
        try:
            data = self._folder.read(self._name)
        except OSError as error:
            log.warning("kept kernels cannot be used: %s", error.strerror)
            return
        if data is None:
            return
        if self._cache.deserialize(data):
            self._saved = data
        else:
            log.info("kept kernels are of another GPU, driver or version: they are compiled anew")
