"""The rasteriser on shapes whose pixels can be counted by hand."""

import numpy as np
import pytest

pytest.importorskip("numba")

from stages.human import rasteriser
from stages.human.rasteriser import NOBODY, Buffers, Camera, block_mean, draw

# 10 px per metre at 1 m, looking along +z from the origin; the image spans 2 m × 1 m there.
CAMERA = Camera(
    k=np.array([[10.0, 0, 10], [0, 10.0, 5], [0, 0, 1]]),
    r=np.eye(3),
    t=np.zeros(3),
    size_wh=(20, 10),
)
# Counter-clockwise seen by the camera: y points down in its axes.
FACES = np.array([[0, 2, 1], [0, 3, 2]], np.int32)


def quad(left, top, right, bottom, z=1.0):
    """A rectangle facing the camera; its sides in pixels at depth 1, scaled to stay put at z."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return np.array([[(x - 10) / 10 * z, (y - 5) / 10 * z, z] for x, y in corners])


def flat(colour):
    return np.tile(np.asarray(colour, np.float32), (4, 1))


def test_golden_quad_covers_its_pixels():
    buffers = Buffers.empty((20, 10), supersampling=1)
    draw(buffers, CAMERA, quad(3, 2, 9, 6), FACES, flat([1, 0.5, 0]), person=7)
    expected = np.full((10, 20), NOBODY)
    expected[2:6, 3:9] = 7
    assert (buffers.person == expected).all()
    np.testing.assert_allclose(buffers.depth[2:6, 3:9], 1.0, rtol=1e-6)
    np.testing.assert_allclose(buffers.colour[3, 5], [1, 0.5, 0], rtol=1e-6)
    assert np.isinf(buffers.depth[0, 0])


def test_golden_supersampling_gives_partial_cover():
    buffers = Buffers.empty((20, 10), supersampling=2)
    draw(buffers, CAMERA, quad(3, 2, 9.5, 6), FACES, flat([1, 1, 1]))
    cover = block_mean(np.isfinite(buffers.depth), 2)
    assert cover.shape == (10, 20)
    np.testing.assert_allclose(cover[3, [2, 3, 8, 9, 10]], [0, 1, 1, 0.5, 0])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_golden_nearer_hides_farther(order):
    buffers = Buffers.empty((20, 10), supersampling=1)
    quads = [quad(0, 0, 10, 10, z=2.0), quad(5, 0, 15, 10, z=1.5)]
    for i in order:
        draw(buffers, CAMERA, quads[i], FACES, flat([i, i, i]), person=i)
    assert (buffers.person[:, :5] == 0).all()
    assert (buffers.person[:, 5:15] == 1).all()
    assert (buffers.person[:, 15:] == NOBODY).all()


def test_golden_colour_is_perspective_correct():
    # A strip from depth 1 (left) to depth 3 (right): its middle in the world is not the image's.
    strip = np.array([[-1.0, -0.5, 1], [3.0, -1.5, 3], [3.0, 1.5, 3], [-1.0, 0.5, 1]])
    ramp = np.array([[0.0] * 3, [1.0] * 3, [1.0] * 3, [0.0] * 3], np.float32)
    buffers = Buffers.empty((20, 10), supersampling=1)
    draw(buffers, CAMERA, strip, FACES, ramp)
    z = buffers.depth[5, :20]
    np.testing.assert_allclose(buffers.colour[5, :20, 0], (z - 1) / 2, atol=1e-5)
    assert z[10] == pytest.approx(1 / (1 - (10.5 / 20) * 2 / 3), rel=1e-5)


def test_golden_faces_seen_from_behind_are_culled():
    buffers = Buffers.empty((20, 10), supersampling=1)
    draw(buffers, CAMERA, quad(3, 2, 9, 6), FACES[:, ::-1], flat([1, 1, 1]), person=1)
    assert (buffers.person == NOBODY).all()
    draw(buffers, CAMERA, quad(3, 2, 9, 6), FACES[:, ::-1], flat([1, 1, 1]), person=1, cull=False)
    assert (buffers.person == 1).sum() == 24


def test_smoke_nothing_to_draw():
    buffers = Buffers.empty((20, 10))
    draw(buffers, CAMERA, np.zeros((0, 3)), np.zeros((0, 3), np.int32), np.zeros((0, 3)))
    draw(buffers, CAMERA, quad(3, 2, 9, 6, z=-1.0), FACES, flat([1, 1, 1]))  # behind the camera
    draw(buffers, CAMERA, quad(50, 2, 90, 6), FACES, flat([1, 1, 1]))  # beside the image
    assert np.isinf(buffers.depth).all()


def test_exception_indices_outside_the_mesh():
    with pytest.raises(ValueError, match=r"expected face indices in 0\.\.3, got 2\.\.5"):
        draw(Buffers.empty((4, 4)), CAMERA, quad(0, 0, 1, 1), FACES + 2, flat([1] * 3))


def test_parity_window_equals_whole_image():
    direct = Buffers.empty((20, 10))
    window = Buffers.empty((8, 8), origin_xy=(-2, 4))
    draw(direct, CAMERA, quad(-1, 5, 5, 9), FACES, flat([1, 0, 0]), person=2)
    draw(window, CAMERA, quad(-1, 5, 5, 9), FACES, flat([1, 0, 0]), person=2)
    scale = direct.supersampling
    both = direct.person[4 * scale : 10 * scale, : 6 * scale]
    assert (window.person[: 6 * scale, 2 * scale :] == both).all()
    assert (window.person == 2).sum() == 4 * 6 * 4  # the part left of the image is there too


def test_property_normals_point_outward():
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    hull = pytest.importorskip("scipy.spatial").ConvexHull(corners)
    faces = hull.simplices.astype(np.int32)
    sides = np.cross(*(corners[faces[:, i]] - corners[faces[:, 0]] for i in (1, 2)))
    inward = (sides * corners[faces].mean(axis=1)).sum(axis=1) < 0
    faces[inward] = faces[inward][:, ::-1]
    normals = rasteriser.vertex_normals(corners, faces)
    assert ((normals * corners).sum(axis=1) > 0.8).all()


def test_golden_srgb_round_trip():
    linear = rasteriser.from_srgb("#0a80ff")
    np.testing.assert_allclose(rasteriser.to_srgb(linear), [10, 128, 255], atol=0.01)
