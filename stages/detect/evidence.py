"""What motion says about the people seen, and they about the motion."""

from __future__ import annotations

import math

import cv2
import numpy as np

from stages.detect.motion import Motion
from stages.detect.observation import Observation

EXPLAINED_PAD = 0.06  # around a mask, body heights: motion is a little larger than the person


def explain(rest: np.ndarray, seen: Observation, scale: float) -> None:
    """Clear from uint8 [h,w] (small picture) what an observation accounts for."""
    margin = max(2, round(EXPLAINED_PAD * seen.height * scale))
    height, width = rest.shape
    x, y = (int(side * scale) for side in seen.mask_xy)
    w, h = (max(1, math.ceil(side * scale)) for side in (seen.mask.shape[1], seen.mask.shape[0]))
    small = cv2.resize(seen.mask.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST)
    small = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    small = cv2.dilate(small, around)
    x, y = x - margin, y - margin
    x1, y1 = max(x, 0), max(y, 0)
    x2, y2 = min(x + small.shape[1], width), min(y + small.shape[0], height)
    if x2 > x1 and y2 > y1:
        rest[y1:y2, x1:x2][small[y1 - y : y2 - y, x1 - x : x2 - x] > 0] = 0


def moving_share(seen: Observation, motion: Motion) -> float:
    """Return the share of an observation's mask that moves, 0..1; 0 if motion is not settled."""
    if not motion.settled:
        return 0.0
    rows, columns = np.nonzero(seen.mask)
    height, width = motion.moving.shape
    y = np.minimum(((rows + seen.mask_xy[1]) * motion.scale).astype(int), height - 1)
    x = np.minimum(((columns + seen.mask_xy[0]) * motion.scale).astype(int), width - 1)
    return float(np.count_nonzero(motion.moving[y, x])) / max(len(rows), 1)
