"""Ways over the floor: they lead where they were planned, and the standing foot stays put."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from stages.human.scenes.clothing_colours import draw_look
from stages.human.scenes.dressing import Figure, dress
from stages.human.scenes.moving import PHASES, Stride3d, stride_of
from stages.human.scenes.passages import arc_places
from stages.human.scenes.routes import Arc, placed, walk_route
from stages.human.walkers.people import person, shipped_population
from stages.human.walkers.wardrobe import draw_outfit

SOMEBODY = person("test", 3, population=shipped_population("test", planted=True))

# A sole lower than this may bear weight: a swinging foot that sinks in lifts the other a little.
STANDS_M = 0.025


@cache
def figure() -> Figure:
    rng = np.random.default_rng(4)
    outfit = draw_outfit("nm", SOMEBODY, rng)
    return dress(SOMEBODY, outfit, draw_look(SOMEBODY, outfit, rng))


@cache
def stride() -> Stride3d:
    return stride_of(figure(), SOMEBODY.usual_gait, SOMEBODY.leg_m)


@given(
    st.tuples(*[st.floats(-20, 20)] * 2),
    st.tuples(*[st.floats(-20, 20)] * 2),
    st.floats(-2.5, 2.5),
)
def test_property_arc_begins_and_ends_where_it_says(start, end, bend):
    if np.hypot(*np.subtract(start, end)) < 0.5:
        return
    arc = Arc(start, end, bend)
    places = arc_places(arc, np.linspace(0, 1, 400))
    assert places[0] == pytest.approx(start, abs=1e-6)
    assert places[-1] == pytest.approx(end, abs=1e-6)
    length = np.hypot(*np.diff(places, axis=0).T).sum()
    assert length == pytest.approx(arc.length_m, rel=1e-3)
    first = np.arctan2(*(places[1] - places[0])[::-1])
    gap = (first - arc.heading_rad(0.0) + np.pi) % (2 * np.pi) - np.pi
    assert abs(gap) < 0.02


@pytest.mark.parametrize("bend", [0.0, 0.9, -0.9])
def test_golden_route_leads_from_start_to_end(bend):
    arc = Arc((-4.0, 1.0), (5.0, 3.0), bend)
    route = walk_route(arc, stride(), 0.25)
    # Turning about the standing foot swings the body a little off the arc.
    assert route.places[0] == pytest.approx(arc.start_xy_m, abs=0.4)
    assert route.places[-1] == pytest.approx(arc.end_xy_m, abs=0.4)
    assert route.turns[0] == pytest.approx(arc.heading_rad(0) + np.pi / 2)
    assert route.turns[-1] == pytest.approx(arc.heading_rad(1) + np.pi / 2)
    wanted = arc.length_m / stride().speed_mps
    assert route.duration_s == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("bend", [0.0, 1.0])
def test_golden_standing_foot_does_not_skate(bend):
    route = walk_route(Arc((-4.0, 0.0), (4.0, 0.0), bend), stride())
    soles = figure().soles
    fps = 25
    seen = []
    for frame in range(int(route.duration_s * fps)):
        place, turn, phase = route.at(frame / fps)
        seen.append(placed(stride().at(phase), place, turn).vertices[soles])
    feet = np.array(seen)
    moved = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=-1)
    slid = []
    for frame in range(len(moved)):
        low = (feet[frame, :, 2] < STANDS_M) & (feet[frame + 1, :, 2] < STANDS_M)
        if low.any():
            slid.append(moved[frame, low].min())
    assert len(slid) > 0.8 * len(moved)  # somebody who walks has a foot down
    # In metres a frame of 40 ms; a walker covers 45 mm in that time.
    assert np.median(slid) < 0.004
    assert np.percentile(slid, 95) < 0.012


def test_golden_walker_stands_on_the_floor():
    lowest = stride().vertices[:, figure().soles, 2].min(axis=1)
    assert np.abs(lowest).max() < 0.03


@settings(max_examples=20)
@given(st.floats(-3, 3))
def test_property_stride_repeats(phase):
    one, other = stride().at(phase), stride().at(phase + 1)
    assert np.allclose(one.vertices, other.vertices, atol=1e-4)
    assert np.allclose(one.joints, other.joints, atol=1e-6)


def test_golden_joints_lie_within_the_mesh():
    moment = stride().at(0.3)
    low, high = moment.vertices.min(axis=0), moment.vertices.max(axis=0)
    assert (moment.joints > low - 0.01).all() and (moment.joints < high + 0.01).all()


def test_shape_stride():
    s = stride()
    count = len(figure().surface.shelter)
    assert s.vertices.shape == s.normals.shape == (PHASES, count, 3)
    assert s.path.shape == (PHASES + 1, 2) and s.bearing.shape == (PHASES, 2)
    assert 0.6 < s.speed_mps < 2.2
