"""Whole sequences: reproducible, aligned, and true to who walks in them."""

from __future__ import annotations

import numpy as np
import pytest

from stages.body.landmarks import LandmarksBody
from stages.human.rotation import axis_angle_to_matrix
from stages.human.skeleton import load_skeleton
from stages.human.walkers.people import person
from stages.human.walkers.sequences import Recipe, WalkSequence, draw_walk_of, make_sequence

SKELETON = load_skeleton()


body_rows = LandmarksBody(SKELETON).estimate_track


def made(seed: int = 0, number: int = 0, **recipe: object) -> WalkSequence:
    return make_sequence(
        person("train", number),
        Recipe(**recipe),  # type: ignore[arg-type]
        np.random.default_rng(seed),
        body_rows,
    )


def test_shape_of_a_sequence() -> None:
    sequence = made(frames=6)
    assert sequence.silhouettes.shape == (6, 64, 44)
    assert sequence.silhouettes.dtype == np.uint8
    assert sequence.theta.shape == (6, 85)
    assert sequence.keypoints_px.shape == (6, 17, 3)
    assert made(frames=2, height=128).silhouettes.shape == (2, 128, 88)


def test_property_same_seed_same_bytes() -> None:
    one, same, other = made(1, frames=3), made(1, frames=3), made(2, frames=3)
    for name in ("silhouettes", "theta", "keypoints_px"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("azimuth", [0, 90, 180, 270])
def test_parity_clean_rows_know_the_azimuth(azimuth: int) -> None:
    sequence = made(azimuth_deg=azimuth, noise=0.0, frames=20, elevations_deg=(0, 2))
    root = axis_angle_to_matrix(sequence.theta[:, 3:6].astype(np.float64))
    forwards = root[:, :, 2].mean(axis=0)  # in camera axes: x right, y down, z away
    wanted = np.array([np.sin(np.radians(azimuth)), 0, -np.cos(np.radians(azimuth))])
    # From the left the walker goes to the picture's left.
    wanted[0] *= -1
    assert forwards @ wanted / np.linalg.norm(forwards) > 0.9


def test_parity_clean_rows_bend_the_knees() -> None:
    sequence = made(azimuth_deg=90, noise=0.0, frames=30)
    knees = np.linalg.norm(sequence.theta[:, 3 + 12 : 3 + 15], axis=1)
    assert knees.max() > 0.6 and knees.min() < 0.45  # radians


def test_property_noise_grows_with_its_strength() -> None:
    clean, some, much = (made(frames=8, noise=noise).silhouettes for noise in (0.0, 0.5, 2.0))
    apart = [np.abs(clean.astype(int) - noisy.astype(int)).mean() for noisy in (some, much)]
    assert 0 < apart[0] < apart[1]


def test_property_every_silhouette_fills_its_rows() -> None:
    for azimuth in (0, 45, 90):
        for silhouette in made(azimuth_deg=azimuth, frames=4, noise=1.0).silhouettes:
            filled = np.flatnonzero(silhouette.max(axis=1) > 0)
            assert filled[0] <= 1 and filled[-1] >= 62


def test_property_frames_without_a_person_leave_gaps() -> None:
    steps = []
    for seed in range(60):
        recipe = Recipe(frames=40, fps=20.0, noise=2.0, heights_px=(52, 60))
        walk = draw_walk_of(person("train", 0), recipe, np.random.default_rng(seed))
        assert len(walk.times_s) == 40
        steps += list(np.round(np.diff(walk.times_s) * 20).astype(int))
    assert min(steps) == 1
    assert 0.005 < np.mean(np.array(steps) > 1) < 0.2
    clean = draw_walk_of(person("train", 0), Recipe(noise=0.0), np.random.default_rng(0))
    np.testing.assert_allclose(np.diff(clean.times_s), 1 / 25)


def test_property_what_stands_in_front_hides_without_other_errors() -> None:
    apart = [
        int((made(seed, frames=12, noise=0.0).silhouettes > 0).sum())
        - int((made(seed, frames=12, noise=0.0, occluded=True).silhouettes > 0).sum())
        for seed in range(6)
    ]
    assert max(apart) > 200
