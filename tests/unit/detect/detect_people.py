"""Made-up observations for tests without networks."""

import numpy as np

from stages.detect.observation import Observation
from stages.detect.pose import roi_from_box
from stages.detect.tracking import Sighting

RED, BLUE, GREEN = 0, 8, 4


def landmarks_in(box):
    """Landmarks [33,4] of somebody standing upright in box [4]."""
    x1, y1, x2, y2 = box
    middle, width, height = (x1 + x2) / 2, x2 - x1, y2 - y1
    marks = np.zeros((33, 4))
    marks[:, 0], marks[:, 1], marks[:, 3] = middle, y1 + 0.07 * height, 0.95
    rows = {11: 0.18, 13: 0.34, 15: 0.48, 23: 0.5, 25: 0.73, 27: 0.95, 29: 0.97, 31: 0.98}
    for left, down in rows.items():
        for joint, sign in ((left, 1), (left + 1, -1)):
            marks[joint, 0] = middle + sign * (0.3 if left < 20 else 0.18) * width
            marks[joint, 1] = y1 + down * height
    for joint, sign in ((7, 1), (8, -1)):
        marks[joint, 0] = middle + sign * 0.1 * width
    return marks


def observation(x, y, height=100.0, score=0.9, mask=None, strength=0.9):
    """Somebody whose hips are about at (x, y), filling a box a third as wide as tall."""
    width = height / 3
    left, top = round(x - width / 2), round(y - height / 2)
    box = np.array([left, top, left + round(width), top + round(height)], float)
    shape = (round(height), round(width))
    mask = np.ones(shape, bool) if mask is None else mask
    return Observation(
        box=box,
        score=score,
        mask=mask,
        mask_xy=(left, top),
        strength=np.full(shape, strength, np.float32),
        landmarks=landmarks_in(box),
        world=np.zeros((33, 4), np.float32),
        roi=roi_from_box(box),
    )


def sighting(x, y, height=100.0, colour=RED, covered=False):
    """The same as the tracker gets it, in one colour from neck to foot."""
    wears = np.zeros((2, 20), np.float32)
    wears[:, colour] = 1.0
    return Sighting(observation(x, y, height), wears, covered)
