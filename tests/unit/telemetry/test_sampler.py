"""What is read of processes and GPUs while a run goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from pipeline.run_state import RunState
from pipeline.telemetry.sampler import Sampler, _busy_s


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


def test_what_loads_beside_the_stages_is_no_other_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.telemetry.sampler.EVERY_S", 0.0)
    work = "while True: pass"
    with subprocess.Popen([sys.executable, "-c", work]) as spare:
        try:
            sampler, state = Sampler(), RunState(spare_pid=spare.pid)
            sampler(state)
            deadline = time.monotonic() + 30
            while not any(sample["run_cores"] > 0.3 for sample in sampler.samples):
                assert time.monotonic() < deadline, sampler.samples
                time.sleep(0.2)
                sampler(state)
        finally:
            spare.kill()


def test_work_on_cores_that_are_not_ours_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Times(NamedTuple):
        user: float
        idle: float

    def each(*, percpu: bool) -> list[Times]:
        assert percpu
        return [Times(5.0, 1.0), Times(70.0, 2.0), Times(0.5, 9.0)]

    monkeypatch.setattr("psutil.cpu_times", each)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2})
    assert _busy_s() == 5.5
