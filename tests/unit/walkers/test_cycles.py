"""Strides cut from clips: what went in comes out, and what does not walk is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from walks import clip_of

from stages.human.joints import SMPL_JOINT_NAMES
from stages.human.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from stages.human.walkers.bodies import load_walker_skeleton
from stages.human.walkers.closing import RetargetError
from stages.human.walkers.cycles import (
    COORDINATES,
    MIRRORED,
    TERMS,
    check_legs,
    cut_stride,
    fit_series,
    mirrored,
    shifted,
    waves,
)
from stages.human.walkers.people import person

REST = load_walker_skeleton().joint_template


def some_series(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (TERMS, COORDINATES))


@given(st.floats(-3, 3), st.integers(0, 99))
def test_property_shifted_series_begins_later(phase: float, seed: int) -> None:
    series, times = some_series(seed), np.linspace(0, 1, 7)
    np.testing.assert_allclose(
        waves(times) @ shifted(series, phase), waves(times + phase) @ series, atol=1e-9
    )


@given(st.integers(0, 99))
def test_property_mirrored_twice_is_the_same(seed: int) -> None:
    series = some_series(seed)
    np.testing.assert_allclose(mirrored(mirrored(series)), series, atol=1e-9)


@given(st.integers(0, 99))
def test_property_fit_finds_the_terms_again(seed: int) -> None:
    series = some_series(seed)
    np.testing.assert_allclose(fit_series(waves(np.arange(40) / 40) @ series), series, atol=1e-9)


@pytest.mark.parametrize("number", [0, 5])
@pytest.mark.parametrize("heading_rad", [0.0, 2.0, -1.3])
def test_parity_stride_of_a_made_clip(number: int, heading_rad: float) -> None:
    gait = person("train", number).usual_gait
    found = cut_stride(clip_of(gait, heading_rad=heading_rad), REST)
    assert found.duration_s == pytest.approx(gait.duration_s, abs=0.02)
    assert found.pace_hz == pytest.approx(gait.pace_hz, rel=0.02)
    wanted = waves(np.arange(50) / 50) @ gait.series
    phases = np.arange(200) / 200
    misses = [
        np.abs(waves(np.arange(50) / 50) @ shifted(found.series, phase) - wanted).mean()
        for phase in phases
    ]
    assert min(misses) < 0.01  # radians


def test_exception_clip_that_stands() -> None:
    clip = clip_of(person("train", 0).usual_gait)
    still = replace(clip, root_positions=np.zeros_like(clip.root_positions))
    with pytest.raises(RetargetError, match="does the clip walk"):
        cut_stride(still, REST)


def test_exception_clip_without_a_period() -> None:
    clip = clip_of(person("train", 0).usual_gait)
    angle = np.linspace(0, 2.5, len(clip.rotations))  # every limb drifts away for good
    drift = axis_angle_to_matrix(angle[:, None] * np.array([1.0, 0.0, 0.0]))
    rotations = drift[:, None] @ clip.rotations
    with pytest.raises(RetargetError, match="repeats"):
        cut_stride(replace(clip, rotations=rotations), REST)


def test_exception_clip_that_turns() -> None:
    clip = clip_of(person("train", 0).usual_gait)
    angle = np.linspace(0, 2 * np.pi, len(clip.root_positions)) * 2
    places = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=1) * 0.9
    with pytest.raises(RetargetError, match=r"straight|travel"):
        cut_stride(replace(clip, root_positions=places), REST)


def test_exception_clip_too_short() -> None:
    clip = clip_of(person("train", 0).usual_gait, strides=0.4)
    with pytest.raises(RetargetError, match="at least"):
        cut_stride(clip, REST)


def test_exception_other_skeleton() -> None:
    clip = clip_of(person("train", 0).usual_gait)
    names = tuple(name.replace("LeftForeArm", "mixamorig:LeftForeArm") for name in clip.names)
    with pytest.raises(RetargetError, match="LeftForeArm"):
        cut_stride(replace(clip, names=names), REST)
    names = tuple(f"mixamorig:{name}" for name in clip.names)
    with pytest.raises(RetargetError, match=r"none called Hips, .* and 19 more; .* and 19 more$"):
        cut_stride(replace(clip, names=names), REST)


def in_radians(rotations: np.ndarray) -> np.ndarray:
    """What becomes of angles in radians that are read as degrees."""
    return axis_angle_to_matrix(np.radians(matrix_to_axis_angle(rotations)))


def without(joint: str) -> Callable[[np.ndarray], np.ndarray]:
    def change(rotations: np.ndarray) -> np.ndarray:
        still = rotations.copy()
        still[:, SMPL_JOINT_NAMES.index(joint)] = np.eye(3)
        return still

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_radians, "left thigh to swing by 15 to 110 degrees in a stride, got .* in degrees"),
        (without("left_hip"), "left thigh to swing"),
        (without("right_knee"), "right knee to bend by 20 to 130 degrees in a stride, got 0.0"),
    ],
)
def test_exception_legs_that_do_not_walk(
    change: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    clip = clip_of(person("train", 0).usual_gait)
    with pytest.raises(RetargetError, match=said):
        cut_stride(replace(clip, rotations=change(clip.rotations)), REST)


def test_exception_legs_that_swing_together() -> None:
    gait = person("train", 0).usual_gait
    series = gait.series.reshape(-1, 24, 3).copy()
    for left, right in ((1, 2), (4, 5)):
        series[:, right] = series[:, left] * MIRRORED
    with pytest.raises(RetargetError, match="one leg to swing forwards while the other"):
        check_legs(series.reshape(-1, 72), REST)


@pytest.mark.parametrize("scale", [0.0, 3.0])
def test_exception_bones_of_no_leg(scale: float) -> None:
    clip = clip_of(person("train", 0).usual_gait)
    offsets = clip.offsets.copy()
    offsets[SMPL_JOINT_NAMES.index("left_knee")] *= scale
    with pytest.raises(RetargetError, match="about the same length, got offsets of LeftLeg"):
        cut_stride(replace(clip, offsets=offsets), REST)
