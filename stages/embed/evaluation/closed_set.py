"""Closed set: everyone who is looked for is enrolled. Rank tables and view matrices.

Letters: n probes, m gallery sequences, v views.

Rank-k is the share of probes whose nearest mate comes among the first k. In a rank table the whole
gallery is searched at once; probes without a mate there are counted and left out. In a view matrix
each gallery view is searched alone and a probe without a mate there counts as a miss, as published
figures have it; the share among probes that have one stands beside it, since OUMVLP's figures are
published either way. Pairs of one view are left out of both if the protocol says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stages.embed.evaluation.distances import Measure, Rows, stripes
from stages.embed.evaluation.embedding import EmbeddedSet
from stages.embed.evaluation.places import Places, places_of, split_mates, view_hits
from stages.embed.evaluation.protocols import ALL, Roles
from stages.embed.sequences import natural_key

# Places of the cumulative match curve.
CURVE = 50
# A matrix of more views says nothing to a reader.
MAX_VIEWS = 36


@dataclass(frozen=True, slots=True, eq=False)
class GroupRanks:
    """What came of one group of probes when the whole gallery was searched.

    Attributes:
        group: its name; `all` for all groups together.
        probes: how many. mated: how many of them have a mate in the gallery; the rest is over them.
        curve: float64 [50], Rank-1 to Rank-50, 0..1; nan if none has.
        mean_ap, mean_inp: mAP and mINP, 0..1.
    """

    group: str
    probes: int
    mated: int
    curve: np.ndarray
    mean_ap: float
    mean_inp: float

    def rank(self, k: int) -> float:
        """Return Rank-k, 0..1; k at most 50."""
        return float(self.curve[k - 1])


@dataclass(frozen=True, slots=True, eq=False)
class ViewMatrix:
    """What came of one group when each gallery view was searched alone.

    Attributes:
        probe_views, gallery_views: names [v].
        probes: int64 [v], of each view. mated, hits: int64 [v,v], those with a mate in the gallery
            view, and those whose nearest sequence was one.
        counts: bool [v,v], cells that count: of two different views, with probes and a gallery.
    """

    group: str
    probe_views: tuple[str, ...]
    gallery_views: tuple[str, ...]
    probes: np.ndarray
    mated: np.ndarray
    hits: np.ndarray
    counts: np.ndarray

    def rank1(self, of_mated: bool = False) -> np.ndarray:
        """Return Rank-1 [v,v], 0..1, nan where a cell does not count."""
        total = self.mated if of_mated else np.broadcast_to(self.probes[:, None], self.hits.shape)
        counts = self.counts & (total > 0)
        return np.where(counts, self.hits / np.maximum(total, 1), np.nan)

    def by_probe_view(self, of_mated: bool = False) -> np.ndarray:
        """Return the mean over the gallery views [v]."""
        return mean_of(self.rank1(of_mated), axis=1)

    def mean(self, of_mated: bool = False) -> float:
        """Return the published figure: the mean over gallery views, then over probe views."""
        return float(mean_of(self.by_probe_view(of_mated)))


@dataclass(frozen=True, slots=True, eq=False)
class ClosedSet:
    """What came of a closed-set search.

    Attributes:
        groups: one for each group of probes; with several, `all` comes last.
        matrices: one for each group, none if the protocol has no views.
    """

    groups: tuple[GroupRanks, ...]
    matrices: tuple[ViewMatrix, ...]

    def of_group(self, name: str) -> GroupRanks:
        """Return a group's ranks."""
        return next(group for group in self.groups if group.group == name)

    def headline(self, name: str) -> float:
        """Return the figure that is published for a group: the matrix's mean, or else Rank-1.

        For `all` with several groups: the mean of theirs, if there are matrices.
        """
        if not self.matrices:
            return self.of_group(name).rank(1)
        own = [matrix.mean() for matrix in self.matrices if matrix.group == name]
        return own[0] if own else float(mean_of(np.array([m.mean() for m in self.matrices])))


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """Probes to look for: a set of their own, or part of the one that holds the gallery.

    rows: int64 [n], places in `embedded`. groups: each one's group.
    """

    embedded: EmbeddedSet
    rows: np.ndarray
    groups: tuple[str, ...]


def search_closed_set(
    probes: Probes,
    gallery: EmbeddedSet,
    roles: Roles,
    measure: Measure,
    on_progress: Callable[[int, int], None] | None = None,
) -> ClosedSet:
    """Look for every probe in the gallery.

    Memory: `measure.stripe_mb` and 200 bytes a probe and view.

    Args:
        gallery: the set that `roles.gallery` points into.
    """
    views = _sorted_views(probes, gallery, roles)
    with_matrix = roles.cross_view and 1 < len(views) <= MAX_VIEWS
    view_codes = {view: code for code, view in enumerate(views)}
    gallery_views = np.array([view_codes[gallery.views[i]] for i in roles.gallery], np.int64)
    by_view = np.argsort(gallery_views, kind="stable")
    gallery_rows, gallery_views = roles.gallery[by_view], gallery_views[by_view]
    bounds = np.searchsorted(gallery_views, np.arange(len(views) + 1)).tolist()
    subjects = {name: code for code, name in enumerate(sorted({*gallery.subjects}))}
    device = torch.device(measure.device)
    g_view = torch.from_numpy(gallery_views).to(device)
    g_subject = _codes(gallery.subjects, gallery_rows, subjects).to(device)
    p_view = _codes(probes.embedded.views, probes.rows, view_codes).to(device)
    p_subject = _codes(probes.embedded.subjects, probes.rows, subjects).to(device)
    found: list[Places] = []
    cells: list[tuple[np.ndarray, np.ndarray]] = []
    sides = Rows(probes.embedded.vectors, probes.rows), Rows(gallery.vectors, gallery_rows)
    for stripe in stripes(*sides, measure):
        part = slice(stripe.start, stripe.stop)
        same_view = p_view[part, None] == g_view[None] if roles.cross_view else None
        mates = split_mates(stripe.distances, p_subject[part, None] == g_subject[None], same_view)
        found.append(places_of(stripe.distances, mates))
        if with_matrix:
            cells.append(view_hits(stripe.distances, mates, g_view, bounds))
        if on_progress is not None:
            on_progress(stripe.stop, len(probes.rows))
    places = _joined(found)
    groups = np.array(probes.groups)
    names = roles.group_names
    rows = [_group_ranks(name, places, groups == name) for name in names]
    if len(names) > 1:
        rows.append(_group_ranks(ALL, places, np.ones(len(groups), bool)))
    matrices: tuple[ViewMatrix, ...] = ()
    if with_matrix:
        hits, mated = (np.concatenate(side) for side in zip(*cells, strict=True))
        sizes = np.diff(bounds)
        matrices = tuple(
            _matrix(name, views, p_view.cpu().numpy(), groups == name, hits, mated, sizes)
            for name in names
        )
    return ClosedSet(tuple(rows), matrices)


def mean_of(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return the mean of what is not nan; nan where all is."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _sorted_views(probes: Probes, gallery: EmbeddedSet, roles: Roles) -> list[str]:
    found = {gallery.views[i] for i in roles.gallery}
    found |= {probes.embedded.views[i] for i in probes.rows}
    return sorted(found, key=natural_key)


def _codes(values: Sequence[str], rows: np.ndarray, codes: dict[str, int]) -> torch.Tensor:
    """Return int64 [n]; -1 for what has no code."""
    return torch.tensor([codes.get(values[row], -1) for row in rows], dtype=torch.int64)


def _joined(found: list[Places]) -> Places:
    return Places(
        np.concatenate([part.nearest for part in found]),
        np.concatenate([part.average_precision for part in found]),
        np.concatenate([part.inverse_penalty for part in found]),
    )


def _group_ranks(name: str, places: Places, chosen: np.ndarray) -> GroupRanks:
    mated = chosen & (places.nearest > 0)
    count = int(mated.sum())
    curve = np.full(CURVE, np.nan)
    if count:
        within = places.nearest[mated][:, None] <= np.arange(1, CURVE + 1)
        curve = within.mean(axis=0)
    return GroupRanks(
        group=name,
        probes=int(chosen.sum()),
        mated=count,
        curve=curve,
        mean_ap=float(mean_of(places.average_precision[mated])),
        mean_inp=float(mean_of(places.inverse_penalty[mated])),
    )


def _matrix(
    name: str,
    views: list[str],
    probe_views: np.ndarray,
    chosen: np.ndarray,
    hits: np.ndarray,
    mated: np.ndarray,
    gallery_sizes: np.ndarray,
) -> ViewMatrix:
    """Return the matrix of the `chosen` probes from bool [n,v]."""
    shape = (len(views), len(views))
    hit_counts, mated_counts = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    np.add.at(hit_counts, probe_views[chosen], hits[chosen].astype(np.int64))
    np.add.at(mated_counts, probe_views[chosen], mated[chosen].astype(np.int64))
    probes = np.bincount(probe_views[chosen], minlength=len(views))
    counts = (probes > 0)[:, None] & (gallery_sizes > 0)[None] & ~np.eye(len(views), dtype=bool)
    names = tuple(views)
    return ViewMatrix(name, names, names, probes, mated_counts, hit_counts, counts)
