"""What the metrics say of a run, and that the table of metrics names all of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from made_up_states import SERVICE_MS, durations, state_in_the_midst
from prometheus_client import CollectorRegistry

from pipeline.graph import STAGES
from pipeline.plans import StageStats
from pipeline.run_state import RunState
from pipeline.telemetry.metric_table import METRICS
from pipeline.telemetry.metrics import BOUNDS_S, RunCollector


def told(*states: RunState) -> CollectorRegistry:
    """A registry of what is known after looking at states."""
    collector = RunCollector()
    for state in states:
        collector.look(state)
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def test_smoke_before_anything_is_known() -> None:
    registry = told()
    assert registry.get_sample_value("gaitstream_ready") == 0
    for spec in STAGES:
        labels = {"stage": spec.name}
        assert registry.get_sample_value("gaitstream_frames_total", labels) == 0
        assert registry.get_sample_value("gaitstream_stage_up", labels) == 0


def test_every_metric_of_the_table_is_yielded_once_under_its_own_series() -> None:
    families = list(told(state_in_the_midst()).collect())
    assert [family.name for family in families] == [spec.name for spec in METRICS]
    for family, spec in zip(families, METRICS, strict=True):
        assert family.type == spec.kind
        assert {sample.name for sample in family.samples} == set(spec.series)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(spec.labels)


def test_golden_figures() -> None:
    value = told(state_in_the_midst()).get_sample_value
    embed, source = {"stage": "embed"}, {"stage": "source"}
    assert value("gaitstream_ready") == 1
    assert value("gaitstream_frames_total", source) == 40
    assert value("gaitstream_frames_total", {"stage": "sink"}) == 38
    assert value("gaitstream_frames_dropped_total", {"reason": "no_room"}) == 5
    assert value("gaitstream_frames_dropped_total", {"reason": "stale"}) == 2
    assert value("gaitstream_bad_frames_total", embed) == 1
    assert value("gaitstream_stage_restarts_total", embed) == 2
    assert value("gaitstream_stage_restarts_total", source) == 0
    lost = {"stage": "source", "kind": "source_lost"}
    assert value("gaitstream_incidents_total", lost) == 1
    assert value("gaitstream_queue_messages", {"sender": "source", "receiver": "sink"}) == 5
    assert value("gaitstream_stage_busy_seconds_total", embed) == 2.5
    assert value("gaitstream_stage_blocked_seconds_total", embed) == 0.5
    assert value("gaitstream_items_total", embed | {"topic": "windows"}) == 9
    out = {"stage": "sequence", "reason": "cut_by_border"}
    assert value("gaitstream_left_out_total", out) == 3
    assert value("gaitstream_process_resident_memory_bytes", {"process": "supervisor"}) == 1e8
    # A process without memory is one that is gone, and a thread is no process.
    assert value("gaitstream_process_resident_memory_bytes", {"process": "detect"}) is None
    assert value("gaitstream_process_cpu_seconds_total", {"process": "detect"}) is None
    assert (value("gaitstream_process_cpu_seconds_total", {"process": "supervisor"}) or 0) > 0


def test_a_histogram_grows_to_its_count_and_its_sum_is_right_within_two_percent() -> None:
    value = told(state_in_the_midst()).get_sample_value
    name, labels = "gaitstream_stage_service_seconds", {"stage": "detect"}
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    counts = [value(f"{name}_bucket", labels | {"le": bound}) for bound in bounds]
    assert all(a is not None and b is not None and a <= b for a, b in pairwise(counts))
    assert counts[-1] == value(f"{name}_count", labels) == len(SERVICE_MS)
    below = dict(zip(bounds, counts, strict=True))
    assert [below[le] for le in ("0.0001", "0.00025", "0.005", "0.1", "30.0")] == [0, 1, 3, 4, 4]
    expected, total = sum(SERVICE_MS) / 1000, value(f"{name}_sum", labels)
    assert total is not None and abs(total - expected) < 0.02 * expected


@given(st.lists(st.floats(0, 40_000), max_size=30))
def test_property_buckets_never_hold_more_than_there_is(values_ms: list[float]) -> None:
    state = RunState(stats={"sink": StageStats(age_ns={"identities": durations(*values_ms)})})
    name = "gaitstream_capture_to_identity_seconds"
    (family,) = (each for each in told(state).collect() if each.name == name)
    counts = [sample.value for sample in family.samples if sample.name == f"{name}_bucket"]
    (total,) = (sample.value for sample in family.samples if sample.name == f"{name}_count")
    assert len(counts) == len(BOUNDS_S) + 1 and counts == sorted(counts)
    assert counts[-1] == total == len(values_ms)


def test_a_lost_source_is_down_until_it_is_found_and_at_its_end() -> None:
    state, name, labels = state_in_the_midst(), "gaitstream_source_up", {"source": "cam0"}
    assert told(state).get_sample_value(name, labels) == 1
    state.stats["source"].report["lost"] = True
    assert told(state).get_sample_value(name, labels) == 0
    state.stats["source"].report["lost"] = False
    assert told(state).get_sample_value(name, labels) == 1
    assert told(replace(state, reasons={"cam0": ""})).get_sample_value(name, labels) == 0


def test_the_time_of_the_last_frame_stands_while_no_frame_comes() -> None:
    collector, labels = RunCollector(), {"stage": "source"}
    registry = CollectorRegistry()
    registry.register(collector)
    seen = []
    for frames in (40, 40, 41):
        collector.look(state_in_the_midst(frames))
        seen.append(registry.get_sample_value("gaitstream_last_frame_timestamp_seconds", labels))
    assert seen[0] is not None and seen[0] == seen[1] and seen[2] > seen[1]


def test_a_look_is_not_changed_by_what_the_supervisor_does_next() -> None:
    state = state_in_the_midst()
    registry = told(state)
    state.missing.add("embed")
    state.restarts["embed"] = 3
    state.incident_counts["embed", "restart"] += 1
    state.stats["embed"] = StageStats()
    value, embed = registry.get_sample_value, {"stage": "embed"}
    assert value("gaitstream_stage_up", embed) == 1
    assert value("gaitstream_stage_restarts_total", embed) == 2
    assert value("gaitstream_incidents_total", embed | {"kind": "restart"}) is None
    assert value("gaitstream_frames_total", embed) == 40


def test_who_asks_for_no_metrics_does_not_load_them() -> None:
    code = "import sys, pipeline.cli.running as r; print('prometheus_client' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
