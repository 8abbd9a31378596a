"""Exact search against a search by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identify_samples import HASH, NETWORK

from stages.identify import search as module
from stages.identify.records import TemplateSet
from stages.identify.search import Metric, build_index, by_person, distances, score_of, search


def template_set(vectors: np.ndarray, people: int) -> TemplateSet:
    owners = tuple(sorted(f"p{row % people}" for row in range(len(vectors))))
    return TemplateSet(NETWORK, HASH, owners, vectors)


def by_hand(queries: np.ndarray, templates: np.ndarray, metric: Metric) -> np.ndarray:
    a, b = queries[:, None].astype(np.float64), templates[None].astype(np.float64)
    if metric == "euclidean":
        return np.sqrt(((a - b) ** 2).sum(axis=2)).mean(axis=2)
    norms = np.sqrt((a**2).sum(axis=2)) * np.sqrt((b**2).sum(axis=2))
    cosine = (a * b).sum(axis=2) / np.where(norms > 0, norms, 1.0)
    return (1.0 - cosine).mean(axis=2)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 4),
    m=st.integers(1, 9),
    c=st.integers(1, 6),
    p=st.integers(1, 4),
    offset=st.sampled_from([0.0, 1.0, 100.0]),
    block=st.sampled_from([1, 7, 1 << 24]),
    metric=st.sampled_from(["euclidean", "cosine"]),
    seed=st.integers(0, 1000),
)
def test_parity_with_brute_force(
    n: int, m: int, c: int, p: int, offset: float, block: int, metric: Metric, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    templates = (rng.normal(size=(m, c, p)) + offset).astype(np.float32)
    queries = (rng.normal(size=(n, c, p)) + offset).astype(np.float32)
    index = build_index(template_set(templates, 3), metric)
    before, module.BLOCK_NUMBERS = module.BLOCK_NUMBERS, block
    try:
        found = distances(queries, index)
    finally:
        module.BLOCK_NUMBERS = before
    assert found.shape == (n, m) and found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(queries, templates, metric), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("gap", [0.0, 1e-5, 1e-3, 1e-1])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_golden_near_identical_vectors_keep_their_digits(gap: float, scale: float) -> None:
    rng = np.random.default_rng(3)
    templates = rng.normal(scale=scale, size=(50, 256, 3)).astype(np.float32)
    query = templates[7:8].copy()
    query[0, 0] += np.float32(gap * scale)
    index = build_index(template_set(templates, 50))
    expected = by_hand(query, templates, "euclidean")[0, 7]
    assert distances(query, index)[0, 7] == pytest.approx(expected, rel=1e-3, abs=1e-6 * scale)
    if gap == 0.0:
        assert search(query, index)[0].max() == 1.0 or scale > 1.0


@given(nearest=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_parity_templates_to_people(nearest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, size=4)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    found = rng.random((3, counts.sum())).astype(np.float32)
    expected = [
        [np.sort(row[b : b + k])[:nearest].mean() for b, k in zip(first, counts, strict=True)]
        for row in found
    ]
    np.testing.assert_allclose(by_person(found, first, nearest), expected, rtol=1e-6)


def test_shape_of_empty_and_wrong_queries() -> None:
    index = build_index(template_set(np.ones((2, 4, 3), np.float32), 2))
    assert search(np.empty((0, 4, 3), np.float32), index).shape == (0, 2)
    with pytest.raises(ValueError, match="expected queries"):
        distances(np.ones((1, 3, 4), np.float32), index)


@pytest.mark.parametrize("owners", [(), ("b", "a"), ("a",)])
def test_exception_unfit_template_sets(owners: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="owners in ascending order"):
        build_index(TemplateSet(NETWORK, HASH, owners, np.ones((2, 4, 3), np.float32)))


def test_golden_scores() -> None:
    assert score_of(np.array([0.0, 1.0, np.inf])).tolist() == [1.0, 0.5, 0.0]
    assert score_of(np.array([0.8, 1.3])).tolist() == [0.555556, 0.434783]


def test_smoke_large_numbers_do_not_overflow() -> None:
    index = build_index(template_set(np.full((2, 256, 2), 1e6, np.float32), 2))
    assert np.isfinite(search(np.full((1, 256, 2), -1e6, np.float32), index)).all()


def test_smoke_ten_thousand_people_are_searched_in_a_few_milliseconds() -> None:
    rng = np.random.default_rng(0)
    templates = rng.normal(size=(10_000, 256, 1)).astype(np.float32)
    index = build_index(
        TemplateSet(NETWORK, HASH, tuple(f"{i:05}" for i in range(10_000)), templates)
    )
    query = templates[4321:4322] + np.float32(0.01)
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        scores = search(query, index)
        times.append(time.perf_counter() - begin)
    assert scores.argmax() == 4321
    # 0.2 ms on two idle cores; the bound only catches a change of kind.
    assert min(times) < 0.02
