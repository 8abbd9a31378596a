"""Where the right person's sequences come in a gallery that is sorted by distance.

Letters: b probes of a stripe, m gallery sequences, v views, k the most mates a probe has. A mate is
a gallery sequence of the probe's own subject. Ties are pessimistic: a stranger's sequence that is
as near as a mate (`distances.TIE`) comes before it.

Average precision (AP) is the mean, over a probe's mates, of the share of mates among all that came
until then. The inverse negative penalty (INP; Ye et al., "Deep Learning for Person
Re-identification: A Survey and Outlook", IEEE TPAMI 2021) is the number of mates divided by the
place of the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from stages.embed.evaluation.distances import TIE

# Pairs whose places are counted at a time: 20 MB.
COUNTED_PAIRS = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Mates:
    """A stripe's mates, probe by probe, the nearest first.

    Attributes:
        probe: int64 [j], which probe. column: int64 [j], which gallery sequence.
        distance: float32 [j].
        counts: int64 [b], mates of each probe.
    """

    probe: Tensor
    column: Tensor
    distance: Tensor
    counts: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """What the places of each probe's mates come to; arrays [n], nan or 0 for one without mates.

    Attributes:
        nearest: int64, the place of the nearest mate, from 1.
        average_precision: float64, 0..1.
        inverse_penalty: float64, 0..1.
    """

    nearest: np.ndarray
    average_precision: np.ndarray
    inverse_penalty: np.ndarray


def split_mates(distances: Tensor, mates: Tensor, left_out: Tensor | None = None) -> Mates:
    """Take the mates out of a stripe; what stays in `distances` are strangers, the rest infinite.

    Args:
        distances: float32 [b,m]; changed.
        mates: bool [b,m], where probe and gallery sequence show one subject; changed.
        left_out: bool [b,m], pairs that do not count.
    """
    if left_out is not None:
        distances.masked_fill_(left_out, torch.inf)
        mates &= ~left_out
    probe, column = mates.nonzero(as_tuple=True)  # in the order of probes
    found = distances[probe, column]
    by_distance = torch.argsort(found, stable=True)
    order = by_distance[torch.argsort(probe[by_distance], stable=True)]
    distances[probe, column] = torch.inf
    counts = torch.bincount(probe, minlength=len(distances))
    return Mates(probe[order], column[order], found[order], counts)


def places_of(strangers: Tensor, mates: Mates) -> Places:
    """Return the places of a stripe's mates.

    Args:
        strangers: float32 [b,m], infinite where a pair does not count; as `split_mates` leaves it.
    """
    probes, counts = len(strangers), mates.counts
    nothing = np.full(probes, np.nan)
    if len(mates.probe) == 0:
        return Places(np.zeros(probes, np.int64), nothing, nothing.copy())
    most = int(counts.max())
    rank = torch.arange(len(mates.probe), device=counts.device)
    rank = rank - (counts.cumsum(0) - counts)[mates.probe]  # 0 for a probe's nearest mate
    limits = torch.full((probes, most), torch.inf, device=counts.device)  # [b,k] ascending
    limits[mates.probe, rank] = mates.distance * (1 + TIE)
    before = _strangers_before(strangers, limits)[mates.probe, rank]
    place = (before + rank + 1).cpu().numpy()
    rank_of, probe_of = rank.cpu().numpy(), mates.probe.cpu().numpy()
    total = counts.cpu().numpy()
    nearest = np.zeros(probes, np.int64)
    first, last = rank_of == 0, rank_of == total[probe_of] - 1
    nearest[probe_of[first]] = place[first]
    precision = np.bincount(probe_of, (rank_of + 1) / place, probes)
    penalty = nothing.copy()
    penalty[probe_of[last]] = total[probe_of[last]] / place[last]
    has = total > 0
    precision = np.where(has, precision / np.maximum(total, 1), np.nan)
    return Places(nearest, precision, penalty)


def _strangers_before(strangers: Tensor, limits: Tensor) -> Tensor:
    """Return int64 [b,k]: how many strangers are no farther than each of the ascending limits."""
    probes, most = limits.shape
    counts = torch.zeros(probes * (most + 1), dtype=torch.int64, device=limits.device)
    offset = torch.arange(probes, device=limits.device)[:, None] * (most + 1)
    step = max(1, COUNTED_PAIRS // probes)
    for start in range(0, strangers.shape[1], step):
        part = strangers[:, start : start + step].contiguous()
        beaten = torch.searchsorted(limits, part)  # the first limit that a stranger keeps to
        counts += torch.bincount((beaten + offset).flatten(), minlength=len(counts))
    return counts.view(probes, most + 1).cumsum(1)[:, :most]


def view_hits(
    strangers: Tensor, mates: Mates, views: Tensor, bounds: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where a search among one view's sequences alone finds the right person first.

    Args:
        strangers: float32 [b,m], as `split_mates` leaves it; the gallery is sorted by view.
        views: int64 [m], each gallery sequence's view, 0..v-1, ascending.
        bounds: v + 1 numbers: view i lies in columns bounds[i] to bounds[i+1].

    Returns:
        hits bool [b,v], and bool [b,v] where the view holds a mate at all.
    """
    probes, count = len(strangers), len(bounds) - 1
    nearest = torch.full((probes * count,), torch.inf, device=strangers.device)
    cells = mates.probe * count + views[mates.column]
    nearest.scatter_reduce_(0, cells, mates.distance, "amin")
    nearest = nearest.view(probes, count)
    other = torch.full_like(nearest, torch.inf)
    for view, (start, stop) in enumerate(pairwise(bounds)):
        if stop > start:
            other[:, view] = strangers[:, start:stop].amin(1)
    hits = nearest * (1 + TIE) < other
    return hits.cpu().numpy(), torch.isfinite(nearest).cpu().numpy()
