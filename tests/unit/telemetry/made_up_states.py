"""What a supervisor knows in the midst of a run that never was."""

from __future__ import annotations

import os
import time
from collections import Counter

from made_up_runs import records

from pipeline.graph import STAGES
from pipeline.plans import Opened, StageStats
from pipeline.run_state import RunState
from pipeline.telemetry import LatencyHistogram

MS = 1_000_000
SERVICE_MS = (0.2, 4.0, 4.1, 70.0, 200_000.0)


def durations(*values_ms: float) -> dict[int, int]:
    histogram = LatencyHistogram()
    for value in values_ms:
        histogram.add(round(value * MS))
    return histogram.counts


def state_in_the_midst(frames: int = 40) -> RunState:
    """Every stage is at work; the camera was lost once and came back."""
    stats = {
        spec.name: StageStats(
            frames=frames,
            service_ns=durations(*SERVICE_MS),
            queue_ns=durations(1.0),
            transport_ns=durations(0.3),
            busy_ns=2_500 * MS,
            blocked_ns=500 * MS,
        )
        for spec in STAGES
    }
    stats["source"].dropped = 7
    stats["source"].report = {"dropped": 7, "stale": 2, "damaged": 2, "reconnects": 1}
    stats["source"].queues = {"detect": 2, "sink": 5}
    stats["sequence"].report = {"left_out": {"cut_by_border": 3}}
    stats["embed"].items = {"windows": 9}
    stats["embed"].bad_frames = 1
    stats["sink"].frames = 3 * frames
    stats["sink"].report = {"frames": frames - 2, "tracks": 3, "identities": 4}
    stats["sink"].age_ns = {"identities": durations(120.0, 140.0)}
    stats["sink"].newest_way = records(1)[0]
    return RunState(
        opened={"cam0": Opened("source", "cam0", "a camera", 640, 480, 25.0, 0, True)},
        stats=stats,
        started_at=time.monotonic() - 60,
        pids={spec.name: os.getpid() for spec in STAGES},
        memory_bytes={"supervisor": 100_000_000, "detect": 0},
        restarts={"embed": 2},
        incident_counts=Counter({("source", "source_lost"): 1, ("source", "source_found"): 1}),
    )
