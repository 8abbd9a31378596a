"""Exact search: how far every query is from every template, and from every person.

Letters: n queries, m templates, c numbers for each of p body parts. A distance is the mean over the
parts of the parts' L2 distances (or of 1 - cosine), as gait networks are evaluated. All pairs of a
part are one matrix product: |q - t|^2 = |q|^2 + |t|^2 - 2 q.t. In float32 that loses digits where q
and t are close, so vectors are centred first and close pairs are subtracted one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.identify.records import TemplateSet

Metric = Literal["euclidean", "cosine"]

# Numbers held at a time by one step: 64 MB of float32.
BLOCK_NUMBERS = 1 << 24
# Below this share of |q|^2 + |t|^2 the product has lost two digits and is not trusted.
CLOSE = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """The templates of one network, ready to be searched.

    Attributes:
        people: ids in ascending order.
        first: int64 [people], each one's first template; templates of a person lie together.
        templates: float32 [p,m,c], minus `centre`; of length 1 for cosine.
        squares: float32 [p,m], their squared lengths.
        centre: float64 [c,p], 0 for cosine.
    """

    network: str
    weights_hash: str
    metric: Metric
    people: tuple[str, ...]
    first: np.ndarray
    templates: np.ndarray
    squares: np.ndarray
    centre: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(c, p) of the vectors that can be compared."""
        return self.centre.shape[0], self.centre.shape[1]


def build_index(templates: TemplateSet, metric: Metric = "euclidean") -> Index:
    """Return the index of templates that are sorted by owner; at least one.

    Raises:
        ValueError: for no template, or owners out of order.
    """
    owners = templates.owners
    if not owners or len(owners) != len(templates.vectors) or list(owners) != sorted(owners):
        raise ValueError("an index needs at least one template, and owners in ascending order")
    people = tuple(sorted(set(owners)))
    first = np.searchsorted(np.array(owners), np.array(people))
    vectors = templates.vectors
    if metric == "cosine":
        centre = np.zeros(vectors.shape[1:])
        ready = _unit(vectors)
    else:
        centre = vectors.mean(axis=0, dtype=np.float64)
        ready = (vectors - centre).astype(np.float32)
    stacked = np.ascontiguousarray(ready.transpose(2, 0, 1))
    squares = np.einsum("pmc,pmc->pm", stacked, stacked)
    return Index(
        templates.network, templates.weights_hash, metric, people, first, stacked, squares, centre
    )


def distances(queries: np.ndarray, index: Index) -> np.ndarray:
    """Return float32 [n,m]: how far each of float32 [n,c,p] is from each template.

    Raises:
        ValueError: if the queries' shape is not the templates'.
    """
    if queries.ndim != 3 or queries.shape[1:] != index.centre.shape:
        raise ValueError(f"expected queries [n,{index.shape}], got {list(queries.shape)}")
    parts, count, _ = index.templates.shape
    if index.metric == "cosine":
        ready = _unit(queries)
    else:
        ready = (queries - index.centre).astype(np.float32)
    stacked = np.ascontiguousarray(ready.transpose(2, 1, 0))  # [p,c,n]
    result = np.empty((len(queries), count), np.float32)
    query_step = max(1, min(len(queries), 256))
    step = max(1, BLOCK_NUMBERS // (parts * query_step))
    for q in range(0, len(queries), query_step):
        for t in range(0, count, step):
            block = _block(stacked[:, :, q : q + query_step], index, slice(t, t + step))
            result[q : q + query_step, t : t + step] = block
    return result


def _block(queries: np.ndarray, index: Index, rows: slice) -> np.ndarray:
    """Return [n,m] for queries [p,c,n] and some of the templates."""
    templates = index.templates[:, rows]
    products = templates @ queries  # [p,m,n]
    if index.metric == "cosine":
        return np.maximum(1.0 - products, 0.0).mean(axis=0).T
    lengths = index.squares[:, rows, None] + np.einsum("pcn,pcn->pn", queries, queries)[:, None]
    products *= -2.0
    products += lengths
    close = np.nonzero(products < CLOSE * lengths)
    _subtract(products, queries, templates, close)
    np.maximum(products, 0.0, out=products)
    return np.sqrt(products, out=products).mean(axis=0).T


def _subtract(
    squared: np.ndarray, queries: np.ndarray, templates: np.ndarray, pairs: tuple[np.ndarray, ...]
) -> None:
    """Put exact squared distances [p,m,n] where `pairs` (parts, templates, queries) say."""
    parts, rows, columns = pairs
    step = max(1, BLOCK_NUMBERS // templates.shape[2])
    for begin in range(0, len(parts), step):
        p, m, n = (part[begin : begin + step] for part in (parts, rows, columns))
        gap = templates[p, m] - queries[p, :, n]
        squared[p, m, n] = np.einsum("kc,kc->k", gap, gap)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return [n,c,p] with each part's c numbers scaled to length 1; zeros stay zeros."""
    lengths = np.sqrt(np.einsum("ncp,ncp->np", vectors, vectors, dtype=np.float64))[:, None]
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def by_person(found: np.ndarray, first: np.ndarray, nearest: int = 1) -> np.ndarray:
    """Return float64 [n,people]: the mean of each person's `nearest` smallest distances.

    Args:
        found: float32 [n,m], as from `distances`.
        first: int64 [people], as `Index.first`.
        nearest: 1 for the smallest alone; a person with fewer templates is judged by those.
    """
    if not found.size:
        return np.empty((len(found), len(first)))
    if nearest == 1:
        return np.minimum.reduceat(found, first, axis=1).astype(np.float64)
    counts = np.diff(np.append(first, found.shape[1]))
    owner = np.repeat(np.arange(len(first)), counts)
    place = np.arange(found.shape[1]) - np.repeat(first, counts)
    taken = (place < nearest)[None, :]
    order = np.stack([np.lexsort((row, owner)) for row in found])
    smallest = np.where(taken, np.take_along_axis(found, order, 1), 0.0)
    return np.add.reduceat(smallest, first, axis=1) / np.minimum(counts, nearest)


def score_of(distance: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + distance) as float64, rounded to six decimals.

    The digits behind differ from one matrix library to the next, and must not decide a tie.
    """
    return np.round(1.0 / (1.0 + distance.astype(np.float64)), 6)


def search(queries: np.ndarray, index: Index, nearest: int = 1) -> np.ndarray:
    """Return float64 [n,people]: the score of each of float32 [n,c,p] for each person, 0..1."""
    return score_of(by_person(distances(queries, index), index.first, nearest))
