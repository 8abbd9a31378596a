"""Made-up galleries: strangers and enrolled people walk past, over and over again.

Every walk serves as a track, cut after a few windows, and as a template, whole. A trial takes a
track and a gallery of other people: how high is the best? Galleries are drawn at random many times.

By default a stranger is compared with people who were enrolled from the same side: that is a
corridor with one camera, and the hardest case, since walkers seen from other sides are further off.

Letters: e steps (how many windows were seen), s walks, g gallery sizes, r draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stages.identify.calibration import Weighing
from stages.identify.fusion import fuse
from stages.identify.normalise import (
    Norm,
    Place,
    cohort_index,
    comparison_scores,
    place_of,
    wants_templates,
    wants_tracks,
)
from stages.identify.search import Index, Metric, distances
from stages.identify.walks import Walks

# Windows after which a track is looked at.
STEPS = (1, 2, 4, 8, 16)
# Templates in a made-up gallery.
SIZES = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """Tracks and templates of walks, fused, before they are compared.

    Attributes:
        steps: windows at each step [e].
        tracks: float32 [e,s,c,p], zeros where a walk has too few windows; then seen is False.
        seen: bool [e,s]. templates: float32 [s,c,p].
        frames, quality: float64 [e,s], of the tracks.
        people: int64 [s], a number for each person. sides: int64 [s].
    """

    steps: tuple[int, ...]
    tracks: np.ndarray
    seen: np.ndarray
    templates: np.ndarray
    frames: np.ndarray
    quality: np.ndarray
    people: np.ndarray
    sides: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Every track against every template.

    Attributes:
        scores: float32 [e,s,s], tracks by templates; nan for what a walk is too short for.
        seen, frames, quality, people, sides, steps: as in `Fused`.
    """

    scores: np.ndarray
    seen: np.ndarray
    frames: np.ndarray
    quality: np.ndarray
    people: np.ndarray
    sides: np.ndarray
    steps: tuple[int, ...]


def steps_for(walks: Walks) -> tuple[int, ...]:
    """Return the steps that at least a quarter of the walks are long enough for."""
    counts = walks.counts()
    return tuple(k for k in STEPS if (counts >= k).mean() >= 0.25) or STEPS[:1]


def fuse_walks(walks: Walks, steps: tuple[int, ...], weighing: Weighing | None) -> Fused:
    """Return the tracks at each step and the templates.

    Memory: as many vectors as there are walks, once for each step and once more.
    """
    shape = walks.vectors.shape[1:]
    tracks = np.zeros((len(steps), len(walks), *shape), np.float32)
    templates = np.empty((len(walks), *shape), np.float32)
    seen = np.zeros((len(steps), len(walks)), bool)
    frames, quality = (np.ones((len(steps), len(walks))) for _ in range(2))
    for row in range(len(walks)):
        windows = walks.windows_of(row)
        good = walks.quality[windows]
        vectors, sizes = walks.vectors[windows], walks.frames[windows]
        known = np.nan_to_num(good, nan=1.0)
        for e, count in enumerate(steps):
            if len(vectors) < count:
                continue
            seen[e, row] = True
            tracks[e, row] = fuse(vectors[:count], sizes[:count], known[:count], weighing)
            frames[e, row] = walks.distinct[windows][count - 1]
            quality[e, row] = np.average(good[:count], weights=sizes[:count])
        # A template is made by `enrol.mean_vector`, which knows no calibration.
        templates[row] = fuse(vectors, sizes, known, None)
    return Fused(
        *(steps, tracks, seen, templates, frames, quality),
        *(_numbers(walks.people), _numbers(walks.sides)),
    )


def _numbers(names: tuple[str, ...]) -> np.ndarray:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """Distances of one metric: tracks and templates to templates, and to a cohort if there is one.

    Attributes:
        between: float32 [e,s,s]. tracks: float32 [e,s,k]. templates: float32 [s,k].
    """

    fused: Fused
    between: np.ndarray
    tracks: np.ndarray | None
    templates: np.ndarray | None


def measure(fused: Fused, metric: Metric, cohort: np.ndarray | None) -> Distances:
    """Return how far tracks are from templates and, with a cohort [k,c,p], from that."""
    index = cohort_index(fused.templates, metric)
    between = np.stack([distances(tracks, index) for tracks in fused.tracks])
    if cohort is None:
        return Distances(fused, between, None, None)
    strangers: Index = cohort_index(cohort, metric)
    return Distances(
        fused,
        between,
        np.stack([distances(tracks, strangers) for tracks in fused.tracks]),
        distances(fused.templates, strangers),
    )


def compare(found: Distances, norm: Norm) -> Comparisons:
    """Return the scores that a norm makes of distances."""
    fused = found.fused
    templates: Place | None = None
    if wants_templates(norm):
        assert found.templates is not None
        templates = place_of(found.templates, norm.nearest)
    scores = np.empty(found.between.shape, np.float32)
    for e, between in enumerate(found.between):
        tracks: Place | None = None
        if wants_tracks(norm):
            assert found.tracks is not None
            tracks = place_of(found.tracks[e], norm.nearest)
        scores[e] = comparison_scores(between, norm, tracks, templates)
        scores[e, ~fused.seen[e]] = np.nan
    return Comparisons(
        *(scores, fused.seen, fused.frames, fused.quality),
        *(fused.people, fused.sides, fused.steps),
    )


def stranger_pairs(made: Comparisons, *, same_side: bool) -> np.ndarray:
    """Return bool [s,s]: which tracks and templates are of two people (and of one side)."""
    others = made.people[:, None] != made.people[None]
    return others & (made.sides[:, None] == made.sides[None]) if same_side else others


def gallery_sizes(made: Comparisons) -> np.ndarray:
    """Return int64 [g]: the sizes that these people can fill besides the stranger."""
    people = len(np.unique(made.people)) - 1
    return np.array([size for size in SIZES if size <= people], np.int64)


def draw_galleries(
    made: Comparisons, draws: int, seed: int, *, same_side: bool
) -> Iterator[np.ndarray]:
    """Yield int64 [s,l] for each draw: the templates a track is compared with, one of each person.

    The first n of a row are a gallery of n people, none of whom is the one who walks; -1 where
    people run out. With `same_side` all are of the track's own side.
    """
    longest = int(gallery_sizes(made)[-1])
    sides = made.sides if same_side else np.zeros_like(made.sides)
    for draw in range(draws):
        rng = np.random.default_rng([seed, 2, draw])
        columns = np.full((len(made.people), longest), -1, np.int64)
        order = rng.permutation(len(made.people))
        for side in np.unique(sides):
            walks = order[sides[order] == side]
            # The first walk of each person in a random order: people are in random order, too.
            _, first = np.unique(made.people[walks], return_index=True)
            chosen = walks[np.sort(first)]
            rows = np.flatnonzero(sides == side)
            own = made.people[rows][:, None] == made.people[chosen][None]
            # Whoever walks goes to the end of the row, which is then cut off.
            ranks = np.argsort(own, axis=1, kind="stable")[:, : len(chosen) - 1]
            kept = chosen[ranks][:, :longest]
            columns[rows[:, None], np.arange(kept.shape[1])[None]] = kept
        yield columns


def best_scores(made: Comparisons, columns: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return float64 [e,s,g]: each track's best score in galleries of these sizes; nan for none."""
    rows = np.arange(len(columns))[:, None]
    best = np.empty((*made.seen.shape, len(sizes)))
    for e, scores in enumerate(made.scores):
        met = scores[rows, columns].astype(np.float64)
        met[columns < 0] = np.nan
        # A nan stays in all that follow it: a gallery that people do not fill has no best.
        best[e] = np.maximum.accumulate(met, axis=1)[:, sizes - 1]
    return best


def draw_own(made: Comparisons, draw: int, seed: int, *, same_side: bool) -> np.ndarray:
    """Return int64 [s]: for each track another walk of whoever walks, as a template; -1 for none.

    Args:
        same_side: of walks from the same side, or of those from all other sides.
    """
    rng = np.random.default_rng([seed, 3, draw, int(same_side)])
    mates = made.people[:, None] == made.people[None]
    np.fill_diagonal(mates, False)
    mates &= (made.sides[:, None] == made.sides[None]) == same_side
    lots = np.where(mates, rng.random(mates.shape, np.float32), -1.0)
    return np.where(mates.any(axis=1), lots.argmax(axis=1), -1)


def own_scores(made: Comparisons, own: np.ndarray) -> np.ndarray:
    """Return float64 [e,s]: each track's score against its own template; nan without one."""
    scores = made.scores[:, np.arange(len(own)), own].astype(np.float64)
    scores[:, own < 0] = np.nan
    return scores
