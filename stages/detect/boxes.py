"""Boxes as float arrays [n,4]: x1, y1, x2, y2 in pixels, x2 and y2 exclusive."""

from __future__ import annotations

import math

import numpy as np


def area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas [n] of boxes [n,4] in square pixels; 0 for an inverted box."""
    sides = np.maximum(boxes[..., 2:4] - boxes[..., 0:2], 0)
    return sides[..., 0] * sides[..., 1]


def intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the shared areas [n,m] of boxes a [n,4] and b [m,4]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return intersection over union [n,m], 0..1, of boxes a [n,4] and b [m,4]."""
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Return the rows to keep, best score first, so that no two overlap by more than `threshold`.

    Equal scores are taken in the order given, so the answer does not depend on the sort.
    """
    order = np.argsort(-scores, kind="stable")
    overlap = iou(boxes, boxes)
    kept: list[int] = []
    for row in order:
        if all(overlap[row, other] <= threshold for other in kept):
            kept.append(int(row))
    return np.asarray(kept, dtype=np.int64)


def pad(box: np.ndarray, share: float) -> np.ndarray:
    """Return box [4] widened on every side by `share` of its height."""
    margin = share * (box[3] - box[1])
    return box + np.array([-margin, -margin, margin, margin])


def clip(box: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Return box [4] cut to a picture of `size_wh`; it may come out empty."""
    width, height = size_wh
    return np.clip(box, 0, [width, height, width, height])


def pixel_slices(box: np.ndarray, size_wh: tuple[int, int]) -> tuple[slice, slice]:
    """Return row and column slices of the whole pixels that box [4] touches inside the picture."""
    x1, y1, x2, y2 = clip(box, size_wh)
    return slice(int(y1), int(np.ceil(y2))), slice(int(x1), int(np.ceil(x2)))


def tiles(size_wh: tuple[int, int], side_px: float) -> list[np.ndarray]:
    """Return square boxes [4] that cover a picture, each half over the next."""
    width, height = size_wh
    side = min(width, height, max(64.0, side_px))
    columns = np.linspace(0, max(0, width - side), max(1, math.ceil(2 * width / side) - 1))
    rows = np.linspace(0, max(0, height - side), max(1, math.ceil(2 * height / side) - 1))
    return [np.array([x, y, x + side, y + side]) for y in rows for x in columns]
