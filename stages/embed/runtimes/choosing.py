"""Which runtime runs a network here, and why not the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch

from pipeline.errors import ConfigError, GaitError
from stages.embed.runtimes.exported_files import Wanted, files_beside, read_parts
from stages.embed.runtimes.onnx_runtime import import_onnxruntime
from stages.embed.runtimes.tensorrt_module import find_tensorrt

log = logging.getLogger(__name__)

RuntimeName = Literal["torch", "onnx", "tensorrt"]
# Best first. Torch comes last in both: it always works.
ON_CUDA: tuple[RuntimeName, ...] = ("tensorrt", "torch")
ON_CPU: tuple[RuntimeName, ...] = ("onnx", "torch")
REASONS = {
    "tensorrt": "a CUDA device, TensorRT and the exported network are there",
    "onnx": "ONNX Runtime and the exported network are there",
    "torch": "it runs everywhere",
}
# Returns why a runtime cannot work here, "" if it can. Only asked where the answer matters:
# it may import a large library or read a file.
Obstacle = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Choice:
    """The runtime that was chosen.

    Attributes:
        device: where it runs: the one that was asked for, but the processor for onnx.
        why: in words.
        passed_over: runtime and reason, of those that would have come first.
    """

    name: RuntimeName
    device: torch.device
    why: str
    passed_over: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        over = "".join(f"; not {name}: {reason}" for name, reason in self.passed_over)
        return f"runtime {self.name} on {self.device}: {self.why}{over}"


def choose_runtime(
    asked: str,
    device: torch.device,
    obstacles: Mapping[str, Obstacle],
    *,
    free_device: bool = False,
    hint: str = "",
) -> Choice:
    """Return the runtime for `auto`, `torch`, `onnx` or `tensorrt`, and say it in the log.

    Args:
        device: that the network is to run on.
        obstacles: for onnx and tensorrt, see `obstacles_of`.
        free_device: nobody asked for just this device (`auto`), so that onnx may run on the
            processor although there is a CUDA device.
        hint: what to do where a runtime that is asked for cannot work.

    Raises:
        ConfigError: the runtime that is asked for cannot work here, or there is none of that name.
    """
    if asked == "auto":
        choice = _best(device, obstacles)
    elif asked in REASONS:
        name = cast("RuntimeName", asked)
        if name == "onnx" and free_device:
            device = torch.device("cpu")
        reason = _wrong_device(name, device) or obstacles.get(name, _none)()
        if reason:
            raise ConfigError(f"runtime {name} cannot work here: {reason}", hint=hint)
        choice = Choice(name, device, "the configuration asks for it")
    else:
        raise ConfigError(
            f"there is no runtime {asked!r}", hint=f"Choose auto or one of {', '.join(REASONS)}."
        )
    log.info("%s", choice)
    return choice


def obstacles_of(
    weights: Path, wanted: Wanted, pools: bool, device: torch.device
) -> dict[str, Obstacle]:
    """Return what asks this machine whether onnx and tensorrt can run these weights.

    Args:
        weights: the file; the exported ones are looked for beside it.
        pools: see `networks.interface.GaitNetwork`.
    """

    def exported() -> str:
        return _reason(lambda: read_parts(files_beside(weights, wanted, pools), wanted))

    return {
        "onnx": lambda: _reason(import_onnxruntime) or exported(),
        "tensorrt": lambda: _tensorrt_obstacle(device) or exported(),
    }


def export_hint(weights: Path, wanted: Wanted, runtime: str) -> str:
    """Return the command that makes what a runtime lacks."""
    options = ("" if wanted.use_smpl else " --no-smpl") + (
        "" if wanted.precision == "float32" else f" --precision {wanted.precision}"
    )
    engine = " --engine" if runtime == "tensorrt" else ""
    return (
        f"Export the network: run_pipeline.py export --network {wanted.network} "
        f"--weights {weights}{options}{engine}; or choose runtime auto."
    )


def _best(device: torch.device, obstacles: Mapping[str, Obstacle]) -> Choice:
    passed_over: list[tuple[str, str]] = []
    if device.type != "cuda":
        passed_over.append(("tensorrt", _wrong_device("tensorrt", device)))
    for name in ON_CUDA if device.type == "cuda" else ON_CPU:
        reason = obstacles.get(name, _none)()
        if not reason:
            return Choice(name, device, REASONS[name], tuple(passed_over))
        passed_over.append((name, reason))
    raise AssertionError("torch has no obstacle")


def _wrong_device(name: RuntimeName, device: torch.device) -> str:
    if name == "tensorrt" and device.type != "cuda":
        return f"it needs a CUDA device, the network is to run on {device}"
    if name == "onnx" and device.type != "cpu":
        return f"it runs on the processor, the network is to run on {device}"
    return ""


def _tensorrt_obstacle(device: torch.device) -> str:
    try:
        return find_tensorrt().why_not_on(torch.cuda.get_device_capability(device))
    except ConfigError as error:
        return error.message


def _reason(attempt: Callable[[], object]) -> str:
    """Return why an attempt failed, in the words of its error."""
    try:
        attempt()
    except GaitError as error:
        return error.message
    return ""


def _none() -> str:
    return ""
