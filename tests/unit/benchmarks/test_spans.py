"""The benchmark of what measuring costs measures what it says."""

from __future__ import annotations

from benchmarks.spans import BEHIND, Measured, Plain, measure
from pipeline.clock import monotonic_ns
from pipeline.codec import decode, encode
from pipeline.messages import People, Span, Stamp
from pipeline.telemetry import LatencyHistogram


def test_golden_both_stages_pass_on_the_same_message_but_for_its_span() -> None:
    now = monotonic_ns()
    sent = People(Stamp("camera", 3, 4, now, 5), (), (1, 2), spans=(Span("source", now, now, now),))
    plain = decode(People, *Plain("detect").handle(encode(sent)))
    stage = Measured("detect")
    measured = decode(People, *stage.handle(encode(sent)))
    assert plain.stamp == measured.stamp == sent.stamp and plain.spans == sent.spans
    assert plain.ended_tracks == measured.ended_tracks == (1, 2)
    first, second = measured.spans
    assert first == sent.spans[0]
    assert second.stage == "detect" and now <= second.enter_ns <= second.leave_ns
    books = vars(stage)["_histograms"]
    assert all(isinstance(each, LatencyHistogram) and len(each) == 1 for each in books.values())


def test_smoke_a_round() -> None:
    turns: list[int] = []
    found = measure(4, 2, lambda: turns.append(0))
    assert len(turns) == 2 * (2 * 4 * len(BEHIND) + 4)
    with_it, without = (found[f"a message and stage, {name}"] for name in ("with", "without"))
    assert with_it.repeats == 2 and without.median > 0
    assert found["a record for profile, a frame"].median > 0
