"""What is best to compare by: metric, normalisation, and the weighing of windows.

The worth of a way is how many enrolled people's tracks are named right while one stranger's in a
hundred is named. The plainer way is kept unless another is better beyond doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.identify.calibration import Weighing
from stages.identify.normalise import Norm, NormKind
from stages.identify.search import Metric
from stages.identify.trials import (
    Comparisons,
    Distances,
    compare,
    fuse_walks,
    measure,
    steps_for,
)
from stages.identify.walks import Walks

# Of the cohort, the nearest that are looked at: those who are seen from the same side.
NEAREST = (10, 30)
SELECTION_FPIR = 0.01
SELECTION_DRAWS = 24
# An alternative has to name more of the enrolled right, by this share of the plain way's and by so
# many standard errors: several are tried, and draws of the same people are not independent.
MIN_GAIN, MIN_ERRORS = 0.05, 3.0
# Windows of a walk whose quality differs by less are alike.
MIN_QUALITY_SPREAD = 0.02
WEIGHINGS = (
    Weighing(0.0, 0.0),
    Weighing(1.0, 0.0),
    Weighing(0.5, 1.0),
    Weighing(1.0, 2.0),
    Weighing(1.0, 4.0),
)
# Galleries that a calibration is fitted on.
DRAWS = 20


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How a calibration is made.

    Attributes:
        metrics: to choose from.
        same_side: strangers are compared with people who were enrolled from the same side.
        normalise: whether a cohort may be used.
        seed: of everything that is drawn. draws: of galleries.
        data: what the walks are, for people.
    """

    metrics: tuple[Metric, ...] = ("euclidean", "cosine")
    same_side: bool = True
    normalise: bool = True
    seed: int = 0
    draws: int = DRAWS
    data: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to compare, and what it is worth: enrolled people named right, mean and its error."""

    what: str
    named_right: float
    error: float
    taken: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """A metric, a norm and the cohort it needs."""

    metric: Metric
    norm: Norm
    cohort: np.ndarray | None

    @property
    def what(self) -> str:
        nearest = "" if self.norm.kind == "plain" else f" of the {self.norm.nearest} nearest"
        return f"{self.metric}, {self.norm.kind}{nearest}"

    def measure(self, walks: Walks, weighing: Weighing | None) -> Distances:
        return measure(fuse_walks(walks, steps_for(walks), weighing), self.metric, self.cohort)


def choose_way(
    walks: Walks, cohort: np.ndarray | None, options: FitOptions
) -> tuple[Way, tuple[Choice, ...]]:
    """Return the way to compare that names most people right, and what it was chosen from."""
    fused = fuse_walks(walks, steps_for(walks)[-1:], None)
    ways: list[Way] = []
    worths: list[np.ndarray] = []
    norms = [Norm()]
    if cohort is not None:
        kinds: tuple[NormKind, ...] = ("track", "template", "both")
        norms += [Norm(k, n) for k in kinds for n in NEAREST if n < len(cohort)]
    for metric in options.metrics:
        found = measure(fused, metric, cohort)
        for norm in norms:
            ways.append(Way(metric, norm, None if norm.kind == "plain" else cohort))
            worths.append(named_right(compare(found, norm), options.seed))
    taken = _best(worths, plain=0)
    return ways[taken], _told([way.what for way in ways], worths, taken)


def choose_weighing(
    walks: Walks, way: Way, options: FitOptions
) -> tuple[Weighing | None, tuple[Choice, ...]]:
    """Return how windows are weighed, None (frames times quality) unless another is better."""
    if not _windows_differ(walks):
        return None, ()
    candidates: list[Weighing | None] = [None, *WEIGHINGS]
    steps = steps_for(walks)[-1:]
    worths = []
    for weighing in candidates:
        found = measure(fuse_walks(walks, steps, weighing), way.metric, way.cohort)
        worths.append(named_right(compare(found, way.norm), options.seed))
    taken = _best(worths, plain=0)
    names = ["windows by frames times quality"] + [
        f"windows by frames^{w.frames_power:g} quality^{w.quality_power:g}" for w in WEIGHINGS
    ]
    return candidates[taken], _told(names, worths, taken)


def _windows_differ(walks: Walks) -> bool:
    """Say whether windows of one walk differ in what they could be weighed by."""
    known = np.nan_to_num(walks.quality, nan=1.0)
    heads = walks.starts[:-1]
    low = np.minimum.reduceat(known, heads), np.minimum.reduceat(walks.frames, heads)
    high = np.maximum.reduceat(known, heads), np.maximum.reduceat(walks.frames, heads)
    return bool(((high[0] - low[0] > MIN_QUALITY_SPREAD) | (high[1] > low[1])).mean() > 0.25)


def _best(worths: Sequence[np.ndarray], plain: int) -> int:
    """Return the best alternative's place, or `plain` if none is better beyond doubt."""
    best = max(range(len(worths)), key=lambda i: (float(worths[i].mean()), -i))
    gain = worths[best] - worths[plain]
    error = float(gain.std()) / np.sqrt(len(gain))
    bar = max(MIN_GAIN * float(worths[plain].mean()), MIN_ERRORS * error)
    is_better = gain.mean() > bar
    return best if is_better else plain


def _told(names: Sequence[str], worths: Sequence[np.ndarray], taken: int) -> tuple[Choice, ...]:
    return tuple(
        Choice(name, float(w.mean()), float(w.std() / np.sqrt(len(w))), i == taken)
        for i, (name, w) in enumerate(zip(names, worths, strict=True))
    )


def named_right(made: Comparisons, seed: int, draws: int = SELECTION_DRAWS) -> np.ndarray:
    """Return float64 [draws]: of enrolled people's tracks, those named right at 1 % of strangers.

    In each draw half of the people are enrolled, by one walk each; all other walks are tracks.
    """
    scores = made.scores[-1]
    people = np.unique(made.people)
    worth = np.empty(draws)
    for draw in range(draws):
        rng = np.random.default_rng([seed, 5, draw])
        enrolled = rng.permutation(people)[: len(people) // 2]
        walks = rng.permutation(np.flatnonzero(np.isin(made.people, enrolled)))
        _, first = np.unique(made.people[walks], return_index=True)
        gallery = walks[first]
        tracks = np.flatnonzero(made.seen[-1] & ~np.isin(np.arange(len(scores)), gallery))
        met = scores[tracks][:, gallery]
        best = met.max(axis=1)
        right = made.people[gallery][met.argmax(axis=1)] == made.people[tracks]
        stranger = ~np.isin(made.people[tracks], enrolled)
        bar = np.quantile(best[stranger], 1.0 - SELECTION_FPIR)
        worth[draw] = (right & (best > bar))[~stranger].mean()
    return worth
