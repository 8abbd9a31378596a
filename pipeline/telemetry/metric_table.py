"""Every metric of a run in one table: name, kind, labels, meaning.

Names follow Prometheus: base units, `_seconds` and `_bytes` as suffixes; a counter's series get
`_total`, a histogram's `_bucket`, `_sum` and `_count`. docs/metrics.md shows this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric.

    Attributes:
        name: without the suffix of a counter's or histogram's series.
        labels: what its series are told apart by.
        told: its meaning, one line.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    told: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series, as Prometheus stores and asks for them."""
        if self.kind == "counter":
            return (f"{self.name}_total",)
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)


def _counter(name: str, labels: tuple[str, ...], told: str) -> MetricSpec:
    return MetricSpec(f"gaitstream_{name}", "counter", labels, told)


def _gauge(name: str, labels: tuple[str, ...], told: str) -> MetricSpec:
    return MetricSpec(f"gaitstream_{name}", "gauge", labels, told)


def _histogram(name: str, labels: tuple[str, ...], told: str) -> MetricSpec:
    return MetricSpec(f"gaitstream_{name}", "histogram", labels, told)


METRICS: tuple[MetricSpec, ...] = (
    # Is it at work?
    _gauge("build_info", ("version", "python"), "1; the labels say what runs"),
    _gauge("run_start_time_seconds", (), "when the run was started, seconds since 1970"),
    _gauge("ready", (), "1 when every stage has loaded and is at work, else 0"),
    _gauge("stage_up", ("stage",), "1 when the stage has loaded, 0 while it loads or starts again"),
    _counter("stage_restarts", ("stage",), "times a stage was started again"),
    _counter("incidents", ("stage", "kind"), "what happened to the run itself, as in its log"),
    _gauge(
        "source_up", ("source",), "1 while the source gives pictures, 0 when lost or at its end"
    ),
    _gauge("source_rate_hertz", ("source",), "pictures a second that the source says it gives"),
    _counter("source_reconnects", (), "times a lost source was found again"),
    _counter("source_damaged", (), "pieces of the source that could not be decoded"),
    # What goes through?
    _counter("frames", ("stage",), "frames handled (source: sent; sink: written out)"),
    _gauge(
        "last_frame_timestamp_seconds",
        ("stage",),
        "when the stage was last seen to have handled a frame, seconds since 1970",
    ),
    _counter(
        "frames_dropped",
        ("reason",),
        "frames a live source left out; `no_room`: a newer one came before there was room, "
        "`stale`: it came late, out of a buffer",
    ),
    _counter("bad_frames", ("stage",), "messages that a stage could not handle and passed over"),
    _counter("bad_messages", ("stage",), "what came over a link and was no message of ours"),
    _counter(
        "left_out",
        ("stage", "reason"),
        "people in a frame (sequence) or windows (embed) that were not used",
    ),
    _counter("items", ("stage", "topic"), "people, windows, embeddings … that arrived at a stage"),
    _counter("tracks", (), "tracks that reached a sink"),
    _counter("identities", (), "times a track's answer changed"),
    _gauge("track_answers", ("answer",), "tracks so far by their last answer"),
    _gauge("gallery_people", (), "people that can be named"),
    # Where does it jam?
    _gauge("frames_in_flight", (), "frames sent by the source and not yet let go of"),
    _gauge("queue_messages", ("sender", "receiver"), "messages sent and not yet acknowledged"),
    _counter("stage_busy_seconds", ("stage",), "time in which a stage was at work"),
    _counter("stage_blocked_seconds", ("stage",), "time in which it waited for those after it"),
    _histogram("stage_service_seconds", ("stage",), "a frame's time in a stage"),
    _histogram("stage_queue_seconds", ("stage",), "a frame's time waiting for a stage"),
    _histogram("stage_transport_seconds", ("stage",), "a frame's time on the way to a stage"),
    _histogram(
        "capture_to_identity_seconds",
        (),
        "from a frame's capture until an answer about it reached a sink",
    ),
    # What does it use?
    _gauge("process_resident_memory_bytes", ("process",), "resident memory of a process"),
    _counter("process_cpu_seconds", ("process",), "processor time of a process"),
)
