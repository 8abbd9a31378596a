"""Is what the pose network read a person? It answers with a pose for bags and bushes too."""

from __future__ import annotations

import math

import numpy as np

from stages.detect.masks import MAIN_JOINTS, body_height, cut_to_box, own_pixels
from stages.detect.observation import Observation
from stages.detect.pose import Reading

SEEN = 0.5  # visibility from which on a joint counts as seen
MAX_LEAN = math.radians(60)  # of the trunk; a fallen or crawling person has no gait
TRUNK_SHARE = (0.12, 0.45)  # trunk length over body height
JOINTS_IN_MASK = 0.5  # share of the seen joints
FILLED = (0.15, 0.95)  # of the box by the mask
WIDEST = 1.3  # box width over height: arms spread, or a near person cut by the border
HEIGHT_RATIO = (0.45, 1.8)  # mask height over body height by bones
MAX_SHIFT = 0.45  # from the square asked for to the person found, in its sides
SIDE_RATIO = (0.5, 2.0)


def observation_of(reading: Reading, min_height_px: float, min_score: float) -> Observation | None:
    """Turn a reading into an observation; None if it is not plausibly a person."""
    score = float(reading.landmarks[list(MAIN_JOINTS), 3].mean())
    if score < min_score or not upright(reading.landmarks) or not _near(reading):
        return None
    mask, spill = own_pixels(reading.mask, reading.mask_xy, reading.landmarks)
    at = cut_to_box(mask)
    if at is None:
        return None
    height, width = mask[at].shape
    bones = body_height(reading.landmarks)
    if not (
        height >= min_height_px
        and width <= WIDEST * height
        and FILLED[0] <= mask[at].mean() <= FILLED[1]
        and HEIGHT_RATIO[0] <= height / bones <= HEIGHT_RATIO[1]
        and joints_inside(mask, reading.mask_xy, reading.landmarks) >= JOINTS_IN_MASK
    ):
        return None
    x, y = reading.mask_xy[0] + at[1].start, reading.mask_xy[1] + at[0].start
    return Observation(
        box=np.array([x, y, x + width, y + height], float),
        score=score,
        mask=mask[at],
        mask_xy=(x, y),
        strength=reading.mask[at],
        landmarks=reading.landmarks,
        world=reading.world,
        roi=reading.roi,
        spill=spill,
    )


def upright(landmarks: np.ndarray) -> bool:
    """Say whether the trunk of landmarks [33,2+] stands and has a human share of the body."""
    trunk = (landmarks[23, :2] + landmarks[24, :2] - landmarks[11, :2] - landmarks[12, :2]) / 2
    length = float(np.hypot(*trunk))
    share = length / body_height(landmarks)
    lean = math.atan2(abs(float(trunk[0])), float(trunk[1]))
    return TRUNK_SHARE[0] <= share <= TRUNK_SHARE[1] and lean <= MAX_LEAN


def joints_inside(mask: np.ndarray, xy: tuple[int, int], landmarks: np.ndarray) -> float:
    """Return the share of the seen main joints (frame pixels) that lie on bool [h,w] at `xy`.

    Joints beyond the mask's rectangle are beyond the frame's edge, where nothing can be said; but
    at least a third of the joints must be in it.
    """
    joints = landmarks[list(MAIN_JOINTS)]
    points = np.floor(joints[joints[:, 3] >= SEEN, :2] - xy).astype(int)
    inside = ((points >= 0) & (points < (mask.shape[1], mask.shape[0]))).all(axis=1)
    if 3 * np.count_nonzero(inside) < len(MAIN_JOINTS):
        return 0.0
    return float(mask[points[inside, 1], points[inside, 0]].mean())


def _near(reading: Reading) -> bool:
    asked, found = reading.asked, reading.roi
    shift = math.hypot(found.x - asked.x, found.y - asked.y)
    ratio = found.side / max(asked.side, 1e-6)
    return shift <= MAX_SHIFT * asked.side and SIDE_RATIO[0] <= ratio <= SIDE_RATIO[1]
