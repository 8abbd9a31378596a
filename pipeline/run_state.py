"""What is known of a run while it goes on and when it is over."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from pipeline.plans import Incident, Opened, StageStats

MAX_INCIDENTS = 1000

Outcome = Literal["completed", "stopped"]


@dataclass(slots=True)
class RunState:
    """What is known of a run, for the progress display and the summary.

    Attributes:
        opened: the sources' facts.
        stats: each stage's newest counts.
        reasons: why each source ended, "" for a plain end.
        first_frame_s: from the start until the first frame had gone through detection.
        peak_memory_bytes: highest sum of the resident memory of all processes.
        pids: each stage's process, ours where stages are threads.
        spare_pid: of the process that waits to take a dead one's place, 0 if there is none.
        missing: stages that are loading, for the first time or again.
        memory_bytes: each process's resident memory, ours under `supervisor`.
        restarts: by stage, how often it was started again.
        incidents: what happened to the run itself, oldest first, `MAX_INCIDENTS` at most.
        incident_counts: by stage and kind, all of them.
    """

    opened: dict[str, Opened] = field(default_factory=dict)
    stats: dict[str, StageStats] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    outcome: Outcome = "completed"
    started_at: float = 0.0
    load_s: float = 0.0
    first_frame_s: float | None = None
    wall_s: float = 0.0
    peak_memory_bytes: int = 0
    pids: dict[str, int] = field(default_factory=dict)
    spare_pid: int = 0
    missing: set[str] = field(default_factory=set)
    memory_bytes: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)
    incident_counts: Counter[tuple[str, str]] = field(default_factory=Counter)
