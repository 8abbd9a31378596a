"""Open set on a suite: some of the people are enrolled by templates, the others are strangers.

As `open_set`, with two differences: a template holds no window of the probe's own view, and no more
people are enrolled than the figure is stated for, since every further one is a chance for a
stranger to be taken for somebody.
"""

from __future__ import annotations

import numpy as np

from stages.embed.evaluation.bootstrap import NOTHING, Estimate, interval
from stages.embed.evaluation.distances import TIE
from stages.embed.evaluation.open_set import OpenSet, Splits, SplitScores, summarise
from stages.embed.evaluation.suite import Layout

# FPIR at which the figure with an interval is taken.
LIVE_FPIR = 0.01


def draw_enrolled(people: int, most: int, splits: Splits) -> np.ndarray:
    """Return bool [k,t]: who is enrolled in each split, `most` people or fewer, one at least.

    Everybody else is a stranger; at least one is.
    """
    wanted = round(min(people, most) * (1 - splits.stranger_share))
    count = min(max(wanted, 1), people - 1)
    enrolled = np.zeros((splits.count, people), bool)
    for k in range(splits.count):
        order = np.random.default_rng([splits.seed, k]).permutation(people)
        enrolled[k, order[:count]] = True
    return enrolled


def split_scores(
    templates: np.ndarray, layout: Layout, probes: np.ndarray, enrolled: np.ndarray
) -> list[tuple[SplitScores, np.ndarray, np.ndarray]]:
    """Return each split's scores, and who its enrolled and its strangers' probes are.

    Args:
        templates: float32 [n,t]. probes: int64, rows to take.
        enrolled: bool [k,t].
    """
    own_of = layout.probe_person[probes]
    block = templates[probes]
    own = block[np.arange(len(probes)), own_of].astype(np.float64)
    stranger = np.arange(len(layout.people))[None] != own_of[:, None]
    found = []
    for split in enrolled:
        others = np.where(split[None] & stranger, block, np.nan)
        # With nobody else enrolled nobody is near.
        other = np.fmin.reduce(others, axis=1, initial=np.inf).astype(np.float64)
        mated = split[own_of] & ~np.isnan(own)
        strange = ~split[own_of] & np.isfinite(other)
        near, far = own[mated], other[mated]
        scores = SplitScores(
            best=1 / (1 + np.minimum(near, far)),
            hit=near * (1 + TIE) < far,
            own=1 / (1 + near),
            strangers=1 / (1 + other[strange]),
        )
        found.append((scores, own_of[mated], own_of[strange]))
    return found


def open_set(
    templates: np.ndarray,
    layout: Layout,
    probes: np.ndarray,
    enrolled: np.ndarray,
    draws: np.ndarray,
) -> tuple[OpenSet, Estimate] | None:
    """Return what came of the splits, and TPIR at 1 % FPIR with its interval.

    None without splits, or if a split has no probes of one kind.
    """
    parts = split_scores(templates, layout, probes, enrolled)
    if not parts or any(not len(p.best) or not len(p.strangers) for p, _, _ in parts):
        return None
    scores = [part for part, _, _ in parts]
    count = int(enrolled[0].sum())
    found = summarise(scores, enrolled=count, people=len(layout.people))
    drawn = np.mean([_drawn_tpir(*part, draws) for part in parts], axis=0)
    value = found.tpir[LIVE_FPIR].mean
    return found, interval(value, drawn) if len(drawn) else NOTHING


def _drawn_tpir(
    scores: SplitScores, own_of: np.ndarray, stranger_of: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Return TPIR at 1 % FPIR of one split for every draw of people, float64 [d]."""
    order = np.argsort(-scores.strangers, kind="stable")
    descending = scores.strangers[order]
    weights = draws[:, stranger_of[order]].cumsum(axis=1)  # [d,b]
    allowed = np.floor(LIVE_FPIR * weights[:, -1] + 1e-9)
    # The first stranger who is one too many sets the threshold; he himself is below it.
    place = (weights <= allowed[:, None]).sum(axis=1)
    last = np.minimum(place, len(descending) - 1)
    threshold = np.where(place < len(descending), descending[last], 0.0)
    counted = draws[:, own_of]  # [d,a]
    right = scores.hit[None] & (scores.best[None] > threshold[:, None])
    total = counted.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, (counted * right).sum(axis=1) / total, np.nan)
