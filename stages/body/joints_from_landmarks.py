"""MediaPipe's 33 landmarks to SMPL's 24 joints, and the bone lengths both share.

Axes throughout are the camera's, which are MediaPipe's world axes and HMR's alike: x right in the
image, y down, z away from the camera; right-handed, metres. Someone who faces the camera upright
has there the rotation diag(1, -1, -1) from SMPL's rest pose (y up, facing +z).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.joints import MEDIAPIPE_LANDMARK_NAMES, SMPL_JOINT_NAMES, SMPL_PARENTS
from stages.human.rotation import cross, dot, unit

# Measured on the open body's mean shape, SMPL's axes, metres.
EARS_FROM_HEAD_JOINT_M = np.array([0.0, 0.040, -0.008])
EAR_SIDES_M = np.array([[0.08, 0.0, 0.0], [-0.08, 0.0, 0.0]])
HEEL_FROM_ANKLE_M = np.array([0.0, -0.055, -0.050])
# The foot joint (ball of the foot) on the way from ankle to the toes' tip.
FOOT_JOINT_FRACTION = 0.71

# How MediaPipe (model complexity 1) sees the open body, measured on 240 renders of it: five shapes,
# four poses, all views, camera pitched down 0 to 15 degrees.
# Nose from the middle of the ears: farther out and less far down than on the mesh.
NOSE_FROM_EARS_M = np.array([0.0, -0.008, 0.127])
# From where MediaPipe has the ears to where they are, in torso lengths (left, up, forwards).
EAR_CORRECTION_TORSOS = np.array([0.0, 0.117, -0.064])

# SMPL's rest axes to a person who faces the camera.
FACING_CAMERA = np.diag([1.0, -1.0, -1.0])

_L = {name: index for index, name in enumerate(MEDIAPIPE_LANDMARK_NAMES)}
_J = {name: index for index, name in enumerate(SMPL_JOINT_NAMES)}

# Landmarks that a pose cannot do without: shoulders, elbows, wrists, hips, knees, ankles.
MAIN_LANDMARKS = np.array([11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28])


def _limb_sources() -> NDArray[np.float64]:
    """[24,33]: joints that are weighted means of landmarks; rows of the others are zero."""
    matrix = np.zeros((24, 33))
    for side in ("left", "right"):
        for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
            matrix[_J[f"{side}_{name}"], _L[f"{side}_{name}"]] = 1.0
        matrix[_J[f"{side}_foot"], _L[f"{side}_foot_index"]] = FOOT_JOINT_FRACTION
        matrix[_J[f"{side}_foot"], _L[f"{side}_ankle"]] = 1.0 - FOOT_JOINT_FRACTION
        for finger in ("index", "pinky"):
            matrix[_J[f"{side}_hand"], _L[f"{side}_{finger}"]] = 0.5
    return matrix


# Lengths that landmarks and joints share, each between two (means of) joints.
LENGTH_NAMES: tuple[str, ...] = (
    "hip_width", "torso", "shoulder_width",
    "left_thigh", "right_thigh", "left_shank", "right_shank", "left_foot", "right_foot",
    "left_upper_arm", "right_upper_arm", "left_forearm", "right_forearm",
    "left_hand", "right_hand",
)  # fmt: skip
# Measured length over true length, median of the same renders. Hips, feet and hands also change
# with the view (hips 0.70 from behind, 1.05 from the front), hence less trust in them.
LANDMARK_LENGTH_BIAS = np.array(
    [0.96, 1.04, 0.93, 1.03, 1.03, 0.87, 0.87, 0.68, 0.68, 1.01, 1.01, 1.01, 1.01, 0.75, 0.75]
)
LENGTH_DOUBT = np.array([3.0, 1.0, 1.0, 1, 1, 1, 1, 3.0, 3.0, 1, 1, 1.5, 1.5, 2.0, 2.0])
_LENGTH_MIRROR = np.array([0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13])
_HIP_WIDTH, _TORSO, _SHOULDER_WIDTH = 0, 1, 2


def _length_ends() -> NDArray[np.float64]:
    """[15,24]: each row takes the difference vector of one length out of the joints."""
    matrix = np.zeros((len(LENGTH_NAMES), 24))
    matrix[_HIP_WIDTH, [1, 2]] = 1.0, -1.0
    matrix[_TORSO, [16, 17, 1, 2]] = 0.5, 0.5, -0.5, -0.5
    matrix[_SHOULDER_WIDTH, [16, 17]] = 1.0, -1.0
    ends = ((1, 4), (2, 5), (4, 7), (5, 8), (7, 10), (8, 11),
            (16, 18), (17, 19), (18, 20), (19, 21), (20, 22), (21, 23))  # fmt: skip
    for row, (start, end) in enumerate(ends, start=3):
        matrix[row, [start, end]] = -1.0, 1.0
    return matrix


LIMB_SOURCES = _limb_sources()
LENGTH_ENDS = _length_ends()
_LENGTH_ENDS_OF_LANDMARKS = LENGTH_ENDS @ LIMB_SOURCES  # [15,33]


def _governing_lengths() -> NDArray[np.int64]:
    """[24,3]: which length scales each coordinate of the offset parent -> joint."""
    owner = np.full((24, 3), _TORSO)
    owner[[1, 2], 0] = _HIP_WIDTH
    owner[[13, 14, 16, 17], 0] = _SHOULDER_WIDTH
    bones = (4, 5, 7, 8, 10, 11, 18, 19, 20, 21, 22, 23)
    for row, joint in enumerate(bones, start=3):
        owner[joint] = row
    return owner


_GOVERNING = _governing_lengths()
_PARENT_OR_SELF = np.maximum(np.array(SMPL_PARENTS), 0)


def _ancestors() -> NDArray[np.float64]:
    """[24,24]: row j sums the offsets from the root down to joint j."""
    matrix = np.eye(24)
    for joint in range(1, 24):
        matrix[joint] += matrix[SMPL_PARENTS[joint]]
    return matrix


_ANCESTORS = _ancestors()


@dataclass(frozen=True)
class JointObservation:
    """joints_m [...,24,3]; twists: heel_toe_m [...,2,3] (left, right), head_rotation [...,3,3]."""

    joints_m: NDArray[np.float64]
    heel_toe_m: NDArray[np.float64]
    head_rotation: NDArray[np.float64]


def lengths_of_joints(joints_m: NDArray) -> NDArray[np.float64]:
    """The 15 lengths of LENGTH_NAMES [...,15] in metres, of joints [...,24,3]."""
    return np.linalg.norm(LENGTH_ENDS @ joints_m, axis=-1)


def lengths_of_landmarks(landmarks_m: NDArray) -> NDArray[np.float64]:
    """The 15 lengths of LENGTH_NAMES [...,15] in metres, of landmarks [...,33,3]."""
    ends = _LENGTH_ENDS_OF_LANDMARKS @ landmarks_m
    return np.sqrt(np.einsum("...ij,...ij->...i", ends, ends))


def symmetric(lengths_m: NDArray) -> NDArray[np.float64]:
    """Left and right of [...,15] replaced by their mean."""
    return 0.5 * (lengths_m + lengths_m[..., _LENGTH_MIRROR])


def scale_skeleton(
    rest_joints_m: NDArray, rest_lengths_m: NDArray, lengths_m: NDArray
) -> NDArray[np.float64]:
    """Rest joints [...,24,3] given people's lengths [...,15], proportions in between kept.

    Ratios are held to 0.3..3, so that one wild measurement cannot make a monster.
    """
    ratio = np.clip(lengths_m / rest_lengths_m, 0.3, 3.0)
    offsets = rest_joints_m - rest_joints_m[_PARENT_OR_SELF]
    offsets[0] = rest_joints_m[0]
    return _ANCESTORS @ np.where(
        np.arange(24)[:, None] > 0, offsets * ratio[..., _GOVERNING], offsets
    )


def _frame(left_to_right: NDArray, upwards: NDArray) -> NDArray[np.float64]:
    """Axes [...,3,3] as columns (to the left, up, forwards) from two directions [...,3]."""
    sideways = unit(left_to_right)
    forwards = unit(cross(sideways, upwards))
    return np.stack([sideways, cross(forwards, sideways), forwards], axis=-1)


class TorsoTemplate:
    """Where pelvis, spine, neck and collars lie between hips and shoulders of a rest skeleton."""

    _LOW, _HIGH = np.array([0, 3, 6]), np.array([6, 9, 12, 13, 14])

    def __init__(self, rest_joints_m: NDArray) -> None:
        hips = 0.5 * (rest_joints_m[1] + rest_joints_m[2])
        shoulders = 0.5 * (rest_joints_m[16] + rest_joints_m[17])
        up = shoulders - hips
        self.lengths_m = lengths_of_joints(rest_joints_m)
        low_axes = _frame(rest_joints_m[1] - rest_joints_m[2], up)
        high_axes = _frame(rest_joints_m[16] - rest_joints_m[17], up)
        self._low_axes, self._high_axes = low_axes, high_axes
        self._low = (rest_joints_m[self._LOW] - hips) @ low_axes
        self._high = (rest_joints_m[self._HIGH] - shoulders) @ high_axes

    def fill(self, joints: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Writes the joints of the trunk into [...,24,3] from its hips and shoulders.

        Returns:
            size: [...], the observed torso's length over the template's.
            chest_axes: [...,3,3], columns to the left, up and forwards.
        """
        hips = 0.5 * (joints[..., 1, :] + joints[..., 2, :])
        shoulders = 0.5 * (joints[..., 16, :] + joints[..., 17, :])
        up = shoulders - hips
        hip_axis = joints[..., 1, :] - joints[..., 2, :]
        shoulder_axis = joints[..., 16, :] - joints[..., 17, :]
        size = _length(up) / self.lengths_m[_TORSO]
        hip_size = _length(hip_axis) / self.lengths_m[_HIP_WIDTH]
        shoulder_size = _length(shoulder_axis) / self.lengths_m[_SHOULDER_WIDTH]
        low_axes, high_axes = _frame(hip_axis, up), _frame(shoulder_axis, up)
        low_scale = np.stack([hip_size, size, size], axis=-1)[..., None, :]
        high_scale = np.stack([shoulder_size, size, size], axis=-1)[..., None, :]
        low = hips[..., None, :] + (self._low * low_scale) @ np.swapaxes(low_axes, -1, -2)
        high = shoulders[..., None, :] + (self._high * high_scale) @ np.swapaxes(high_axes, -1, -2)
        joints[..., self._LOW, :] = low
        joints[..., self._HIGH, :] = high
        joints[..., 6, :] = 0.5 * (low[..., -1, :] + high[..., 0, :])
        return size, high_axes


def _length(vectors: NDArray) -> NDArray[np.float64]:
    """[...,3] to [...]."""
    return np.asarray(np.sqrt(dot(vectors, vectors)))


_FACE_AXES = np.stack(
    [
        np.array([1.0, 0.0, 0.0]),
        cross(unit(NOSE_FROM_EARS_M), np.array([1.0, 0.0, 0.0])),
        unit(NOSE_FROM_EARS_M),
    ],
    axis=1,
)


def joints_from_landmarks(landmarks_m: NDArray, template: TorsoTemplate) -> JointObservation:
    """The 24 joints behind 33 landmarks.

    Limbs are taken over; the ball of the foot lies between ankle and toes, the hand joint at the
    knuckles; pelvis, spine, neck and collars are placed by the template's proportions; the head
    joint and the head's rotation come from ears and nose.

    Args:
        landmarks_m: float [...,33,3], finite, the camera's axes.
        template: proportions of the trunk.
    """
    joints = LIMB_SOURCES @ landmarks_m
    size, chest_axes = template.fill(joints)
    left_ear, right_ear = landmarks_m[..., 7, :], landmarks_m[..., 8, :]
    ears = 0.5 * (left_ear + right_ear)
    left = unit(left_ear - right_ear)
    face = landmarks_m[..., 0, :] - ears
    forwards = unit(face - dot(face, left)[..., None] * left)
    axes = np.stack([left, cross(forwards, left), forwards], axis=-1)
    # Ears or nose coincide: the head follows the chest.
    lost = ~(left.any(axis=-1) & forwards.any(axis=-1))
    axes = np.where(lost[..., None, None], chest_axes @ _FACE_AXES, axes)
    head_rotation = axes @ _FACE_AXES.T
    torso_m = (size * template.lengths_m[_TORSO])[..., None]
    ears = ears + _turned(chest_axes, EAR_CORRECTION_TORSOS * torso_m)
    head = ears - _turned(head_rotation, EARS_FROM_HEAD_JOINT_M * size[..., None])
    joints[..., 15, :] = head
    toes = landmarks_m[..., 31:33, :] - landmarks_m[..., 29:31, :]
    return JointObservation(joints, toes, head_rotation)


def _turned(rotations: NDArray, vectors: NDArray) -> NDArray[np.float64]:
    """[...,3,3] on [...,3]."""
    return np.asarray((rotations @ vectors[..., None])[..., 0])


def landmarks_of_rest(rest_joints_m: NDArray) -> NDArray[np.float64]:
    """Landmarks [33,3] of a rest skeleton that faces the camera, mid-hips at the origin."""
    source = np.zeros((33, 24))
    for name, index in _L.items():
        side = name.split("_")[0]
        finger = name.endswith(("pinky", "index", "thumb")) and "foot" not in name
        joint = f"{side}_hand" if finger else name
        source[index, _J.get(joint, _J["head"])] = 1.0
    landmarks = source @ rest_joints_m
    torso_m = lengths_of_joints(rest_joints_m)[_TORSO]
    ears = rest_joints_m[15] + EARS_FROM_HEAD_JOINT_M - EAR_CORRECTION_TORSOS * torso_m
    landmarks[:11] = ears + NOSE_FROM_EARS_M
    landmarks[7:9] = ears + EAR_SIDES_M
    for ankle, heel, toes, foot in ((7, 29, 31, 10), (8, 30, 32, 11)):
        landmarks[heel] = rest_joints_m[ankle] + HEEL_FROM_ANKLE_M
        forwards = (rest_joints_m[foot] - rest_joints_m[ankle]) / FOOT_JOINT_FRACTION
        landmarks[toes] = rest_joints_m[ankle] + forwards
    hips = 0.5 * (landmarks[23] + landmarks[24])
    return (landmarks - hips) @ FACING_CAMERA.T
