"""From a motion clip to one periodic stride on the open body's joints, as Fourier series.

A stride is the stretch of the clip that closes on itself best (`closing.py`). It is turned to walk
towards +z of SMPL's axes (y up), begins where the left ankle is farthest in front, and is kept as a
few harmonics a coordinate: the fingerprint of how somebody walks, with the noise of the capture
left out. Letters: T frames, H harmonics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.bvh import Bvh
from stages.human.joints import SMPL_FLIP, SMPL_JOINT_NAMES, SMPL_PARENTS
from stages.human.rotation import (
    axis_angle_to_matrix,
    matrix_to_quaternion,
    minimal_rotation,
    nearest_sign,
    quaternion_to_axis_angle,
    unit,
)
from stages.human.skeleton import forward_kinematics
from stages.human.walkers.closing import RetargetError, close_cycle, find_cycle

Floats = NDArray[np.float64]

HARMONICS = 6
NAMED = 5  # joints that an error lists
# Rows of a series: the mean, then cosine and sine of each harmonic.
TERMS = 1 + 2 * HARMONICS
COORDINATES = 72
# A stretch that closes worse than this (radians, mean over joints) is no steady walk.
MAX_MISFIT = 0.16
# Walking speed over leg length a second; slower is standing, faster is running.
PACE_RANGE_HZ = (0.4, 3.2)
# Net travel over path length below which the walk turns.
MIN_STRAIGHTNESS = 0.9
# Pelvis against the way of walking, radians on average; more is a walk sideways or round a bend.
MAX_YAW = 0.3
# What a walk's legs do, degrees: the thigh's swing and the knee's bending within a stride. Of the
# clips at hand they are 40 to 72 and 48 to 78; channels that are missing, or in radians, give 0.
SWING_RANGE_DEG = (15.0, 110.0)
BEND_RANGE_DEG = (20.0, 130.0)
# One thigh against the other over a stride; of the clips at hand -0.93 to -0.80.
MAX_LIKENESS = -0.3
# Of the two legs' bones, and of a leg's two, the longer over the shorter.
MAX_UNLIKE_BONES = 1.8
MIRRORED = np.array([1.0, -1.0, -1.0])  # a rotation vector in a mirror that swaps left and right

_CMU = {
    "pelvis": "Hips",
    "spine1": "LowerBack",
    "spine2": "Spine",
    "spine3": "Spine1",
    "neck": "Neck",
    "head": "Head",
}
_CMU_SIDES = {
    "hip": "UpLeg",
    "knee": "Leg",
    "ankle": "Foot",
    "foot": "ToeBase",
    "collar": "Shoulder",
    "shoulder": "Arm",
    "elbow": "ForeArm",
    "wrist": "Hand",
    "hand": "HandIndex1",
}
# Joints whose rest direction differs between the skeletons, and the joint that they point to.
_LIMBS = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}
# What hangs on a forearm turns with it.
_FOLLOWERS = {"elbow": ("elbow", "wrist", "hand")}


@dataclass(frozen=True)
class Stride:
    """One stride that repeats without a seam.

    Attributes:
        series: float64 [13,72], mean and harmonics of the pose's 72 numbers (axis-angle, radians)
            over the phase 0..1; the root's rotation is relative to the walking direction (+z).
        duration_s: of the stride.
        pace_hz: speed over leg length, 1/s.
        misfit: how badly the stretch closed, radians, mean over the joints.
    """

    series: Floats
    duration_s: float
    pace_hz: float
    misfit: float


def clip_name(joint: str) -> str:
    """The CMU files' name of an SMPL joint."""
    side, _, rest = joint.partition("_")
    return _CMU.get(joint) or side.capitalize() + _CMU_SIDES[rest]


def clip_rotations(clip: Bvh, rest_joints: Floats) -> tuple[Floats, Floats]:
    """Carry a clip onto a rest skeleton.

    Args:
        rest_joints: [24,3] metres, SMPL's rest pose.

    Returns:
        Rotations [T,24,3,3] in the body's axes (y up), and the root's places [T,3] in legs: the
        clip's unit divided by the length of its leg. Frame 0 of the CMU files, a T pose, is left
        out.

    Raises:
        RetargetError: a joint is missing in the clip; names it.
    """
    world = np.empty_like(clip.rotations)
    for joint, parent in enumerate(clip.parents):
        local = clip.rotations[:, joint]
        world[:, joint] = local if parent < 0 else world[:, parent] @ local
    index = {name: place for place, name in enumerate(clip.names)}
    missing = [clip_name(joint) for joint in SMPL_JOINT_NAMES if clip_name(joint) not in index]
    if missing:
        raise RetargetError(
            f"expected the CMU skeleton's joints, got none called {_some(missing)}; the clip has "
            f"{_some(clip.names)}"
        )
    chosen = [index[clip_name(joint)] for joint in SMPL_JOINT_NAMES]
    out = world[1:, chosen]
    ours = {name: place for place, name in enumerate(SMPL_JOINT_NAMES)}
    for side in ("left", "right"):
        for limb, end in _LIMBS.items():
            child = ours[f"{side}_{end}"]
            rest = rest_joints[child] - rest_joints[ours[f"{side}_{limb}"]]
            offset = clip.offsets[index[clip_name(f"{side}_{end}")]]
            turn = minimal_rotation(unit(rest), unit(offset))
            for follower in _FOLLOWERS.get(limb, (limb,)):
                place = ours[f"{side}_{follower}"]
                out[:, place] = out[:, place] @ turn
    legs = [
        index[clip_name(f"{side}_{end}")] for side in ("left", "right") for end in ("knee", "ankle")
    ]
    bones = np.linalg.norm(clip.offsets[legs], axis=1)
    if bones.min() <= 0 or bones.max() > MAX_UNLIKE_BONES * bones.min():
        told = ", ".join(
            f"{clip.names[leg]} {bone:.2f}" for leg, bone in zip(legs, bones, strict=True)
        )
        raise RetargetError(
            f"expected legs with thighs and shanks of about the same length, got offsets of {told}"
        )
    return out, 2 * clip.root_positions[1:] / bones.sum()


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def straightness(places: Floats) -> float:
    """Net travel over path, 0..1, of root places [T,3] sampled so that tremor does not count."""
    track = places[:: max(1, len(places) // 12), [0, 2]]
    path = np.linalg.norm(np.diff(track, axis=0), axis=1).sum()
    return float(np.linalg.norm(track[-1] - track[0]) / path) if path > 0 else 0.0


def cut_stride(
    clip: Bvh, rest_joints: Floats, start_range: tuple[float, float] = (0.0, 1.0)
) -> Stride:
    """The best closing stride of a clip.

    Args:
        rest_joints: [24,3] metres.
        start_range: shares of the clip within which the stride has to lie.

    Raises:
        RetargetError: the clip is too short, does not walk, or turns: says which and by how much.
    """
    rotations, places = clip_rotations(clip, rest_joints)
    fps = 1.0 / clip.frame_time_s
    start, length, misfit = find_cycle(rotations, fps, 1, start_range)
    stretch = places[start : start + length + 1]
    duration_s = length / fps
    travel = stretch[-1] - stretch[0]
    pace = float(np.linalg.norm(travel[[0, 2]])) / duration_s
    if misfit > MAX_MISFIT:
        raise RetargetError(
            f"expected a stride that repeats within {MAX_MISFIT} radians, the best is {misfit:.2f} "
            "off: does the clip walk?"
        )
    if not PACE_RANGE_HZ[0] <= pace <= PACE_RANGE_HZ[1]:
        raise RetargetError(
            f"expected {PACE_RANGE_HZ[0]} to {PACE_RANGE_HZ[1]} leg lengths of travel a second, "
            f"got {pace:.2f}: does the clip walk?"
        )
    straight = straightness(stretch)
    if straight < MIN_STRAIGHTNESS:
        raise RetargetError(f"expected a straight walk, travel over path is {straight:.2f}")
    closed = close_cycle(rotations[start : start + length + 1])
    closed = facing_forwards(closed, travel)
    local = local_rotations(closed)
    series = fit_series(_continuous(local))
    yaw = float(series[0, 1])
    if abs(yaw) > MAX_YAW:
        raise RetargetError(
            f"expected a walk straight ahead, the pelvis is turned by {np.degrees(yaw):.0f} "
            "degrees from the way of walking"
        )
    check_legs(series, rest_joints)
    return Stride(from_left_step(series, rest_joints), duration_s, pace, misfit)


def check_legs(series: Floats, rest_joints: Floats) -> None:
    """Check that both legs of a stride [13,72] swing and bend as in walking.

    Raises:
        RetargetError: they do not; says which does what.
    """
    joints, _ = _joints_of(series, rest_joints)
    swings = []
    for side, (hip, knee, ankle) in {"left": (1, 4, 7), "right": (2, 5, 8)}.items():
        thigh, shank = joints[:, knee] - joints[:, hip], joints[:, ankle] - joints[:, knee]
        swing = np.degrees(np.arctan2(thigh[:, 2], -thigh[:, 1]))
        bend = np.degrees(np.arccos(np.clip((unit(thigh) * unit(shank)).sum(-1), -1, 1)))
        swings.append(swing)
        for what, degrees, (low, high) in (
            (f"the {side} thigh to swing", np.ptp(swing), SWING_RANGE_DEG),
            (f"the {side} knee to bend", np.ptp(bend), BEND_RANGE_DEG),
        ):
            if not low <= degrees <= high:
                raise RetargetError(
                    f"expected {what} by {low:g} to {high:g} degrees in a stride, got "
                    f"{degrees:.1f}: are the rotations in degrees, the leg's channels all there, "
                    "and the frame time right?"
                )
    likeness = float(np.corrcoef(*swings)[0, 1])
    if likeness > MAX_LIKENESS:
        raise RetargetError(
            "expected one leg to swing forwards while the other swings back, got a correlation of "
            f"{likeness:.2f}: does the clip walk, and is its frame time right?"
        )


def facing_forwards(rotations: Floats, travel: Floats) -> Floats:
    """Turn rotations [T,24,3,3] about y so that `travel` [3] goes to +z."""
    angle = np.arctan2(travel[0], travel[2])
    cos, sin = np.cos(-angle), np.sin(-angle)
    turn = np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    return np.asarray(turn @ rotations)


def local_rotations(rotations: Floats) -> Floats:
    """Each joint's rotation in its parent's frame [T,24,3,3] from those in the body's axes."""
    local = rotations.copy()
    for joint, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            local[:, joint] = np.swapaxes(rotations[:, parent], -1, -2) @ rotations[:, joint]
    return local


def _continuous(local: Floats) -> Floats:
    """Pose [T,72] without jumps between the two vectors of one rotation."""
    quaternions = matrix_to_quaternion(local)
    for frame in range(1, len(quaternions)):
        quaternions[frame] = nearest_sign(quaternions[frame], quaternions[frame - 1])
    # The sign that is nearest to no rotation: vectors below half a turn.
    flip = quaternions[..., :1].mean(axis=0, keepdims=True) < 0
    quaternions = np.where(flip, -quaternions, quaternions)
    return np.asarray(quaternion_to_axis_angle(quaternions)).reshape(len(local), COORDINATES)


def waves(phase: Floats) -> Floats:
    """The terms [T,13] at phases [T]: 1, then cosine and sine of each harmonic."""
    angle = 2 * np.pi * np.outer(phase, np.arange(1, HARMONICS + 1))
    out = np.ones((len(angle), TERMS))
    out[:, 1::2], out[:, 2::2] = np.cos(angle), np.sin(angle)
    return out


def fit_series(pose: Floats) -> Floats:
    """Least-squares terms [13,72] of one period [T,72] sampled evenly."""
    terms = waves(np.arange(len(pose)) / len(pose))
    return np.asarray(np.linalg.lstsq(terms, pose, rcond=None)[0])


def shifted(series: Floats, phase: float) -> Floats:
    """The series [13,...] that begins at `phase` of the given one."""
    out = series.copy()
    for harmonic in range(1, HARMONICS + 1):
        cos, sin = np.cos(2 * np.pi * harmonic * phase), np.sin(2 * np.pi * harmonic * phase)
        a, b = series[2 * harmonic - 1], series[2 * harmonic]
        out[2 * harmonic - 1], out[2 * harmonic] = a * cos + b * sin, b * cos - a * sin
    return out


def from_left_step(series: Floats, rest_joints: Floats) -> Floats:
    """The series that begins where the left ankle is farthest in front of the right one."""
    joints, phase = _joints_of(series, rest_joints)
    ahead = joints[:, 7, 2] - joints[:, 8, 2]
    first = (ahead * np.exp(2j * np.pi * phase)).sum()
    return shifted(series, float(np.angle(first)) / (2 * np.pi))


def _joints_of(series: Floats, rest_joints: Floats) -> tuple[Floats, Floats]:
    """Joints [96,24,3] over a stride, and their phases [96]."""
    phase = np.arange(96) / 96
    pose = (waves(phase) @ series).reshape(-1, 24, 3)
    joints, _ = forward_kinematics(axis_angle_to_matrix(pose), rest_joints)
    return joints, phase


def mirrored(series: Floats) -> Floats:
    """The same walk in a mirror: sides swapped, half a stride later so that it begins left."""
    swapped = series.reshape(TERMS, 24, 3)[:, list(SMPL_FLIP)] * MIRRORED
    return shifted(swapped.reshape(TERMS, COORDINATES), 0.5)
