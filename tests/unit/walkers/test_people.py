"""Bodies and people."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.human.body import load_body
from stages.human.walkers.bodies import (
    GROUPS,
    draw_shape,
    load_mesh,
    load_walker_skeleton,
    pose_joints,
    skin,
)
from stages.human.walkers.builds import build_of_shape, draw_body, third_of, volume_m3
from stages.human.walkers.people import person, shipped_population


def height_of(shape: np.ndarray) -> float:
    return float(np.ptp(load_mesh().shaped(shape)[:, 1]))


def test_parity_skinning_is_the_body_models() -> None:
    walker = person("train", 2)
    pose = walker.usual_gait.pose(np.array([0.0, 0.3]))
    mesh = load_mesh("full")
    rest_joints = load_walker_skeleton().rest_joints(walker.shape)
    posed = pose_joints(pose, rest_joints)
    ours = skin(mesh, mesh.shaped(walker.shape), rest_joints, posed)
    body = load_body()
    theirs = body(
        torch.from_numpy(pose).float(),
        torch.from_numpy(np.tile(walker.shape, (2, 1))).float(),
    )
    # Four joints a vertex instead of all: a few millimetres where many meet.
    apart = np.linalg.norm(ours - theirs.vertices.numpy(), axis=2)
    assert apart.mean() < 0.001
    assert apart.max() < 0.02
    np.testing.assert_allclose(posed.joints, theirs.joints.numpy(), atol=1e-4)


def test_shape_thin_mesh_is_part_of_the_full_one() -> None:
    thin, full = load_mesh("thin"), load_mesh("full")
    rows = {tuple(row) for row in full.template.tolist()}
    assert all(tuple(row) in rows for row in thin.template.tolist())
    assert len(thin.template) < 0.3 * len(full.template)
    np.testing.assert_allclose(thin.weights.sum(axis=1), 1, atol=1e-5)


def test_property_groups_have_their_builds() -> None:
    rng = np.random.default_rng(0)
    means = {
        group: np.mean([height_of(draw_shape(group, rng)) for _ in range(60)]) for group in GROUPS
    }
    assert 1.68 < means["man"] < 1.85
    assert 1.55 < means["woman"] < 1.72
    assert means["man"] > means["woman"] > means["girl"]


def test_golden_volume_of_a_box() -> None:
    corners = np.array([[x, y, z] for x in (0, 2) for y in (0, 3) for z in (0, 0.5)], float)
    faces = np.array(
        [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
         [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    )  # fmt: skip
    assert volume_m3(corners, faces) == pytest.approx(3.0)
    assert volume_m3(corners + 5, faces) == pytest.approx(3.0)


def test_property_people_are_as_heavy_as_people() -> None:
    rng = np.random.default_rng(1)
    women = [build_of_shape(draw_body("woman", rng)).mass_index for _ in range(150)]
    men = [build_of_shape(draw_body("man", rng)).mass_index for _ in range(150)]
    for found, (low, middle, high) in ((women, (18, 25, 34)), (men, (20, 26, 34))):
        assert np.percentile(found, [5, 50, 95]) == pytest.approx([low, middle, high], rel=0.08)
        assert min(found) > 14.5 and max(found) < 37.5


def test_property_weight_leaves_the_height_alone() -> None:
    rng = np.random.default_rng(2)
    for group in GROUPS:
        drawn = draw_shape(group, np.random.default_rng(3))
        weighed = draw_body(group, np.random.default_rng(3))
        assert height_of(weighed) == pytest.approx(height_of(drawn), abs=0.01)
        assert not np.allclose(draw_body(group, rng), weighed)


def test_golden_thirds_of_a_group() -> None:
    assert [third_of("woman", index) for index in (18, 25, 31)] == ["slim", "medium", "heavy"]
    assert third_of("girl", 25) == "heavy"


def test_property_a_person_is_a_function_of_its_number() -> None:
    one, same = person("train", 7), person("train", 7)
    np.testing.assert_array_equal(one.shape, same.shape)
    np.testing.assert_array_equal(one.numbers, same.numbers)
    assert (one.style, one.hair, one.group) == (same.style, same.hair, same.group)
    for other in (person("train", 8), person("train", 7, seed=1), person("test", 7)):
        assert not np.array_equal(one.shape, other.shape)


@pytest.mark.parametrize("split", ["train", "test"])
def test_property_people_walk_as_people_do(split: str) -> None:
    walkers = [person(split, number) for number in range(40)]  # type: ignore[arg-type]
    speeds = np.array([walker.usual_gait.pace_hz * walker.leg_m for walker in walkers])
    assert speeds.min() > 0.45
    assert speeds.max() < 2.5  # metres a second
    assert 0.75 < np.median(speeds) < 1.5
    for walker in walkers:
        pose = walker.usual_gait.pose(np.arange(20) / 20)
        assert np.abs(pose.reshape(-1, 24, 3)[:, [4, 5], 0]).max() < 2.4  # knees, radians


def test_property_walks_of_a_person_are_nearer_than_people() -> None:
    gaits = shipped_population("train")
    rng = np.random.default_rng(0)
    walkers = [person("train", number) for number in range(12)]
    first = np.stack([walker.walk(rng, gaits).series.ravel() for walker in walkers])
    second = np.stack([walker.walk(rng, gaits).series.ravel() for walker in walkers])
    apart = np.linalg.norm(first[:, None] - second[None], axis=2)
    assert (apart.argmin(axis=1) == np.arange(12)).mean() > 0.8
    again = walkers[0].walk(rng, gaits, spread=0.0).series
    np.testing.assert_allclose(again, walkers[0].usual_gait.series)
