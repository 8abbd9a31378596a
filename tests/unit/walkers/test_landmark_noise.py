"""What a pose network makes of landmarks: nobody's size, errors of the size that was measured."""

from dataclasses import replace

import numpy as np
import pytest

from stages.human.joints import MEDIAPIPE_TO_COCO
from stages.human.rotation import axis_angle_to_matrix
from stages.human.walkers.bodies import load_walker_skeleton
from stages.human.walkers.landmark_bones import bones_of, facing_axes, taken_apart, view_of
from stages.human.walkers.landmark_noise import (
    MixUps,
    mix_ups,
    normal_quantile,
    seen_landmarks,
    wander,
)
from stages.human.walkers.landmarks import true_landmarks
from stages.human.walkers.measured import load_figures

STEP_S = 0.04
PX_PER_M = 60.0


def walker(azimuth_deg=90.0, frames=40, size=1.0):
    """Landmarks [T,33,3] of legs and arms that swing, seen from an azimuth, and pixels."""
    pose = np.zeros((frames, 24, 3))
    swing = 0.5 * np.sin(np.arange(frames) * 2 * np.pi * STEP_S / 1.1)
    pose[:, 1, 0], pose[:, 2, 0] = swing, -swing
    pose[:, 16, 2], pose[:, 17, 2] = -1.3, 1.3
    pose[:, 16, 0], pose[:, 17, 0] = -0.6 * swing, 0.6 * swing
    rest = size * load_walker_skeleton().joint_template
    points = true_landmarks(axis_angle_to_matrix(pose), rest)
    points = points - 0.5 * (points[:, 23:24] + points[:, 24:25])
    angle = np.radians(azimuth_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    # Facing the camera is (x, y, z) -> (x, -y, -z); then seen from the left, which comes nearer.
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]) @ np.diag([1.0, -1.0, -1.0])
    points = points @ turn.T
    return points, points[..., :2] * PX_PER_M + 200.0


def seen(azimuth_deg=90.0, frames=40, size=1.0, seed=0, **options):
    true, image = walker(azimuth_deg, frames, size)
    rng = np.random.default_rng(seed)
    return true, image, seen_landmarks(true, image, 105.0, STEP_S, rng, **options)


def lengths(world):
    return np.median(np.linalg.norm(bones_of(world[..., :3]), axis=2), axis=0)


@pytest.mark.parametrize("azimuth_deg", [0, 90, 180, 270])
def test_golden_the_view_is_that_of_the_cameras(azimuth_deg):
    true, _ = walker(azimuth_deg)
    cos, sin = view_of(true).mean(axis=0)
    off = np.degrees(np.arctan2(sin, cos)) - azimuth_deg
    assert (off + 180) % 360 - 180 == pytest.approx(0.0, abs=1)


@pytest.mark.parametrize("frames", [1, 2, 30])
def test_shape_of_the_answer(frames):
    _, _, got = seen(frames=frames)
    assert got.world.shape == (frames, 33, 4) and got.keypoints_px.shape == (frames, 17, 3)
    assert np.isfinite(got.world).all() and np.isfinite(got.keypoints_px).all()
    assert ((got.world[..., 3] >= 0) & (got.world[..., 3] <= 1)).all()
    np.testing.assert_array_equal(
        got.keypoints_px[..., 2], got.world[:, list(MEDIAPIPE_TO_COCO), 3]
    )


def test_property_the_same_seed_gives_the_same_landmarks():
    one, two, other = (seen(seed=seed)[2].world for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 0.01


def test_golden_nobodys_size_is_seen():
    short, tall = (lengths(seen(size=size, strength=0.0)[2].world) for size in (0.85, 1.15))
    limbs = [13, 14, 15, 16, 25, 26, 27, 28, 34]
    assert (tall[limbs] / short[limbs]).max() < (1.15 / 0.85) ** 0.35


def test_property_strength_nought_keeps_directions():
    true, _, got = seen(strength=0.0)
    a, b = bones_of(true), bones_of(got.world[..., :3])
    limbs = [13, 14, 15, 16, 25, 26, 27, 28]
    cosine = (
        (a * b).sum(-1)
        / np.linalg.norm(a, axis=-1).clip(1e-9)
        / np.linalg.norm(b, axis=-1).clip(1e-9)
    )
    assert cosine[:, limbs].min() > 0.999


@pytest.mark.parametrize("azimuth_deg", [0, 40, 90, 215])
def test_golden_a_walk_taken_apart_does_not_depend_on_the_view(azimuth_deg):
    average = bones_of(walker(0.0)[0]).mean(axis=0) * [1.0, 1.0, -1.0]
    true, _ = walker(azimuth_deg)
    bones, view = bones_of(true), view_of(true)
    apart = taken_apart(bones, view, average)
    np.testing.assert_allclose(apart.average + apart.posture + apart.motion, bones, atol=1e-12)
    own = (bones @ facing_axes(view)).mean(axis=0)
    np.testing.assert_allclose((apart.motion @ facing_axes(view)).mean(axis=0), 0.0, atol=1e-12)
    wanted = np.broadcast_to(own - average, bones.shape)
    np.testing.assert_allclose(apart.posture @ facing_axes(view), wanted, atol=1e-12)
    assert np.abs(apart.posture).max() < 0.02  # the walker is the average, but for its swing


def leaning(lean, azimuth_deg, strength, seeds=12):
    """How far the shoulders lie before the hips, metres along the way, as it is seen."""
    out = []
    for seed in range(seeds):
        true, image = walker(azimuth_deg)
        true = true.copy()
        true[:, :23] += lean * facing_axes(view_of(true))[:, None, :, 2]
        rng = np.random.default_rng(seed)
        got = seen_landmarks(true, image, 105.0, STEP_S, rng, strength).world[..., :3]
        trunk = 0.5 * (got[:, 11] + got[:, 12]) - 0.5 * (got[:, 23] + got[:, 24])
        out.append((trunk @ facing_axes(view_of(true))[0])[:, 2].mean())
    return float(np.mean(out))


@pytest.mark.parametrize("azimuth_deg", [0, 90])
def test_golden_of_how_somebody_leans_only_a_part_is_seen(azimuth_deg):
    seen_share, true_share = (
        (leaning(0.1, azimuth_deg, strength) - leaning(-0.1, azimuth_deg, strength)) / 0.2
        for strength in (1.0, 0.0)
    )
    assert 0.8 < true_share < 1.1
    # From the side it is in the picture, from the front it has to be guessed.
    assert (0.6 if azimuth_deg else 0.1) < seen_share < (1.0 if azimuth_deg else 0.4)


def test_property_hips_stay_in_the_middle():
    world = seen()[2].world[..., :3]
    np.testing.assert_allclose(world[:, 23] + world[:, 24], 0.0, atol=1e-9)


def errors(strength, count=12):
    out = []
    for seed in range(count):
        _, _, got = seen(seed=seed, azimuth_deg=30.0 * seed, strength=strength)
        _, _, clean = seen(seed=seed, azimuth_deg=30.0 * seed, strength=0.0)
        out.append(np.abs(got.world - clean.world)[..., :3].mean(axis=(0, 1)))
    return np.mean(out, axis=0)


def test_golden_errors_are_of_the_measured_size():
    x, y, z = errors(1.0)
    # Measured: 3 to 12 cm, most along the camera's axis.
    assert 0.02 < y < 0.08 and 0.03 < x < 0.12 and 0.04 < z < 0.14


def test_property_greater_strength_is_worse():
    half, full, twice = (errors(strength, 4).sum() for strength in (0.5, 1.0, 2.0))
    assert half < full < twice


def test_property_far_limbs_are_doubted():
    from_left, from_right = (
        np.mean(
            [seen(azimuth, seed=seed)[2].world[:, [13, 14], 3].mean(axis=0) for seed in range(8)],
            axis=0,
        )
        for azimuth in (90.0, 270.0)
    )
    assert from_left[0] > from_left[1] + 0.2 and from_right[1] > from_right[0] + 0.2


def test_property_keypoints_lie_at_the_landmarks():
    off = []
    for seed in range(6):
        _, image, got = seen(seed=seed)
        off.append(got.keypoints_px[..., :2] - image[:, list(MEDIAPIPE_TO_COCO)])
    spread = np.sqrt(np.mean(np.square(off)))
    assert 0.5 < spread < 8.0  # of 105 pixels of height


def shares_of(kind, figures, views, count=60):
    rng = np.random.default_rng(0)
    out = []
    for view in views:
        drawn = [
            getattr(mix_ups(np.tile(view, (100, 1)), 1.0, STEP_S, rng, figures), kind).mean()
            for _ in range(count)
        ]
        out.append((np.mean(drawn), np.std(drawn)))
    return np.array(out)


FRONT, SIDE, BACK = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)


def test_property_legs_are_mixed_up_from_the_side_alone():
    figures = replace(load_figures().landmarks, mix_up=np.array([0.3, 0.1, 0.0]))
    shares = shares_of("legs", figures, (SIDE, FRONT))[:, 0]
    assert shares[0] == pytest.approx(0.3, abs=0.06) and shares[1] == 0.0


def test_property_front_and_back_are_mixed_up_along_the_way_alone():
    figures = replace(load_figures().landmarks, about_face=np.array([0.2, 0.1, 0.0]))
    shares = shares_of("faces_about", figures, (FRONT, SIDE, BACK))[:, 0]
    np.testing.assert_allclose(shares, [0.2, 0.0, 0.2], atol=0.05)


def test_property_steady_mix_ups_are_of_some_sequences_alone():
    figures = load_figures().landmarks
    passing, steady = (
        shares_of("legs", replace(figures, mix_up=np.array([0.3, 0.1, part])), (SIDE,))[0]
        for part in (0.0, 0.9)
    )
    assert steady[0] == pytest.approx(passing[0], abs=0.12) and steady[1] > 2 * passing[1]


def test_property_a_mix_up_swaps_left_and_right():
    figures = load_figures().landmarks
    calm = {
        name: getattr(figures, name) * 0
        for name in (
            "steady_m", "wander_m", "bias_m", "turn", "turn_steady", "turn_wander",
            "length_spread", "length_view", "keypoint_steady", "keypoint_wander",
        )
    }  # fmt: skip
    nought = np.array([0.0, 0.1, 0.0])
    never = replace(figures, mix_up=nought, about_face=nought, **calm)
    often = replace(never, mix_up=np.array([0.45, 0.1, 0.0]))
    plain, mixed = (seen(figures=one)[2].world[..., :3] for one in (never, often))
    swapped = np.abs(plain - mixed).max(axis=(1, 2)) > 1e-6
    assert 0 < swapped.sum() < len(swapped)
    np.testing.assert_allclose(mixed[swapped][:, 27], plain[swapped][:, 28], atol=1e-9)
    np.testing.assert_allclose(mixed[swapped][:, 13], plain[swapped][:, 13], atol=1e-9)


def test_property_who_faces_about_looks_the_same_in_the_image():
    points, _ = walker(0.0, frames=3)
    mixed = MixUps(np.zeros(3, bool), np.array([False, True, False]))
    turned = mixed.applied(points)
    ahead = (turned[:, 0] - turned[:, [7, 8]].mean(axis=1))[:, 2]
    assert ahead[0] < -0.05 < 0.05 < ahead[1]  # towards the camera, then away from it
    np.testing.assert_allclose(turned[1, 11, :2], points[1, 12, :2])
    np.testing.assert_allclose(turned[1, 27, 2], -points[1, 28, 2])
    np.testing.assert_array_equal(turned[[0, 2]], points[[0, 2]])


def test_property_quantiles():
    shares = np.array([0.5, 0.158655, 0.0227501, 0.001349898])
    np.testing.assert_allclose(normal_quantile(shares), [0, -1, -2, -3], atol=0.004)


def test_property_wandering_has_the_asked_memory():
    rng = np.random.default_rng(0)
    noise = wander(60_000, (2,), STEP_S, np.array([0.02, 0.4]), rng)
    np.testing.assert_allclose(noise.std(axis=0), 1.0, atol=0.05)
    kept = (noise[1:] * noise[:-1]).mean(axis=0)
    np.testing.assert_allclose(kept, np.exp(-STEP_S / np.array([0.02, 0.4])), atol=0.04)
    assert wander(0, (3,), STEP_S, 0.1, rng).shape == (0, 3)
