"""What all benchmarks share: repeats, medians and spread, facts of the machine, JSON out."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    median: float
    low: float
    high: float
    repeats: int

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g}–{self.high:.3g})"


def spread(values: Sequence[float]) -> Spread:
    """Return the median with the lower and upper quartile (the range below four values)."""
    ordered = sorted(values)
    if len(ordered) < 4:
        low, high = ordered[0], ordered[-1]
    else:
        low, _, high = statistics.quantiles(ordered, n=4)
    return Spread(statistics.median(ordered), low, high, len(ordered))


def machine_facts() -> dict[str, Any]:
    """Return what a reader has to know to place the figures."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "commit": _commit(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


class OthersAtWork:
    """What other programs take of the machine while we measure: they make every figure worse."""

    def __init__(self) -> None:
        self._begin = self._now()

    def share(self) -> float:
        """Return the share of all cores since the beginning; ours are those that have ended."""
        wall_s, idle_s, ours_s = self.seconds()
        cores_s = wall_s * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (cores_s - idle_s - ours_s) / cores_s))

    def seconds(self) -> tuple[float, float, float]:
        """Return the seconds since the beginning: on the wall, of idle cores, of our own work."""
        wall_s, idle_s, ours_s = (b - a for a, b in zip(self._begin, self._now(), strict=True))
        return wall_s, idle_s, ours_s

    @staticmethod
    def _now() -> tuple[float, float, float]:
        system, ours = psutil.cpu_times(), os.times()
        idle_s = system.idle + getattr(system, "iowait", 0.0)
        return time.monotonic(), idle_s, sum(ours[:4])


def write_results(name: str, results: dict[str, Any]) -> Path:
    """Write `benchmarks/results/<name>.json` and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    plain = {
        key: asdict(value) if isinstance(value, Spread) else value for key, value in results.items()
    }
    path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _commit() -> str:
    result = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return result.stdout.strip() or "unknown"
