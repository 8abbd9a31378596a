"""What is told of a live source, and when: pure judgement, with a clock that is handed in."""

from __future__ import annotations

from pipeline.clock import NS_PER_S
from stages.sequence import Config as SequenceConfig
from stages.source.backlog import GAP_S, PACE_PICTURES, Backlog
from stages.source.load import QUIET_S, LoadWatch
from stages.source.pauses import LONGEST_PAUSE_S, Pauses
from stages.source.reader import Facts
from stages.source.reading import Reading
from stages.source.stall import STALL_S, StallWatch
from tests.unit.source.readers import Ticking


def test_property_pauses_grow_and_are_longer_than_a_window_may_bridge() -> None:
    for _ in range(200):
        pauses = Pauses()
        drawn = [pauses.next() for _ in range(12)]
        assert SequenceConfig().max_gap_s < drawn[0] < 1.0 < drawn[3] <= 8.0
        assert all(pause_s <= LONGEST_PAUSE_S for pause_s in drawn)
        assert len(set(drawn)) > 6
        pauses.reset()
        assert pauses.next() <= 1.0


def test_a_slow_camera_does_not_stall_between_two_pictures() -> None:
    def of_rate(rate_hz: float) -> StallWatch:
        reader = Ticking([])
        reader.facts = Facts((4, 4), rate_hz, 0)
        reading = Reading(lambda: reader)
        reading.wait_until_open(20)
        reading.leave()
        return StallWatch(reading)

    assert of_rate(0.5).limit_s == 8.0
    assert of_rate(25.0).limit_s == of_rate(0.0).limit_s == STALL_S < 2.0


class Counting:
    """Counts frames as a source does, ten times a second."""

    def __init__(self) -> None:
        self.watch = LoadWatch()
        self.told: list[str] = []
        self.facts: dict[str, object] = {}
        self._time_s = self._given = self._dropped = 0.0

    def go_on(self, seconds: float, given_hz: float, dropped_share: float) -> None:
        for _ in range(round(10 * seconds)):
            self._time_s += 0.1
            self._given += given_hz / 10
            self._dropped += dropped_share * given_hz / 10
            told = self.watch.note(
                round(self._time_s * NS_PER_S), int(self._given), int(self._dropped)
            )
            if told is not None:
                self.told.append(told[0])
                self.facts = told[2]


def test_overload_is_told_once_with_its_rates_and_so_is_its_end() -> None:
    source = Counting()
    source.go_on(20, 25, 0.5)
    assert source.told == []
    source.go_on(20, 25, 0.8)
    assert source.told == ["overload"]
    assert 4 < float(str(source.facts["taken_hz"])) < 10 < float(str(source.facts["given_hz"]))
    source.go_on(20, 25, 0.5)
    assert source.told == ["overload"], "neither over nor again"
    source.go_on(20, 25, 0.0)
    assert source.told == ["overload", "overload_over"]


def test_overload_that_comes_and_goes_is_told_once_a_minute() -> None:
    source = Counting()
    for _ in range(8):
        source.go_on(5, 25, 0.9)
        source.go_on(5, 25, 0.0)
    assert source.told.count("overload") == 80 // QUIET_S + 1


def test_a_pause_of_the_source_is_no_relief() -> None:
    source = Counting()
    source.go_on(10, 25, 0.9)
    source.go_on(2, 0, 0.0)
    source.watch.forget()
    source.go_on(2, 0, 0.0)
    source.watch.forget()
    source.go_on(10, 25, 0.9)
    assert source.told == ["overload"]


def test_a_source_that_gives_next_to_nothing_is_not_judged() -> None:
    source = Counting()
    source.go_on(60, 1, 1.0)
    assert source.told == []


def test_pictures_that_pile_up_while_a_stream_is_opened_are_old() -> None:
    backlog, time_s = Backlog(), 100.0
    for _ in range(14):
        time_s += 0.004
        assert backlog.is_old(time_s, 0.04)
    seen = []
    for _ in range(30):
        time_s += 0.04
        seen.append(backlog.is_old(time_s, 0.04))
    assert seen.index(False) <= PACE_PICTURES and not any(seen[PACE_PICTURES:])


def test_pictures_that_come_in_pairs_are_new() -> None:
    backlog, time_s = Backlog(), 0.0
    seen = []
    for index in range(40):
        time_s += 0.078 if index % 2 else 0.002
        seen.append(backlog.is_old(time_s, 0.04))
    assert not any(seen[PACE_PICTURES + 1 :])


def test_what_comes_at_once_after_a_gap_is_old_but_not_for_ever() -> None:
    backlog, time_s = Backlog(), 0.0
    for _ in range(20):
        time_s += 0.04
        backlog.is_old(time_s, 0.04)
    assert not backlog.is_old(time_s + 0.04, 0.04)
    time_s += 0.04 + GAP_S + 2.5
    assert backlog.is_old(time_s, 0.04), "the first was made before the gap"
    seen = []
    for _ in range(300):
        time_s += 0.001
        seen.append(backlog.is_old(time_s, 0.04))
    assert all(seen[: int(3 / 0.04)]), "all that can have piled up in three seconds"
    assert not any(seen[240:]), "a rate told wrongly costs some pictures, not all"


def test_what_is_owed_after_a_gap_is_old_however_slowly_it_comes() -> None:
    backlog, time_s, stream_s = Backlog(), 0.0, 70.0
    for _ in range(20):
        time_s, stream_s = time_s + 0.04, stream_s + 0.04
        backlog.is_old(time_s, 0.04, stream_s)
    assert not backlog.is_old(time_s, 0.04, stream_s)
    time_s += 3.0
    ages = []
    for _ in range(200):
        time_s, stream_s = time_s + 0.021, stream_s + 0.04
        if not backlog.is_old(time_s, 0.04, stream_s):
            ages.append(time_s - (stream_s - 70.0))
    assert ages and max(ages) <= GAP_S + 0.01


def test_a_camera_that_kept_nothing_during_a_gap_is_believed_soon() -> None:
    backlog, time_s = Backlog(), 0.0
    for _ in range(20):
        time_s += 0.04
        backlog.is_old(time_s, 0.04, time_s)
    time_s += 3.0
    seen = []
    for _ in range(20):
        time_s += 0.04
        seen.append(backlog.is_old(time_s, 0.04, time_s))
    assert seen.count(True) == PACE_PICTURES
