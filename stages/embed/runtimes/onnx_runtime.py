"""Runs an exported network with ONNX Runtime, on the processor."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ConfigError, WeightsError
from pipeline.extras import install_command
from stages.embed.runtimes.exported_files import (
    FRAMES,
    HEAD,
    HINT,
    ExportedFiles,
    PartFile,
    Wanted,
    read_parts,
)

# ONNX Runtime's own words below this are on what it folds: 3 is error.
LOG_SEVERITY = 3


def import_onnxruntime() -> ModuleType:
    """Return the `onnxruntime` module; ConfigError with what to install if it does not load."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ConfigError(
            f"runtime onnx needs onnxruntime, which does not load: {error}",
            hint=f"Install it: {install_command('onnx')}",
        ) from error


class OnnxRuntime:
    """The `Runtime` of exported files, on the processor.

    Threads that wait do so asleep. Spinning, ONNX Runtime's default, is 3 % faster on an idle
    machine (SMPLGait, 32 frames, 2 cores: 56 ms against 57) and takes the cores from the other
    stages for 30 ms after every call. The memory arena stays on: without it peak memory is larger
    (177 MB against 140) and 32 frames take a tenth longer.
    """

    name = "onnx"

    def __init__(
        self, files: ExportedFiles, *, wanted: Wanted | None = None, threads: int = 0
    ) -> None:
        """Load the files.

        Args:
            wanted: what they must be of; None takes any network of ours.
            threads: of the processor; 0 takes as many as torch does.

        Raises:
            ConfigError: onnxruntime is not installed.
            WeightsError: a file is missing, damaged, of another version, or of something else than
                wanted; or this onnxruntime is too old for it.
        """
        self.device = torch.device("cpu")
        self._onnxruntime = import_onnxruntime()
        self._threads = threads or torch.get_num_threads()
        parts = read_parts(files, wanted)
        self._facts = parts[HEAD].facts
        self._sessions = {part: self._session(file) for part, file in parts.items()}

    def frame_part(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return features [m,...], float32 or for a float16 export float16."""
        if FRAMES not in self._sessions:
            raise ValueError(f"{self._facts.network} has no frame part: it takes whole sequences")
        return self._run(FRAMES, inputs)

    def head_part(self, *pooled: Tensor) -> Tensor:
        """Return embeddings float32 [n,c,p]."""
        (embeddings,) = self._run(HEAD, pooled)
        return embeddings

    def describe(self) -> Mapping[str, Any]:
        """Return what a report should say."""
        return {
            "runtime": f"onnxruntime {self._onnxruntime.__version__}",
            "device": "cpu",
            "precision": self._facts.precision,
            "threads": self._threads,
        }

    def _run(self, part: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Run a part on arrays that share the tensors' memory."""
        session = self._sessions[part]
        names = [port.name for port in session.get_inputs()]
        arrays = [tensor.detach().contiguous().numpy() for tensor in inputs]
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        return tuple(torch.from_numpy(output) for output in outputs)

    def _session(self, file: PartFile) -> Any:
        module = self._onnxruntime
        options = module.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = LOG_SEVERITY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        state = module.capi.onnxruntime_pybind11_state
        refusals = (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented)
        try:
            return module.InferenceSession(file.data, options, providers=["CPUExecutionProvider"])
        except refusals as error:
            raise WeightsError(
                f"onnxruntime {module.__version__} cannot load {file.path}: {error}", hint=HINT
            ) from error
