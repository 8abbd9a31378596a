"""Open set: thresholds, AUROC and EER by brute force, splits, templates, ties."""

from __future__ import annotations

import numpy as np
import pytest
from eval_samples import entries_of, noisy_vectors, plain_distances, plain_fused, set_of
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.embed.data.interface import Entry
from stages.embed.evaluation.closed_set import Probes
from stages.embed.evaluation.distances import Measure
from stages.embed.evaluation.open_set import (
    CURVE_FPIRS,
    OpenSet,
    Splits,
    SplitScores,
    auroc,
    draw_splits,
    equal_error_rate,
    mean_templates,
    miss_curve,
    search_open_set,
    spread,
    summarise,
    threshold_at,
    tpir_at,
)
from stages.embed.evaluation.protocols import GENERIC

# Few different values, so that there are ties.
SCORES = st.lists(st.integers(1, 12).map(lambda v: v / 16), min_size=1, max_size=25)


def search(entries: list[Entry], vectors: np.ndarray, splits: Splits) -> OpenSet | None:
    roles = GENERIC.roles(entries)
    embedded = set_of(entries, vectors)
    probes = Probes(embedded, roles.probes, roles.groups)
    return search_open_set(probes, embedded, roles, Measure(), splits)


def plain_eer(mated: list[float], strangers: list[float]) -> float:
    """Rates at every threshold; where their difference changes its sign, by a straight line."""
    thresholds = [-1.0, *sorted({*mated, *strangers})]
    before = (0.0, 1.0)
    for t in thresholds:
        refused = sum(s <= t for s in mated) / len(mated)
        passed = sum(s > t for s in strangers) / len(strangers)
        if refused >= passed:
            steps = (refused - before[0]) + (before[1] - passed)
            return before[0] + (refused - before[0]) * (before[1] - before[0]) / steps
        before = (refused, passed)
    raise AssertionError("the highest score refuses all")


@settings(max_examples=80, deadline=None)
@given(SCORES, SCORES)
def test_parity_auroc_and_eer_by_brute_force(mated: list[float], strangers: list[float]) -> None:
    pairs = [(a > b) + (a == b) / 2 for a in mated for b in strangers]
    assert auroc(np.array(mated), np.array(strangers)) == pytest.approx(np.mean(pairs))
    found = equal_error_rate(np.array(mated), np.array(strangers))
    assert found == pytest.approx(plain_eer(mated, strangers))


def test_golden_auroc_and_eer_by_hand() -> None:
    mated, strangers = np.array([0.9, 0.8, 0.4]), np.array([0.7, 0.3, 0.2])
    assert auroc(mated, strangers) == pytest.approx(8 / 9)
    assert equal_error_rate(mated, strangers) == pytest.approx(1 / 3)
    assert equal_error_rate(np.array([0.9]), np.array([0.1])) == 0.0
    assert equal_error_rate(np.array([0.1]), np.array([0.9])) == 1.0
    assert equal_error_rate(np.array([0.5]), np.array([0.5])) == 0.5
    assert np.isnan(auroc(mated, np.array([]))) and np.isnan(equal_error_rate(np.array([]), mated))


@settings(max_examples=60, deadline=None)
@given(SCORES, st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
def test_property_a_threshold_keeps_its_false_alarms(scores: list[float], fpir: float) -> None:
    strangers = np.array(scores)
    threshold = threshold_at(strangers, fpir)
    assert (strangers > threshold).mean() <= fpir + 1e-12
    lower = strangers[strangers < threshold]
    if len(lower):  # and no lower one would
        assert (strangers > lower.max()).mean() > fpir


def test_golden_one_percent_of_a_hundred_is_one() -> None:
    strangers = np.arange(1, 101) / 101
    assert (strangers > threshold_at(strangers, 0.01)).sum() == 1
    assert (strangers > threshold_at(strangers, 0.001)).sum() == 0
    assert threshold_at(strangers, 1.0) == 0.0
    assert np.isnan(threshold_at(np.array([]), 0.1))


def test_golden_tpir_takes_rank_one_and_a_score_over_the_threshold() -> None:
    scores = SplitScores(
        best=np.array([0.9, 0.8, 0.6, 0.7]),
        hit=np.array([True, False, True, True]),
        own=np.array([0.9, 0.7, 0.6, 0.7]),
        strangers=np.linspace(0.1, 0.65, 10),
    )
    assert tpir_at(scores, 0.65) == 0.5  # the third is too low, the second somebody else
    assert tpir_at(scores, 0.7) == 0.25  # at the threshold is not over it
    found = summarise([scores, scores], enrolled=3, people=5)
    # One of ten may pass: the threshold is the second highest.
    assert found.tpir[0.1].mean == 0.75 and found.tpir[0.1].std == 0.0
    assert found.tpir[0.01].mean == 0.5
    assert (found.enrolled, found.strangers) == (3, 2)
    assert (found.mated_probes, found.stranger_probes) == (4, 10)
    assert found.own_scores.sum() == 8 and found.stranger_scores.sum() == 20


def test_property_the_curve_ends_where_the_strangers_are_too_few() -> None:
    rng = np.random.default_rng(0)
    best = rng.random(50)
    scores = SplitScores(best, rng.random(50) < 0.8, best, rng.random(20) * 0.9)
    curve = miss_curve(scores)
    assert np.isnan(curve[CURVE_FPIRS < 0.0499]).all()
    known = curve[~np.isnan(curve)]
    assert len(known) and (np.diff(known) <= 0).all()
    assert curve[-1] == pytest.approx(1 - scores.hit.mean())
    band = summarise([scores, scores], enrolled=1, people=2).curve_miss
    np.testing.assert_allclose(band[0], curve)


def test_parity_splits_by_brute_force() -> None:
    entries = entries_of(7, ("nm-01", "nm-02", "cl-01"), ("000", "090"))
    vectors = noisy_vectors(entries, 1.2)
    splits = Splits(count=9, stranger_share=0.4, seed=5)
    found = search(entries, vectors, splits)
    assert found is not None
    roles = GENERIC.roles(entries)
    people = sorted({e.subject for e in entries})
    templates = [
        plain_fused(vectors[[i for i in roles.gallery if entries[i].subject == who]])
        for who in people
    ]
    scores = 1 / (1 + plain_distances(vectors[roles.probes], np.array(templates), "euclidean"))
    owner = [people.index(entries[i].subject) for i in roles.probes]
    tpir = {0.01: [], 0.1: []}  # type: dict[float, list[float]]
    areas, rates = [], []
    for enrolled in draw_splits(len(people), splits):
        allowed = np.where(enrolled, scores, -1.0)
        best, who = allowed.max(axis=1), allowed.argmax(axis=1)
        mated = enrolled[owner]
        strangers = sorted(best[~mated], reverse=True)
        for fpir, values in tpir.items():
            threshold = strangers[int(fpir * len(strangers) + 1e-9)]
            right = (who == owner) & (best > threshold)
            values.append(right[mated].mean())
        areas.append(auroc(best[mated], best[~mated]))
        rates.append(plain_eer(best[mated].tolist(), strangers))
    for fpir, values in tpir.items():
        assert found.tpir[fpir].mean == pytest.approx(np.mean(values))
        assert found.tpir[fpir].median == pytest.approx(np.median(values))
        assert found.tpir[fpir].std == pytest.approx(np.std(values))
    assert found.auroc.mean == pytest.approx(np.mean(areas), abs=1e-6)
    assert found.eer.mean == pytest.approx(np.mean(rates), abs=1e-6)
    assert 0.05 < found.tpir[0.1].mean < 0.95, "the case must be neither trivial nor hopeless"


def test_property_people_without_a_gallery_are_strangers() -> None:
    entries = entries_of(4, ("nm-01", "nm-02"), ("000",))
    roles = GENERIC.roles(entries)
    keep = np.array([e.name != "004/nm-01/000" for e in entries])
    kept = [entry for entry, keeps in zip(entries, keep, strict=True) if keeps]
    embedded = set_of(kept, noisy_vectors(entries, 0.01)[keep])
    less = roles.within(keep)
    probes = Probes(embedded, less.probes, less.groups)
    found = search_open_set(probes, embedded, less, Measure(), Splits(6, 0.34, 0))
    assert found is not None
    assert (found.enrolled, found.strangers) == (2, 1)
    assert (found.mated_probes, found.stranger_probes) == (2, 2)
    assert found.auroc.mean == 1.0 and found.tpir[0.1].mean == 1.0


def test_golden_templates_are_fused() -> None:
    entries = entries_of(2, ("nm-01",), ("000", "090"))
    vectors = np.arange(4 * 2, dtype=np.float32).reshape(4, 2, 1)
    people, templates = mean_templates(set_of(entries, vectors), np.arange(4))
    assert people == ("001", "002")
    # Of [0, 1] and [2, 3], and of [4, 5] and [6, 7]: the mean's direction, the mean of lengths.
    lengths = [(1 + 13**0.5) / 2, (41**0.5 + 85**0.5) / 2]
    means = np.array([[1, 2], [5, 6]])
    wanted = means * (np.array(lengths) / np.linalg.norm(means, axis=1))[:, None]
    np.testing.assert_allclose(templates[:, :, 0], wanted, rtol=1e-6)


def test_property_a_tie_at_rank_one_is_a_miss() -> None:
    entries = entries_of(4, ("nm-01", "nm-02"), ("000",))
    vectors = np.ones((len(entries), 2, 2))  # everybody looks alike
    found = search(entries, vectors, Splits(5))
    assert found is not None
    assert all(values.mean == 0 for values in found.tpir.values())
    assert found.auroc.mean == 0.5 and found.curve_miss[0, -1] == 1.0


def test_property_splits_are_seeded_and_differ() -> None:
    drawn = draw_splits(20, Splits(50, 0.5, 3))
    assert drawn.shape == (50, 20) and (drawn.sum(axis=1) == 10).all()
    assert len({row.tobytes() for row in drawn}) == 50
    np.testing.assert_array_equal(drawn[:7], draw_splits(20, Splits(7, 0.5, 3)))
    assert (drawn != draw_splits(20, Splits(50, 0.5, 4))).any()
    assert draw_splits(2, Splits(3, 0.99, 0)).sum(axis=1).tolist() == [1, 1, 1]


def test_exception_one_person_has_no_strangers() -> None:
    entries = entries_of(1, ("nm-01", "nm-02"), ("000",))
    assert search(entries, noisy_vectors(entries, 0.1), Splits(5)) is None
    entries = entries_of(3, ("nm-01", "nm-02"), ("000",))
    assert search(entries, noisy_vectors(entries, 0.1), Splits(0)) is None


def test_golden_spread() -> None:
    values = spread(np.array([1.0, np.nan, 3.0, 8.0]))
    assert (values.mean, values.median) == (4.0, 3.0)
    assert values.std == pytest.approx(np.std([1, 3, 8]))
    assert np.isnan(spread(np.array([np.nan])).mean)
