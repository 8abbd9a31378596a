"""The transport benchmark: what its reader notices, its table, and one real hop."""

from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.harness import OthersAtWork
from benchmarks.hop_pictures import (
    MARK,
    PAGE_BYTES,
    PAYLOADS,
    RING,
    WINDOW_BYTES,
    as_windows,
    pattern,
    sampled,
)
from benchmarks.hop_run import END, SINGLE, STREAM, WAYS, HopError, Log, Measured, copies, hop
from benchmarks.transport import COPY, HEADER, cells, in_turns, rows_of
from pipeline.codec import decode, encode
from pipeline.messages import Windows


def test_golden_a_window_is_84_kb_of_silhouettes_and_what_goes_with_them() -> None:
    assert PAYLOADS["window"].checked == 84_480 and WINDOW_BYTES == 101_280
    flat = pattern(PAYLOADS["window"], 3)
    message = as_windows(flat)
    MARK.pack_into(flat, 0, 7, 0, 0, 3)
    found = decode(Windows, *encode(message)).windows[0]
    assert found.silhouettes.tobytes() == flat[:84_480].tobytes()
    arrays = (found.theta, found.keypoints_px, found.times_ns, found.frame_ids)
    assert b"".join(each.tobytes() for each in arrays) == flat[84_480:].tobytes()


def test_golden_sums_tell_patterns_apart_and_leave_the_mark_out() -> None:
    payload = PAYLOADS["720p"]
    flats = [pattern(payload, index).reshape(-1) for index in range(RING)]
    sums = [sampled(flat, payload.checked) for flat in flats]
    assert len(set(sums)) == RING
    MARK.pack_into(flats[0], 0, -1, 1, 2, 3)
    assert sampled(flats[0], payload.checked) == sums[0]
    flats[0][MARK.size + 5 * PAGE_BYTES] ^= 1
    assert sampled(flats[0], payload.checked) != sums[0]


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        ([(0, 0, STREAM, 0), (1, 0, STREAM, 1)], ""),
        ([(0, 0, STREAM, 0), (2, 0, STREAM, 0)], "picture 2 came instead of 1"),
        ([(0, 0, STREAM, 0), (0, 0, STREAM, 0)], "picture 0 came instead of 1"),
        ([(1, 0, STREAM, 1)], "picture 1 came instead of 0"),
        ([(0, 0, STREAM, 1)], "picture 0 is damaged"),
    ],
)
def test_exception_a_reader_notices(marks: list[tuple[int, ...]], says: str) -> None:
    log = Log([100, 200])
    for number, mark in enumerate(marks):
        log.add(mark, (100, 200)[number], 0)
    log.add((len(marks), 0, END, 0), 100, 0)
    assert log.problem == says


def test_golden_a_rate_and_how_long_single_pictures_take() -> None:
    log = Log([5])
    for number in range(5):
        assert log.add((number, 0, STREAM, 0), 5, number * 2_000_000) == STREAM
    log.add((5, 20_000_000, SINGLE, 0), 5, 21_500_000)
    assert log.rate_hz() == 500 and log.single_ms().tolist() == [1.5] and not log.problem


def test_golden_each_round_begins_with_another_way() -> None:
    assert list(in_turns(["p"], ["a", "b", "c"], 1)) == [("p", "b"), ("p", "c"), ("p", "a")]
    assert [way for _, way in in_turns(["p", "q"], ["a", "b"], 2)] == ["a", "b", "a", "b"]


def test_golden_shares_are_those_of_each_round() -> None:
    def rounds(*rates: float) -> list[Measured]:
        return [Measured(rate, np.array([1.0, 2.0, 3.0])) for rate in rates]

    found = {
        "ours": rounds(80, 8),
        "pyzmq copy=True": rounds(20, 4),
        "pyzmq copy=False": rounds(40, 2),
        COPY: rounds(100, 10),
    }
    rows = {row["way"]: row for row in rows_of(found, "1080p")}
    assert rows["ours"]["of_memcpy"].median == 0.8
    assert rows["ours"]["to_best_peer"].median == 3, "copy=False is the best: 2 and 4 times"
    assert rows["pyzmq copy=False"]["to_best_peer"].median == 1
    assert "to_best_peer" not in rows[COPY] and rows["ours"]["p50_ms"].median == 2
    assert rows["ours"]["gb_s"] == pytest.approx(44 * 6.2208e6 / 1e9)
    shown = cells(rows["ours"])
    assert len(shown) == len(HEADER) and shown[:2] == ["ours", "44 (8–80)"]


def test_smoke_a_hop_between_two_processes() -> None:
    for payload in ("720p", "window"):
        found = hop("ours", payload, 0.05)
        assert found.rate_hz > 0 and len(found.single_ms) >= 2 * RING
    assert copies("window", 0.01, beyond_cache=False).rate_hz > 0


def test_exception_a_side_that_dies_is_told() -> None:
    with pytest.raises(HopError, match="the reading process failed"):
        hop("ours", "no such picture", 0.05)
    assert not WAYS["ours"].needs


def test_golden_our_own_work_is_not_others() -> None:
    at_work = OthersAtWork()
    before = time.process_time()
    while time.process_time() < before + 0.2:
        pass
    # The system counts in steps of 10 ms, and other threads of this process are ours as well.
    assert at_work.seconds()[2] > 0.15 and 0 <= at_work.share() <= 1
