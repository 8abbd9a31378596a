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

from stages.human.walkers.landmark_noise import normal_quantile, wander
from stages.human.walkers.measured import MaskFigures, load_figures

GRID = (14, 7)  # of the field that moves edges: cells down and across a person
MARGIN_PX = 4  # around a person in a mask that silhouettes.py draws
SHORTEST_PX = 8.0
HEAVY_SPREAD = 1.2633  # of x sqrt|x| for normal x
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
        bar: an upright thing in front that the person passes: where it is halfway (x 0..1), half
            its width, and heights a second; or None.
    """

    edges: float = 0.0
    shrink: float = 0.0
    ends: tuple[float, float] = (1.0, 1.0)
    feet: float = 0.0
    feet_jitter: float = 0.0
    closing: float = 0.0
    bite: tuple[float, float, float, float] | None = None
    blob: tuple[float, float, float, float] | None = None
    bar: tuple[float, float, float] | None = None


def draw_faults(
    rng: np.random.Generator,
    strength: float = 1.0,
    occluded: bool = False,
    figures: MaskFigures | None = None,
) -> Faults:
    """Faults of a sequence: strength 0 none, 1 as measured, 2 much worse."""
    figures = load_figures().masks if figures is None else figures

    def spot(radii: tuple[float, float]) -> tuple[float, float, float, float]:
        return (
            float(rng.choice([rng.uniform(0, 0.3), rng.uniform(0.7, 1.0)])),
            float(rng.uniform(0.15, 1.0)),
            float(rng.uniform(*radii) * min(strength, 1.5)),
            float(rng.uniform(0.15, 0.9)),
        )

    often = min(strength, 2.0)
    ends = np.exp(float(figures.ends_spread) * rng.standard_normal(2))
    uneven = float(figures.uneven)
    worse = float(np.exp(uneven * rng.standard_normal() - 0.5 * uneven**2))
    return Faults(
        edges=strength * worse,
        shrink=float(rng.standard_normal()),
        ends=(float(ends[1]), float(ends[0])),
        feet=float(strength * rng.uniform(0, 0.05)) if rng.random() < 0.10 * often else 0.0,
        feet_jitter=float(strength * rng.uniform(0, 0.015)),
        closing=float(rng.uniform(0.01, 0.05)) if rng.random() < 0.10 * often else 0.0,
        bite=spot((0.03, 0.1)) if rng.random() < 0.10 * often else None,
        blob=spot((0.02, 0.1)) if rng.random() < 0.10 * often else None,
        bar=_draw_bar(rng) if occluded else None,
    )


def imperfect(
    masks: Sequence[NDArray[np.uint8]],
    faults: Faults,
    step_s: float,
    rng: np.random.Generator,
    figures: MaskFigures | None = None,
) -> list[NDArray[np.uint8]]:
    """Masks as a segmentation would give them: clean ones in, of the same sizes out.

    Args:
        masks: uint8 [h,w], 0 or 255, each a person with a margin around.
        step_s: between two masks, seconds.
        figures: what errors are like; None: the shipped figures.
    """
    count = len(masks)
    if not count:
        return []
    height_px = max(SHORTEST_PX, float(np.median([len(m) for m in masks])) - 2 * MARGIN_PX)
    figures = load_figures().masks if figures is None else figures
    outwards = faults.edges * _displacements(count, faults, height_px, step_s, rng, figures)
    blur_px = (0.5 + 0.5 * min(faults.edges, 2.0)) * figures.at("blur", height_px)
    jitter = rng.standard_normal(count)
    shown = rng.random((count, 2))
    out = []
    for place, mask in enumerate(masks):
        grey: NDArray[Any] = mask
        if faults.closing > 0:
            grey = _closed(grey, faults.closing * height_px)
        grey = _spots(grey.copy(), faults, shown[place])
        if faults.edges > 0:
            grey = largest_piece(_moved_edges(grey, blur_px, outwards[place]))
        if faults.feet > 0:
            cut = faults.feet + faults.feet_jitter * float(jitter[place])
            _cut_feet(grey, cut * height_px)
        if faults.bar is not None:
            _hide(grey, faults.bar, (place - 0.5 * (count - 1)) * step_s, height_px)
        out.append(np.asarray(grey, np.uint8))
    return out


def missed_frames(
    count: int, height_px: float, step_s: float, rng: np.random.Generator, strength: float = 1.0
) -> NDArray[np.bool_]:
    """Frames [count] in which detection does not find the person, as measured at that height."""
    figures = load_figures().masks
    logit = figures.at("missed", height_px)
    logit += figures.at("missed_spread", height_px) * float(rng.standard_normal())
    share = min(0.5, strength / (1 + float(np.exp(-logit))))
    level = wander(count, (1,), step_s, float(figures.missed_s), rng)[:, 0]
    return np.asarray(level < normal_quantile(np.array(share)))


def _draw_bar(rng: np.random.Generator) -> tuple[float, float, float]:
    """A post, a tree or the edge of a wall, passed at up to walking speed."""
    speed = float(rng.uniform(-0.8, 0.8))
    return float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.01, 0.06)), speed


def _closed(grey: NDArray[Any], diameter_px: float) -> NDArray[np.uint8]:
    side = max(3, 2 * round(diameter_px / 2) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_CLOSE, kernel))


def _cut_feet(grey: NDArray[np.uint8], cut_px: float) -> None:
    """Take the lowest rows away, in place."""
    rows = np.flatnonzero(grey.any(axis=1))
    if len(rows) and cut_px > 0:
        grey[max(0, round(rows[-1] + 1 - cut_px)) :] = 0


def _hide(
    grey: NDArray[np.uint8], bar: tuple[float, float, float], since_s: float, height_px: float
) -> None:
    """Set a bar in front, `since_s` after halfway, in place."""
    middle, half, speed = bar
    centre = middle * grey.shape[1] + speed * since_s * height_px
    left, right = round(centre - half * height_px), round(centre + half * height_px)
    grey[:, max(0, left) : max(0, right)] = 0


def largest_piece(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest connected part of uint8 [h,w]; detection drops what hangs on no bone."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if count <= 2:
        return mask
    kept = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return np.where(parts == kept, np.uint8(255), np.uint8(0))


def _displacements(
    count: int,
    faults: Faults,
    height_px: float,
    step_s: float,
    rng: np.random.Generator,
    figures: MaskFigures,
) -> NDArray[np.float32]:
    """How far edges move outwards, pixels [T,14,7], over the person from crown to feet."""
    inwards = figures.at("shrink", height_px)
    inwards += faults.shrink * figures.at("shrink_spread", height_px)
    flicker = heavy_tailed(wander(count, GRID, step_s, float(figures.flicker_s), rng))
    field = figures.at("flicker", height_px) * flicker - inwards
    field += figures.at("steady", height_px) * rng.standard_normal(GRID)
    field[:, -1] -= figures.at("feet", height_px) * faults.ends[0]
    field[:, 0] -= figures.at("crown", height_px) * faults.ends[1]
    return field.astype(np.float32)


def heavy_tailed(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal noise of variance 1, large values made larger: a hand that is lost for a frame."""
    return np.asarray(noise * np.sqrt(np.abs(noise)) / HEAVY_SPREAD)


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
    """Take a bite out, put a blob on; in place."""
    height, width = grey.shape
    for spot, value, seen in ((faults.bite, 0, shown[0]), (faults.blob, 255, shown[1])):
        if spot is not None and seen < spot[3]:
            centre = int(spot[0] * width), int(spot[1] * height)
            radius = max(1, round(spot[2] * height))
            cv2.ellipse(grey, centre, (radius, int(1.4 * radius)), 0, 0, 360, (value,), -1)
    return grey
