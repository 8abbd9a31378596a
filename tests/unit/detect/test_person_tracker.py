"""Numbers that stay with their people."""

import numpy as np
import pytest
from detect_people import BLUE, GREEN, RED, sighting
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.detect.config import TrackingConfig
from stages.detect.tracking import PersonTracker, match_distance

RATES = pytest.mark.parametrize("rate", [10.0, 25.0])


def follow(frames, rate, **settings_):
    """Feed lists of sightings, one a frame; return a dict of index to number, and the ended."""
    tracker = PersonTracker(TrackingConfig(**settings_), rate)
    shown, ended = [], []
    for index, sightings in enumerate(frames):
        tracker.advance(round(index * 1e9 / rate))
        out = tracker.update(sightings)
        shown.append({at: number for number, at in out.shown})
        ended.append(out.ended)
    return shown, ended, tracker


def walkers(rate, seconds, *lines):
    """Frames of people (x0, y, pixels a second, colour)."""
    return [
        [sighting(x + speed * t / rate, y, colour=colour) for x, y, speed, colour in lines]
        for t in range(round(seconds * rate))
    ]


def test_smoke_nobody():
    shown, ended, tracker = follow([[], [], []], 10.0)
    assert shown == [{}] * 3 and ended == [()] * 3 and tracker.end() == ()


@RATES
def test_a_walker_is_shown_from_the_third_sighting_with_number_one(rate):
    shown, _, tracker = follow(walkers(rate, 2, (100, 200, 90, RED)), rate)
    assert shown[:2] == [{}, {}]
    assert all(frame == {0: 1} for frame in shown[2:])
    assert tracker.end() == (1,) and tracker.end() == ()


@RATES
def test_an_occlusion_of_half_a_second_keeps_the_number(rate):
    frames = walkers(rate, 3, (100, 200, 90, RED))
    hidden = range(round(1.2 * rate), round(1.8 * rate))
    frames = [[] if i in hidden else frame for i, frame in enumerate(frames)]
    shown, ended, _ = follow(frames, rate)
    assert shown[-1] == {0: 1} and not any(ended)
    assert all(shown[i] == {} for i in hidden), "nobody is made up while unseen"
    assert shown[hidden.stop] == {0: 1}


@RATES
def test_numbers_survive_a_crossing(rate):
    frames = walkers(rate, 4, (100, 200, 100, RED), (500, 205, -100, BLUE))
    middle = range(round(1.8 * rate), round(2.2 * rate))  # the nearer hides the other
    frames = [frame[1:] if i in middle else frame for i, frame in enumerate(frames)]
    shown, _, _ = follow(frames, rate)
    first, last = shown[len(frames) // 4], shown[-1]
    assert set(first.values()) == {1, 2} and first == last


@RATES
def test_two_who_meet_and_turn_back_keep_their_numbers_by_clothing(rate):
    frames = []
    for t in range(round(4 * rate)):
        gap = abs(2 - t / rate) * 60 + 8
        frames.append([sighting(300 - gap, 200, colour=RED), sighting(300 + gap, 200, colour=BLUE)])
    shown, _, _ = follow(frames, rate)
    assert shown[round(rate)] == shown[-1]


@RATES
def test_a_track_ends_once_and_its_number_never_returns(rate):
    frames = walkers(rate, 1, (100, 200, 0, RED)) + [[] for _ in range(round(3 * rate))]
    frames += walkers(rate, 1, (100, 200, 0, RED))
    shown, ended, _ = follow(frames, rate, memory_s=1.5)
    said = [(i, number) for i, numbers in enumerate(ended) for number in numbers]
    assert [number for _, number in said] == [1]
    assert said[0][0] / rate == pytest.approx(1 + 1.5, abs=2.5 / rate)
    assert shown[-1] == {0: 2}


def test_nobody_jumps():
    frames = walkers(10, 1, (100, 200, 0, RED)) + walkers(10, 1, (400, 200, 0, RED))
    shown, _, _ = follow(frames, 10.0)
    assert shown[9] == {0: 1} and shown[-1] == {0: 2}


def test_a_single_flash_is_never_shown():
    frames = [[sighting(100 + 150 * (i % 4), 200)] if i % 3 == 0 else [] for i in range(30)]
    shown, ended, _ = follow(frames, 10.0)
    assert not any(shown) and not any(ended)


def test_first_hits_is_settable():
    shown, _, _ = follow(walkers(10, 1, (100, 200, 50, RED)), 10.0, first_hits=1)
    assert shown[0] == {0: 1}
    shown, _, _ = follow(walkers(10, 1, (100, 200, 50, RED)), 10.0, first_hits=6)
    assert shown[4] == {} and shown[5] == {0: 1}


def test_frames_that_a_camera_drops_do_not_break_a_track():
    tracker = PersonTracker(TrackingConfig(), 25.0)
    numbers = []
    for t in [0, 1, 2, 3, 4, 9, 10, 14, 22, 23]:
        tracker.advance(t * 40_000_000)
        numbers.append(tracker.update([sighting(100 + 5 * t, 200)]).shown)
    assert numbers[-1] == ((1, 0),)


def test_somebody_unseen_in_the_same_place_makes_a_mask_crowded():
    frames = walkers(10, 1, (100, 200, 0, RED), (112, 200, 0, BLUE))
    tracker = PersonTracker(TrackingConfig(), 10.0)
    for index, frame in enumerate(frames):
        tracker.advance(index * 100_000_000)
        assert not tracker.update(frame).crowded
    tracker.advance(10**9)
    assert tracker.update([sighting(112, 200, colour=BLUE)]).crowded == {0}


def test_a_skipped_turn_is_no_miss():
    tracker = PersonTracker(TrackingConfig(first_hits=3), 10.0)
    shown = []
    for index in range(9):
        tracker.advance(index * 100_000_000)
        keys = [one.key for one in tracker.expected()]
        seen = index % 3 == 0
        shown.append(tracker.update([sighting(100, 200)] if seen else [], () if seen else keys))
    assert shown[6].shown == ((1, 0),)


people = st.lists(
    st.tuples(st.integers(0, 600), st.integers(100, 300), st.sampled_from([RED, BLUE, GREEN])),
    max_size=4,
)


@given(st.lists(people, max_size=25), st.sampled_from([10.0, 25.0]))
@settings(max_examples=40, deadline=None)
def test_property_numbers_are_unique_ended_once_and_repeatable(frames, rate):
    frames = [[sighting(x, y, colour=c) for x, y, c in frame] for frame in frames]
    shown, ended, tracker = follow(frames, rate, first_hits=2, memory_s=0.3)
    again = follow(frames, rate, first_hits=2, memory_s=0.3)
    assert (shown, ended) == again[:2] and tracker.end() == again[2].end()
    over = set()
    for frame, numbers in zip(shown, ended, strict=True):
        assert len(set(frame.values())) == len(frame)
        assert not over & set(frame.values())
        assert not over & set(numbers) and len(set(numbers)) == len(numbers)
        over |= set(numbers)
    issued = {number for frame in shown for number in frame.values()}
    assert issued == set(range(1, len(issued) + 1))


@given(st.floats(0, 3), st.floats(0.1, 5), st.floats(0, 1))
def test_property_distance_grows_with_every_doubt(gap, ratio, unlike):
    base = match_distance(gap, ratio, unlike, 0.5, 1.0)
    assert base >= 0 and np.isfinite(base)
    assert match_distance(gap + 0.1, ratio, unlike, 0.5, 1.0) >= base
    assert match_distance(gap, ratio, min(1.0, unlike + 0.1), 0.5, 1.0) >= base
