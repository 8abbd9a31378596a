"""Ways through a place: from gate to gate, past the middle, into nobody and nothing."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from stages.human.rasteriser import look_at
from stages.human.scenes.passages import (
    APART_M,
    MIDDLE_M,
    _seen,
    draw_ways,
    free_box,
    gates_of,
    is_free,
)
from stages.human.scenes.places import draw_place
from stages.human.scenes.settings import PLACES

SIZE = (320, 180)


def cameras(azimuths=(0.0,)):
    out = []
    for azimuth in np.radians(azimuths):
        place = np.array([9 * np.sin(azimuth), -9 * np.cos(azimuth), 2.3])
        out.append(look_at(place, np.array([0.0, 0.0, 0.9]), 340.0, SIZE))
    return tuple(out)


@pytest.mark.parametrize("place", PLACES)
def test_property_ways_keep_clear(place):
    seen_from = cameras() if place == "corridor" else cameras((0.0, 90.0))
    stage = draw_place(place, np.random.default_rng(5))
    ways = draw_ways([1.2, 1.4, 1.0], 20.0, stage, seen_from, np.random.default_rng(6))
    assert {way.walker for way in ways} == {0, 1, 2}
    assert any(way.starts_s < 0 for way in ways) and max(way.ends_s for way in ways) > 20
    for way in ways:
        places = way.at(np.linspace(way.starts_s, way.ends_s, 60))
        assert np.hypot(*places.T).min() < MIDDLE_M + 0.1
        assert is_free(places, stage, seen_from)
    times = np.arange(0, 20, 0.2)
    for k, one in enumerate(ways):
        for other in ways[k + 1 :]:
            both = times[(times > max(one.starts_s, other.starts_s))
                         & (times < min(one.ends_s, other.ends_s))]  # fmt: skip
            if one.walker == other.walker:
                assert not len(both)
            elif len(both):
                assert np.hypot(*(one.at(both) - other.at(both)).T).min() > 0.8 * APART_M


@pytest.mark.parametrize("place", PLACES)
def test_golden_gates_are_doorways_or_out_of_sight(place):
    seen_from = cameras()
    stage = draw_place(place, np.random.default_rng(2))
    gates = gates_of(stage, seen_from)
    low, high = free_box(stage)
    inside = ((gates > low) & (gates < high)).all(axis=1)
    assert inside.any() and (~inside).any()
    assert not any(_seen(gate, seen_from) for gate in gates[inside])
    assert _seen(np.zeros(2), seen_from)


def test_golden_same_seed_same_ways():
    stage = draw_place("hall", np.random.default_rng(1))
    one, other = (
        draw_ways([1.2] * 5, 30.0, stage, cameras(), np.random.default_rng(3)) for _ in range(2)
    )
    assert one == other
