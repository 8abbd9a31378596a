"""Is the nearest window of another view the right person's? Counted for any subset of pairs.

Letters: n probes, m gallery windows, v views, t people.

Each gallery view is searched alone, one view against another, as published view matrices have it.
The more people are enrolled the harder that is, so Rank-1 is stated for a gallery of a fixed
number: of all galleries that can be drawn with the right person and so many others, the share in
which nobody else is as near. That is counted exactly, not drawn (hypergeometric).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from stages.embed.evaluation.bootstrap import Estimate, share
from stages.embed.evaluation.distances import TIE
from stages.embed.evaluation.suite import Layout

BLOCK_ROWS = 1024
# More angles between views than this are taken together in steps.
MAX_ANGLES = 12
ANGLE_STEP_DEG = 30


@dataclass(frozen=True, slots=True, eq=False)
class ViewSearch:
    """Each probe searched in each gallery view.

    Attributes:
        own: float32 [n,v], distance to the right person's window; nan without one.
        nearer: int32 [n,v], others who are as near or nearer. others: int32 [n,v], all others.
        cross: bool [n,v], where it counts: another view than the probe's, with the right person.
    """

    own: np.ndarray
    nearer: np.ndarray
    others: np.ndarray
    cross: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class ViewBlock:
    """Some probes against one gallery view: the nearest window of each person.

    Attributes:
        rows: int64 [b], probes. people: int64 [k], whose windows.
        distances: float32 [b,k], nan where one could not be measured.
        own: bool [b,k], the right person's column.
    """

    view: int
    rows: np.ndarray
    people: np.ndarray
    distances: np.ndarray
    own: np.ndarray


def view_blocks(
    windows: np.ndarray, layout: Layout, rows: np.ndarray | None = None
) -> Iterator[ViewBlock]:
    """Yield all probes (or `rows`) against every gallery view, in bounded pieces of float32 [n,m].

    The gallery is sorted by view and person, as a layout has it.
    """
    chosen = np.arange(len(windows)) if rows is None else rows
    keys = layout.gallery_view * len(layout.people) + layout.gallery_person
    unique, starts = np.unique(keys, return_index=True)
    views, people = np.divmod(unique, len(layout.people))
    for begin in range(0, len(chosen), BLOCK_ROWS):
        part = chosen[begin : begin + BLOCK_ROWS]
        nearest = np.fmin.reduceat(windows[part], starts, axis=1)
        for view in np.unique(views):
            columns = views == view
            own = layout.probe_person[part, None] == people[columns][None]
            yield ViewBlock(int(view), part, people[columns], nearest[:, columns], own)


def search_views(windows: np.ndarray, layout: Layout) -> ViewSearch:
    """Return how every probe fares in every gallery view; windows is float32 [n,m]."""
    shape = len(layout.probes), len(layout.views)
    own = np.full(shape, np.nan, np.float32)
    nearer, others = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for block in view_blocks(windows, layout):
        found = np.where(block.own, block.distances, np.nan)
        # fmax over a row that is all nan is nan, without a warning.
        mine = np.fmax.reduce(found, axis=1, initial=np.nan)
        own[block.rows, block.view] = mine
        known = ~block.own & ~np.isnan(block.distances)
        near = block.distances <= (mine * (1 + TIE))[:, None]
        nearer[block.rows, block.view] = (known & near).sum(axis=1)
        others[block.rows, block.view] = known.sum(axis=1)
    cross = ~np.isnan(own) & (layout.probe_view[:, None] != np.arange(shape[1])[None])
    return ViewSearch(own, nearer, others, cross)


def search_templates(templates: np.ndarray, layout: Layout) -> ViewSearch:
    """Return how every probe fares among the people's templates, as if they were of one view.

    Args:
        templates: float32 [n,t], nan where there is none.
    """
    rows = np.arange(len(templates))
    own = templates[rows, layout.probe_person]
    known = ~np.isnan(templates)
    known[rows, layout.probe_person] = False
    nearer = known & (templates <= (own * (1 + TIE))[:, None])
    return ViewSearch(
        own=own[:, None],
        nearer=nearer.sum(axis=1, dtype=np.int32)[:, None],
        others=known.sum(axis=1, dtype=np.int32)[:, None],
        cross=~np.isnan(own)[:, None],
    )


def first_chances(search: ViewSearch, gallery_people: int) -> np.ndarray:
    """Return float64 [n,v]: how likely the right person comes first among so many enrolled.

    Where fewer others are there, among all of them. 0 where `cross` is false.
    """
    others, nearer = search.others.astype(np.float64), search.nearer.astype(np.float64)
    drawn = np.minimum(others, gallery_people - 1)
    room = others - nearer - drawn
    # Of C(others, drawn) galleries C(others - nearer, drawn) hold none of those who are nearer.
    logarithm = (
        gammaln(others - nearer + 1)
        - gammaln(np.maximum(room, 0) + 1)
        - gammaln(others + 1)
        + gammaln(others - drawn + 1)
    )
    chance = np.where(nearer == 0, 1.0, np.where(room >= 0, np.exp(logarithm), 0.0))
    return np.where(search.cross, chance, 0.0)


def rank1(chances: np.ndarray, counted: np.ndarray, layout: Layout, draws: np.ndarray) -> Estimate:
    """Return Rank-1 over the counted pairs of probe and gallery view.

    Args:
        chances: float64 [n,v]. counted: bool [n,v].
        draws: of people, for the interval.
    """
    hits = np.where(counted, chances, 0.0).sum(axis=1)
    people = len(layout.people)
    return share(
        np.bincount(layout.probe_person, hits, people),
        np.bincount(layout.probe_person, counted.sum(axis=1), people),
        draws,
    )


def view_matrix(chances: np.ndarray, counted: np.ndarray, layout: Layout) -> np.ndarray:
    """Return Rank-1 float64 [v,v] by probe view and gallery view, nan where nothing counts."""
    views = len(layout.views)
    hits, counts = np.zeros((views, views)), np.zeros((views, views))
    np.add.at(hits, layout.probe_view, np.where(counted, chances, 0.0))
    np.add.at(counts, layout.probe_view, counted.astype(np.float64))
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)


def between(layout: Layout, probe_views: np.ndarray, gallery_views: np.ndarray) -> np.ndarray:
    """Return bool [n,v]: pairs from one set of views (bool [v]) to the other, either way round."""
    there = probe_views[layout.probe_view][:, None] & gallery_views[None]
    back = gallery_views[layout.probe_view][:, None] & probe_views[None]
    return there | back


def by_angle(layout: Layout) -> list[tuple[str, np.ndarray]]:
    """Return name and bool [n,v] of the pairs of different views so many degrees apart.

    Nearest first; every angle that occurs, or steps of 30 degrees if there are many.
    """
    angle = layout.view_angle()
    np.fill_diagonal(angle, np.nan)
    found = np.unique(angle[~np.isnan(angle)])
    if len(found) > MAX_ANGLES:
        angle = np.floor(angle / ANGLE_STEP_DEG + 0.5) * ANGLE_STEP_DEG
        found = np.unique(angle[~np.isnan(angle)])
    return [(f"{value:g}°", (angle == value)[layout.probe_view]) for value in found]
