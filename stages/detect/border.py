"""When a silhouette is not to be trusted: the frame's edge or another person cuts it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.detect.boxes import area, intersection
from stages.detect.masks import MAIN_JOINTS
from stages.detect.observation import Observation

EDGE_PX = 2.0
COVERED_BY_MASK = 0.10  # share of a person's box under a nearer person's pixels
COVERED_BY_BOX = 0.35  # share of a person's box under a nearer person's box
MOST_SPILL = 0.05  # more of a mask beyond the body's reach: somebody else is in it
SAME_DEPTH = 0.04  # feet this close in height, body heights: neither is surely nearer


def cut_by_border(box: np.ndarray, landmarks: np.ndarray, size_wh: tuple[int, int]) -> bool:
    """Say whether the frame's edge cuts a person.

    Args:
        box: float [4], pixels.
        landmarks: float [33,2+], pixels of the frame, or [0,...] for none.
        size_wh: of the frame.
    """
    width, height = size_wh
    x1, y1, x2, y2 = box
    if x1 <= EDGE_PX or y1 <= EDGE_PX or x2 >= width - EDGE_PX or y2 >= height - EDGE_PX:
        return True
    if not len(landmarks):
        return False
    joints = landmarks[list(MAIN_JOINTS), :2]
    return bool((joints < 0).any() or (joints[:, 0] > width).any() or (joints[:, 1] > height).any())


def occluded(observations: Sequence[Observation]) -> list[bool]:
    """Say of each observation of one frame whether a nearer person covers part of it.

    Nearer is who stands lower in the picture; of two that stand equally low both are marked, and
    so is a mask that runs on into another body, found or not.
    """
    if not observations:
        return []
    boxes = np.stack([one.box for one in observations])
    by_box = intersection(boxes, boxes) / np.maximum(area(boxes), 1.0)[:, None]
    out = []
    for i, one in enumerate(observations):
        hidden = one.spill > MOST_SPILL
        for j, other in enumerate(observations):
            nearer = other.box[3] >= one.box[3] - SAME_DEPTH * one.height
            if i == j or not nearer or by_box[i, j] <= 0:
                continue
            hidden |= by_box[i, j] > COVERED_BY_BOX
            hidden |= pixels_in_box(other, one.box) > COVERED_BY_MASK * max(
                float(area(one.box)), 1.0
            )
        out.append(bool(hidden))
    return out


def pixels_in_box(one: Observation, box: np.ndarray) -> int:
    """Return how many pixels of the observation's mask lie in box [4]."""
    height, width = one.mask.shape
    x1, x2 = np.clip(np.round(box[[0, 2]] - one.mask_xy[0]), 0, width).astype(int)
    y1, y2 = np.clip(np.round(box[[1, 3]] - one.mask_xy[1]), 0, height).astype(int)
    return int(np.count_nonzero(one.mask[y1:y2, x1:x2]))
