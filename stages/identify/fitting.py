"""Makes a calibration of labelled walks: strangers' scores, and what is best to compare by.

A quarter of the people become the cohort; the others are strangers and enrolled people to one
another. `ways.py` chooses what is compared by; here the scores that come of it are described.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.errors import CalibrationError
from stages.identify.calibration import (
    Basis,
    Calibration,
    Crowd,
    Evidence,
    Weighing,
)
from stages.identify.tail import TAIL_SHARE, Tail, fit_tail
from stages.identify.trials import (
    Comparisons,
    best_scores,
    compare,
    draw_galleries,
    fuse_walks,
    gallery_sizes,
    stranger_pairs,
)
from stages.identify.walks import Walks, names_of, thin_out
from stages.identify.ways import Choice, FitOptions, Way, choose_way, choose_weighing

MIN_PEOPLE = 12
COHORT_SHARE = 0.25
COHORT_VECTORS = 200
MAX_WALKS = 2500
# Scores that the survival curve is made from.
MAX_SCORES = 4_000_000
# Pairs of people that the fitted part of that curve should be about: fewer are chance, and with
# more the far end is told by those who are not far out.
TAIL_PAIRS, MIN_TAIL_SHARE = 50, 0.005
# Spread of strangers' scores: from the middle to where one in forty is above.
UPPER_SHARE = 0.975
# Levels by which galleries of more than one and repeated looks are judged.
JUDGED_LEVELS = (0.1, 0.03, 0.01)
# Templates are worth more than their number where the tail is fitted too thin; so much at most.
MAX_WORTH = 4.0
# A level is judged by at least so many false alarms.
JUDGED_ALARMS = 20
# A quality that varies less, or moves the middle by less than this share of the spread, is noise.
MIN_QUALITY_SPREAD, MIN_QUALITY_EFFECT = 0.02, 0.1
SLOPE_RESAMPLES = 60

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A calibration and why it is so."""

    calibration: Calibration
    choices: tuple[Choice, ...]


def fit_calibration(
    walks: Walks, options: FitOptions, on_progress: Progress | None = None
) -> Fitted:
    """Return the calibration of the walks' network.

    Raises:
        CalibrationError: too few people, or scores from which nothing can be told.
    """
    check_people(walks)
    cohort, rest = split_cohort(walks, options)
    if on_progress is not None:
        on_progress("comparing", 0, 3)
    way, choices = choose_way(rest, cohort, options)
    if way.cohort is None:
        # Nobody has to stand aside as a cohort then.
        rest = thin_out(walks, MAX_WALKS, options.seed)
    if on_progress is not None:
        on_progress("comparing", 1, 3)
    weighing, more = choose_weighing(rest, way, options)
    made = compare(way.measure(rest, weighing), way.norm)
    if on_progress is not None:
        on_progress("comparing", 2, 3)
    calibration = _describe(rest, made, way, weighing, options)
    if on_progress is not None:
        on_progress("comparing", 3, 3)
    return Fitted(calibration, (*choices, *more))


def check_people(walks: Walks, wanted: int = MIN_PEOPLE) -> None:
    """Check that there are enough people.

    Raises:
        CalibrationError: says how many there are and how many it takes.
    """
    check_count(len(names_of(walks)), wanted)


def check_count(people: int, wanted: int = MIN_PEOPLE) -> None:
    """Check that so many people are enough.

    Raises:
        CalibrationError: says how many there are and how many it takes.
    """
    if people < wanted:
        raise CalibrationError(
            f"a calibration takes {wanted} people or more, these are walks of {people}",
            hint="Give more people; 1 % takes about a hundred, 0.1 % several hundred.",
        )


def split_cohort(walks: Walks, options: FitOptions) -> tuple[np.ndarray | None, Walks]:
    """Return the cohort's templates, float32 [k,c,p] as float16 holds them, and the others' walks.

    Without normalisation everybody is in the second part.
    """
    walks = thin_out(walks, MAX_WALKS, options.seed)
    if not options.normalise:
        return None, walks
    people = list(names_of(walks))
    np.random.default_rng([options.seed, 4]).shuffle(people)
    count = max(2, round(len(people) * COHORT_SHARE))
    chosen = thin_out(walks.only(frozenset(people[:count])), COHORT_VECTORS, options.seed)
    fused = fuse_walks(chosen, (1,), None)
    # Half precision is what the file holds: fitted and used numbers are to be the same.
    return fused.templates.astype(np.float16).astype(np.float32), walks.only(
        frozenset(people[count:])
    )


def _describe(
    walks: Walks,
    made: Comparisons,
    way: Way,
    weighing: Weighing | None,
    options: FitOptions,
) -> Calibration:
    """Return the calibration of a way to compare."""
    pairs = stranger_pairs(made, same_side=options.same_side)
    evidence = fit_evidence(made, pairs)
    standard, comparisons = _standard_scores(made, evidence, pairs, options.seed)
    people = len(np.unique(made.people))
    pair_share = TAIL_PAIRS / (people * (people - 1) / 2)
    tail = fit_tail(standard, float(np.clip(pair_share, MIN_TAIL_SHARE, TAIL_SHARE)))
    basis = Basis(people, people * (people - 1) // 2, comparisons, options.data)
    crowd = Crowd(np.array([1]), np.array([1.0]))
    shape = (walks.network, walks.weights_hash, way.metric, way.norm, way.cohort)
    first = Calibration(*shape, evidence, tail, crowd, 1.0, basis, weighing)
    crowd, looks = fit_crowd_and_looks(made, first, options)
    return Calibration(*shape, evidence, tail, crowd, looks, basis, weighing)


def _standard_scores(
    made: Comparisons, evidence: Evidence, pairs: np.ndarray, seed: int
) -> tuple[np.ndarray, int]:
    """Return strangers' standardised scores, at most `MAX_SCORES` drawn from all, and how many."""
    rng = np.random.default_rng([seed, 6])
    counts = [np.count_nonzero(pairs & seen[:, None]) for seen in made.seen]
    share = min(1.0, MAX_SCORES / max(sum(counts), 1))
    parts = []
    for e, scores in enumerate(made.scores):
        tracks, templates = np.nonzero(pairs & made.seen[e][:, None])
        if share < 1.0:
            drawn = rng.random(len(tracks)) < share
            tracks, templates = tracks[drawn], templates[drawn]
        met = scores[tracks, templates].astype(np.float64)
        parts.append(evidence.standardise(met, made.frames[e][tracks], made.quality[e][tracks]))
    return np.concatenate(parts), sum(counts)


def fit_evidence(made: Comparisons, pairs: np.ndarray) -> Evidence:
    """Return middle and spread of strangers' scores by frames, and what quality adds."""
    frames, middle, spread = [], [], []
    for e, scores in enumerate(made.scores):
        met = scores[pairs & made.seen[e][:, None]].astype(np.float64)
        if len(met) < JUDGED_ALARMS / (1 - UPPER_SHARE):
            continue
        middle.append(float(np.median(met)))
        spread.append(float(np.quantile(met, UPPER_SHARE)) - middle[-1])
        frames.append(float(np.mean(made.frames[e][made.seen[e]])))
    if not frames or min(spread) <= 0:
        raise CalibrationError(
            "strangers' scores are too few or all alike",
            hint="Calibrate with more people, and several walks of each from the same sides.",
        )
    # Steps of walks whose frames are not known fall together.
    _, keep = np.unique(frames, return_index=True)
    slope, centre, ends = _fit_quality(made, pairs, float(np.mean(spread)))
    return Evidence(
        frames=np.array(frames)[keep],
        middle=np.array(middle)[keep],
        spread=np.array(spread)[keep],
        quality_slope=slope,
        quality_middle=centre,
        quality_range=ends,
    )


def _fit_quality(
    made: Comparisons, pairs: np.ndarray, spread: float
) -> tuple[float, float, tuple[float, float]]:
    """Return slope, centre and range of quality, a slope of 0 where it tells nothing."""
    usable = made.seen[-1] & np.isfinite(made.quality[-1]) & pairs.any(axis=1)
    quality = made.quality[-1][usable]
    if len(quality) < JUDGED_ALARMS or np.ptp(np.quantile(quality, (0.1, 0.9))) < (
        MIN_QUALITY_SPREAD
    ):
        return 0.0, 1.0, (0.0, 1.0)
    met = np.where(pairs[usable], made.scores[-1][usable], np.nan)
    middles = np.nanmedian(met, axis=1)
    low, high = (float(q) for q in np.quantile(quality, (0.05, 0.95)))
    kept = np.clip(quality, low, high)
    slope = float(np.polyfit(kept, middles, 1)[0])
    error = _slope_error(kept, middles, made.people[usable])
    if abs(slope) * (high - low) < MIN_QUALITY_EFFECT * spread or abs(slope) < 3.0 * error:
        return 0.0, 1.0, (0.0, 1.0)
    return slope, float(kept.mean()), (low, high)


def _slope_error(quality: np.ndarray, middles: np.ndarray, people: np.ndarray) -> float:
    """Return the standard error of the slope: people are drawn again, with all of their tracks."""
    rng = np.random.default_rng(9)
    known = np.unique(people)
    slopes = []
    for _ in range(SLOPE_RESAMPLES):
        counts = np.bincount(rng.choice(known, len(known)), minlength=known[-1] + 1)
        weights = np.sqrt(counts[people])
        if np.count_nonzero(weights) > 2:
            slopes.append(np.polyfit(quality, middles, 1, w=weights)[0])
    return float(np.std(slopes))


def fit_crowd_and_looks(
    made: Comparisons, first: Calibration, options: FitOptions
) -> tuple[Crowd, float]:
    """Return what galleries of more than one are worth, and what repeated looks cost."""
    sizes = gallery_sizes(made)
    shares = _best_shares(made, first.evidence, first.tail, sizes, options)  # [r,e,s,g]
    effective = np.array([_effective(shares[..., g], int(n)) for g, n in enumerate(sizes)])
    effective = np.maximum.accumulate(np.clip(effective, 1.0, MAX_WORTH * sizes))
    crowd = Crowd(sizes, effective)
    # A track is named when it first passes: its lowest level at any look.
    looked = [e for e, step in enumerate(made.steps) if step >= 2] or [0]
    ratios = []
    for g in range(len(sizes)):
        with np.errstate(divide="ignore"):
            levels = -np.expm1(effective[g] * np.log1p(-np.minimum(shares[..., g], 1.0)))
        lowest = np.fmin.reduce(levels[:, looked], axis=1)  # [r,s]
        lowest = lowest[np.isfinite(lowest)]
        ratios += [
            float((lowest <= level).mean()) / level
            for level in JUDGED_LEVELS
            if level * len(lowest) >= JUDGED_ALARMS * options.draws
        ]
    return crowd, max(1.0, float(np.mean(ratios))) if ratios else 1.0


def _best_shares(
    made: Comparisons, evidence: Evidence, tail: Tail, sizes: np.ndarray, options: FitOptions
) -> np.ndarray:
    """Return float64 [r,e,s,g]: the survival of each track's best score, nan for none."""
    found = []
    for columns in draw_galleries(made, options.draws, options.seed, same_side=options.same_side):
        best = best_scores(made, columns, sizes)
        frames, quality = made.frames[..., None], made.quality[..., None]
        shares = tail.survival(evidence.standardise(best, frames, quality))
        found.append(np.where(np.isnan(best), np.nan, shares))
    return np.stack(found)


def _effective(shares: np.ndarray, size: int) -> float:
    """Return how many independent templates would have a best that is as high.

    Args:
        shares: float64 [r,e,s], survival of the best of `size` templates.
    """
    known = shares[np.isfinite(shares)]
    draws = max(len(shares), 1)
    logs = []
    for level in JUDGED_LEVELS:
        if level * len(known) < JUDGED_ALARMS * draws:
            continue
        share = float(np.quantile(known, level))
        logs.append(np.log(np.log1p(-level) / np.log1p(-min(share, 1 - 1e-12))))
    # Where too few were seen to tell, each template counts in full.
    return float(np.exp(np.mean(logs))) if logs else float(size)
