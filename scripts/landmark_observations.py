"""Frames in which somebody was found, as arrays, and errors taken apart by how long they stay.

Axes look at the person's hips (x right, y down, z away). Letters: N frames, s sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from seen_people import COCO, Row

from stages.human.walkers.landmark_bones import MIRROR, view_of, view_terms

Floats = NDArray[np.float64]

SHORTEST = 12  # frames of a sequence that counts
LEGS = [25, 26, 27, 28, 31, 32]
REMEMBERED = (0.05, 0.95)


@dataclass(frozen=True, eq=False)
class Observed:
    """Frames in which somebody whole was found, in sequences.

    Attributes:
        true, seen: [N,33,3] metres from mid-hips. visibility: [N,33].
        view: [N,2]; terms: [N,5].
        keypoint_error: [N,17,2] pixels; pixels_per_metre: [N]; height_px: [N].
        legs_swapped, faced_about: [N].
        sequences: indices of each walk's frames, in order.
    """

    true: Floats
    seen: Floats
    visibility: Floats
    view: Floats
    terms: Floats
    keypoint_error: Floats
    pixels_per_metre: Floats
    height_px: Floats
    legs_swapped: NDArray[np.bool_]
    faced_about: NDArray[np.bool_]
    frames: NDArray[np.int64]
    sequences: list[NDArray[np.int64]]

    @property
    def plain(self) -> NDArray[np.bool_]:
        """Frames without a mix-up [N]."""
        return ~(self.legs_swapped | self.faced_about)

    def plain_sequences(self) -> list[NDArray[np.int64]]:
        """The sequences without mix-ups, where enough is left."""
        kept = [one[self.plain[one]] for one in self.sequences]
        return [one for one in kept if len(one) >= SHORTEST]


def usable(rows: Sequence[Row]) -> list[Row]:
    """Rows in which somebody whole was found and not flagged."""
    return [row for row in rows if row.found and row.whole and not row.flagged]


def observe(rows: Sequence[Row]) -> Observed:
    """Gather rows into arrays; short sequences are left out."""
    by_walk: dict[int, list[Row]] = {}
    for row in usable(rows):
        by_walk.setdefault(row.walk, []).append(row)
    walks = [walk for walk in by_walk.values() if len(walk) >= SHORTEST]
    chosen = [row for walk in walks for row in walk]
    starts = np.cumsum([0, *(len(walk) for walk in walks)])
    true = np.stack([row.true_world for row in chosen])
    seen = np.stack([row.seen_world for row in chosen])
    points = seen[..., :3] - 0.5 * (seen[:, 23:24, :3] + seen[:, 24:25, :3])
    image = np.stack([row.true_px for row in chosen])
    keypoints = np.stack([row.seen_keypoints for row in chosen])
    about = np.einsum("na,na->n", points[:, 11] - points[:, 12], true[:, 11] - true[:, 12]) < 0
    other = MIRROR[LEGS]
    straight = np.linalg.norm(points[:, LEGS] - true[:, LEGS], axis=2).sum(axis=1)
    crossed = np.linalg.norm(points[:, LEGS] - true[:, other], axis=2).sum(axis=1)
    view = view_of(true)
    return Observed(
        true=true,
        seen=points,
        visibility=seen[..., 3],
        view=view,
        terms=view_terms(view),
        keypoint_error=keypoints[..., :2] - image[:, COCO],
        pixels_per_metre=np.ptp(image[..., 1], axis=1) / np.ptp(true[..., 1], axis=1),
        height_px=np.array([row.height_px for row in chosen]),
        legs_swapped=(crossed < straight) & ~about,
        faced_about=about,
        frames=np.array([row.frame for row in chosen]),
        sequences=[np.arange(a, b) for a, b in pairwise(starts)],
    )


@dataclass(frozen=True, eq=False)
class Spreads:
    """Spread of what stays for a sequence, of what wanders, and its memory from frame to frame."""

    steady: Floats
    wander: Floats
    remembered: Floats


def spreads_of(
    errors: Floats, o: Observed, sequences: list[NDArray[np.int64]] | None = None
) -> Spreads:
    """Take errors [N,...] apart; what short sequences cannot tell apart is corrected for.

    Args:
        sequences: that count; None: those without mix-ups.
    """
    centres, squares, products, pairs = [], [], [], []
    sequences = o.plain_sequences() if sequences is None else sequences
    for one in sequences:
        centre = errors[one].mean(axis=0)
        apart = errors[one] - centre
        centres.append(centre**2)
        squares.append((apart**2).mean(axis=0))
        next_to = np.diff(o.frames[one]) == 1
        products.append((apart[1:] * apart[:-1])[next_to].sum(axis=0))
        pairs.append((apart[1:] ** 2)[next_to].sum(axis=0))
    count = float(np.mean([len(one) for one in sequences]))
    within, between = np.mean(squares, axis=0), np.mean(centres, axis=0)
    keep = np.sum(products, axis=0) / np.maximum(np.sum(pairs, axis=0), 1e-12)
    keep = np.clip((keep + 1 / count) / (1 - 3 / count), *REMEMBERED)
    # Variance of the mean of a wandering of variance 1 over `count` frames.
    mean = (1 + keep) / (1 - keep) / count
    mean -= 2 * keep * (1 - keep**count) / ((1 - keep) ** 2 * count**2)
    wander = within / np.maximum(1 - mean, 0.2)
    return Spreads(
        np.sqrt(np.maximum(between - mean * wander, 0.0)), np.sqrt(wander), np.asarray(keep)
    )
