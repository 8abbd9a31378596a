"""Fits a calibration to a place: strangers there score higher or lower than those it was made of.

Each track's best score against the gallery is one observation of a distribution that the prior
calibration knows (the best of n). Middle and spread of the observations are set against it; since
some tens of tracks say little, both are shrunk towards the prior: with t tracks the middle counts
t / (t + 20), the spread t / (t + 60). The shape of the tail stays the prior's: no footage of one
place holds enough strangers to tell it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import CalibrationError
from stages.identify.calibration import Calibration, Site

# Tracks that weigh as much as the prior does.
PRIOR_TRACKS, PRIOR_SPREAD_TRACKS = 20.0, 60.0
MIN_TRACKS = 3
# Fewer tracks than this say nothing about a false-alarm rate that is worth asking for.
FEW_TRACKS = 100
# A spread further off is a mistake in the footage (everybody is enrolled), not a place.
SPREADS = (0.67, 1.5)


@dataclass(frozen=True, slots=True)
class Adapted:
    """A calibration for a place, and what was seen there.

    Attributes:
        named_before, named_after: of the tracks, those that are named at `asked` by the prior and
            by the calibration of the place. They were fitted to, so the latter flatters.
    """

    calibration: Calibration
    named_before: int
    named_after: int


def adapt(
    prior: Calibration,
    scores: np.ndarray,
    frames: np.ndarray,
    quality: np.ndarray,
    templates: int,
    asked: float,
    footage: str,
) -> Adapted:
    """Return the calibration of a place.

    Args:
        scores: float64 [t], each track's best comparison score. frames, quality: float64 [t].
        templates: in the gallery they were compared with. asked: false-alarm rate, for the counts.

    Raises:
        CalibrationError: too few tracks, or scores that are no numbers.
    """
    if not np.isfinite(scores).all():
        raise CalibrationError(
            f"{np.count_nonzero(~np.isfinite(scores))} of {len(scores)} tracks have scores that "
            "are no numbers",
            hint="Are the gallery's templates sound? `gallery show` lists them.",
        )
    if len(scores) < MIN_TRACKS:
        raise CalibrationError(
            f"{len(scores)} tracks were long enough; a place takes {MIN_TRACKS} or more",
            hint="Give longer footage with more passers-by.",
        )
    base = replace(prior, site=None)
    standard = base.standardise(scores, frames, quality)
    low, middle, high = _quartiles(base, templates)
    seen_low, seen_middle, seen_high = np.quantile(standard, (0.25, 0.5, 0.75))
    count = len(scores)
    ratio = float(np.clip((seen_high - seen_low) / (high - low), *SPREADS))
    scale = float(np.exp(np.log(ratio) * count / (count + PRIOR_SPREAD_TRACKS)))
    trust = count / (count + PRIOR_TRACKS)
    moved = middle + trust * (float(seen_middle) - middle)
    # The spread is about the middle of the best, `Site` about 0.
    site = Site(moved - scale * middle, scale, count, trust, footage)
    adapted = replace(base, site=site)
    before, after = (
        int((one.one_look(scores, templates, frames, quality) <= asked).sum())
        for one in (prior, adapted)
    )
    return Adapted(adapted, before, after)


def _quartiles(base: Calibration, templates: int) -> tuple[float, float, float]:
    """Return the quartiles of a stranger's best standardised score."""
    effective = base.crowd.at(templates)
    below = np.array([0.25, 0.5, 0.75])
    low, middle, high = base.tail.quantile(-np.expm1(np.log(below) / effective))
    return float(low), float(middle), float(high)
