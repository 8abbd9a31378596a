"""How far every probe of a suite is from every gallery window and from every person's template.

Letters: n probes, m gallery windows, t people, c numbers for each of p body parts.

What a figure is counted from are these two matrices, not vectors: so networks can be fused whose
vectors have nothing in common. They are kept in memory, or in a scratch file beyond a limit. A
probe or a window that could not be embedded has nan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.fusing import fuse_vectors
from stages.embed.evaluation.distances import Measure, Rows, stripes
from stages.embed.evaluation.embedding import EmbeddedSet, EmbeddingLimits, room_for
from stages.embed.evaluation.suite import Layout

# Probes that are fused at a time.
BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """One network's distances on a suite.

    Attributes:
        windows: float32 [n,m], probe to gallery window.
        templates: float32 [n,t], probe to a person's fused gallery windows from all views
            but the probe's own; nan where there is none.
        window_scale, template_scale: means over the pairs of different people and views.
    """

    windows: np.ndarray
    templates: np.ndarray
    window_scale: float
    template_scale: float


def measure_distances(
    embedded: EmbeddedSet,
    layout: Layout,
    measure: Measure,
    limits: EmbeddingLimits,
    on_progress: Callable[[int, int], None] | None = None,
) -> Distances:
    """Return the distances between the embedded sequences of a layout.

    Memory: `measure.stripe_mb`, one view's templates, and the matrices beyond `limits.vectors_mb`
    in a file.

    Raises:
        ResourceError: no room for the matrices.
    """
    row_of = {int(index): row for row, index in enumerate(embedded.indices)}
    probe_rows = np.array([row_of.get(int(i), -1) for i in layout.probes], np.int64)
    gallery_rows = np.array([row_of.get(int(i), -1) for i in layout.gallery], np.int64)
    shape = len(layout.probes), len(layout.gallery)
    windows = room_for(shape, limits)
    templates = room_for((shape[0], len(layout.people)), limits)
    done = 0
    for view in range(len(layout.views)):
        mine = np.flatnonzero(layout.probe_view == view)
        _fill(windows, mine, probe_rows, embedded.vectors, gallery_rows, measure)
        found, people = other_view_templates(embedded.vectors, gallery_rows, layout, view)
        rows = np.full(len(layout.people), -1, np.int64)
        rows[people] = np.arange(len(people))
        _fill(templates, mine, probe_rows, embedded.vectors, rows, measure, found)
        done += len(mine)
        if on_progress is not None:
            on_progress(done, shape[0])
    return _scaled(windows, templates, layout)


def fused(parts: Sequence[Distances], layout: Layout, limits: EmbeddingLimits) -> Distances:
    """Return the mean of several networks' distances, each divided by what strangers are apart.

    A pair that one network could not measure has no fused distance either.
    """
    windows = room_for(parts[0].windows.shape, limits)
    templates = room_for(parts[0].templates.shape, limits)
    for start in range(0, len(windows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        for each in parts:
            windows[part] += each.windows[part] / (each.window_scale * len(parts))
            templates[part] += each.templates[part] / (each.template_scale * len(parts))
    return _scaled(windows, templates, layout)


def other_view_templates(
    vectors: np.ndarray, gallery_rows: np.ndarray, layout: Layout, view: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 [k,c,p], the fused gallery vectors without a view's, and whose: int64 [k]."""
    used = (gallery_rows >= 0) & (layout.gallery_view != view)
    people = np.unique(layout.gallery_person[used])
    found = np.empty((len(people), *vectors.shape[1:]), np.float32)
    for place, person in enumerate(people):
        rows = gallery_rows[used & (layout.gallery_person == person)]
        found[place] = fuse_vectors(vectors[rows])
    return found, people


def _fill(
    matrix: np.ndarray,
    mine: np.ndarray,
    probe_rows: np.ndarray,
    vectors: np.ndarray,
    column_rows: np.ndarray,
    measure: Measure,
    others: np.ndarray | None = None,
) -> None:
    """Measure the probes `mine` against columns, rows of `others` or else of the same vectors."""
    matrix[mine] = np.nan
    seen, columns = mine[probe_rows[mine] >= 0], np.flatnonzero(column_rows >= 0)
    if len(seen) == 0 or len(columns) == 0:
        return
    sides = (
        Rows(vectors, probe_rows[seen]),
        Rows(vectors if others is None else others, column_rows[columns]),
    )
    for stripe in stripes(*sides, measure):
        rows = seen[stripe.start : stripe.stop]
        matrix[np.ix_(rows, columns)] = stripe.distances.cpu().numpy()


def _scaled(windows: np.ndarray, templates: np.ndarray, layout: Layout) -> Distances:
    totals = np.zeros((2, 2))  # sum and count, of windows and of templates
    for start in range(0, len(windows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        person = layout.probe_person[part, None]
        other = person != layout.gallery_person[None]
        other &= layout.probe_view[part, None] != layout.gallery_view[None]
        everyone = person != np.arange(len(layout.people))[None]
        for kind, (block, chosen) in enumerate(
            ((windows[part], other), (templates[part], everyone))
        ):
            values = block[chosen & ~np.isnan(block)]
            totals[kind] += values.sum(dtype=np.float64), len(values)
    # Without a single pair, or with all at one place, there is nothing to divide by.
    scales = [float(t / n) if n and t > 0 else 1.0 for t, n in totals]
    return Distances(windows, templates, *scales)
