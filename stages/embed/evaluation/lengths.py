"""Accuracy against window length: live windows are short, published figures use whole sequences.

Each probe is cut to one window; the gallery stays whole, as an enrolled person's does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.embed.data.interface import Entry
from stages.embed.evaluation.closed_set import ClosedSet
from stages.embed.evaluation.embedding import FrameChoice
from stages.embed.evaluation.open_set import OpenSet

WindowPlace = Literal["random", "central"]


@dataclass(frozen=True, slots=True, eq=False)
class LengthResult:
    """What came of probes of one length.

    Attributes:
        frames: of a window; None for whole sequences.
        probes: how many were looked for.
        shorter: how many of them have fewer frames and were used whole.
        closed, open: as for whole sequences; open is None without an open-set evaluation.
    """

    frames: int | None
    probes: int
    shorter: int
    closed: ClosedSet
    open: OpenSet | None


def window_frames(length: int, place: WindowPlace, seed: int, limit: int) -> FrameChoice:
    """Return the choice of one window of `length` consecutive frames among the first `limit`.

    A random window begins at the same share of the way through its sequence for every length, and
    depends on the seed and the sequence alone, so that lengths and networks are compared on the
    same stretch of walking. A shorter sequence is taken whole.
    """

    def choose(index: int, entry: Entry) -> np.ndarray:
        total = min(entry.frames, limit)
        spare = max(total - length, 0)
        share = 0.5
        if place == "random":
            share = float(np.random.default_rng([seed, index]).random())
        start = min(int(share * (spare + 1)), spare)
        return np.arange(start, start + min(length, total))

    return choose


def count_shorter(entries: Sequence[Entry], indices: np.ndarray, length: int) -> int:
    """Return how many of these sequences have fewer frames than `length`."""
    return sum(entries[int(i)].frames < length for i in indices)
