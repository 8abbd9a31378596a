"""Figures on a suite against counting pair by pair, and what they must do whatever the data."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from eval_samples import set_of
from suite_samples import (
    distances_of,
    plain_searches,
    plain_templates,
    plain_windows,
    sample,
)

from stages.embed.evaluation import suite_ranks
from stages.embed.evaluation.bootstrap import draw_people, interval, share
from stages.embed.evaluation.distances import Measure
from stages.embed.evaluation.embedding import EmbeddedSet, EmbeddingLimits
from stages.embed.evaluation.open_set import Splits, equal_error_rate
from stages.embed.evaluation.pair_distances import Distances, fused, measure_distances
from stages.embed.evaluation.subjects import Grouping
from stages.embed.evaluation.suite_figures import Counting, change_cost, figures_of
from stages.embed.evaluation.suite_open_set import draw_enrolled, split_scores
from stages.embed.evaluation.suite_ranks import (
    ViewSearch,
    by_angle,
    first_chances,
    search_views,
    view_matrix,
)
from stages.embed.evaluation.verification import count_pairs, equal_error, threshold_at

COUNTING = Counting(splits=Splits(6), draws=40)


def exact_eer(layout, windows, probes) -> float:  # type: ignore[no-untyped-def]
    own, other = [], []
    for i in np.flatnonzero(probes):
        for j in range(len(layout.gallery)):
            if layout.gallery_view[j] != layout.probe_view[i]:
                same = layout.gallery_person[j] == layout.probe_person[i]
                (own if same else other).append(windows[i, j])
    return equal_error_rate(-np.array(own), -np.array(other))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_parity_distances_with_one_pair_at_a_time(metric: str) -> None:
    entries, layout, vectors = sample()
    found = distances_of(entries, layout, vectors, metric)
    windows = plain_windows(layout, vectors, metric)
    np.testing.assert_allclose(found.windows, windows, atol=1e-5)
    other = layout.probe_person[:, None] != layout.gallery_person[None]
    other &= layout.probe_view[:, None] != layout.gallery_view[None]
    assert found.window_scale == pytest.approx(windows[other].mean(), rel=1e-5)
    if metric == "euclidean":
        np.testing.assert_allclose(found.templates, plain_templates(layout, vectors), atol=1e-5)


def test_parity_ranks_with_one_search_at_a_time() -> None:
    entries, layout, vectors = sample(noise=1.2)
    windows = distances_of(entries, layout, vectors).windows
    searches = plain_searches(layout, windows)
    found = search_views(windows, layout)
    chances = first_chances(found, 100)
    assert found.cross.sum() == len(searches)
    for i, view, right in searches:
        assert chances[i, view] == right and found.cross[i, view]
    figures = figures_of(distances_of(entries, layout, vectors), layout, COUNTING)
    for name in layout.conditions:
        of = layout.of_condition(name)
        rights = [right for i, _, right in searches if of[i]]
        condition = figures.of(name)
        assert condition is not None and condition.pairs == len(rights)
        assert condition.rank1.value == pytest.approx(np.mean(rights))
        front, side = {0, 2}, {1, 3}  # views 000 and 180, 090 and 270
        mixed = [
            right for i, view, right in searches
            if of[i] and ((layout.probe_view[i] in front) != (view in front))
        ]  # fmt: skip
        assert condition.front_side.value == pytest.approx(np.mean(mixed))
        opposite = [
            right for i, view, right in searches
            if of[i] and layout.probe_view[i] in front and view in front
        ]  # fmt: skip
        assert condition.front_back.value == pytest.approx(np.mean(opposite)) and side
    assert 0.2 < figures.conditions[0].rank1.value < 1, "the sample must be neither easy nor dull"
    cells: dict[tuple[int, int], list[bool]] = {}
    for i, view, right in searches:
        if layout.of_condition("nm")[i]:
            cells.setdefault((int(layout.probe_view[i]), view), []).append(right)
    for (row, column), rights in cells.items():
        assert figures.matrix[row, column] == pytest.approx(np.mean(rights))
    assert np.isnan(np.diag(figures.matrix)).all()


def test_parity_blocks_of_any_height_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    entries, layout, vectors = sample()
    whole = figures_of(distances_of(entries, layout, vectors), layout, COUNTING)
    monkeypatch.setattr(suite_ranks, "BLOCK_ROWS", 5)
    pieces = figures_of(distances_of(entries, layout, vectors), layout, COUNTING)
    for a, b in zip(whole.conditions, pieces.conditions, strict=True):
        assert (a.rank1, a.front_side, a.tpir) == (b.rank1, b.front_side, b.tpir)
    np.testing.assert_array_equal(whole.matrix, pieces.matrix)


def test_golden_chances_are_those_of_all_galleries() -> None:
    others, nearer = 6, 2
    search = ViewSearch(
        np.ones((1, 4), np.float32),
        np.array([[nearer, 0, 6, 2]], np.int32),
        np.array([[others, others, others, others]], np.int32),
        np.array([[True, True, True, False]]),
    )
    for people in (2, 3, 4, 5, 6, 7, 100):
        drawn = min(people - 1, others)
        galleries = list(combinations(range(others), drawn))
        expected = np.mean([not set(range(nearer)) & set(gallery) for gallery in galleries])
        found = first_chances(search, people)[0]
        np.testing.assert_allclose(found, [expected, 1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("noise", [0.8, 1.2, 3.0])
def test_parity_equal_error_with_the_exact_one(noise: float) -> None:
    entries, layout, vectors = sample(10, noise)
    windows = distances_of(entries, layout, vectors).windows
    probes = layout.of_condition("nm")
    search = search_views(windows, layout)
    counts = count_pairs(windows, search, layout, probes, 0)
    assert counts is not None
    assert counts.own_total.sum() == 10 * 4 * 3 and counts.other_total.sum() == 10 * 4 * 3 * 9
    found = equal_error(counts, draw_people(10, 200, 0))
    exact = exact_eer(layout, windows, probes)
    assert found.value == pytest.approx(exact, abs=2e-3)
    assert found.low <= found.value <= found.high and 0 < exact < 0.5
    refused, taken = counts.rates()
    assert (np.diff(refused[0]) <= 0).all() and (np.diff(taken[0]) >= 0).all()
    column = threshold_at(counts, 0.01)
    assert taken[0, column] <= 0.01 < taken[0, column + 1]


def test_property_perfect_vectors_make_no_mistake() -> None:
    entries, layout, vectors = sample(noise=0.0)
    figures = figures_of(distances_of(entries, layout, vectors), layout, COUNTING)
    for condition in figures.conditions:
        assert condition.rank1.value == condition.front_side.value == condition.tpir.value == 1
        assert condition.eer.value == 0 and condition.rank1.low == condition.rank1.high == 1
    assert change_cost(figures, "cl") == 0 and np.isnan(change_cost(figures, "bg"))


def test_property_equal_vectors_are_ties_and_count_against() -> None:
    entries, layout, vectors = sample()
    figures = figures_of(distances_of(entries, layout, np.ones_like(vectors)), layout, COUNTING)
    condition = figures.conditions[0]
    assert condition.rank1.value == 0 and condition.tpir.value == 0
    assert condition.eer.value == 0.5


def test_parity_open_set_with_one_probe_at_a_time() -> None:
    entries, layout, vectors = sample(noise=1.0)
    templates = distances_of(entries, layout, vectors).templates
    plain = plain_templates(layout, vectors)
    probes = np.flatnonzero(layout.of_condition("nm"))
    enrolled = draw_enrolled(6, 100, Splits(5))
    assert (enrolled.sum(axis=1) == 3).all()
    for split, (scores, own_of, stranger_of) in zip(
        enrolled, split_scores(templates, layout, probes, enrolled), strict=True
    ):
        best, hit, strangers = [], [], []
        for i in probes:
            person = layout.probe_person[i]
            names = [t for t in range(6) if split[t]]
            nearest = min(names, key=lambda t, i=i: plain[i, t])  # type: ignore[misc]
            score = 1 / (1 + plain[i, nearest])
            if split[person]:
                best.append(score)
                hit.append(nearest == person)
            else:
                strangers.append(score)
        np.testing.assert_allclose(scores.best, best, rtol=1e-5)
        np.testing.assert_allclose(scores.strangers, strangers, rtol=1e-5)
        assert scores.hit.tolist() == hit
        assert split[own_of].all() and not split[stranger_of].any()


def test_parity_templates_with_one_probe_at_a_time() -> None:
    entries, layout, vectors = sample(noise=1.2)
    figures = figures_of(distances_of(entries, layout, vectors), layout, COUNTING)
    plain = plain_templates(layout, vectors)
    found = figures.conditions[0]
    probes = np.flatnonzero(layout.of_condition("nm"))
    rights, own, others = [], [], []
    for i in probes:
        mine = plain[i, layout.probe_person[i]]
        rest = np.delete(plain[i], layout.probe_person[i])
        rights.append(bool((rest > mine).all()))
        own.append(mine)
        others.extend(rest)
    assert found.template_rank1.value == pytest.approx(np.mean(rights)) and 0 < np.mean(rights) < 1
    exact = equal_error_rate(-np.array(own), -np.array(others))
    assert found.template_eer.value == pytest.approx(exact, abs=1e-6)
    assert found.template_rank1.value > found.rank1.value, "several views say more than one"


def test_property_no_more_are_enrolled_than_asked() -> None:
    enrolled = draw_enrolled(300, 100, Splits(20))
    assert (enrolled.sum(axis=1) == 50).all() and len({row.tobytes() for row in enrolled}) == 20
    assert (draw_enrolled(2, 100, Splits(3)).sum(axis=1) == 1).all()
    np.testing.assert_array_equal(enrolled, draw_enrolled(300, 100, Splits(20)))
    assert (enrolled != draw_enrolled(300, 100, Splits(20, seed=1))).any()


def test_property_fusion_of_alike_changes_nothing_and_scales_do_not_matter() -> None:
    entries, layout, vectors = sample(noise=1.0)
    one = distances_of(entries, layout, vectors)
    large = distances_of(entries, layout, 1000 * vectors)
    both = fused([one, large], layout, EmbeddingLimits())
    assert both.window_scale == pytest.approx(1, rel=1e-5)
    alone, together = (figures_of(d, layout, COUNTING) for d in (one, both))
    for a, b in zip(alone.conditions, together.conditions, strict=True):
        assert a.rank1.value == pytest.approx(b.rank1.value, abs=0.02)
    good = distances_of(entries, layout, sample(noise=0.0)[2])
    helped = figures_of(fused([one, good], layout, EmbeddingLimits()), layout, COUNTING)
    assert helped.conditions[0].rank1.value > alone.conditions[0].rank1.value


def test_property_what_could_not_be_embedded_is_left_out() -> None:
    entries, layout, vectors = sample(noise=0.0)
    embedded = set_of(entries, vectors)
    lost = [int(layout.gallery[3]), int(layout.probes[5])]
    keep = np.setdiff1d(np.arange(len(entries)), lost)
    part = EmbeddedSet(
        vectors=embedded.vectors[keep],
        indices=keep,
        subjects=tuple(embedded.subjects[i] for i in keep),
        kinds=tuple(embedded.kinds[i] for i in keep),
        views=tuple(embedded.views[i] for i in keep),
        frames=embedded.frames[keep],
    )
    found = measure_distances(part, layout, Measure(), EmbeddingLimits())
    assert np.isnan(found.windows[:, 3]).all() and np.isnan(found.windows[5]).all()
    assert np.isnan(found.templates[5]).all() and np.isfinite(found.templates[:5]).all()
    figures = figures_of(found, layout, COUNTING)
    whole = figures_of(distances_of(entries, layout, vectors), layout, COUNTING)
    assert figures.conditions[0].rank1.value == 1
    lost_pairs = whole.conditions[0].pairs + whole.conditions[1].pairs
    lost_pairs -= figures.conditions[0].pairs + figures.conditions[1].pairs
    assert lost_pairs == 3 + 6  # the probe's three views, and six probes of that person elsewhere
    view, person = layout.gallery_view[3], layout.gallery_person[3]
    mine = layout.probe_person == person
    assert not search_views(found.windows, layout).cross[mine, view].any()


def test_golden_groups_are_counted_at_one_threshold() -> None:
    entries, layout, vectors = sample(8, 0.9)
    clear = sample(8, 0.0)[2]
    easy = np.array([entry.subject in ("001", "002", "003", "004") for entry in entries])
    vectors = np.where(easy[:, None, None], clear, vectors)
    grouping = Grouping("build", ("slim", "heavy"), np.array([0] * 4 + [1] * 4))
    distances = distances_of(entries, layout, vectors)
    figures = figures_of(distances, layout, COUNTING, (grouping,))
    slim, heavy = figures.groups
    assert (slim.group, slim.people, heavy.group, heavy.people) == ("slim", 4, "heavy", 4)
    assert slim.rank1.value == 1 > heavy.rank1.value and slim.refused == 0 < heavy.refused
    pairs = [(g.taken, 4) for g in figures.groups]
    assert np.mean([taken for taken, _ in pairs]) <= 0.01


def test_golden_angles_between_views() -> None:
    layout = sample(2, views=("000", "045", "090", "180", "270"))[1]
    found = dict(by_angle(layout))
    assert list(found) == ["45°", "90°", "135°", "180°"]
    for name, pairs in found.items():
        assert pairs.shape == (len(layout.probes), 5) and pairs.any(), name
    counted = sum(pairs.astype(int) for pairs in found.values())
    assert counted.max() == 1 and counted.sum() == len(layout.probes) * 4
    many = sample(2, views=tuple(f"{step:03d}" for step in range(0, 360, 10)))[1]
    assert [name for name, _ in by_angle(many)] == [f"{a}°" for a in range(0, 181, 30)]
    strange = sample(2, views=("000", "left"))[1]
    assert by_angle(strange) == []


def test_golden_view_matrix_of_nothing() -> None:
    layout = sample(2)[1]
    nothing = np.zeros((len(layout.probes), 4), bool)
    assert np.isnan(view_matrix(nothing.astype(float), nothing, layout)).all()


def test_property_intervals() -> None:
    draws = draw_people(50, 2000, 3)
    assert (draws.sum(axis=1) == 50).all() and draws.shape == (2000, 50)
    hits = (np.arange(50) < 20).astype(float)
    found = share(hits, np.ones(50), draws)
    assert found.value == 0.4
    width = 1.96 * np.sqrt(0.4 * 0.6 / 50)  # of a binomial
    assert found.high - found.low == pytest.approx(2 * width, rel=0.15)
    wide = share(np.repeat([1.0, 0.0], [2, 3]), np.ones(5), draw_people(5, 2000, 3))
    assert wide.high - wide.low > found.high - found.low
    assert np.isnan(share(hits, np.zeros(50), draws).value)
    assert np.isnan(interval(0.5, np.array([np.nan])).low)
    assert share(hits, np.ones(50), np.zeros((0, 50), np.int64)).value == 0.4


def test_property_the_same_seed_gives_the_same_figures() -> None:
    entries, layout, vectors = sample(noise=1.0)
    distances = distances_of(entries, layout, vectors)
    first, again = (figures_of(distances, layout, COUNTING) for _ in range(2))
    other = figures_of(distances, layout, Counting(splits=Splits(6, seed=9), draws=40, seed=9))
    assert first.conditions[0].tpir == again.conditions[0].tpir
    assert first.conditions[0].rank1.value == other.conditions[0].rank1.value
    assert first.conditions[0].rank1 != other.conditions[0].rank1


def test_shape_distances() -> None:
    entries, layout, vectors = sample(3)
    found = distances_of(entries, layout, vectors)
    assert isinstance(found, Distances)
    assert found.windows.shape == (len(layout.probes), len(layout.gallery))
    assert found.templates.shape == (len(layout.probes), 3)
    assert found.windows.dtype == found.templates.dtype == np.float32
