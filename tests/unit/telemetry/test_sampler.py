"""What is read of processes and GPUs while a run goes on."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from pipeline.run_state import RunState
from pipeline.telemetry.sampler import Sampler


class NVMLError(Exception):
    """As the library's own."""


class Library(ModuleType):
    """NVIDIA's library as it is on a GPU that is shared out (MIG): there, and silent."""

    NVMLError = NVMLError

    def __init__(self) -> None:
        super().__init__("pynvml")

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        raise NVMLError("Not Supported")

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> Any:
        raise NVMLError("Not Supported")


def test_exception_a_gpu_that_tells_nothing_of_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Library())
    monkeypatch.setattr("pipeline.telemetry.sampler.EVERY_S", 0.0)
    sampler = Sampler()
    assert sampler._gpu.shares() == [] and sampler._gpu.memory_mb() == {}
    for _ in range(2):  # the first has nothing to compare with
        sampler(RunState())
    assert [sample["gpu_share"] for sample in sampler.samples] == [[]]
