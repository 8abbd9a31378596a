"""Made-up suites, and their figures counted one pair at a time. Everything is drawn from seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from eval_samples import entries_of, noisy_vectors, plain_distances, plain_fused, set_of

from stages.embed.data.interface import Entry
from stages.embed.evaluation.distances import Measure
from stages.embed.evaluation.embedding import EmbeddingLimits
from stages.embed.evaluation.pair_distances import Distances, measure_distances
from stages.embed.evaluation.suite import Layout, lay_out

VIEWS = ("000", "090", "180", "270")
KINDS = ("nm-01", "nm-02", "cl-01")


def sample(
    subjects: int = 6,
    noise: float = 0.6,
    seed: int = 0,
    views: Sequence[str] = VIEWS,
    kinds: Sequence[str] = KINDS,
) -> tuple[list[Entry], Layout, np.ndarray]:
    """Return entries, their layout, and vectors float32 [N,6,3]."""
    entries = entries_of(subjects, kinds, views)
    return entries, lay_out(entries)[0], noisy_vectors(entries, noise, seed)


def distances_of(
    entries: Sequence[Entry], layout: Layout, vectors: np.ndarray, metric: str = "euclidean"
) -> Distances:
    """Return the distances as the program takes them."""
    embedded = set_of(entries, vectors)
    return measure_distances(embedded, layout, Measure(metric), EmbeddingLimits())  # type: ignore[arg-type]


def plain_windows(layout: Layout, vectors: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    """Return float64 [n,m], one pair at a time."""
    return plain_distances(vectors[layout.probes], vectors[layout.gallery], metric)


def plain_templates(layout: Layout, vectors: np.ndarray) -> np.ndarray:
    """Return float64 [n,t]: each probe to each person's fused windows of other views."""
    found = np.full((len(layout.probes), len(layout.people)), np.nan)
    for i, probe in enumerate(layout.probes):
        for t in range(len(layout.people)):
            rows = [
                int(layout.gallery[j])
                for j in range(len(layout.gallery))
                if layout.gallery_person[j] == t and layout.gallery_view[j] != layout.probe_view[i]
            ]
            if rows:
                template = plain_fused(vectors[rows])
                found[i, t] = plain_distances(vectors[[probe]], template[None], "euclidean")[0, 0]
    return found


def plain_searches(layout: Layout, windows: np.ndarray) -> list[tuple[int, int, bool]]:
    """Return probe, gallery view and whether the right person came first, across views."""
    found = []
    for i in range(len(layout.probes)):
        for view in range(len(layout.views)):
            columns = np.flatnonzero(layout.gallery_view == view)
            people = layout.gallery_person[columns]
            own = layout.probe_person[i]
            if view == layout.probe_view[i] or own not in people:
                continue
            nearest = {int(p): float(windows[i, columns[people == p]].min()) for p in set(people)}
            mine = nearest.pop(int(own))
            found.append((i, view, all(other > mine for other in nearest.values())))
    return found
