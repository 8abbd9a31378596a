"""MediaPipe's 33 landmarks as a tree of bones, and the view that they are seen from.

Errors of a pose network are errors of bones: an elbow that is off takes wrist and hand with it.
Letters: T frames, B = 36 bones, each named by the point at its far end: the 33 landmarks, mid-hips
(the root, without a bone), mid-shoulders and mid-ears.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.joints import MEDIAPIPE_LANDMARK_NAMES

Floats = NDArray[np.float64]

MIDDLE_HIPS, MIDDLE_SHOULDERS, MIDDLE_EARS = 33, 34, 35
BONES = 36
DEEPEST = 6  # bones from the root to a finger, and to spare
# What turns with the trunk where a network takes the trunk to be turned. Legs and head do not: they
# are seen apart from it.
TRUNK_AND_ARMS = [*range(11, 25), MIDDLE_SHOULDERS]
# Pairs on a point between the two: what one is off by, so is the other, the other way.
LEFT_OF_PAIRS, RIGHT_OF_PAIRS = [7, 11, 23], [8, 12, 24]
LEFT_LEG, RIGHT_LEG = [25, 27, 29, 31], [26, 28, 30, 32]
VIEW_TERMS = 5  # of a function of the view: 1, cos, sin, cos 2, sin 2


def _parents() -> NDArray[np.int64]:
    """Which point each of the 36 hangs on; the root on itself."""
    out = np.full(BONES, MIDDLE_SHOULDERS)
    out[[MIDDLE_HIPS, MIDDLE_SHOULDERS, 23, 24]] = MIDDLE_HIPS
    for side in (0, 1):
        shoulder, elbow, wrist, hip, knee, ankle = (side + n for n in (11, 13, 15, 23, 25, 27))
        out[elbow], out[wrist], out[knee], out[ankle] = shoulder, elbow, hip, knee
        out[[17 + side, 19 + side, 21 + side]] = wrist
        out[[29 + side, 31 + side]] = ankle
    out[[0, 7, 8]] = MIDDLE_EARS
    out[[*range(1, 7), 9, 10]] = 0  # the rest of the face hangs on the nose
    return out


def _chains() -> Floats:
    """[36,36]: row p sums the bones from the root to point p."""
    out = np.eye(BONES)
    for _ in range(DEEPEST):
        for point in range(BONES):
            if point != MIDDLE_HIPS:
                out[point] = out[PARENTS[point]] + np.eye(BONES)[point]
        out[MIDDLE_HIPS] = 0.0
    return out


def _mirror() -> NDArray[np.int64]:
    """The point [36] on the other side of the body; those in the middle are their own."""
    names = MEDIAPIPE_LANDMARK_NAMES
    out = np.arange(BONES)
    for place, name in enumerate(names):
        other = name.replace("left", "?").replace("right", "left").replace("?", "right")
        out[place] = names.index(other)
    return out


PARENTS = _parents()
CHAINS = _chains()
MIRROR = _mirror()
# 1 for the left one of a pair, -1 for the right one, 0 in the middle.
SIDE = np.sign(np.where(np.arange(BONES) < MIRROR, 1.0, 0.0) - (np.arange(BONES) > MIRROR))
SIDE[[1, 2, 3]], SIDE[[4, 5, 6]] = 1.0, -1.0


def bones_of(landmarks: Floats) -> Floats:
    """Bones [...,36,3] of landmarks [...,33,3]."""
    middles = [
        0.5 * (landmarks[..., a : a + 1, :] + landmarks[..., a + 1 : a + 2, :]) for a in (23, 11, 7)
    ]
    points = np.concatenate([landmarks, *middles], axis=-2)
    return np.asarray(points - points[..., PARENTS, :])


def landmarks_of(bones: Floats) -> Floats:
    """Landmarks [...,33,3] from mid-hips, of bones [...,36,3]."""
    return np.asarray(CHAINS[:33] @ bones)


def view_of(landmarks: Floats) -> Floats:
    """From where landmarks [T,33,3] (camera's axes) are seen: cosine and sine [T,2].

    0 degrees faces the camera, 90 shows the left side, as in stages/human/walkers/viewing.py.
    """
    across = landmarks[:, 11] - landmarks[:, 12] + landmarks[:, 23] - landmarks[:, 24]
    flat = across[:, [0, 2]] * [1.0, -1.0]
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6))


def view_terms(view: Floats) -> Floats:
    """1, cos, sin, cos 2, sin 2 [T,5] of views [T,2] (cosine, sine)."""
    cos, sin = view[:, 0], view[:, 1]
    return np.stack([np.ones_like(cos), cos, sin, cos**2 - sin**2, 2 * cos * sin], axis=1)


def facing_axes(view: Floats) -> Floats:
    """Left, down and forwards of people seen from views [T,2], as columns [T,3,3].

    Rows are the camera's axes (x right, y down, z away).
    """
    cos, sin = view[:, 0], view[:, 1]
    nothing, whole = np.zeros_like(cos), np.ones_like(cos)
    columns = [[cos, nothing, -sin], [nothing, whole, nothing], [-sin, nothing, -cos]]
    return np.stack([np.stack(column, axis=1) for column in columns], axis=2)


@dataclass(frozen=True, eq=False)
class Walking:
    """Bones [T,B,3] of a walk along the camera's axes, taken apart: the sum is what they are.

    Attributes:
        average: an average person's who faces the same way.
        posture: how this person's average over time differs from it.
        motion: how the bones move about the person's own average.
    """

    average: Floats
    posture: Floats
    motion: Floats


def taken_apart(bones: Floats, view: Floats, average_m: Floats) -> Walking:
    """Take a walk's bones [T,B,3] apart.

    Args:
        view: [T,2] cosine and sine. average_m: [B,3], left, down and forwards.
    """
    axes = facing_axes(view)  # [T,3,3]
    own = (bones @ axes).mean(axis=0)  # [B,3]
    turned = np.swapaxes(axes, 1, 2)
    average = average_m @ turned
    posture = (own - average_m) @ turned
    return Walking(average, posture, bones - average - posture)
