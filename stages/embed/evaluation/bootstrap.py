"""How sure a figure is: intervals over the people of a set.

Whoever is looked for is drawn anew with replacement, with all that was seen of them; who is
enrolled stays. An interval holds the middle 95 % of what the draws give. It says how much of a
figure hangs on who happened to be in the set, and nothing of how people elsewhere differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; nan where there is none."""

    value: float
    low: float
    high: float


NOTHING = Estimate(math.nan, math.nan, math.nan)


def draw_people(people: int, draws: int, seed: int) -> np.ndarray:
    """Return int64 [draws,people]: how often each is drawn."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(people, np.full(people, 1 / people), draws)


def interval(value: float, drawn: np.ndarray) -> Estimate:
    """Return a figure with the interval of what the draws gave; nan draws are left out."""
    known = drawn[~np.isnan(drawn)]
    if math.isnan(value) or len(known) == 0:
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(known, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value, float(low), float(high))


def share(hits: np.ndarray, counts: np.ndarray, draws: np.ndarray) -> Estimate:
    """Return the share of hits with its interval.

    Args:
        hits, counts: [t], of each person.
        draws: [k,t], of `draw_people`.
    """
    total = counts.sum()
    if total == 0:
        return NOTHING
    below = draws @ counts
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.where(below > 0, (draws @ hits) / below, np.nan)
    return interval(float(hits.sum() / total), drawn)
