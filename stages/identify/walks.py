"""Labelled walks: what a calibration is made from. Who walks is known; how is shown by the windows.

Letters: w windows of all walks together, s walks, c numbers for each of p body parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import CalibrationError
from stages.identify.records import MAX_ABSOLUTE, is_trained

# Sides are told apart in steps of so many degrees, where views are written in degrees.
SIDE_DEG = 30
UNKNOWN_SIDE = "any"


@dataclass(frozen=True, slots=True, eq=False)
class Walks:
    """Walks of labelled people, each cut into windows as the pipeline cuts them.

    Attributes:
        network, weights_hash: of the vectors.
        vectors: float32 [w,c,p], the windows of a walk together and in order.
        starts: int64 [s+1], where each walk's windows begin.
        frames: int64 [w], of each window. distinct: float64 [w], different frames of the walk up to
            and with this window. quality: float64 [w], 0..1, nan where nothing is known of it.
        people: who walks [s]. sides: from where [s], `any` where that is not known.
    """

    network: str
    weights_hash: str
    vectors: np.ndarray
    starts: np.ndarray
    frames: np.ndarray
    distinct: np.ndarray
    quality: np.ndarray
    people: tuple[str, ...]
    sides: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.vectors)
        lengths = {len(self.frames), len(self.distinct), len(self.quality)}
        if (
            self.vectors.dtype != np.float32
            or self.vectors.ndim != 3
            or lengths != {count}
            or len(self.people) != len(self.sides)
            or len(self.starts) != len(self.people) + 1
            or self.starts[0] != 0
            or self.starts[-1] != count
            or bool((np.diff(self.starts) < 1).any())
        ):
            raise CalibrationError(
                f"walks do not fit together: vectors {self.vectors.dtype}"
                f"{list(self.vectors.shape)}, {len(self.people)} walks, windows from "
                f"{self.starts[:1]} to {self.starts[-1:]}; expected float32[w, c, p]"
            )
        if not is_trained(self.weights_hash):
            raise CalibrationError(
                f"{self.network} has no trained weights: what strangers score means nothing",
                hint="Give the network its weights.",
            )
        if not (np.isfinite(self.vectors).all() and np.abs(self.vectors).max() <= MAX_ABSOLUTE):
            raise CalibrationError(
                f"some vectors hold numbers that are not finite or above {MAX_ABSOLUTE:g}",
                hint="Embed the data anew.",
            )

    def __len__(self) -> int:
        return len(self.people)

    def windows_of(self, walk: int) -> slice:
        """Return where the windows of a walk lie."""
        return slice(int(self.starts[walk]), int(self.starts[walk + 1]))

    def counts(self) -> np.ndarray:
        """Return int64 [s], the windows of each walk."""
        return np.diff(self.starts)

    def only(self, people: frozenset[str]) -> Walks:
        """Return the walks of some people; at least one must be theirs."""
        return self.take([i for i, person in enumerate(self.people) if person in people])

    def take(self, walks: Sequence[int]) -> Walks:
        """Return some walks, in the order given."""
        counts = self.counts()[list(walks)]
        rows = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in walks])
        return Walks(
            *(self.network, self.weights_hash, self.vectors[rows]),
            *(np.r_[0, np.cumsum(counts)], self.frames[rows], self.distinct[rows]),
            *(self.quality[rows], tuple(self.people[i] for i in walks)),
            tuple(self.sides[i] for i in walks),
        )


def names_of(walks: Walks) -> tuple[str, ...]:
    """Return the people, each once, in the order of names."""
    return tuple(sorted(set(walks.people)))


def side_of(view: str) -> str:
    """Return the side that a view shows: its nearest step of 30 degrees, or the view's own name."""
    try:
        degrees = float(view)
    except ValueError:
        return view or UNKNOWN_SIDE
    if not np.isfinite(degrees):
        return UNKNOWN_SIDE
    return f"{round(degrees / SIDE_DEG) * SIDE_DEG % 360:03d}"


def thin_out(walks: Walks, limit: int, seed: int) -> Walks:
    """Return at most `limit` walks, as many of each person as of any other, drawn at random."""
    if len(walks) <= limit:
        return walks
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(walks))
    turn: dict[str, int] = {}
    turns = np.empty(len(walks), np.int64)
    for i in order:
        turns[i] = turn.get(walks.people[i], 0)
        turn[walks.people[i]] = int(turns[i]) + 1
    chosen = order[np.argsort(turns[order], kind="stable")][:limit]
    return walks.take(sorted(chosen.tolist()))
