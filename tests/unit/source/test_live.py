"""Live sources that are too fast, vanish, come back, hang, or break in other ways."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest

from pipeline.clock import NS_PER_S, monotonic_ns
from pipeline.errors import SourceError
from pipeline.messages import Windows
from pipeline.stage import EndOfSource
from stages.sequence import Config as SequenceConfig
from stages.sequence import SequenceStage
from stages.source.live import MOST_STUCK, NewestFrame
from stages.source.pauses import FIRST_PAUSE_S
from stages.source.reader import Lost, Picture
from stages.source.reading import Reading
from tests.unit.sequence.sequence_people import frame_of, make_body
from tests.unit.source.readers import Hanging, Ticking, Viewer, over, watch

# Above what a busy machine may let a reader that works wait for its turn.
PATIENT_S = 2.0


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses and limits that a test can wait for, and no doubt about buffers."""
    monkeypatch.setattr("stages.source.pauses.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("stages.source.pauses.LONGEST_PAUSE_S", 0.02)
    monkeypatch.setattr("stages.source.live.GRACE_S", 0.0)
    monkeypatch.setattr("stages.source.stall.STALL_S", 5.0)
    monkeypatch.setattr("stages.source.backlog.OPENING_S", 0.0)
    monkeypatch.setattr("stages.source.backlog.GAP_S", 60.0)


@pytest.fixture
def short_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.source.stall.STALL_S", 0.1)


def test_live_keeps_the_newest_and_counts_the_rest() -> None:
    newest = watch([lambda: Ticking(range(40), after=over)], timeout_s=None, reopen=None)
    got = [newest.read(1.0)]
    time.sleep(0.1)
    got.append(newest.read(1.0))
    with pytest.raises(EndOfSource):
        while True:
            got.append(newest.read(1.0))
    newest.close()
    numbers = [int(frame.pixels[0, 0, 0]) for frame in got if frame is not None]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 39
    assert numbers[1] - numbers[0] > 5
    assert len(numbers) + newest.dropped == 40


def test_what_a_camera_shows_before_the_run_begins_is_thrown_away() -> None:
    reader = Ticking(range(200))
    newest = watch([lambda: reader, dark])
    while newest._reading.pictures < 20:
        time.sleep(0.005)
    viewer = Viewer(newest)
    viewer.until(lambda: viewer.frames)
    newest.close()
    assert viewer.numbers[0] >= 19 and viewer.frames[0].time_ns < 10**9


def dark() -> Ticking:
    raise SourceError("still dark")


def test_a_lost_camera_is_found_again() -> None:
    first, second = Ticking(range(5)), Ticking(range(100, 105), size_wh=(6, 2))
    newest = watch([lambda: first, dark, dark, lambda: second])
    viewer = Viewer(newest)
    viewer.until(lambda: 104 in viewer.numbers and "source_found" in viewer.kinds)
    newest.close()
    assert viewer.kinds[:2] == ["source_lost", "source_found"]
    assert "unplugged" in viewer.incidents[0][1]
    assert "now 6x2 instead of 4x4 pixels" in viewer.incidents[1][1]
    assert viewer.incidents[1][2]["size_wh"] == [6, 2]
    assert viewer.incidents[1][2]["lost_s"] >= 0
    assert newest.reconnects == 1 and first.closed.is_set()
    times = [frame.time_ns for frame in viewer.frames]
    assert times == sorted(set(times))


def test_a_camera_that_stays_lost_ends_the_source() -> None:
    newest = watch([lambda: Ticking(range(3)), *[dark] * 100], reconnect_s=0.1)
    viewer = Viewer(newest)
    assert "not back within 0.1 s (still dark)" in viewer.to_the_end()
    assert viewer.kinds == ["source_lost"]
    newest.close()


def test_without_a_limit_a_camera_is_tried_for_ever() -> None:
    newest = watch([lambda: Ticking(range(3)), *[dark] * 40, lambda: Ticking(range(100, 102))])
    viewer = Viewer(newest)
    viewer.until(lambda: 101 in viewer.numbers)
    newest.close()


def test_a_reader_that_hangs_is_left_behind_and_never_heard_again(short_stalls: None) -> None:
    hanging = Hanging()
    stuck = Ticking(range(5), after=hanging)
    newest = watch([lambda: stuck, lambda: Ticking(range(100, 250))], timeout_s=PATIENT_S)
    viewer = Viewer(newest)
    viewer.until(lambda: max(viewer.numbers, default=0) > 110 and "source_found" in viewer.kinds)
    kinds = [kind for kind in viewer.kinds if kind not in ("source_stalled", "source_flows")]
    assert kinds == ["source_hangs", "source_lost", "source_found"]
    assert viewer.kinds[viewer.kinds.index("source_hangs") - 1] == "source_stalled"
    assert newest.hangs == newest.reconnects == 1
    assert not stuck.closed.is_set()
    hanging.free.set()
    assert stuck.closed.wait(20), "it closes its reader when it comes back"
    viewer.until(lambda: max(viewer.numbers) > 130)
    assert 255 not in viewer.numbers
    newest.close()


def test_opening_that_hangs_is_left_behind_too() -> None:
    hanging = Hanging()

    def open_for_ever() -> Ticking:
        hanging()
        return Ticking(range(200, 255))

    newest = watch(
        [lambda: Ticking(range(5)), open_for_ever, lambda: Ticking(range(100, 150))],
        timeout_s=PATIENT_S,
    )
    viewer = Viewer(newest)
    viewer.until(lambda: max(viewer.numbers, default=0) > 110 and "source_found" in viewer.kinds)
    assert viewer.kinds == ["source_lost", "source_hangs", "source_found"]
    assert viewer.incidents[1][2]["call"] == "opening"
    hanging.free.set()
    viewer.until(lambda: "source_lost" in viewer.kinds[3:])
    assert max(viewer.numbers) < 150
    newest.close()


def test_exception_the_very_first_opening_hangs() -> None:
    hanging, opened = Hanging(), Ticking(range(3))

    def open_late() -> Ticking:
        hanging()
        return opened

    reading = Reading(open_late)
    with pytest.raises(SourceError, match=r"neither opens nor fails within 0\.1 s"):
        reading.wait_until_open(0.1)
    hanging.free.set()
    assert opened.closed.wait(20)


def test_a_source_that_hangs_again_and_again_is_given_up(short_stalls: None) -> None:
    hangings = [Hanging() for _ in range(MOST_STUCK + 1)]
    newest = watch(
        [lambda each=each: Ticking([1], after=each) for each in hangings], timeout_s=0.15
    )
    viewer = Viewer(newest)
    assert f"{MOST_STUCK} attempts to read it hang" in viewer.to_the_end()
    assert newest.hangs == MOST_STUCK and not hangings[-1].entered.is_set()
    newest.close()
    for each in hangings:
        each.free.set()


def test_close_does_not_wait_for_a_reader_that_hangs() -> None:
    hanging = Hanging()
    newest = watch([lambda: Ticking([1], after=hanging)])
    viewer = Viewer(newest)
    viewer.until(hanging.entered.is_set)
    newest.close()
    assert newest._reading.alive
    hanging.free.set()


def test_a_stall_is_told_once_and_its_end_too(short_stalls: None) -> None:
    hanging = Hanging()

    def once_free() -> Picture:
        picture = hanging()
        time.sleep(0.005)
        return picture

    newest = watch([lambda: Ticking([1, 2], after=once_free)])
    viewer = Viewer(newest)
    viewer.until(lambda: "source_stalled" in viewer.kinds)
    for _ in range(20):
        viewer.until(lambda: True)
    hanging.free.set()
    viewer.until(lambda: "source_flows" in viewer.kinds)
    newest.close()
    assert viewer.kinds == ["source_stalled", "source_flows"] and newest.stalls == 1
    assert viewer.incidents[1][2]["lasted_s"] >= 0.1


def test_a_reader_that_raises_is_a_lost_camera() -> None:
    def broken() -> Picture:
        raise ValueError("no such thing")

    newest = watch([lambda: Ticking([1], after=broken), lambda: Ticking(range(100, 102))])
    viewer = Viewer(newest)
    viewer.until(lambda: 101 in viewer.numbers)
    newest.close()
    assert "ValueError: no such thing" in viewer.incidents[0][1]


def test_a_camera_whose_clock_goes_back_has_the_hosts_time() -> None:
    newest = watch([lambda: Ticking(range(5), times_ns=[50, 40, 30, 20, 10]), dark])
    viewer = Viewer(newest)
    viewer.until(lambda: 4 in viewer.numbers)
    newest.close()
    times = [frame.time_ns for frame in viewer.frames]
    assert times == sorted(set(times))
    assert times[-1] - times[0] >= 10**6 * (len(times) - 1)


def test_a_recording_whose_times_go_back_never_goes_back() -> None:
    times_ns = [0, 40_000_000, 20_000_000, 60_000_000]
    reader = Ticking(range(4), times_ns=times_ns, after=over)
    newest = watch([lambda: reader], timeout_s=None, reopen=None, realtime=True)
    viewer = Viewer(newest)
    assert viewer.to_the_end() == ""
    newest.close()
    times = [frame.time_ns for frame in viewer.frames]
    assert times == sorted(set(times)) and times[-1] == 60_000_000


def test_a_recording_in_a_loop_goes_on_in_time() -> None:
    def film() -> Ticking:
        return Ticking(range(3), times_ns=[0, 20_000_000, 40_000_000], after=over)

    newest = watch([film] * 50, timeout_s=None, realtime=True, loop=True)
    viewer = Viewer(newest)
    viewer.until(lambda: viewer.numbers.count(2) >= 3)
    newest.close()
    times = [frame.time_ns for frame in viewer.frames]
    assert times == sorted(set(times)) and not viewer.incidents
    assert times[-1] >= 3 * 40_000_000


def test_what_has_come_to_its_end_is_not_opened_again() -> None:
    newest = watch([lambda: Ticking(range(5), after=over)])
    viewer = Viewer(newest)
    assert viewer.to_the_end() == "" and not viewer.incidents
    newest.close()


def test_windows_never_bridge_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.source.pauses.FIRST_PAUSE_S", FIRST_PAUSE_S)
    monkeypatch.setattr("stages.source.pauses.LONGEST_PAUSE_S", FIRST_PAUSE_S)
    newest = watch([lambda: Ticking(range(30)), lambda: Ticking(range(100, 130)), dark])
    viewer = Viewer(newest)
    viewer.until(lambda: 129 in viewer.numbers)
    newest.close()
    sequence = SequenceStage(SequenceConfig(length=6, stride=1, min_length=6))
    windows = []
    for frame, number in zip(viewer.frames, viewer.numbers, strict=True):
        # The same person at the same place: only the times can part the two walks.
        message = frame_of(number, make_body(), time_s=frame.time_ns / 1e9)
        for answer in sequence.process(message):
            assert isinstance(answer, Windows)
            windows += answer.windows
    before = [window for window in windows if window.frame_ids.max() < 100]
    after = [window for window in windows if window.frame_ids.min() >= 100]
    assert before and after and len(before) + len(after) == len(windows)
    assert all(np.diff(window.times_ns).max() < 500_000_000 for window in windows)
    assert sequence.report()["restarts"] == {"gap": 1}


def test_a_lost_recording_is_not_opened_again() -> None:
    def torn() -> Picture:
        raise Lost("torn")

    reading = Reading(lambda: Ticking(range(2), after=torn))
    facts = reading.wait_until_open(20)
    settings = {"reopen": None, "realtime": False, "loop": False, "reconnect_s": None}
    newest = NewestFrame(reading, facts=facts, **settings)
    assert Viewer(newest).to_the_end() == "torn"
    newest.close()


def away() -> Ticking:
    raise SourceError("nobody answers")


def lost_source() -> NewestFrame:
    """A source that has told that it is lost, and stays so."""
    first = watch([lambda: Ticking(range(3)), *[away] * 10_000])
    before = Viewer(first)
    before.until(lambda: "source_lost" in before.kinds)
    return first


def test_a_loss_is_told_once_though_its_process_is_replaced() -> None:
    first = lost_source()
    left = pickle.loads(pickle.dumps(first.snapshot()))
    lost_ns = monotonic_ns()
    first.close()
    time.sleep(0.3)
    opens = iter([*[away] * 3, lambda: Ticking(range(5), after=over)])

    def reopen() -> Ticking:
        return next(opens)()

    second = NewestFrame(
        Reading(reopen),
        reopen=reopen,
        realtime=False,
        loop=False,
        reconnect_s=60.0,
        facts=first.facts,
        timeout_s=60.0,
        left=left,
    )
    after = Viewer(second)
    after.to_the_end()
    second.close()
    assert after.kinds == ["source_found"]
    longest_s = (monotonic_ns() - lost_ns) / NS_PER_S + PATIENT_S
    assert 0.25 <= after.incidents[0][2]["lost_s"] <= longest_s


def test_the_time_for_a_lost_source_goes_on_though_its_process_is_replaced() -> None:
    first = lost_source()
    left = first.snapshot()
    first.close()
    time.sleep(0.2)
    asked = []

    def still_away() -> Ticking:
        asked.append(time.monotonic())
        return away()

    again = {"realtime": False, "loop": False, "facts": first.facts, "timeout_s": 60.0}
    second = NewestFrame(
        Reading(still_away), reopen=still_away, reconnect_s=0.2, left=left, **again
    )
    after = Viewer(second)
    reason = after.to_the_end()
    second.close()
    assert "not back within 0.2 s" in reason
    assert len(asked) == 1 and not after.kinds, "its time was over before it was asked again"


def test_what_a_process_did_not_get_to_tell_the_next_one_does() -> None:
    first = watch([lambda: Ticking(range(3)), lambda: Ticking(range(5), after=over)])
    with pytest.raises(EndOfSource):
        while True:
            first.read(1.0)
    left = first.snapshot()
    first.close()
    untold = [kind for kind, _, _ in first.take_incidents()]
    second = watch([lambda: Ticking(range(2), after=over)], left=left)
    told = Viewer(second)
    told.to_the_end()
    second.close()
    assert told.kinds == untold == ["source_lost", "source_found"]
