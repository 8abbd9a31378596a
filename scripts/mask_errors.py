"""How far a seen mask is from the true one, and the figures that imitate it.

Lengths are shares of the person's height unless a name ends in _px. An offset is how far the seen
edge lies outside the true one, negative inside. Letters: h w height and width of a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.human.walkers.imperfections import Faults, draw_faults, imperfect
from stages.human.walkers.measured import MaskFigures

Mask = NDArray[np.bool_]

CELL_ROWS = 16  # offsets are averaged over cells: so many down, left and right of the middle
LARGEST_OFFSET = 0.05  # a farther edge is a lost limb or a blob, not an offset
BLOB_REACH = 0.03  # what lies farther out than this, or in, is a blob or a bite
ENDS = 0.05  # feet and crown: this share of the height
GAP = 0.035  # radius: gaps narrower than two of it
THIN = 0.02  # radius: parts thinner than two of it
LAGS = (0.01, 0.02, 0.04, 0.08, 0.16)  # along the outline, heights
STEP = 0.005
# Averages of a pair that a table shows and the fit works on.
AVERAGES = (
    "iou", "offset", "offset_spread", "area", "feet_lost", "crown_lost", "gaps_filled",
    "thin_lost", "blob", "bite", "outline",
)  # fmt: skip
FITTED = ("blur", "shrink", "shrink_spread", "steady", "flicker", "feet", "crown")


@dataclass(frozen=True, eq=False)
class MaskErrors:
    """One pair of masks.

    Attributes:
        averages: the figures of AVERAGES.
        cells: [32], mean offset of each cell, nan where there is no edge.
        alike: [5], autocovariance of the offset along the outline at LAGS.
    """

    averages: dict[str, float]
    cells: NDArray[np.float64]
    alike: NDArray[np.float64]


def mask_errors(true: Mask, seen: Mask) -> MaskErrors | None:
    """Compare two masks bool [h,w] of one window; None if nothing is seen."""
    if not seen.any():
        return None
    rows = np.flatnonzero(true.any(axis=1))
    top, height = int(rows[0]), int(rows[-1] + 1 - rows[0])
    area = int(true.sum())
    outline = outline_of(true)
    inside = distance_inside(seen) - distance_inside(true)
    offset = inside[outline[:, 1], outline[:, 0]] / height
    offset = np.clip(offset, -LARGEST_OFFSET, LARGEST_OFFSET)
    wide, wide_seen = (_grown(mask, BLOB_REACH * height) for mask in (true, seen))
    feet, crown = true.copy(), true.copy()
    feet[: top + int((1 - ENDS) * height)] = False
    crown[top + int(ENDS * height) :] = False
    gap = _closed(true, GAP * height) & ~true
    thin = true & ~_opened(true, THIN * height)
    averages = {
        "iou": (true & seen).sum() / (true | seen).sum(),
        "offset": offset.mean(),
        "offset_spread": offset.std(),
        "area": seen.sum() / area - 1,
        "feet_lost": 1 - (feet & seen).sum() / max(feet.sum(), 1),
        "crown_lost": 1 - (crown & seen).sum() / max(crown.sum(), 1),
        "gaps_filled": (gap & seen).sum() / max(gap.sum(), 1),
        "thin_lost": (thin & ~seen).sum() / max(thin.sum(), 1),
        "blob": (seen & ~wide).sum() / area,
        "bite": (true & ~wide_seen).sum() / area,
        "outline": _outline_length(seen) / _outline_length(true),
    }
    return MaskErrors(
        {name: float(value) for name, value in averages.items()},
        _by_cell(true, outline, offset, top, height),
        _alike(outline, offset, height),
    )


def outline_of(mask: Mask) -> NDArray[np.int64]:
    """The longest outline, points [n,2] x y."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(max(found, key=len)[:, 0])


def distance_inside(mask: Mask) -> NDArray[np.float64]:
    """Distance to the edge [h,w] pixels, positive inside."""
    grey = mask.astype(np.uint8)
    inside = cv2.distanceTransform(grey, cv2.DIST_L2, 5) - 0.5
    return np.where(mask, inside, 0.5 - cv2.distanceTransform(1 - grey, cv2.DIST_L2, 5))


def _disc(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def _grown(mask: Mask, radius: float) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(radius)) > 0)


def _closed(mask: Mask, radius: float) -> Mask:
    grey = mask.astype(np.uint8)
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_CLOSE, _disc(radius)) > 0)


def _opened(mask: Mask, radius: float) -> Mask:
    grey = mask.astype(np.uint8)
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_OPEN, _disc(radius)) > 0)


def _outline_length(mask: Mask) -> float:
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return max(1.0, sum(cv2.arcLength(one, True) for one in found))


def _by_cell(
    true: Mask, outline: NDArray[Any], offset: NDArray[Any], top: int, height: int
) -> NDArray[np.float64]:
    middle = np.median(np.nonzero(true)[1])
    row = np.clip((outline[:, 1] - top) * CELL_ROWS // height, 0, CELL_ROWS - 1)
    cell = 2 * row + (outline[:, 0] > middle)
    count = np.bincount(cell, minlength=2 * CELL_ROWS)
    total = np.bincount(cell, offset, minlength=2 * CELL_ROWS)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _alike(outline: NDArray[Any], offset: NDArray[Any], height: int) -> NDArray[np.float64]:
    steps = np.hypot(*np.diff(outline, axis=0, append=outline[:1]).T) / height
    along = np.concatenate([[0.0], np.cumsum(steps)])
    even = np.interp(np.arange(0, along[-1], STEP), along, np.append(offset, offset[0]))
    even = even - even.mean()
    return np.array([np.mean(even * np.roll(even, round(lag / STEP))) for lag in LAGS])


@dataclass(frozen=True, eq=False)
class MaskSummary:
    """Errors of many sequences of about one height.

    Attributes:
        count: frames. means, spreads: of the figures of AVERAGES over all frames.
        alike: [5], autocorrelation along the outline at LAGS.
        common_spread: between sequences, of their mean offset.
        steady_spread: between sequences, of a cell's mean offset without the common one.
        flicker_spread: of a cell's offset within a sequence.
        remembered: correlation of a cell's offset with that in the next frame.
        uneven: spread between sequences of the logarithm of the offset's spread.
    """

    count: int
    means: dict[str, float]
    spreads: dict[str, float]
    alike: NDArray[np.float64]
    common_spread: float
    steady_spread: float
    flicker_spread: float
    remembered: float
    uneven: float


def summary_of(sequences: Sequence[Sequence[MaskErrors | None]]) -> MaskSummary:
    """Sum up sequences of consecutive frames, None where nothing was seen."""
    every = [one for sequence in sequences for one in sequence if one is not None]
    table = {name: np.array([one.averages[name] for one in every]) for name in AVERAGES}
    alike = np.mean([one.alike for one in every], axis=0)
    nothing = np.full(2 * CELL_ROWS, np.nan)
    centres, squares, products = [], [], []
    rough = [
        np.mean([one.averages["offset_spread"] for one in sequence if one is not None])
        for sequence in sequences
    ]
    for sequence in sequences:
        cells = np.array([nothing if one is None else one.cells for one in sequence])
        seen = np.isfinite(cells).mean(axis=0) > 0.5
        centre = np.full(2 * CELL_ROWS, np.nan)
        centre[seen] = np.nanmean(cells[:, seen], axis=0)
        centres.append(centre)
        apart = cells - centre
        squares.append(apart[np.isfinite(apart)] ** 2)
        pairs = apart[1:] * apart[:-1]
        products.append(pairs[np.isfinite(pairs)])
    middle = np.array(centres)
    common = np.nanmean(middle, axis=1)
    steady = middle - common[:, None]
    steady = steady[:, np.isfinite(steady).any(axis=0)]
    flicker = float(np.mean(np.concatenate(squares)))
    return MaskSummary(
        len(every),
        {name: float(values.mean()) for name, values in table.items()},
        {name: float(values.std()) for name, values in table.items()},
        alike / max(float(np.mean(table["offset_spread"] ** 2)), 1e-12),
        float(common.std()),
        float(np.nanmean(np.nanstd(steady, axis=0))),
        float(np.sqrt(flicker)),
        float(np.mean(np.concatenate(products))) / max(flicker, 1e-12),
        float(np.std(np.log(rough))),
    )


def imitated(
    masks: Sequence[Mask], step_s: float, rng: np.random.Generator, figures: MaskFigures
) -> list[Mask]:
    """A sequence of true masks as the imitation sees them: edges alone, no drawn accidents."""
    drawn = draw_faults(rng, 1.0, figures=figures)
    faults = Faults(edges=drawn.edges, shrink=drawn.shrink, ends=drawn.ends)
    cut = [_with_margin(mask) for mask in masks]
    seen = imperfect([pixels for pixels, _ in cut], faults, step_s, rng, figures)
    out = []
    for mask, (_, at), pixels in zip(masks, cut, seen, strict=True):
        whole = np.zeros_like(mask)
        whole[at] = pixels > 0
        out.append(whole)
    return out


def _with_margin(mask: Mask, margin: int = 4) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    at = (
        slice(max(0, rows[0] - margin), rows[-1] + 1 + margin),
        slice(max(0, columns[0] - margin), columns[-1] + 1 + margin),
    )
    return mask[at].astype(np.uint8) * np.uint8(255), at


def closer(figures: MaskFigures, place: int, real: MaskSummary, ours: MaskSummary) -> MaskFigures:
    """Move the figures of one height towards those whose imitation has the real statistics."""
    height_px = float(figures.heights_px[place])

    def factor(name: str, wanted: float, got: float) -> NDArray[np.float64]:
        values = getattr(figures, name).copy()
        values[place] = np.clip(values[place] * np.clip(wanted / max(got, 1e-6), 0.5, 2), 0.01, 5)
        return np.asarray(values)

    def shift(name: str, by: float, low: float = -2.0) -> NDArray[np.float64]:
        values = getattr(figures, name).copy()
        values[place] = np.clip(values[place] + by, low, 4.0)
        return np.asarray(values)

    def missing(name: str) -> float:
        return real.means[name] - ours.means[name]

    soft = ("gaps_filled", "thin_lost")
    wanted, got = (sum(one.means[name] for name in soft) for one in (real, ours))
    end_px = ENDS * height_px
    return replace(
        figures,
        blur=factor("blur", float(wanted) ** 0.5, float(got) ** 0.5),
        shrink=shift("shrink", -height_px * missing("offset")),
        shrink_spread=factor("shrink_spread", real.common_spread, ours.common_spread),
        steady=factor("steady", real.steady_spread, ours.steady_spread),
        flicker=factor("flicker", real.flicker_spread, ours.flicker_spread),
        feet=shift("feet", 0.7 * end_px * missing("feet_lost")),
        crown=shift("crown", 0.7 * end_px * missing("crown_lost")),
    )


def evened(figures: MaskFigures) -> MaskFigures:
    """The figures with each height a little nearer to its neighbours: few walks make one height."""
    changed = {}
    for name in FITTED:
        values = getattr(figures, name)
        around = np.pad(values, 1, mode="edge")
        changed[name] = 0.6 * values + 0.2 * (around[:-2] + around[2:])
    return replace(figures, **changed)
