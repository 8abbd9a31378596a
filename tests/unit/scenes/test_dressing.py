"""Dressed people: whole surfaces, clean hems, skirts that go around both legs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from stages.human.scenes.clothing_colours import Look, draw_look
from stages.human.scenes.cutting import Skin, cut
from stages.human.scenes.drapes3d import SPOKES, drape_faces, hang
from stages.human.scenes.dressing import dress
from stages.human.scenes.fabrics import TEXELS, WEAVES, draw_fabric
from stages.human.scenes.painting import PLAIN
from stages.human.walkers.bodies import load_mesh, load_walker_skeleton, pose_joints, skin
from stages.human.walkers.people import person
from stages.human.walkers.wardrobe import Drape, Outfit, draw_outfit


def clothes(number: int, dress_kind: str, seed: int) -> tuple[Outfit, Look]:
    somebody = person("train", number)
    rng = np.random.default_rng(seed)
    outfit = draw_outfit(dress_kind, somebody, rng)
    return outfit, draw_look(somebody, outfit, rng)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 40), st.sampled_from(["nm", "bg", "cl"]), st.integers(0, 40))
def test_property_figures_are_whole(number, kind, seed):
    outfit, look = clothes(number, kind, seed)
    figure = dress(person("train", number), outfit, look)
    surface, mesh = figure.surface, figure.mesh
    hung = sum(drape.vertex_count for drape in figure.drapes)
    assert len(surface.shelter) == len(mesh.template) + hung
    assert surface.faces.min() >= 0 and surface.faces.max() < len(surface.shelter)
    assert np.isfinite(mesh.template).all()
    assert np.allclose(mesh.weights.sum(axis=1), 1, atol=1e-5)
    assert mesh.joints.min() >= 0 and mesh.joints.max() < 24
    assert (surface.albedo >= 0).all() and surface.albedo.max() < 1.6
    assert surface.pattern.max() < len(surface.patterns) and surface.pattern.min() >= PLAIN
    assert len(figure.soles) > 20
    height = np.ptp(mesh.template[: len(load_mesh("full").template), 1])
    assert person("train", number).height_m <= height + 0.005
    assert height < person("train", number).height_m + 0.12


def test_golden_same_draws_same_figure():
    one, other = (dress(person("train", 5), *clothes(5, "cl", 9)) for _ in range(2))
    assert (one.mesh.template == other.mesh.template).all()
    assert (one.surface.albedo == other.surface.albedo).all()
    assert (one.surface.patterns == other.surface.patterns).all()


def test_golden_skin_and_hair_stay_the_persons_own():
    looks = [clothes(7, "nm", seed)[1] for seed in range(6)]
    assert all((look.skin == looks[0].skin).all() for look in looks)
    assert all((look.hair == looks[0].hair).all() for look in looks)
    assert len({tuple(look.upper) for look in looks}) > 3


def test_golden_cut_runs_along_the_line():
    mesh = load_mesh("full")
    body = Skin(mesh.template, mesh.template, mesh.joints, mesh.weights, mesh.faces)
    after = cut(body, body.rest[:, 1] - np.float32(0.1))
    side = after.rest[after.faces, 1] - 0.1
    crossing = (side.max(axis=1) > 1e-5) & (side.min(axis=1) < -1e-5)
    assert not crossing.any()
    assert (after.rest[: len(body.rest)] == body.rest).all()
    assert area(after) == pytest.approx(area(body), rel=1e-4)  # nothing is lost or doubled
    assert np.allclose(after.weights.sum(axis=1), 1, atol=1e-5)


def test_golden_cut_that_meets_nothing_changes_nothing():
    mesh = load_mesh("full")
    body = Skin(mesh.template, mesh.template, mesh.joints, mesh.weights, mesh.faces)
    assert cut(body, np.ones(len(body.rest), np.float32)) is body


def area(skin_: Skin) -> float:
    corner = skin_.rest[skin_.faces].astype(np.float64)
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    return float(np.linalg.norm(cross, axis=1).sum() / 2)


def test_golden_trousers_end_at_the_ankle_and_shorts_above_the_knee():
    somebody = person("train", 2)
    outfit, look = clothes(2, "nm", 3)
    joints = load_walker_skeleton().rest_joints(somebody.shape)
    for leg, level in ((2.0, joints[7, 1]), (0.8, joints[1, 1] * 0.2 + joints[4, 1] * 0.8)):
        wear = replace(look, leg=leg, lower=np.array([0.9, 0.0, 0.9], np.float32))
        figure = dress(somebody, replace(outfit, drape=None, solids=()), wear)
        is_cloth = (figure.surface.albedo == wear.lower).all(axis=1)
        lowest = figure.mesh.template[figure.surface.faces[is_cloth], 1].min()
        assert lowest == pytest.approx(level, abs=0.03)


def test_golden_skirt_goes_around_both_legs():
    somebody = person("train", 2)
    joints = load_walker_skeleton().rest_joints(somebody.shape)
    outfit, look = clothes(2, "nm", 3)
    skirt = Drape("skirt", joints[1, 1] + 0.08, joints[4, 1] - 0.05, 1.1)
    figure = dress(somebody, replace(outfit, drape=skirt, solids=()), look)
    posed = pose_joints(somebody.usual_gait.pose(np.linspace(0, 1, 8, False)), figure.rest_joints)
    skinned = skin(figure.mesh, figure.mesh.template, figure.rest_joints, posed)
    (drape,) = figure.drapes
    cloth = hang(drape, skinned, posed)
    assert cloth.shape == (8, drape.vertex_count, 3)
    rings = cloth[:, :-1].reshape(8, -1, SPOKES, 3)
    for knee in (4, 5):  # both knees are inside the ring at their height
        for frame in range(8):
            at = posed.joints[frame, knee]
            ring = np.abs(rings[frame, :, 0, 1] - at[1]).argmin()
            if abs(rings[frame, ring, 0, 1] - at[1]) > 0.05:
                continue  # lifted above or hanging below the cloth's hem
            low, high = rings[frame, ring].min(axis=0), rings[frame, ring].max(axis=0)
            assert low[0] < at[0] < high[0] and low[2] < at[2] < high[2]


def test_golden_drape_faces_look_outwards():
    angles = np.arange(SPOKES) * 2 * np.pi / SPOKES
    ring = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=1)
    points = np.concatenate([ring + np.array([0, 1, 0]), ring, [[0, 0, 0]]])
    faces = drape_faces(2)
    corner = points[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    middle = corner.mean(axis=1)
    sides = slice(0, -SPOKES)
    assert ((normal[sides] * (middle[sides] * [1, 0, 1])).sum(axis=1) > 0).all()
    assert (normal[-SPOKES:, 1] < 0).all()


@pytest.mark.parametrize("weave", WEAVES)
def test_shape_fabrics(weave):
    second = np.array([0.5, 2.0, 1.0], np.float32)
    fabric = draw_fabric(weave, second, np.random.default_rng(1))
    assert fabric.tile.shape == (TEXELS, TEXELS, 3) and fabric.tile.dtype == np.float32
    assert (fabric.tile > 0).all() and 0.01 < fabric.repeat_m < 0.5
    has_second = weave in ("stripes", "pinstripes", "checks", "tartan", "dots")
    hue = fabric.tile[..., 1] / fabric.tile[..., 0]  # 4 where the second colour is all there is
    assert (hue.max() > 1.5) == has_second
