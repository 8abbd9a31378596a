"""The painter on shapes whose pixels can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from stages.human.rasteriser import NOBODY, Buffers, Camera
from stages.human.scenes.painting import (
    PLAIN,
    Surface,
    add_grain,
    cover,
    lay_over,
    mask_of,
    paint,
    project,
    put_in_front,
    srgb_table,
)

# 10 px per metre at 1 m, looking along +z from the origin.
CAMERA = Camera(
    np.array([[10.0, 0, 10], [0, 10.0, 5], [0, 0, 1]]), np.eye(3), np.zeros(3), (20, 10)
)
# Counter-clockwise seen by the camera: y points down in its axes.
FACES = np.array([[0, 2, 1], [0, 3, 2]], np.int32)
RED, WHITE = (1.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def quad(left, top, right, bottom, z=1.0):
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return np.array([[(x - 10) / 10 * z, (y - 5) / 10 * z, z] for x, y in corners], np.float32)


def surface(colour, pattern=PLAIN, patterns=None, faces=FACES):
    count = len(faces)
    uv = np.zeros((count, 3, 2), np.float32)
    uv[0], uv[1] = [(0, 0), (1, 1), (1, 0)], [(0, 0), (0, 1), (1, 1)]
    return Surface(
        faces,
        np.tile(np.asarray(colour, np.float32), (count, 1)),
        np.ones(4, np.float32),
        np.full(count, pattern, np.int16),
        uv,
        np.zeros((0, 1, 1, 3), np.float32) if patterns is None else patterns,
    )


def painted(vertices, what, person=0, size=(20, 10), s=1):
    buffers = Buffers.empty(size, supersampling=s)
    light = np.ones((4, 3), np.float32)
    paint(buffers, *project(CAMERA, vertices), light, what, person)
    return buffers


def test_golden_fills_the_pixels_it_covers():
    buffers = painted(quad(4, 2, 8, 5), surface(RED))
    wanted = np.zeros((10, 20), bool)
    wanted[2:5, 4:8] = True
    assert ((buffers.person == 0) == wanted).all()
    assert (buffers.colour[wanted] == np.float32(RED)).all()
    assert np.allclose(buffers.depth[wanted], 1.0)
    assert (mask_of(buffers, 0) == wanted).all() and not mask_of(buffers, 1).any()


def test_golden_leaves_out_what_looks_away():
    assert (painted(quad(4, 2, 8, 5), surface(RED, faces=FACES[:, ::-1])).person == NOBODY).all()


def test_golden_pattern_repeats_over_the_cloth():
    tile = np.ones((1, 2, 2, 3), np.float32)
    tile[0, :, 1] = 0.25  # the right half of a repeat is dark
    buffers = painted(quad(4, 2, 12, 6), surface(WHITE, 0, tile))
    assert np.allclose(buffers.colour[2:6, 4:8], 1.0)
    assert np.allclose(buffers.colour[2:6, 8:12], 0.25)


def test_golden_nearer_wins_and_masks_tell_who_is_seen():
    together = Buffers.empty((20, 10), supersampling=2)
    for person, z, x in ((0, 2.0, 4), (1, 1.0, 6)):
        put_in_front(together, painted(quad(x, 2, x + 4, 6, z), surface(RED), person, s=2))
    assert mask_of(together, 0).sum() == 2 * 4 and mask_of(together, 1).sum() == 4 * 4


@pytest.mark.parametrize("origin", [(0, 0), (-3, 2), (15, 7), (40, 0)])
def test_parity_put_in_front_sample_by_sample(origin):
    alone = Buffers.empty((8, 6), origin, 2)
    rng = np.random.default_rng(1)
    alone.depth[...] = rng.uniform(0.5, 2, alone.depth.shape)
    alone.person[...], alone.colour[...] = 3, rng.uniform(size=alone.colour.shape)
    into, want = (Buffers.empty((20, 10), supersampling=2) for _ in range(2))
    into.depth[...] = want.depth[...] = 1.0
    for row, column in np.ndindex(alone.depth.shape):
        y, x = row + 2 * origin[1], column + 2 * origin[0]
        inside = 0 <= y < want.depth.shape[0] and 0 <= x < want.depth.shape[1]
        if inside and alone.depth[row, column] < 1.0:
            for name in ("depth", "person", "colour"):
                getattr(want, name)[y, x] = getattr(alone, name)[row, column]
    put_in_front(into, alone)
    assert (into.person == want.person).all() and (into.depth == want.depth).all()
    assert (into.colour == want.colour).all()


def test_parity_project():
    points = np.random.default_rng(2).normal(0, 1, (50, 3)) + np.array([0, 0, 5])
    one, depth = CAMERA.project(points)
    other, deep = project(CAMERA, points.astype(np.float32))
    assert np.allclose(one, other, atol=1e-3) and np.allclose(depth, deep, atol=1e-5)


def test_golden_lay_over_changes_only_what_is_covered_or_shaded():
    people = Buffers.empty((4, 3), (2, 1), 2)
    people.person[0:2, 0:2], people.colour[0:2, 0:2] = 0, 1.0  # one whole pixel
    people.person[0:2, 2:3], people.colour[0:2, 2:3] = 0, 1.0  # half a pixel
    shade = np.ones((3, 4), np.float32)
    shade[2, 3] = 0.5
    frame = np.full((6, 8, 3), 7, np.uint8)
    backdrop = np.full((6, 8, 3), 0.5, np.float32)
    lay_over(frame, backdrop, shade, people, np.array([1.0, 0.5, 0.0], np.float32))
    table = srgb_table()

    def level(linear):
        return table[int(linear * (len(table) - 1) + 0.5)]

    assert frame[1, 2].tolist() == [level(0), level(0.5), level(1)]  # BGR
    assert frame[1, 3].tolist() == [level(0.25), level(0.5), level(0.75)]
    assert frame[3, 5].tolist() == [level(0.25)] * 3
    frame[1, 2] = frame[1, 3] = frame[3, 5] = 7
    assert (frame == 7).all()


def test_golden_cover_fills_either_way_round():
    for faces in (FACES, FACES[:, ::-1]):
        mask = np.zeros((6, 8), np.uint8)
        points, _ = project(CAMERA, quad(4, 2, 8, 5))
        cover(mask, (2, 1), points, np.ascontiguousarray(faces))
        assert mask[1:4, 2:6].all() and mask.sum() == 255 * 12


def test_golden_grain_saturates():
    frame = np.array([[[0, 250, 100]]], np.uint8)
    add_grain(frame, np.full((3, 3, 3), [-9, 9, 9], np.int8), (1, 2))
    assert frame.tolist() == [[[0, 255, 109]]]


def test_exception_surface_of_other_lengths():
    good = surface(RED)
    with pytest.raises(ValueError, match=r"expected uv \[2, 3, 2\], got \[1, 3, 2\]"):
        Surface(good.faces, good.albedo, good.shelter, good.pattern, good.uv[:1], good.patterns)
