"""Shadows fall on the floor, away from the lamp, and where the feet are."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from stages.human.rasteriser import look_at
from stages.human.scenes.lighting import SceneLight
from stages.human.scenes.shadows import (
    BODY_DEPTH,
    Caster,
    floor_places,
    floor_shade,
    shadows_of,
)

CAMERA = look_at(np.array([0.0, -8.0, 3.0]), np.array([0.0, 0.0, 0.5]), 400.0, (320, 200))
UP = np.array([0.0, 0.0, 1.0])


def light(direction, lamp=1.0, softness=0.02):
    unit = np.array(direction, float) / np.linalg.norm(direction)
    grey = np.ones(3, np.float32)
    return SceneLight(unit, lamp * grey, 0.5 * grey, 0.2 * grey, softness)


def post(x=0.0, y=0.0):
    """A post of 1.5 m with feet beside it."""
    a = 0.1
    ring = [(x - a, y - a), (x + a, y - a), (x + a, y + a), (x - a, y + a)]
    vertices = np.array([(*p, z) for z in (0, 1.5) for p in ring], np.float32)
    sides = [[k, (k + 1) % 4, (k + 1) % 4 + 4, k + 4] for k in range(4)]
    faces = np.array([t for q in sides for t in (q[:3], [q[0], q[2], q[3]])], np.int32)
    joints = np.tile([x, y, 0.9], (24, 1)).astype(float)
    for ankle, ball, side in ((7, 10, 0.1), (8, 11, -0.1)):
        joints[ankle], joints[ball] = (x + side, y, 0.08), (x + side, y - 0.13, 0.02)
    return Caster(vertices, faces, joints)


def shade_of(shadows):
    window = (0, 0, *CAMERA.size_wh)
    return floor_shade(shadows, window, np.ones(CAMERA.size_wh[::-1], np.float32))


def at(x, y):
    point, _ = CAMERA.project(np.array([[x, y, 0.0]]))
    return int(point[0, 1]), int(point[0, 0])


def test_golden_shadow_falls_away_from_the_lamp():
    shade = shade_of(shadows_of(CAMERA, light((-1, 0, 1)), post()))
    depth = light((-1, 0, 1)).shadow_depth
    assert shade[at(1.0, 0.0)] == pytest.approx(1 - depth, abs=0.05)
    assert shade[at(-1.5, 0.0)] == 1.0
    assert shade[at(0.0, -1.8)] == 1.0


def test_golden_dark_under_the_feet_without_a_lamp():
    shade = shade_of(shadows_of(CAMERA, light(UP, lamp=0.0), post()))
    assert shade[at(0.1, -0.06)] < 0.5
    assert 1 - BODY_DEPTH - 0.02 < shade[at(0.3, 0.25)] < 0.97
    lifted = post()
    lifted.joints[[10, 7], 2] += 0.3
    assert shade_of(shadows_of(CAMERA, light(UP, lamp=0.0), lifted))[at(0.1, -0.06)] > 0.6


def test_golden_soft_light_smears_the_edge():
    row = at(0.8, 0.0)[0]
    edge = [
        np.abs(np.diff(shade_of(shadows_of(CAMERA, light((-1, 0, 1), 1.0, soft), post()))[row]))
        for soft in (0.01, 0.25)
    ]
    assert edge[1].max() < edge[0].max()
    sums = [
        shade_of(shadows_of(CAMERA, light((-1, 0, 1), 1.0, s), post())).sum() for s in (0.01, 0.25)
    ]
    assert sums[0] == pytest.approx(sums[1], rel=0.01)  # as much light is missing


def test_golden_no_floor_no_shadow():
    shadows = shadows_of(CAMERA, light((-1, 0, 1)), post())
    bare = np.zeros(CAMERA.size_wh[::-1], np.float32)
    assert (floor_shade(shadows, (0, 0, *CAMERA.size_wh), bare) == 1).all()


def test_golden_shadow_out_of_the_picture_is_none():
    assert shadows_of(CAMERA, light(UP), post(50.0, 0.0)) == []


def test_golden_floor_places_are_what_the_camera_projects():
    x, y = floor_places(CAMERA)
    for place in ((0.0, 0.0), (1.2, 2.0), (-0.7, -1.0)):
        row, column = at(*place)
        assert x[row, column] == pytest.approx(place[0], abs=0.05)
        assert y[row, column] == pytest.approx(place[1], abs=0.15)
    level = look_at(np.array([0.0, -8.0, 1.0]), np.array([0.0, 0.0, 1.0]), 400.0, (320, 200))
    above, _ = floor_places(level)
    assert np.isinf(above[:100]).all() and np.isfinite(above[101:]).all()
