"""Where frames' time went: parts that add up, warm-up, what limits a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_runs import MS, STAGES, records

from pipeline.errors import InputError
from pipeline.messages import Span, Stamp
from pipeline.telemetry.compare import differences
from pipeline.telemetry.findings import profile_findings
from pipeline.telemetry.spans import SpanWriter, read_spans
from pipeline.telemetry.timeline import parts_ms, summary_ms, timeline_of, whole_ms


@given(st.integers(2, 40), st.floats(1, 60), st.floats(1, 60), st.integers(0, 9))
def test_property_parts_add_up_to_the_whole(
    count: int, work_ms: float, period_ms: float, seed: int
) -> None:
    line = timeline_of(records(count, work_ms=work_ms, period_ms=period_ms, seed=seed))
    parts = parts_ms(line)
    assert all((each >= 0).all() for each in parts.values())
    whole = sum(parts.values()).sum(1) - parts["service"][:, -1]
    np.testing.assert_allclose(whole, whole_ms(line), rtol=0, atol=1e-6)


def test_golden_waiting_is_for_the_stage_and_the_rest_is_transport() -> None:
    line = timeline_of(records(10, work_ms=30, period_ms=25))
    parts = parts_ms(line)
    assert line.stages == STAGES
    np.testing.assert_allclose(parts["transport"][:, 1], 0.1)
    assert parts["queue"][0, 1] == 0 and (np.diff(parts["queue"][:, 1]) > 0).all()
    assert parts["service"][:, 1].mean() == pytest.approx(30, rel=0.1)
    np.testing.assert_allclose(parts["service"][:, 0], 1.0)


def test_a_live_picture_waits_at_the_source() -> None:
    (first, *_), late = records(1), 7 * MS
    (_, capture, left, _), *rest = first.spans
    moved = [("source", capture, left + late, capture + late)]
    moved += [(name, a + late, b + late, c + late) for name, a, b, c in rest]
    line = timeline_of([first.__class__("cam0", 0, 0, first.capture_ns, 0, tuple(moved))])
    parts = parts_ms(line)
    assert parts["queue"][0, 0] == 7 and parts["service"][0, 0] == 1
    assert parts["transport"][0, 0] == 0


def test_warm_up_and_ways_that_break_off_are_left_out() -> None:
    made = records(100, period_ms=25)
    line = timeline_of(made, warmup_s=1.0)
    assert len(line) == 60 and line.frame_ids[0] == 40
    broken = made[50].__class__("cam0", 50, 0, made[50].capture_ns, 0, made[50].spans[:2])
    assert timeline_of([*made[:50], broken, *made[51:]]).left_out == 1
    assert len(timeline_of([])) == 0 and summary_ms(np.empty(0))["p50"] is None


@pytest.mark.parametrize(
    ("work_ms", "dropped", "busy", "by", "said"),
    [
        (24.0, 9, 1.0, "stage", "Detect is the bottleneck: detect is at work 9"),
        (24.0, 9, 2.0, "cores", "The cores are the bottleneck: the run uses 1.0 of 2 cores, other"),
        (10.0, 9, 2.0, "cores", "The cores are the bottleneck: the run uses 1.0 of 2 cores, other"),
        (10.0, 0, 1.0, "source", "Nothing limits the run at this rate"),
    ],
)
def test_golden_what_limits_a_run(
    work_ms: float, dropped: int, busy: float, by: str, said: str
) -> None:
    line = timeline_of(records(work_ms=work_ms))
    facts = {"cores": 0.5, "memory_mb": 100.0, "queues": {"sink": 2}, "frames": 1, "dropped": 0}
    sample = {
        "at_ns": 0,
        "busy_cores": busy,
        "run_cores": 1.0,
        "stages": dict.fromkeys(STAGES, facts),
    }
    found = profile_findings(line, [sample], cores=2, dropped=dropped, paced=True)
    assert found["bottleneck"]["by"] == by and found["bottleneck"]["stage"] == "detect"
    assert found["bottleneck"]["sentence"].startswith(said)
    assert found["stages"]["sink"]["queued"] == {"source": 2.0, "detect": 2.0, "sink": 2.0}
    assert found["frames"] == 200 and found["capture_to_identity_ms"]["p50"] is not None


def test_golden_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "spans.bin"
    writer = SpanWriter(path)
    stamp = Stamp("cam0", 3, 120, 1000, 0)
    writer.write(stamp, 2, (Span("source", 1000, 1100, 1000), Span("sink", 1200, 1300, 1150)))
    writer.write(stamp, 0, ())
    writer.close()
    first, second = read_spans(path)
    assert first.spans == (("source", 1000, 1100, 1000), ("sink", 1200, 1300, 1150))
    assert (first.carried, first.frame_id, second.spans) == (2, 3, ())


def test_a_last_record_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "spans.bin"
    writer = SpanWriter(path)
    for i in range(3):
        writer.write(Stamp("cam0", i, 0, 0, 0), 0, (Span("source", 0, 1),))
    writer.close()
    whole = path.read_bytes()
    for cut in range(1, len(whole) // 3):
        path.write_bytes(whole[:-cut])
        assert [each.frame_id for each in read_spans(path)] == [0, 1]


@pytest.mark.parametrize("content", [b"\xff" * 40, b"\0\0\0\x03abc"])
def test_exception_no_file_of_spans(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "spans.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no file of spans"):
        read_spans(path)
    with pytest.raises(InputError, match="No such file"):
        read_spans(tmp_path / "none.bin")


def test_golden_two_runs_side_by_side() -> None:
    slow, fast = (timeline_of(records(400, work_ms=ms, seed=1)) for ms in (20, 10))
    found = {each.name: each for each in differences(slow, fast)}
    work = found["detect service, p50"]
    assert work.told == "less" and work.low <= work.ratio <= work.high
    assert work.ratio == pytest.approx(0.5, rel=0.05)
    same = {each.name: each for each in differences(slow, timeline_of(records(400, seed=2)))}
    assert same["detect service, p50"].told == "chance"
