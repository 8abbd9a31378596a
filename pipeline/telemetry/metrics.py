"""What is known of a run, as metrics of Prometheus's kind; docs/metrics.md explains them."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import psutil
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from pipeline import __version__
from pipeline.clock import NS_PER_S
from pipeline.graph import LAST_TOPIC, STAGES
from pipeline.plans import StageStats
from pipeline.run_state import RunState
from pipeline.telemetry.histogram import LatencyHistogram
from pipeline.telemetry.metric_table import METRICS, MetricSpec

# Upper bounds in seconds: a hop takes tenths of a millisecond, a recording's name many seconds.
BOUNDS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
SUPERVISOR = "supervisor"

# A metric's series: values of its labels, then the value.
Row = tuple[tuple[str, ...], float | LatencyHistogram]


@dataclass(frozen=True, slots=True)
class _Look:
    """What was known at one moment. Nothing in it changes any more.

    Attributes:
        state: a copy whose dicts are its own.
        started_at: when the run was started, seconds since 1970; 0 before the first look.
        moved_at: by stage, when its count of frames was last seen to grow, seconds since 1970.
    """

    state: RunState = field(default_factory=RunState)
    started_at: float = 0.0
    moved_at: Mapping[str, float] = field(default_factory=dict)


class RunCollector:
    """Keeps what was last known of a run and turns it into metrics when asked.

    The supervisor's thread looks; any other thread may collect. A look replaces the one before as
    a whole, so neither waits for the other.
    """

    def __init__(self) -> None:
        self._made_at = time.monotonic()
        self._looked_at: float | None = None
        self._look = _Look()

    def look(self, state: RunState) -> None:
        """Take over what is known now."""
        before, now = self._look, time.time()
        moved_at = {
            stage: now
            if _frames(before.state, stage) != each.frames
            else before.moved_at.get(stage, now)
            for stage, each in state.stats.items()
            if each.frames
        }
        copied = replace(
            state,
            opened=dict(state.opened),
            stats=dict(state.stats),  # each is replaced as a whole, never changed
            reasons=dict(state.reasons),
            pids=dict(state.pids),
            missing=set(state.missing),
            memory_bytes=dict(state.memory_bytes),
            restarts=dict(state.restarts),
            incidents=[],
            incident_counts=state.incident_counts.copy(),
        )
        # Told once: the two clocks drift, and a start that wanders would look like another run.
        started_at = before.started_at or now - (time.monotonic() - state.started_at)
        self._look = _Look(copied, started_at, moved_at)
        self._looked_at = time.monotonic()

    @property
    def started_at(self) -> float:
        """When the run was started, seconds since 1970; 0 before the first look."""
        return self._look.started_at

    def age_s(self) -> float | None:
        """Return how long ago the supervisor last looked, None if it never has."""
        return None if self._looked_at is None else time.monotonic() - self._looked_at

    def waited_s(self) -> float:
        """Return how long ago this was made."""
        return time.monotonic() - self._made_at

    def missing(self) -> list[str]:
        """Return the stages that are not at work, in the graph's order."""
        state = self._look.state
        return [spec.name for spec in STAGES if not _at_work(state, spec.name)]

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of `METRICS`, with the series there are now."""
        rows = _rows(self._look)
        for spec in METRICS:
            yield _family(spec, rows[spec.name.removeprefix("gaitstream_")])


def _frames(state: RunState, stage: str) -> int:
    stats = state.stats.get(stage)
    return stats.frames if stats else 0


def _at_work(state: RunState, stage: str) -> bool:
    return stage in state.pids and stage not in state.missing


def _rows(look: _Look) -> dict[str, Iterable[Row]]:
    state = look.state
    # A series that is there from the beginning is one whose first event can be seen.
    stats = {spec.name: state.stats.get(spec.name, StageStats()) for spec in STAGES}
    up = [((stage,), float(_at_work(state, stage))) for stage in stats]
    return {
        "build_info": [((__version__, platform.python_version()), 1.0)],
        "run_start_time_seconds": [((), look.started_at)] if look.started_at else [],
        "ready": [((), float(all(value for _, value in up)))],
        "stage_up": up,
        "stage_restarts": [((stage,), state.restarts.get(stage, 0)) for stage in stats],
        "incidents": list(state.incident_counts.items()),
        "last_frame_timestamp_seconds": [((stage,), at) for stage, at in look.moved_at.items()],
        **_source_rows(state, stats),
        **_work_rows(stats),
        **_result_rows(stats),
        **_duration_rows(stats),
        **_process_rows(state),
    }


def _source_rows(state: RunState, stats: Mapping[str, StageStats]) -> dict[str, Iterable[Row]]:
    source = stats["source"]
    up = not source.report.get("lost", False)
    stale = source.report.get("stale", 0)
    return {
        "source_up": [((key,), float(up and key not in state.reasons)) for key in state.opened],
        "source_rate_hertz": [((key,), each.rate_hz) for key, each in state.opened.items()],
        "source_reconnects": [((), source.report.get("reconnects", 0))],
        "source_damaged": [((), source.report.get("damaged", 0))],
        "frames_dropped": [(("no_room",), source.dropped - stale), (("stale",), stale)],
        "frames_in_flight": [((), source.in_flight)],
    }


def _work_rows(stats: Mapping[str, StageStats]) -> dict[str, Iterable[Row]]:
    def counted(name: str, unit: float = 1) -> list[Row]:
        return [((stage,), getattr(each, name) / unit) for stage, each in stats.items()]

    frames = {stage: each.frames for stage, each in stats.items()}
    # It reads three messages a frame; what it has finished it counts itself.
    frames["sink"] = stats["sink"].report.get("frames", 0)
    return {
        "frames": [((stage,), count) for stage, count in frames.items()],
        "bad_frames": counted("bad_frames"),
        "bad_messages": counted("bad_messages"),
        "stage_busy_seconds": counted("busy_ns", NS_PER_S),
        "stage_blocked_seconds": counted("blocked_ns", NS_PER_S),
        "queue_messages": [
            ((stage, receiver), count)
            for stage, each in stats.items()
            for receiver, count in each.queues.items()
        ],
        "items": [
            ((stage, topic), count)
            for stage, each in stats.items()
            for topic, count in each.items.items()
        ],
        "left_out": [
            ((stage, reason), count)
            for stage, each in stats.items()
            for reason, count in each.report.get("left_out", {}).items()
        ],
    }


def _result_rows(stats: Mapping[str, StageStats]) -> dict[str, Iterable[Row]]:
    sink, identify = stats["sink"].report, stats["identify"].report
    return {
        "tracks": [((), sink.get("tracks", 0))],
        "identities": [((), sink.get("identities", 0))],
        "track_answers": [
            ((answer,), identify.get(answer, 0)) for answer in ("named", "unknown", "pending")
        ],
        "gallery_people": [((), identify.get("gallery_people", 0))],
    }


def _duration_rows(stats: Mapping[str, StageStats]) -> dict[str, Iterable[Row]]:
    found: dict[str, Iterable[Row]] = {
        f"stage_{part}_seconds": [
            ((stage,), LatencyHistogram(getattr(each, f"{part}_ns")))
            for stage, each in stats.items()
        ]
        for part in ("service", "queue", "transport")
    }
    ages = LatencyHistogram(stats["sink"].age_ns.get(LAST_TOPIC, {}))
    return found | {"capture_to_identity_seconds": [((), ages)]}


def _process_rows(state: RunState) -> dict[str, Iterable[Row]]:
    """Stages that are threads are part of the supervisor's process."""
    mine = os.getpid()
    pids = {stage: pid for stage, pid in state.pids.items() if pid != mine}
    seconds: list[Row] = []
    for name, pid in {SUPERVISOR: mine, **pids}.items():
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue  # it has ended, or is being started again: there is nothing to tell of it
        seconds.append(((name,), times.user + times.system))
    memory = state.memory_bytes.items()
    return {
        "process_resident_memory_bytes": [((name,), size) for name, size in memory if size],
        "process_cpu_seconds": seconds,
    }


def _family(spec: MetricSpec, rows: Iterable[Row]) -> Metric:
    if spec.kind == "histogram":
        histogram = HistogramMetricFamily(spec.name, spec.told, labels=spec.labels)
        for labels, value in rows:
            assert isinstance(value, LatencyHistogram)
            histogram.add_metric(labels, _buckets(value), value.total_ns() / NS_PER_S)
        return histogram
    make = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
    family = make(spec.name, spec.told, labels=spec.labels)
    for labels, value in rows:
        assert not isinstance(value, LatencyHistogram)
        family.add_metric(labels, value)
    return family


def _buckets(found: LatencyHistogram) -> list[tuple[str, float]]:
    counts = found.up_to([bound * NS_PER_S for bound in BOUNDS_S])
    return [*zip(map(str, BOUNDS_S), counts, strict=True), ("+Inf", len(found))]
