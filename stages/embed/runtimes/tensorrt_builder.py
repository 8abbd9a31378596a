"""From an exported network to a TensorRT engine.

The network is strongly typed: the precision is the ONNX file's (TensorRT 11 knows no other way).
TF32 is off: a float32 engine is to give torch's numbers; who wants speed exports in float16.
"""

from __future__ import annotations

import ctypes
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import ConfigError
from stages.embed.runtimes.engine_cache import EngineCache, EngineKey, PrivateFolder
from stages.embed.runtimes.exported_files import PartFacts, PartFile
from stages.embed.runtimes.tensorrt_module import TensorRT, Words, logger_for

log = logging.getLogger(__name__)

HINT = "Choose runtime torch, or export the network again with this version of the program."
# Between two lines on how far a build is, seconds.
SAY_EVERY_S = 2.0
NVML = "libnvidia-ml.so.1"

Range = tuple[int, int, int]
Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest batches an engine takes; the runtime cuts larger ones up.

    Attributes:
        frames: in one run of the frame part. Memory grows with it: 1.7 MB a frame of SMPLGait in
            float32.
        windows: in one run of the head.
        length: frames a window, for networks that take whole windows.
    """

    frames: int = 128
    windows: int = 64
    length: int = 720

    def ranges(self) -> dict[str, Range]:
        """Return smallest, usual and largest by the letters of an exported file's shapes."""
        return {
            "m": (1, max(1, self.frames // 4), self.frames),
            "n": (1, max(1, self.windows // 4), self.windows),
            "s": (1, min(30, self.length), self.length),
        }


@dataclass(frozen=True, slots=True)
class Gpu:
    """What an engine is built for; without a GPU "none", "", ""."""

    name: str = "none"
    capability: str = ""
    driver: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """An engine that was just built.

    Attributes:
        words: what TensorRT said, newest last.
    """

    plan: bytes
    layers: int
    seconds: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Engine:
    """An engine, from the cache or just built.

    Attributes:
        path: where it is kept; None if it could not be.
        built: how it was built; None if it was kept from earlier.
        why: why it was built, "" if it was not.
    """

    key: EngineKey
    plan: bytes
    path: Path | None
    built: Built | None
    why: str


def gpu_of(device: torch.device) -> Gpu:
    """Return what GPU a device is."""
    if device.type != "cuda":
        return Gpu()
    properties = torch.cuda.get_device_properties(device)
    return Gpu(properties.name, f"{properties.major}.{properties.minor}", _driver_version())


def profile_of(facts: PartFacts, limits: Limits) -> dict[str, Shapes]:
    """Return for each input its smallest, usual and largest shape."""
    ranges = limits.ranges()
    return {
        port.name: tuple(
            tuple(ranges[axis][i] if isinstance(axis, str) else axis for axis in port.shape)
            for i in range(3)
        )
        for port in facts.inputs
    }


def key_of(tensorrt: TensorRT, file: PartFile, limits: Limits, gpu: Gpu) -> EngineKey:
    """Return what an engine of this file would be for."""
    facts = file.facts
    return EngineKey(
        label=_plain(f"{facts.network}.{facts.part}.{facts.precision}"),
        onnx_sha256=file.sha256,
        precision=facts.precision,
        flavour=tensorrt.flavour,
        version=tensorrt.version,
        gpu=gpu.name,
        capability=gpu.capability,
        driver=gpu.driver,
        profile=json.dumps(profile_of(facts, limits), sort_keys=True),
    )


def engine_for(
    tensorrt: TensorRT,
    file: PartFile,
    limits: Limits,
    gpu: Gpu,
    cache: EngineCache,
    *,
    refused: str = "",
) -> Engine:
    """Return a file's engine, from the cache or built and kept; the log says which and why.

    Args:
        refused: why the kept engine does not do, in the words of who tried it: it is built anew.

    Raises:
        ConfigError: TensorRT cannot build it; with TensorRT's own words.
    """
    key = key_of(tensorrt, file, limits, gpu)
    kept = cache.find(key)
    if kept.plan is not None and not refused:
        log.info("engine %s: kept in %s", key.label, cache.path_of(key))
        return Engine(key, kept.plan, cache.path_of(key), None, "")
    why = refused or kept.why
    level = logging.INFO if kept.expected and not refused else logging.WARNING
    log.log(level, "engine %s is built now (this can take minutes): %s", key.label, why)
    timing = f"timing-{tensorrt.flavour}-{tensorrt.version}-{_plain(gpu.name)}.cache"
    built = build_engine(tensorrt, file, limits, timing=(cache.folder, timing))
    log.info("engine %s: %d bytes in %.1f s", key.label, len(built.plan), built.seconds)
    return Engine(key, built.plan, cache.store(key, built.plan), built, why)


def build_engine(
    tensorrt: TensorRT,
    file: PartFile,
    limits: Limits,
    *,
    timing: tuple[PrivateFolder, str] | None = None,
) -> Built:
    """Build the engine of an exported file, on the current CUDA device if there is one.

    Args:
        timing: folder and name of the file that keeps how long each kernel took.

    Raises:
        ConfigError: TensorRT does not start, cannot read the file or build its engine.
    """
    started = time.monotonic()
    words = Words()
    with _Workshop(tensorrt, file, words) as workshop:
        workshop.start()
        workshop.parse()
        workshop.configure(limits, timing)
        plan, layers = workshop.build()
    return Built(plan, layers, time.monotonic() - started, tuple(words.lines))


class _Workshop:
    """What TensorRT needs for one build. All of it is let go of at the end, come what may.

    Nothing of TensorRT's is in a local variable where an error is raised: the error's traceback
    would keep it, with all its memory.
    """

    def __init__(self, tensorrt: TensorRT, file: PartFile, words: Words) -> None:
        self._tensorrt = tensorrt
        self._trt: Any = tensorrt.module
        self._file = file
        self._words = words
        self._let_go()

    def __enter__(self) -> _Workshop:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def _let_go(self) -> None:
        # The last made goes first: each may live in memory of those before it.
        self._timing: _TimingCache | None = None
        self._config: Any = None
        self._parser: Any = None
        self._network: Any = None
        self._builder: Any = None
        self._logger: Any = None

    def start(self) -> None:
        """Make the builder."""
        self._logger = logger_for(self._tensorrt, self._words)
        try:
            self._builder = self._trt.Builder(self._logger)
        except (TypeError, RuntimeError) as error:  # its way to say that there is no device
            raise self._failed("does not start", f"{error}; {self._words.complaint()}") from error

    def parse(self) -> None:
        """Read the file; ConfigError with every complaint of the parser."""
        # A flag that TensorRT 11 ignores: it knows no other networks, and may let go of the name.
        strongly = getattr(self._trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        flags = 0 if strongly is None else 1 << int(strongly)
        self._network = self._builder.create_network(flags)
        self._parser = self._trt.OnnxParser(self._network, self._logger)
        if not self._parser.parse(self._file.data):
            complaints = _complaints(self._parser) or self._words.complaint()
            raise self._failed(f"cannot read {self._file.path}", complaints)

    def configure(self, limits: Limits, timing: tuple[PrivateFolder, str] | None) -> None:
        """Set precision, shapes, progress and timing cache."""
        self._config = self._builder.create_builder_config()
        self._config.clear_flag(self._trt.BuilderFlag.TF32)
        shapes = profile_of(self._file.facts, limits)
        if not _add_profile(self._builder, self._config, shapes):
            raise self._failed(f"refuses the shapes {shapes}", self._words.complaint())
        progress = Progress(f"engine {self._file.path.name}")
        self._config.progress_monitor = _monitor(self._trt, progress)
        if timing is not None and self._tensorrt.times_tactics:
            self._timing = _TimingCache(self._config, *timing)

    def build(self) -> tuple[bytes, int]:
        """Return the plan and how many layers the network has."""
        plan = self._builder.build_serialized_network(self._network, self._config)
        if plan is None:
            raise self._failed(
                f"cannot build an engine of {self._file.path}", self._words.complaint()
            )
        if self._timing is not None:
            self._timing.save()
        return bytes(plan), self._network.num_layers

    def _failed(self, what: str, words: str) -> ConfigError:
        return ConfigError(f"{self._tensorrt} {what}; its own words: {words}", hint=HINT)


def _complaints(parser: Any) -> str:
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    return "; ".join(
        f"{error.desc()} (node {error.node_name() or error.node()} {error.node_operator()}, "
        f"{error.code()})"
        for error in errors
    )


def _add_profile(builder: Any, config: Any, shapes: Mapping[str, Shapes]) -> bool:
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.set_shape(name, smallest, usual, largest)
    return bool(config.add_optimization_profile(profile) >= 0)


class Progress:
    """Says now and then how far a build is: it can take minutes."""

    def __init__(self, what: str, now: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._now = now
        self._said_at = now()
        self._steps: dict[str, int] = {}

    def begin(self, phase: str, steps: int) -> None:
        """Take note of a phase and how many steps it has."""
        self._steps[phase] = steps

    def step(self, phase: str, done: int) -> None:
        """Take note of a step, and say so if nothing was said for a while."""
        if self._now() - self._said_at >= SAY_EVERY_S:
            self._said_at = self._now()
            log.info("%s: %s, %d of %d", self._what, phase, done, self._steps.get(phase, 0))

    def end(self, phase: str) -> None:
        """Forget a phase."""
        self._steps.pop(phase, None)


def _monitor(trt: Any, progress: Progress) -> Any:
    """Return an `IProgressMonitor` that tells `progress`."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.begin(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.step(phase_name, step)
            return True

        def phase_finish(self, phase_name: str) -> None:
            progress.end(phase_name)

    return Monitor()


class _TimingCache:
    """How long each kernel took on this GPU, kept between builds: they then take seconds."""

    def __init__(self, config: Any, folder: PrivateFolder, name: str) -> None:
        self._config = config
        self._folder = folder
        self._name = name
        self._cache = self._stored()
        if self._cache is None or not config.set_timing_cache(self._cache, False):
            self._cache = config.create_timing_cache(b"")
            config.set_timing_cache(self._cache, False)

    def save(self) -> None:
        """Write it, together with what another process has written meanwhile."""
        newer = self._stored()
        if newer is not None:
            self._cache.combine(newer, False)
        try:
            self._folder.write(self._name, bytes(self._cache.serialize()))
        except OSError as error:
            log.warning("the timing cache cannot be kept: %s", error.strerror)

    def _stored(self) -> Any:
        """Return what is on disk, None if there is nothing that can be used."""
        try:
            data = self._folder.read(self._name)
        except OSError as error:
            log.warning("the timing cache cannot be used: %s", error.strerror)
            return None
        if data is None:
            return None
        cache = self._config.create_timing_cache(data)
        if cache is None:
            log.warning("the timing cache %s is damaged: it is begun anew", self._name)
        return cache


def _plain(text: str) -> str:
    """Return text that can be part of a file's name."""
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in text)


def _driver_version() -> str:
    """Return the NVIDIA driver's version, as nvidia-smi shows it."""
    try:
        library = ctypes.CDLL(NVML)
        text = ctypes.create_string_buffer(96)
        library.nvmlInit_v2()
        failed = library.nvmlSystemGetDriverVersion(text, len(text))
        library.nvmlShutdown()
    except (OSError, AttributeError) as error:
        log.debug("no driver version: %s", error)
        return "unknown"
    return "unknown" if failed else text.value.decode(errors="replace")
