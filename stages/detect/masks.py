"""Masks: bool [h,w] with a corner in the frame; whose pixels are whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from stages.detect.observation import Observation

INSIDE = 0.5  # network output from which on a pixel is the person
REACH = 0.10  # a body ends this far from its bones, body heights: a coat, a bag on the back
BONE = 0.03  # thickness of a bone, body heights
SAME_PERSON_IOU = 0.5
SAME_PERSON_JOINTS = 0.12  # mean distance of joints, body heights

# MediaPipe landmarks: nose, ears, shoulders, elbows, wrists, hips, knees, ankles, feet.
BONES: tuple[tuple[int, int], ...] = (
    (7, 8), (0, 7), (0, 8), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    (11, 23), (12, 24), (11, 24), (12, 23), (23, 24), (23, 25), (25, 27), (24, 26), (26, 28),
    (27, 29), (29, 31), (28, 30), (30, 32),
)  # fmt: skip
BONE_ENDS = np.array(BONES)  # [21,2]
MAIN_JOINTS: tuple[int, ...] = (0, 11, 12, 13, 14, 23, 24, 25, 26, 27, 28)


def body_height(landmarks: np.ndarray) -> float:
    """Return the body's height in pixels from landmarks [33,2+], bent limbs straightened.

    Head and neck are taken as 0.6 of the trunk, legs as the longer of the two: people lean, sit
    and lift feet, but bones keep their length.
    """

    def length(a: int, b: int) -> float:
        return float(np.hypot(*(landmarks[a, :2] - landmarks[b, :2])))

    shoulders = (landmarks[11, :2] + landmarks[12, :2]) / 2
    hips = (landmarks[23, :2] + landmarks[24, :2]) / 2
    trunk = float(np.hypot(*(shoulders - hips)))
    legs = max(length(23, 25) + length(25, 27), length(24, 26) + length(26, 28))
    return max(1.6 * trunk + 1.1 * legs, 1.0)


def bones_picture(
    landmarks: np.ndarray, shape: tuple[int, int], xy: tuple[int, int], thickness: int
) -> np.ndarray:
    """Draw the bones of landmarks [33,2+] (frame pixels) into uint8 [h,w] whose corner is `xy`."""
    picture = np.zeros(shape, np.uint8)
    limit = 4 * max(shape) + 64  # far-out joints would overflow OpenCV's integers
    points = np.clip(np.round(landmarks[:, :2] - xy), -limit, limit).astype(np.int32)
    neck = (points[11] + points[12]) // 2
    head = (points[7] + points[8]) // 2
    # The crown lies nearly as far above the ears as the ears above the middle of the shoulders.
    crown = head + (head - neck) * 7 // 10
    lines = [*points[BONE_ENDS], np.stack([neck, crown])]
    cv2.polylines(picture, lines, False, (255,), thickness)
    return picture


def own_pixels(
    strength: np.ndarray, xy: tuple[int, int], landmarks: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the pixels of `strength` that belong to the body with these landmarks.

    Kept are the connected parts that touch the bones, no farther from a bone than a body reaches:
    so a neighbour's pixels, which the network often marks too, fall away.

    Args:
        strength: float32 [h,w], 0..1, whose corner is `xy` in the frame.
        landmarks: float [33,2+], pixels of the frame.

    Returns:
        bool [h,w], and the share of what was connected that fell away: more than a few hundredths
        mean that another body hangs on this one, whose near parts are still in.
    """
    height = body_height(landmarks)
    shape = (strength.shape[0], strength.shape[1])
    bones = bones_picture(landmarks, shape, xy, max(1, round(BONE * height)))
    whole = touching(strength > INSIDE, bones)
    away = cv2.distanceTransform(255 - bones, cv2.DIST_L2, 3)
    near = whole & (away <= REACH * height)
    lost = 1.0 - np.count_nonzero(near) / max(np.count_nonzero(whole), 1)
    return touching(near, bones), float(lost)


def touching(mask: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """Return the connected parts of bool [h,w] that touch the non-zero of `bones` [h,w]."""
    count, parts = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    keep = np.zeros(count, bool)
    keep[parts[(bones > 0) & mask]] = True
    keep[0] = False
    return keep[parts]


def cut_to_box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Return row and column slices of the smallest box around bool [h,w]; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def shared_slices(a: Observation, b: Observation) -> tuple[tuple[slice, slice], ...] | None:
    """Return the slices into a's and b's masks of the part of the frame that both cover."""
    x1, y1 = max(a.mask_xy[0], b.mask_xy[0]), max(a.mask_xy[1], b.mask_xy[1])
    x2 = min(a.mask_xy[0] + a.mask.shape[1], b.mask_xy[0] + b.mask.shape[1])
    y2 = min(a.mask_xy[1] + a.mask.shape[0], b.mask_xy[1] + b.mask.shape[0])
    if x2 <= x1 or y2 <= y1:
        return None
    return tuple(
        (
            slice(y1 - one.mask_xy[1], y2 - one.mask_xy[1]),
            slice(x1 - one.mask_xy[0], x2 - one.mask_xy[0]),
        )
        for one in (a, b)
    )


def mask_iou(a: Observation, b: Observation) -> float:
    """Return intersection over union of two masks, 0..1."""
    slices = shared_slices(a, b)
    if slices is None:
        return 0.0
    shared = int(np.count_nonzero(a.mask[slices[0]] & b.mask[slices[1]]))
    union = int(np.count_nonzero(a.mask)) + int(np.count_nonzero(b.mask)) - shared
    return shared / union if union else 0.0


def same_person(a: Observation, b: Observation) -> bool:
    """Say whether two observations of one frame show the same person."""
    if mask_iou(a, b) > SAME_PERSON_IOU:
        return True
    if not len(a.landmarks) or not len(b.landmarks):
        return False
    joints = list(MAIN_JOINTS)
    gaps = np.hypot(*(a.landmarks[joints, :2] - b.landmarks[joints, :2]).T)
    return bool(gaps.mean() < SAME_PERSON_JOINTS * max(a.height, b.height))


def without_doubles(observations: Sequence[Observation]) -> list[Observation]:
    """Return the observations with each person once, the one given first."""
    kept: list[Observation] = []
    for one in observations:
        if not any(same_person(one, other) for other in kept):
            kept.append(one)
    return kept


def share_out(observations: Sequence[Observation]) -> list[Observation]:
    """Give each pixel that several people claim to the one who claims it most strongly."""
    masks = [one.mask for one in observations]
    changed = set()
    for i, a in enumerate(observations):
        for j in range(i + 1, len(observations)):
            b = observations[j]
            slices = shared_slices(a, b)
            if slices is None:
                continue
            both = a.mask[slices[0]] & b.mask[slices[1]]
            if not both.any():
                continue
            a_wins = a.strength[slices[0]] >= b.strength[slices[1]]
            for index, at, lost in ((i, slices[0], both & ~a_wins), (j, slices[1], both & a_wins)):
                if index not in changed:
                    masks[index] = masks[index].copy()
                    changed.add(index)
                masks[index][at] &= ~lost
    return [
        _with_mask(one, masks[index]) if index in changed else one
        for index, one in enumerate(observations)
    ]


def _with_mask(one: Observation, mask: np.ndarray) -> Observation:
    at = cut_to_box(mask)
    if at is None:
        return one  # wholly claimed by others: marked as occluded later, so nobody trusts it
    x, y = one.mask_xy[0] + at[1].start, one.mask_xy[1] + at[0].start
    height, width = mask[at].shape
    return replace(
        one,
        box=np.array([x, y, x + width, y + height], float),
        mask=mask[at],
        mask_xy=(x, y),
        strength=one.strength[at],
    )
