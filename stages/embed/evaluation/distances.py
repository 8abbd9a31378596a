"""How far every probe is from every gallery vector, a stripe of probes at a time.

Letters: n probes, m gallery vectors, c numbers for each of p body parts, b probes of a stripe.

A distance is the mean over the parts of the parts' L2 distances, or of 1 - cosine, as the field
evaluates. A part's pairs are one matrix product: |q - g|^2 = |q|^2 + |g|^2 - 2 q.g. In float32 that
loses digits where q and g are close, so vectors are centred first, and pairs that are still close
are subtracted one by one.

Nothing ever holds n x m numbers: a stripe [b,m] is made, reduced and let go of. Within it the work
is cut into tiles whose places and sizes are fixed, so that a distance is the same to the last bit
whatever the height of the stripes. Memory: `stripe_mb` for a stripe and what a reducer makes of it,
and one tile of the gallery (16 MB for 256 x 31 numbers on a processor).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Metric = Literal["euclidean", "cosine"]

# Probes and gallery vectors of a tile: on a processor its sums stay in the cache, on a GPU one
# product fills the device.
TILES = {"cpu": (128, 512), "cuda": (1024, 8192)}
# Bytes a pair costs in a stripe: the distance, two masks, and a reducer's own.
PAIR_BYTES = 8
MAX_STRIPE = 8192
# Below this share of |q|^2 + |g|^2 the product has lost two digits and is not trusted.
CLOSE = 1e-2
# Pairs that are subtracted one by one, in numbers held at a time: 16 MB of float32.
CLOSE_NUMBERS = 1 << 22
# Distances that differ by less than this share are a tie: float32 cannot tell them apart. A tie
# counts against the network: a stranger who is as near as the right person comes first.
TIE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some of a set's vectors in an order of one's own, without a copy of them.

    vectors: float32 [N,c,p], finite, in memory or mapped. index: int64 [n], places in it.
    """

    vectors: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def take(self, start: int, stop: int) -> np.ndarray:
        """Return a copy, float32 [stop-start,c,p]."""
        return np.asarray(self.vectors[self.index[start:stop]], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Stripe:
    """Distances of the probes `start` to `stop`: float32 [b,m], on the device; yours to change."""

    start: int
    stop: int
    distances: Tensor


@dataclass(frozen=True, slots=True)
class Measure:
    """How distances are taken.

    Attributes:
        metric: euclidean or cosine.
        device: cpu, cuda or cuda:N.
        stripe_mb: memory for a stripe, MB; at least one tile's height is taken.
    """

    metric: Metric = "euclidean"
    device: str = "cpu"
    stripe_mb: int = 512

    def tile(self) -> tuple[int, int]:
        """Return (probes, gallery vectors) of a tile on this device."""
        return TILES[torch.device(self.device).type]

    def stripe_height(self, gallery: int, numbers: int) -> int:
        """Return the probes of a stripe for so many gallery vectors of so many numbers."""
        rows = (self.stripe_mb << 20) // max(gallery * PAIR_BYTES + numbers * 8, 1)
        tile = self.tile()[0]
        return max(tile, min(rows, MAX_STRIPE) // tile * tile)


def stripes(probes: Rows, gallery: Rows, measure: Measure) -> Iterator[Stripe]:
    """Yield the distances of all probes to all gallery vectors, in the order of probes.

    Raises:
        ValueError: there is no gallery, or the vectors' shapes differ.
    """
    shape = gallery.vectors.shape[1:]
    if len(shape) != 2 or probes.vectors.shape[1:] != shape or len(gallery) == 0:
        raise ValueError(
            f"expected probes and a gallery of one shape [*,c,p], got "
            f"{list(probes.vectors.shape)} and {len(gallery)} of {list(gallery.vectors.shape)}"
        )
    centre = _centre(gallery) if measure.metric == "euclidean" else None
    height = measure.stripe_height(len(gallery), int(np.prod(shape)))
    for start in range(0, len(probes), height):
        stop = min(start + height, len(probes))
        with _full_precision(measure.device):
            rows = _ready(probes, start, stop, centre, measure)
            distances = _stripe(rows, gallery, centre, measure)
        yield Stripe(start, stop, distances)


def distance_matrix(probes: np.ndarray, gallery: np.ndarray, measure: Measure) -> np.ndarray:
    """Return float32 [n,m] of probes [n,c,p] and a gallery [m,c,p]: for sets that are small."""
    left, right = (Rows(side, np.arange(len(side))) for side in (probes, gallery))
    found = [stripe.distances.cpu().numpy() for stripe in stripes(left, right, measure)]
    return np.concatenate(found) if found else np.empty((0, len(gallery)), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """Vectors as products want them: parts float32 [p,k,c], squares float32 [p,k]."""

    parts: Tensor
    squares: Tensor

    def cut(self, start: int, stop: int) -> _Ready:
        return _Ready(self.parts[:, start:stop], self.squares[:, start:stop])


def _stripe(probes: _Ready, gallery: Rows, centre: np.ndarray | None, measure: Measure) -> Tensor:
    """Return float32 [b,m] for prepared probes."""
    height, width = measure.tile()
    count, metric = len(gallery), measure.metric
    result = torch.empty((probes.parts.shape[1], count), device=probes.parts.device)
    for left in range(0, count, width):
        right = min(left + width, count)
        columns = _ready(gallery, left, right, centre, measure)
        for top in range(0, len(result), height):
            rows = probes.cut(top, top + height)
            tile = _cosine(rows, columns) if metric == "cosine" else _euclidean(rows, columns)
            result[top : top + height, left:right] = tile
    return result


def _euclidean(probes: _Ready, gallery: _Ready) -> Tensor:
    """Return the mean L2 distance over the parts, [a,k]."""
    sides = probes.parts, gallery.parts, probes.squares, gallery.squares
    total = torch.zeros((sides[0].shape[1], sides[1].shape[1]), device=sides[0].device)
    for q, g, q_squares, g_squares in zip(*sides, strict=True):
        lengths = q_squares[:, None] + g_squares[None]  # [a,k]
        squared = torch.addmm(lengths, q, g.T, alpha=-2)
        _subtract(squared, q, g, squared < CLOSE * lengths)
        total += squared.clamp_(min=0).sqrt_()
    return total.div_(len(probes.parts))


def _subtract(squared: Tensor, q: Tensor, g: Tensor, close: Tensor) -> None:
    """Put exact squared distances where `close` [a,k] says."""
    rows, columns = close.nonzero(as_tuple=True)
    step = max(1, CLOSE_NUMBERS // q.shape[1])
    for begin in range(0, len(rows), step):
        r, k = rows[begin : begin + step], columns[begin : begin + step]
        squared[r, k] = (q[r] - g[k]).square().sum(1)


def _cosine(probes: _Ready, gallery: _Ready) -> Tensor:
    """Return the mean of 1 - cosine over the parts, [a,k]; of unit vectors, zeros count as 1."""
    sides = probes.parts, gallery.parts
    total = torch.zeros((sides[0].shape[1], sides[1].shape[1]), device=sides[0].device)
    for q, g in zip(*sides, strict=True):
        total += (1 - q @ g.T).clamp_(min=0)
    return total.div_(len(probes.parts))


def _ready(
    rows: Rows, start: int, stop: int, centre: np.ndarray | None, measure: Measure
) -> _Ready:
    """Return vectors on the device: minus `centre`, or of length 1 without one."""
    taken = rows.take(start, stop)  # [k,c,p]
    if centre is None:
        lengths = np.sqrt(np.einsum("kcp,kcp->kp", taken, taken, dtype=np.float64))[:, None]
        taken = (taken / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    else:
        taken -= centre
    # numpy transposes these five times faster than torch does.
    parts = torch.from_numpy(np.ascontiguousarray(taken.transpose(2, 0, 1))).to(measure.device)
    return _Ready(parts, parts.square().sum(2))


def _centre(gallery: Rows, step: int = 1024) -> np.ndarray:
    """Return the mean vector, float32 [c,p]."""
    total = np.zeros(gallery.vectors.shape[1:])
    for start in range(0, len(gallery), step):
        total += gallery.take(start, start + step).sum(axis=0, dtype=np.float64)
    return (total / len(gallery)).astype(np.float32)


@contextmanager
def _full_precision(device: str) -> Iterator[None]:
    """Keep float32 products float32, whatever a training run around this has switched on."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
