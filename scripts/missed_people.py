"""How often the detect stage does not find somebody who is there, by the person's height."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from seen_people import FPS, Row

EDGES_PX = (48.0, 75.0, 110.0, 160.0, 230.0, 340.0)
LOGITS = np.linspace(-8, 0, 33)
SPREADS = np.linspace(0.25, 3.0, 12)
# Everybody of a height is taken to have been missed once more in so many frames, lest none is ever.
PRIOR_FRAMES = 400


@dataclass(frozen=True, eq=False)
class Missed:
    """Of people who have been found once.

    Attributes:
        logit, spread: [heights], mean and spread between walks of the logit of the share missed.
        lasts_s: how long a stretch of missed frames lasts.
        shares: [heights] of frames missed; first: [heights] frames until somebody is found.
        switched: share of walks whose track changed its number.
    """

    logit: NDArray[np.float64]
    spread: NDArray[np.float64]
    lasts_s: float
    shares: NDArray[np.float64]
    first: NDArray[np.float64]
    switched: float


def missed(rows: Sequence[Row]) -> Missed:
    """Measure over walks of people who are whole in the picture."""
    walks: dict[int, list[Row]] = {}
    for row in rows:
        if row.whole:
            walks.setdefault(row.walk, []).append(row)
    counts: list[list[tuple[int, int, int]]] = [[] for _ in pairwise(EDGES_PX)]
    lasting: list[int] = []
    changes = 0
    for walk in walks.values():
        found = np.array([row.found for row in walk])
        tall = float(np.mean([row.height_px for row in walk]))
        place = int(np.searchsorted(EDGES_PX, tall)) - 1
        if not found.any() or not 0 <= place < len(counts):
            continue
        since = int(found.argmax())
        later = ~found[since:]
        counts[place].append((int(later.sum()), len(later), since))
        ends = np.flatnonzero(np.diff(np.concatenate([[0], later.astype(int), [0]])))
        lasting += list(ends[1::2] - ends[::2])
        changes += len({row.track for row in walk if row.found}) > 1
    fits = [_fit([(k, n) for k, n, _ in one]) for one in counts]
    return Missed(
        np.array([mean for mean, _ in fits]),
        np.array([spread for _, spread in fits]),
        float(np.mean(lasting)) / FPS if lasting else 1 / FPS,
        np.array([sum(k for k, *_ in one) / max(1, sum(n for _, n, _ in one)) for one in counts]),
        np.array([np.mean([s for *_, s in one]) if one else 0.0 for one in counts]),
        changes / max(1, len(walks)),
    )


def _fit(counts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Mean and spread of the logit that make counts (missed, of all) most likely."""
    counts = [*counts, (1, PRIOR_FRAMES)]
    points, weights = np.polynomial.hermite_e.hermegauss(21)
    missed, of_all = np.array(counts, float).T[:, :, None]
    best, answer = -np.inf, (float(LOGITS[0]), float(SPREADS[0]))
    for mean in LOGITS:
        for spread in SPREADS:
            share = 1 / (1 + np.exp(-(mean + spread * points)))
            likely = share**missed * (1 - share) ** (of_all - missed)
            total = float(np.log(np.maximum(likely @ weights, 1e-300)).sum())
            if total > best:
                best, answer = total, (float(mean), float(spread))
    return answer
