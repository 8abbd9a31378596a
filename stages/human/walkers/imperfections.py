"""What segmentation makes of a person: edges that wander, lost thin parts, filled gaps, blobs.

Measured on rendered people through the real detect stage (scripts/measure_imperfections.py). The
network's errors are about as many pixels at every size, so small people lose more: every figure
here is a function of the person's height in pixels. What the renders cannot show (things in front
of people, blobs of clutter, feet lost in the floor) is drawn on top, more often the greater the
strength. Letters: T masks of one sequence, h w height and width of a mask in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.human.walkers.landmark_noise import wander

GRID = (14, 7)  # of the field that moves edges: cells down and across a person
EDGE_TIME_S = 0.05
MARGIN_PX = 4  # around a person in a mask that silhouettes.py draws
# By height of the person, pixels.
HEIGHTS_PX = np.array([60.0, 90.0, 130.0, 190.0, 280.0])
BLUR_PX = np.array([1.1, 1.2, 1.3, 1.5, 1.8])
SHRINK_PX = np.array([0.12, 0.35, 0.12, 0.08, 0.05])
SHRINK_SPREAD_PX = np.array([0.25, 0.3, 0.2, 0.15, 0.15])
# Spread of the edge's place, the same in all frames and anew in each, pixels.
STEADY_PX = np.array([0.5, 0.5, 0.4, 0.4, 0.5])
FLICKER_PX = np.array([0.7, 0.7, 0.6, 0.7, 0.9])
ENDS_PX = np.array([0.7, 0.3, 0.0, 0.0, 0.0])  # shrinks feet and crown further
# Displacement over blur to level of the blurred edge, and the levels that it stops at.
LEVEL_SLOPE = 0.38
LEVELS = (0.04, 0.96)


@dataclass(frozen=True)
class Faults:
    """What goes wrong in one sequence; lengths are shares of the person's height.

    Attributes:
        edges: strength of what edges do: 0 nothing, 1 as measured.
        shrink: how far this sequence's edges lie inwards, in spreads about the mean.
        ends: factor on what feet (0) and crown (1) lose.
        feet: cut off from below. feet_jitter: its spread between frames.
        closing: gaps narrower than this are filled; 0 none.
        bite: something missing, or None: place (x 0..1, y 0..1), radius, share of frames.
        blob: something added, likewise.
        bar: an upright thing in front: x 0..1 and half width, or None.
    """

    edges: float = 0.0
    shrink: float = 0.0
    ends: tuple[float, float] = (1.0, 1.0)
    feet: float = 0.0
    feet_jitter: float = 0.0
    closing: float = 0.0
    bite: tuple[float, float, float, float] | None = None
    blob: tuple[float, float, float, float] | None = None
    bar: tuple[float, float] | None = None


def draw_faults(rng: np.random.Generator, strength: float = 1.0, occluded: bool = False) -> Faults:
    """Faults of a sequence: strength 0 none, 1 as measured, 2 much worse."""

    def spot(radii: tuple[float, float]) -> tuple[float, float, float, float]:
        return (
            float(rng.choice([rng.uniform(0, 0.3), rng.uniform(0.7, 1.0)])),
            float(rng.uniform(0.15, 1.0)),
            float(rng.uniform(*radii) * min(strength, 1.5)),
            float(rng.uniform(0.15, 0.9)),
        )

    often = min(strength, 2.0)
    ends = np.exp(0.5 * rng.standard_normal(2))
    return Faults(
        edges=strength,
        shrink=float(rng.standard_normal()),
        ends=(float(ends[1]), float(ends[0])),
        feet=float(strength * rng.uniform(0, 0.05)) if rng.random() < 0.10 * often else 0.0,
        feet_jitter=float(strength * rng.uniform(0, 0.015)),
        closing=float(rng.uniform(0.01, 0.05)) if rng.random() < 0.10 * often else 0.0,
        bite=spot((0.03, 0.1)) if rng.random() < 0.10 * often else None,
        blob=spot((0.02, 0.1)) if rng.random() < 0.10 * often else None,
        bar=(float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.02, 0.09))) if occluded else None,
    )


def imperfect(
    masks: Sequence[NDArray[np.uint8]],
    faults: Faults,
    step_s: float,
    rng: np.random.Generator,
) -> list[NDArray[np.uint8]]:
    """Masks as a segmentation would give them: clean ones in, of the same sizes out.

    Args:
        masks: uint8 [h,w], 0 or 255, each a person with a margin around.
        step_s: between two masks, seconds.
    """
    count = len(masks)
    if not count:
        return []
    height_px = max(8.0, float(np.median([len(mask) for mask in masks])) - 2 * MARGIN_PX)
    outwards = faults.edges * _displacements(count, faults, height_px, step_s, rng)
    blur_px = (0.5 + 0.5 * min(faults.edges, 2.0)) * _at(BLUR_PX, height_px)
    jitter = rng.standard_normal(count)
    shown = rng.random((count, 2))
    out = []
    for place, mask in enumerate(masks):
        grey: NDArray[Any] = mask
        if faults.closing > 0:
            size = max(3, 2 * round(faults.closing * height_px / 2) + 1)
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
            grey = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, kernel)
        grey = _spots(grey.copy(), faults, shown[place])
        if faults.edges > 0:
            grey = largest_piece(_moved_edges(grey, blur_px, outwards[place]))
        cut = faults.feet + faults.feet_jitter * float(jitter[place])
        if cut > 0 and faults.feet > 0:
            rows = np.flatnonzero(grey.any(axis=1))
            if len(rows):
                grey[max(0, round(rows[-1] + 1 - cut * height_px)) :] = 0
        out.append(np.asarray(grey, np.uint8))
    return out


def largest_piece(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest connected part of uint8 [h,w]; detection drops what hangs on no bone."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if count <= 2:
        return mask
    kept = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return np.where(parts == kept, np.uint8(255), np.uint8(0))


def _at(by_height: NDArray[np.float64], height_px: float) -> float:
    return float(np.interp(height_px, HEIGHTS_PX, by_height))


def _displacements(
    count: int, faults: Faults, height_px: float, step_s: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """How far edges move outwards, pixels [T,14,7], over the person from crown to feet."""
    shrink = _at(SHRINK_PX, height_px) + faults.shrink * _at(SHRINK_SPREAD_PX, height_px)
    field = _at(FLICKER_PX, height_px) * wander(count, GRID, step_s, EDGE_TIME_S, rng)
    field += _at(STEADY_PX, height_px) * rng.standard_normal(GRID) - shrink
    ends = _at(ENDS_PX, height_px)
    field[:, -1] -= ends * faults.ends[0]
    field[:, 0] -= ends * faults.ends[1]
    return field.astype(np.float32)


def _moved_edges(
    grey: NDArray[np.uint8], blur_px: float, outwards_px: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Blur and threshold at a level that wanders over the person."""
    soft = cv2.GaussianBlur(grey, (0, 0), blur_px)
    coarse = np.clip(0.5 - LEVEL_SLOPE / blur_px * outwards_px, *LEVELS)
    size_wh = (grey.shape[1], grey.shape[0])
    level = cv2.resize((255.0 * coarse).astype(np.uint8), size_wh, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.compare(soft, level, cv2.CMP_GT), np.uint8)


def _spots(
    grey: NDArray[np.uint8], faults: Faults, shown: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Take a bite out, put a blob on, set a bar in front; in place."""
    height, width = grey.shape
    for spot, value, seen in ((faults.bite, 0, shown[0]), (faults.blob, 255, shown[1])):
        if spot is not None and seen < spot[3]:
            centre = int(spot[0] * width), int(spot[1] * height)
            radius = max(1, round(spot[2] * height))
            cv2.ellipse(grey, centre, (radius, int(1.4 * radius)), 0, 0, 360, (value,), -1)
    if faults.bar is not None:
        left = int((faults.bar[0] - faults.bar[1]) * width)
        grey[:, max(0, left) : max(0, left + max(1, int(2 * faults.bar[1] * width)))] = 0
    return grey
