"""Clothes, views, masks and landmarks of a walk."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.human.rotation import axis_angle_to_matrix
from stages.human.walkers.bodies import load_mesh, load_walker_skeleton, pose_joints
from stages.human.walkers.landmarks import true_landmarks
from stages.human.walkers.people import person
from stages.human.walkers.silhouettes import Mask, draw_walk, fill
from stages.human.walkers.viewing import BODY_TO_WORLD, View, draw_view, to_world
from stages.human.walkers.wardrobe import DRESSES, Drape, Outfit, draw_outfit

WALKER = person("train", 1)
REST = load_walker_skeleton().rest_joints(WALKER.shape)


def masks_of(outfit: Outfit, azimuth: float, phases: np.ndarray) -> list[Mask]:
    mesh = load_mesh()
    posed = pose_joints(WALKER.usual_gait.pose(phases), REST)
    view = View(azimuth, 0.0, 8.0, 120.0)
    travel = np.zeros((len(phases), 3))
    shaped = mesh.shaped(WALKER.shape)
    return draw_walk(mesh, shaped, REST, posed, travel, outfit, view.camera())


def plain(**changes: object) -> Outfit:
    made = draw_outfit("nm", WALKER, np.random.default_rng(3))
    fields = {"solids": (), "drape": None} | changes
    return Outfit(**({k: getattr(made, k) for k in made.__dataclass_fields__} | fields))


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_parity_triangles_are_opencvs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(5, 60, (3, 2)).astype(np.float32)
    a, b, c = points
    if (b - a)[0] * (c - a)[1] - (c - a)[0] * (b - a)[1] > 0:
        points = points[::-1].copy()
    mask = fill(points, np.array([[0, 1, 2]], np.int32), [])
    wanted = np.zeros((80, 80), np.uint8)
    fixed = np.round((points - 0.5) * 16).astype(np.int32)
    cv2.fillConvexPoly(wanted, fixed, (255,), cv2.LINE_8, 4)
    full = np.zeros_like(wanted)
    x, y = mask.origin_xy
    h, w = mask.pixels.shape
    full[y : y + h, x : x + w] = mask.pixels[: 80 - y, : 80 - x]
    # OpenCV paints the outline too; ours, what a pixel's middle meets.
    assert not ((full > 0) & (wanted == 0)).any()
    inner = cv2.erode(wanted, np.ones((3, 3), np.uint8))
    assert not ((inner > 0) & (full == 0)).any()


def test_shape_masks_hold_the_person() -> None:
    for mask in masks_of(plain(), 90, np.array([0.0, 0.4])):
        assert mask.pixels.dtype == np.uint8
        assert set(np.unique(mask.pixels)) == {0, 255}
        assert not mask.pixels[0].any() and not mask.pixels[:, 0].any()  # a margin
        rows = np.flatnonzero(mask.pixels.any(axis=1))
        assert rows[-1] - rows[0] == pytest.approx(120 * WALKER.height_m / 1.7, rel=0.12)
        _, _, figures, _ = cv2.connectedComponentsWithStats(mask.pixels)
        areas = np.sort(figures[1:, cv2.CC_STAT_AREA])
        assert areas[-1] > 0.97 * areas.sum()  # in one piece, but for a fingertip


def test_property_clothes_make_wider() -> None:
    thin = plain(thickness=np.zeros(8, np.float32))
    thick = plain(thickness=np.full(8, 0.04, np.float32))
    areas = [masks_of(o, 60, np.array([0.2]))[0].pixels.astype(bool).sum() for o in (thin, thick)]
    assert areas[1] > 1.25 * areas[0]


def test_property_a_skirt_closes_the_gap_between_the_legs() -> None:
    hip, ankle = REST[1, 1], REST[7, 1]
    skirt = plain(drape=Drape("skirt", float(hip + 0.05), float(ankle + 0.1), 1.1))
    for with_it, without in zip(
        masks_of(skirt, 90, np.array([0.0])), masks_of(plain(), 90, np.array([0.0])), strict=True
    ):
        lower = slice(int(0.6 * len(without.pixels)), int(0.85 * len(without.pixels)))
        assert (
            with_it.pixels[lower].astype(bool).sum()
            > 1.15 * without.pixels[lower].astype(bool).sum()
        )


@pytest.mark.parametrize("dress", DRESSES)
def test_property_outfits_differ_between_draws_only(dress: str) -> None:
    one, same, other = (
        draw_outfit(dress, WALKER, np.random.default_rng(seed))  # type: ignore[arg-type]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.thickness, same.thickness)
    assert not np.array_equal(one.thickness, other.thickness)
    kinds = [solid.kind for solid in one.solids]
    assert (dress == "bg") == any(k in ("backpack", "shoulder", "hand", "parcel") for k in kinds)


@pytest.mark.parametrize(
    ("azimuth", "nearer", "farther"), [(0, 0, 29), (180, 29, 0), (90, 23, 24), (270, 24, 23)]
)
def test_golden_azimuths_show_what_they_say(azimuth: int, nearer: int, farther: int) -> None:
    # Landmarks: 0 nose, 23 and 24 left and right hip, 29 left heel.
    rest = np.zeros((1, 24, 3))
    world = to_world(true_landmarks(axis_angle_to_matrix(rest), REST))
    camera = View(azimuth, 0.0, 8.0, 100.0).camera()
    _, depth = camera.project(world[0])
    assert depth[nearer] < depth[farther]


def test_golden_left_is_right_in_the_picture_of_who_faces_us() -> None:
    world = to_world(true_landmarks(axis_angle_to_matrix(np.zeros((1, 24, 3))), REST))
    image, _ = View(0, 0.0, 8.0, 100.0).camera().project(world[0])
    assert image[15, 0] > image[16, 0]  # wrists
    assert image[0, 1] < image[27, 1]  # the nose above the ankle
    assert np.linalg.det(BODY_TO_WORLD) == pytest.approx(1)


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_property_views_stay_in_their_ranges(seed: int) -> None:
    view = draw_view(725.0, np.random.default_rng(seed), (5, 10), (4, 6), (60, 80))
    assert view.azimuth_deg == pytest.approx(5)
    assert 5 <= view.elevation_deg <= 10
    assert 4 <= view.distance_m <= 6.0001
    assert 60 <= view.height_px <= 80.0001
    # Somebody at the origin is as tall as asked for.
    image, _ = view.camera().project(np.array([[0, 0, 0.05], [0, 0, 1.75]]))
    assert image[0, 1] - image[1, 1] == pytest.approx(view.height_px, rel=0.12)
