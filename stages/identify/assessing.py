"""Is a calibration right? It is asked about people that it has not seen.

Strangers walk past made-up galleries of other people; a false alarm is a track that is given a name
at any of its looks. Beside it: of enrolled people's tracks, those named right at their last look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stages.identify.calibration import Calibration, Check
from stages.identify.fitting import (
    MIN_PEOPLE,
    Fitted,
    Progress,
    check_people,
    fit_calibration,
)
from stages.identify.trials import (
    Comparisons,
    best_scores,
    compare,
    draw_galleries,
    draw_own,
    fuse_walks,
    gallery_sizes,
    measure,
    own_scores,
    steps_for,
)
from stages.identify.walks import Walks, names_of
from stages.identify.ways import FitOptions

LEVELS = (0.1, 0.01, 0.001)
RESAMPLES = 400
# A track is named from its second window on, as the stage is set by default.
FIRST_LOOK = 2


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """False-alarm levels that tracks reached in made-up galleries, over all draws.

    Attributes:
        sizes: int64 [g].
        strangers: float64 [r,s,g], lowest level at any look; nan where there was no gallery.
        same, other: float64 [r,s,g], level at which an enrolled walker was named right at the last
            look, by a template of the same side and of another; inf where somebody else was nearer,
            nan where there was none.
        people: int64 [s]. carried: float64 [g].
    """

    sizes: np.ndarray
    strangers: np.ndarray
    same: np.ndarray
    other: np.ndarray
    people: np.ndarray
    carried: np.ndarray


def cross_check(
    walks: Walks, options: FitOptions, on_progress: Progress | None = None
) -> tuple[list[Tried], list[Fitted]]:
    """Fit on one half of the people and try on the other, then the other way round.

    Raises:
        CalibrationError: too few people in a half.
    """
    check_people(walks, 2 * MIN_PEOPLE)
    names = list(names_of(walks))
    np.random.default_rng([options.seed, 7]).shuffle(names)
    halves = frozenset(names[::2]), frozenset(names[1::2])
    tried, fits = [], []
    for fold, (learned, asked) in enumerate((halves, halves[::-1])):
        fitted = fit_calibration(walks.only(learned), options)
        tried.append(try_out(fitted.calibration, walks.only(asked), options))
        fits.append(fitted)
        if on_progress is not None:
            on_progress("checking on the other half", fold + 1, 2)
    return tried, fits


def try_out(calibration: Calibration, walks: Walks, options: FitOptions) -> Tried:
    """Let people whom a calibration has not seen walk past made-up galleries."""
    fused = fuse_walks(walks, steps_for(walks), calibration.weighing)
    made = compare(measure(fused, calibration.metric, calibration.cohort), calibration.norm)
    sizes = gallery_sizes(made)
    looked = [e for e, step in enumerate(made.steps) if step >= FIRST_LOOK] or [0]
    parts: dict[str, list[np.ndarray]] = {"strangers": [], "same": [], "other": []}
    galleries = draw_galleries(made, options.draws, options.seed, same_side=options.same_side)
    for draw, columns in enumerate(galleries):
        best = best_scores(made, columns, sizes)
        levels = _levels(calibration, made, best, sizes)
        parts["strangers"].append(np.fmin.reduce(levels[looked], axis=0))
        for name in ("same", "other"):
            own = own_scores(made, draw_own(made, draw, options.seed, same_side=name == "same"))
            parts[name].append(_right(calibration, made, own, best, sizes))
    carried = np.array([calibration.carried(int(n)) for n in sizes])
    return Tried(
        sizes=sizes,
        strangers=np.stack(parts["strangers"]),
        same=np.stack(parts["same"]),
        other=np.stack(parts["other"]),
        people=made.people,
        carried=carried,
    )


def merge_levels(tried: list[Tried], name: str, size: int) -> np.ndarray:
    """Return float64 [k], the known levels of one kind in galleries of a size, all folds."""
    parts = []
    for one in tried:
        levels = getattr(one, name)[..., int(np.flatnonzero(one.sizes == size)[0])]
        parts.append(levels[~np.isnan(levels)])
    return np.concatenate(parts)


def _levels(
    calibration: Calibration, made: Comparisons, scores: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Return the levels of float64 [e,s,g] scores, nan where there is none."""
    levels = np.full(scores.shape, np.nan)
    for g, size in enumerate(sizes):
        found = calibration.levels(scores[..., g], int(size), made.frames, made.quality)
        levels[..., g] = np.where(np.isnan(scores[..., g]), np.nan, found)
    return levels


def _right(
    calibration: Calibration,
    made: Comparisons,
    own: np.ndarray,
    best: np.ndarray,
    sizes: np.ndarray,
) -> np.ndarray:
    """Return float64 [s,g]: the level at which the right person is named at the last look."""
    last = made.seen.shape[0] - 1 - np.argmax(made.seen[::-1], axis=0)
    rows = np.arange(len(last))
    frames, quality = made.frames[last, rows], made.quality[last, rows]
    mine = own[last, rows]
    result = np.full((len(rows), len(sizes)), np.nan)
    for g, size in enumerate(sizes):
        # The gallery is the own template and all but one of the others.
        others = best[last, rows, g - 1] if g else np.full(len(rows), -np.inf)
        levels = calibration.levels(mine, int(size), frames, quality)
        known = ~np.isnan(mine) & ~np.isnan(others)
        result[:, g] = np.where(known, np.where(mine > others, levels, np.inf), np.nan)
    return result


def checks_of(tried: list[Tried], seed: int = 0) -> tuple[Check, ...]:
    """Return the rows of the table, by gallery and level, the folds taken together."""
    sizes = sorted(set.intersection(*(set(one.sizes.tolist()) for one in tried)))
    return tuple(_check(tried, int(size), level, seed) for size in sizes for level in LEVELS)


def with_checks(calibration: Calibration, checks: tuple[Check, ...]) -> Calibration:
    """Return a calibration with what trials have shown, and as much more cautious.

    What is fitted to all the people is better than what halves of them promised; by how much those
    fell short, where they vouch, is added all the same.
    """
    ratios = [
        one.achieved / one.asked for one in checks if one.is_carried and one.achieved is not None
    ]
    return replace(calibration, checks=checks, caution=max(1.0, float(np.mean(ratios or [1.0]))))


def _check(tried: list[Tried], size: int, level: float, seed: int) -> Check:
    places = [int(np.flatnonzero(one.sizes == size)[0]) for one in tried]
    alarms, counts = [], []
    for one, g in zip(tried, places, strict=True):
        reached = one.strangers[..., g]
        known = np.isfinite(reached)
        people = int(one.people.max()) + 1
        alarms.append(np.bincount(one.people, ((reached <= level) & known).sum(axis=0), people))
        counts.append(np.bincount(one.people, known.sum(axis=0), people))
    alarm, count = np.concatenate(alarms), np.concatenate(counts)
    low, high = _interval(alarm, count, seed)
    same, other = (merge_levels(tried, name, size) for name in ("same", "other"))
    return Check(
        templates=size,
        asked=level,
        is_carried=all(level >= one.carried[g] for one, g in zip(tried, places, strict=True)),
        achieved=float(alarm.sum() / count.sum()) if count.any() else None,
        low=low,
        high=high,
        tracks=int(count.sum()),
        people=int((count > 0).sum()),
        named_same=_share(same, level),
        named_other=_share(other, level),
    )


def _share(levels: np.ndarray, bar: float) -> float | None:
    return float((levels <= bar).mean()) if len(levels) else None


def _interval(
    alarms: np.ndarray, counts: np.ndarray, seed: int
) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of the rate: people are drawn again, with all of their tracks."""
    held = counts > 0
    alarms, counts = alarms[held], counts[held]
    if len(counts) == 0:
        return None, None
    rows = np.random.default_rng([seed, 8]).integers(0, len(counts), (RESAMPLES, len(counts)))
    rates = alarms[rows].sum(axis=1) / counts[rows].sum(axis=1)
    low, high = np.quantile(rates, (0.025, 0.975))
    if not alarms.sum():
        # Nothing was seen: the rule of three, over people.
        high = min(1.0, 3.0 / len(counts))
    return float(low), float(high)
