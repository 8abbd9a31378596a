"""Which TensorRT is here, and its words in our log.

Two flavours have one Python interface:

- `tensorrt`, the data-centre one. Its package fetches the libraries from its maker's own index,
  which not every machine reaches, and it builds engines only where there is a GPU.
- `tensorrt_rtx_bindings`, TensorRT for RTX, complete on the usual index (with `tensorrt_rtx_libs`,
  which it loads itself). It builds engines on any machine and finishes them on the GPU at the
  first run. It has no code for some GPUs, those of data centres among them (no 9.0).

So the first is taken where it loads, else the second.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from weakref import WeakSet

from pipeline.errors import ConfigError
from pipeline.extras import install_command

log = logging.getLogger(__name__)

# Module, flavour, in the order in which they are tried.
MODULES = (("tensorrt", "tensorrt"), ("tensorrt_rtx_bindings", "tensorrt-rtx"))
HINT = (
    f"Install one: {install_command('tensorrt')}, or 'gaitstream[tensorrt-rtx]' for GeForce "
    "and RTX cards; or choose runtime torch."
)
RTX = "tensorrt-rtx"
MAX_WORDS = 200


@dataclass(frozen=True, slots=True, eq=False)
class TensorRT:
    """A TensorRT that loads.

    Attributes:
        module: as imported.
        flavour: tensorrt or tensorrt-rtx.
    """

    module: ModuleType
    flavour: str
    version: str

    def __str__(self) -> str:
        return f"{self.flavour} {self.version}"

    @property
    def times_tactics(self) -> bool:
        """Whether it has a timing cache; the RTX flavour's does nothing and is called old."""
        return self.flavour != RTX

    def why_not_on(self, capability: tuple[int, int]) -> str:
        """Return why it cannot run on a GPU of this compute capability, "" if it can."""
        known = getattr(self.module, "ComputeCapability", None)
        if self.flavour != RTX or known is None or hasattr(known, "SM{}{}".format(*capability)):
            return ""
        return f"{self} has no code for compute capability {capability[0]}.{capability[1]}"


def find_tensorrt() -> TensorRT:
    """Import TensorRT.

    Raises:
        ConfigError: neither flavour loads; says why of each.
    """
    reasons = []
    for name, flavour in MODULES:
        try:
            module = importlib.import_module(name)
            return TensorRT(module, flavour, str(module.__version__))
        # A package whose libraries are missing fails in its own ways.
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            reasons.append(f"{name}: {error}")
    raise ConfigError(f"no TensorRT loads ({'; '.join(reasons)})", hint=HINT)


class Words:
    """What TensorRT said while this was there: the newest lines, for reports and errors."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=MAX_WORDS)
        self.errors: deque[str] = deque(maxlen=MAX_WORDS)

    def hear(self, level: int, text: str) -> None:
        """Take one line of one of `logging`'s levels."""
        if level >= logging.INFO:
            self.lines.append(text)
        if level >= logging.ERROR:
            self.errors.append(text)

    def complaint(self) -> str:
        """Return its own words on what went wrong."""
        return "; ".join(" ".join(text.split()) for text in self.errors) or "it does not say why"


def logger_for(tensorrt: TensorRT, words: Words) -> Any:
    """Return TensorRT's `ILogger`, which passes everything on to our log and to `words`.

    There is one in a process. TensorRT knows no more: it warns of a second one, and does so while
    it holds a lock that freeing a builder waits for. Were one freed by what Python does on the
    occasion of that warning, it would wait for ever.
    """
    logger, listeners = _logger_of(tensorrt.module)
    listeners.add(words)
    return logger


@functools.cache
def _logger_of(trt: Any) -> tuple[Any, WeakSet[Words]]:
    levels = {
        trt.ILogger.INTERNAL_ERROR: logging.CRITICAL,
        trt.ILogger.ERROR: logging.ERROR,
        trt.ILogger.WARNING: logging.WARNING,
        trt.ILogger.INFO: logging.INFO,
        trt.ILogger.VERBOSE: logging.DEBUG,
    }
    listeners: WeakSet[Words] = WeakSet()

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            level = levels[severity]
            # Of an engine it has dozens of lines to say: they are for those who ask for details.
            log.log(level if level > logging.INFO else logging.DEBUG, "TensorRT: %s", text)
            for words in list(listeners):
                words.hear(level, text)

    return Logger(), listeners
