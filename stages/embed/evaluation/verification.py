"""Are these two windows of one person? Errors over pairs of windows from different views.

Letters: t people, k thresholds.

A pair is one probe and one person's window in another view. Pairs are counted at a few thousand
thresholds, laid closest where few strangers pass, person by person, so that intervals need no
second look at the distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.embed.evaluation.bootstrap import NOTHING, Estimate, interval
from stages.embed.evaluation.suite import Layout
from stages.embed.evaluation.suite_ranks import ViewSearch, view_blocks

OWN_THRESHOLDS = 1024
OTHER_THRESHOLDS = 1024
# Shares of strangers at which thresholds lie close together.
TAIL = (1e-5, 0.05)
SAMPLED_PROBES = 512


@dataclass(frozen=True, slots=True, eq=False)
class PairCounts:
    """Pairs at most so far apart, by the person who is looked for.

    Attributes:
        thresholds: float64 [k], ascending distances.
        own, other: int64 [t,k], pairs of one person and of two.
        own_total, other_total: int64 [t].
    """

    thresholds: np.ndarray
    own: np.ndarray
    other: np.ndarray
    own_total: np.ndarray
    other_total: np.ndarray

    def rates(self, draws: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return float64 [.,k+1]: own pairs refused and others' taken, from no pair taken on.

        Args:
            draws: [d,t] of people; None for everybody once.
        """
        weights = np.ones((1, len(self.own)), np.int64) if draws is None else draws
        refused = 1 - _shares(weights, self.own, self.own_total)
        taken = _shares(weights, self.other, self.other_total)
        first = np.ones((len(weights), 1))
        return np.hstack([first, refused]), np.hstack([0 * first, taken])

    def of_people(self, chosen: np.ndarray) -> PairCounts:
        """Return the counts of some people (bool [t]), the others' set to nothing."""
        keep = chosen.astype(np.int64)
        return PairCounts(
            self.thresholds,
            self.own * keep[:, None],
            self.other * keep[:, None],
            self.own_total * keep,
            self.other_total * keep,
        )


def _shares(weights: np.ndarray, counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    total = weights @ totals
    with np.errstate(invalid="ignore", divide="ignore"):
        # Float products go through the processor's fast path, and counts stay exact below 2^53.
        return (weights.astype(np.float64) @ counts.astype(np.float64)) / total[:, None]


def count_pairs(
    windows: np.ndarray, search: ViewSearch, layout: Layout, probes: np.ndarray, seed: int
) -> PairCounts | None:
    """Count the pairs of some probes (bool [n]) in other views; None if there are none of a kind.

    Args:
        windows: float32 [n,m].
    """
    rows = np.flatnonzero(probes)
    thresholds = _thresholds(windows, search, layout, rows, seed)
    if thresholds is None:
        return None
    people, size = len(layout.people), len(thresholds)
    counts = np.zeros((2, people * (size + 1)), np.int64)
    for block in view_blocks(windows, layout, rows):
        elsewhere = layout.probe_view[block.rows] != block.view
        known = ~np.isnan(block.distances) & elsewhere[:, None]
        place = np.searchsorted(thresholds, block.distances)  # nan comes last, and is not known
        cell = layout.probe_person[block.rows, None] * (size + 1) + place
        for kind, chosen in enumerate((known & block.own, known & ~block.own)):
            counts[kind] += np.bincount(cell[chosen], minlength=counts.shape[1])
    own, other = counts.reshape(2, people, size + 1)
    return PairCounts(
        thresholds,
        own.cumsum(axis=1)[:, :-1],
        other.cumsum(axis=1)[:, :-1],
        own.sum(axis=1),
        other.sum(axis=1),
    )


def equal_error(counts: PairCounts | None, draws: np.ndarray) -> Estimate:
    """Return the rate at which as many own pairs are refused as others' are taken."""
    if counts is None or not (counts.own_total.sum() and counts.other_total.sum()):
        return NOTHING
    value = _crossing(*counts.rates())[0]
    return interval(float(value), _crossing(*counts.rates(draws)))


def threshold_at(counts: PairCounts, taken_share: float) -> int:
    """Return how many thresholds are passed before more than this share of others' is taken.

    It is the column of `rates` to read.
    """
    _, taken = counts.rates()
    return int(np.searchsorted(taken[0], taken_share * (1 + 1e-9), side="right")) - 1


def _crossing(refused: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return where two curves [d,k] cross, on straight lines between thresholds; [d]."""
    gap = taken - refused  # ascending from -1
    after = np.argmax(gap >= 0, axis=1)
    rows = np.arange(len(gap))
    reached = gap[rows, after] >= 0
    before = np.maximum(after - 1, 0)
    low, high = gap[rows, before], gap[rows, after]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(high > low, -low / (high - low), 0.0)
    found = taken[rows, before] + part * (taken[rows, after] - taken[rows, before])
    return np.where(reached & ~np.isnan(gap).any(axis=1), found, np.nan)


def _thresholds(
    windows: np.ndarray, search: ViewSearch, layout: Layout, rows: np.ndarray, seed: int
) -> np.ndarray | None:
    own = search.own[rows][search.cross[rows]].astype(np.float64)
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.permutation(rows)[:SAMPLED_PROBES])
    others = []
    for block in view_blocks(windows, layout, sample):
        elsewhere = layout.probe_view[block.rows] != block.view
        chosen = ~np.isnan(block.distances) & elsewhere[:, None] & ~block.own
        others.append(block.distances[chosen])
    other = np.concatenate(others).astype(np.float64) if others else np.empty(0)
    if len(own) == 0 or len(other) == 0:
        return None
    half = OTHER_THRESHOLDS // 2
    shares = np.concatenate([np.geomspace(*TAIL, half), np.linspace(TAIL[1], 1, half)])
    found = np.concatenate(
        [np.quantile(own, np.linspace(0, 1, OWN_THRESHOLDS)), np.quantile(other, shares)]
    )
    return np.unique(found)
