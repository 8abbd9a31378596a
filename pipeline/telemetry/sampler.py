"""What the processes of a run use while it runs: processor, memory, GPU, queues."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import psutil

from pipeline.clock import NS_PER_S, monotonic_ns
from pipeline.run_state import RunState

EVERY_S = 0.5
MB = 1e6


class Sampler:
    """Looks twice a second; call it as often as you like.

    Attributes:
        samples: `at_ns` (monotonic clock), `busy_cores` (of those we may use, other programs too),
            and for each stage and the supervisor `cores` (processor time a second), `memory_mb`,
            `frames`, `dropped`, `stale` (of those dropped, what came late), `queues` (messages
            under way to each reader) and, where a GPU is used, `gpu_memory_mb`; `gpu_share` (of
            the time) stands for each GPU of the machine.
    """

    def __init__(self) -> None:
        self.samples: list[dict[str, Any]] = []
        self._processes: dict[int, psutil.Process] = {}
        self._used_s: dict[int, float] = {}
        self._at_ns = 0
        self._machine_s = _busy_s()
        self._gpu = _Gpu()

    def __call__(self, state: RunState) -> None:
        """Take a sample if it is time to."""
        now = monotonic_ns()
        passed_s = (now - self._at_ns) / NS_PER_S
        if passed_s < EVERY_S:
            return
        first, self._at_ns = not self._at_ns, now
        machine_s, before_s = _busy_s(), self._machine_s
        self._machine_s = machine_s
        pids = state.pids
        if os.getpid() not in pids.values():
            pids = {**pids, "supervisor": os.getpid()}
        found = {pid: self._look(pid, passed_s) for pid in set(pids.values())}
        spare = self._look(state.spare_pid, passed_s)[0] if state.spare_pid else 0.0
        if first:
            return  # there is nothing to take a difference to
        shared = len(found) < len(pids)
        gpu_mb = self._gpu.memory_mb()
        stages = {}
        for stage, pid in pids.items():
            stats = state.stats.get(stage)
            cores, memory_mb = found[pid]
            stages[stage] = {
                # Of stages that share a process only all of them together can be told.
                "cores": None if shared else cores,
                "memory_mb": None if shared else memory_mb,
                "frames": stats.frames if stats else 0,
                "dropped": stats.dropped if stats else 0,
                "stale": stats.report.get("stale", 0) if stats else 0,
                "queues": dict(stats.queues) if stats else {},
                **({"gpu_memory_mb": gpu_mb[pid]} if pid in gpu_mb else {}),
            }
        self.samples.append(
            {
                "at_ns": now,
                "busy_cores": round((machine_s - before_s) / passed_s, 2),
                "run_cores": round(sum(cores for cores, _ in found.values()) + spare, 2),
                "run_memory_mb": round(sum(memory for _, memory in found.values()), 1),
                "gpu_share": self._gpu.shares(),
                "stages": stages,
            }
        )

    def _look(self, pid: int, passed_s: float) -> tuple[float, float]:
        """Cores used since the last look, and memory in MB; nothing of a process that is gone."""
        try:
            process = self._processes.setdefault(pid, psutil.Process(pid))
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info().rss
        except psutil.Error:
            return 0.0, 0.0
        used_s = times.user + times.system
        before_s = self._used_s.get(pid, used_s)
        self._used_s[pid] = used_s
        return round((used_s - before_s) / passed_s, 3), round(memory / MB, 1)


def _busy_s() -> float:
    """Processor time spent so far by the cores that we may use."""
    each = psutil.cpu_times(percpu=True)
    ours = [each[core] for core in os.sched_getaffinity(0) if core < len(each)]
    return sum(
        float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - _guests(times))
        for times in ours
    )


def _guests(times: Any) -> float:
    """Time of virtual machines, which Linux counts a second time as the user's."""
    return float(getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0))


class _Gpu:
    """NVIDIA's own counters, where the driver and its Python library are there."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handles = [
                pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())
            ]
            self._nvml = pynvml
        except Exception:  # noqa: BLE001 - no library, no driver, no GPU: there is nothing to tell
            self._handles = []

    def shares(self) -> list[float]:
        shares = []
        for handle in self._handles:
            # A part of a GPU (MIG) has no utilisation of its own, and some drivers tell none.
            with suppress(self._nvml.NVMLError):
                used = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu
                shares.append(round(used / 100, 2))
        return shares

    def memory_mb(self) -> dict[int, float]:
        found: dict[int, float] = {}
        for handle in self._handles:
            with suppress(self._nvml.NVMLError):
                for each in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                    found[each.pid] = found.get(each.pid, 0.0) + (each.usedGpuMemory or 0) / MB
        return found


def cores_allowed() -> int:
    """How many processor cores this run may use."""
    return len(os.sched_getaffinity(0))
