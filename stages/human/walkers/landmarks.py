"""Where MediaPipe's 33 landmarks lie on a posed body, as its network sees bodies.

Landmarks are fixed to joints of a skeleton whose bones are as long as MediaPipe takes them to be
(its shanks and feet are shorter than ours, see stages/body/joints_from_landmarks.py, where the same
figures undo it). Letters: T frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.human.joints import MEDIAPIPE_LANDMARK_NAMES, SMPL_JOINT_NAMES, SMPL_PARENTS
from stages.human.skeleton import forward_kinematics

Floats = NDArray[np.float64]

_J = {name: place for place, name in enumerate(SMPL_JOINT_NAMES)}
# Length as MediaPipe sees it over true length of the bone from a joint's parent to the joint.
SEEN_LENGTH = {
    "hip": 0.96, "spine1": 1.04, "spine2": 1.04, "spine3": 1.04, "neck": 1.04, "collar": 0.93,
    "shoulder": 0.93, "elbow": 1.01, "wrist": 1.01, "hand": 0.75, "knee": 1.03, "ankle": 0.87,
    "foot": 0.68,
}  # fmt: skip
# Parts of the face, heel and toes: metres from the joint at rest (left, up, forwards), for the
# left one of a pair; the right one is its mirror image.
_EAR = np.array([0.08, -0.018, 0.022])
_NOSE = np.array([0.0, -0.026, 0.149])
_FIXED: dict[str, tuple[str, Floats]] = {
    "nose": ("head", _NOSE),
    "eye_inner": ("head", _NOSE + np.array([0.016, 0.034, -0.022])),
    "eye": ("head", _NOSE + np.array([0.030, 0.034, -0.026])),
    "eye_outer": ("head", _NOSE + np.array([0.042, 0.033, -0.034])),
    "ear": ("head", _EAR),
    "mouth": ("head", _NOSE + np.array([0.024, -0.032, -0.016])),
    "pinky": ("hand", np.array([0.0, -0.010, -0.030])),
    "index": ("hand", np.array([0.010, 0.0, 0.020])),
    "thumb": ("hand", np.array([-0.040, -0.010, 0.035])),
    "heel": ("ankle", np.array([0.0, -0.055, -0.050])),
}
_TOES_FROM_ANKLE = 1 / 0.71  # of the way to the foot joint


def _attachments() -> tuple[NDArray[np.int64], Floats]:
    """Joint [33] and offset [33,3] at rest of each landmark; toes have none here."""
    joints, offsets = np.zeros(33, np.int64), np.zeros((33, 3))
    for place, name in enumerate(MEDIAPIPE_LANDMARK_NAMES):
        side = "right" if "right" in name else "left"
        part = name.replace("left_", "").replace("right_", "")
        part = part.replace("_left", "").replace("_right", "")
        if part == "foot_index":
            joints[place] = _J[f"{side}_ankle"]
        elif part in _FIXED:
            owner, offset = _FIXED[part]
            joints[place] = _J[owner] if owner in _J else _J[f"{side}_{owner}"]
            offsets[place] = offset * ([1, 1, 1] if side == "left" else [-1, 1, 1])
        else:
            joints[place] = _J[f"{side}_{part}"]
    return joints, offsets


LANDMARK_JOINTS, LANDMARK_OFFSETS = _attachments()
_TOES = {31: ("left_ankle", "left_foot"), 32: ("right_ankle", "right_foot")}


def seen_skeleton(rest_joints: Floats) -> Floats:
    """Rest joints [24,3] with bones as long as MediaPipe sees them."""
    out = rest_joints.copy()
    for joint, parent in enumerate(SMPL_PARENTS):
        if parent >= 0:
            name = SMPL_JOINT_NAMES[joint].replace("left_", "").replace("right_", "")
            scale = SEEN_LENGTH.get(name, 1.0)
            out[joint] = out[parent] + scale * (rest_joints[joint] - rest_joints[parent])
    return out


def true_landmarks(rotations: Floats, rest_joints: Floats) -> Floats:
    """Landmarks [T,33,3] in the body's axes, metres.

    Args:
        rotations: [T,24,3,3], each joint's in its parent's frame.
        rest_joints: [24,3] metres, the person's true skeleton at rest.
    """
    rest = seen_skeleton(rest_joints)
    joints, turns = forward_kinematics(rotations, rest)
    offsets = LANDMARK_OFFSETS.copy()
    for place, (ankle, foot) in _TOES.items():
        offsets[place] = _TOES_FROM_ANKLE * (rest[_J[foot]] - rest[_J[ankle]])
    turned = (turns[:, LANDMARK_JOINTS] @ offsets[:, :, None])[..., 0]
    return np.asarray(joints[:, LANDMARK_JOINTS] + turned)
