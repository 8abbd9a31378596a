"""Evidence, assignment, hysteresis."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identify_samples import embedding, vector

from stages.identify.decision import (
    Claim,
    Evidence,
    Rules,
    assign,
    best_of,
    gather,
    stands_out,
    watch_rival,
    wishes,
)
from stages.identify.fusion import fuse

RULES = Rules(
    threshold=0.5,
    contrast=0.85,
    margin=0.05,
    min_windows=2,
    switch_windows=3,
    memory_windows=64,
)


def hold(claim: Claim, scores: dict[str, float], windows: int = 1) -> Claim:
    """A lone track's claim after some windows with these scores."""
    for _ in range(windows):
        claim = watch_rival(claim, scores, RULES)
        (person,) = assign([wishes(claim, scores, RULES)])
        claim = claim if person == claim.held else Claim(person)
    return claim


def test_golden_fused_vector_has_the_means_direction_and_its_windows_length() -> None:
    first = gather(None, embedding(1, vector(1), 0, quality=0.2), 64)
    both = gather(first, embedding(1, vector(2), 1, quality=0.6), 64)
    mean = (vector(1) + 3 * vector(2)) / 4
    length = (np.linalg.norm(vector(1)) + 3 * np.linalg.norm(vector(2))) / 4
    np.testing.assert_allclose(both.mean, mean * length / np.linalg.norm(mean), rtol=1e-5)
    assert both.windows == 2
    assert both.frames == pytest.approx(30 + 30 * 8 / 29)


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(1, 9),
    seed=st.integers(0, 999),
    qualities=st.lists(st.floats(0, 1), min_size=9, max_size=9),
)
def test_property_window_by_window_and_all_at_once(
    count: int, seed: int, qualities: list[float]
) -> None:
    made = np.random.default_rng(seed).standard_normal((count, 5, 2)).astype(np.float32)
    evidence: Evidence | None = None
    for window, quality in zip(range(count), qualities, strict=False):
        evidence = gather(evidence, embedding(1, made[window], window, quality=quality), 64)
    assert evidence is not None
    at_once = fuse(made, np.full(count, 30), np.array(qualities[:count]), None)
    np.testing.assert_allclose(evidence.mean, at_once, rtol=1e-4, atol=1e-5)
    lengths = np.linalg.norm(made.reshape(count, -1), axis=1)
    assert lengths.min() * 0.999 <= np.linalg.norm(at_once) <= lengths.max() * 1.001


def test_smoke_people_seen_from_many_sides_are_no_nearer_to_strangers() -> None:
    rng = np.random.default_rng(3)
    strangers = rng.standard_normal((200, 40, 1))
    strangers /= np.linalg.norm(strangers, axis=1, keepdims=True)
    person = rng.standard_normal((40, 1))
    sides = (person + 1.5 * rng.standard_normal((8, 40, 1))).astype(np.float32)
    sides /= np.linalg.norm(sides, axis=1, keepdims=True)

    def nearest(count: int) -> float:
        fused = fuse(sides[:count], np.full(count, 30), np.ones(count), None)
        return float(np.linalg.norm(strangers - fused, axis=1).mean())

    assert nearest(8) == pytest.approx(nearest(1), rel=0.02)
    assert np.linalg.norm(strangers - sides.mean(0), axis=1).mean() < 0.9 * nearest(1)


def test_exception_windows_that_cancel_have_no_direction() -> None:
    made = np.stack([vector(1), -vector(1)])
    fused = fuse(made, np.array([30, 30]), np.ones(2), None)
    assert np.isfinite(fused).all() and np.abs(fused).max() < 1e-6


def test_smoke_quality_zero_and_nan_still_count() -> None:
    for quality in (0.0, float("nan"), -1.0):
        found = gather(None, embedding(1, vector(1), quality=quality), 64)
        np.testing.assert_allclose(found.mean, vector(1), rtol=1e-6)


def test_smoke_memory_is_bounded_and_old_windows_fade() -> None:
    evidence: Evidence | None = None
    for window in range(200):
        evidence = gather(evidence, embedding(1, np.zeros((2, 1), np.float32), window), 8)
    for window in range(200, 240):
        evidence = gather(evidence, embedding(1, np.ones((2, 1), np.float32), window), 8)
    assert evidence is not None and evidence.total.shape == (2, 1)
    assert evidence.mean.min() > 0.95 and evidence.windows == 240


@pytest.mark.parametrize(
    "other", [{"network": "gei"}, {"weights": "x"}, {"numbers": vector(2, (3, 3))}]
)
def test_smoke_vectors_of_other_networks_start_anew(other: dict) -> None:
    first = gather(None, embedding(1, vector(1)), 64)
    second = gather(first, embedding(1, **{"numbers": vector(2), "window": 1, **other}), 64)
    assert second.windows == 1


def test_smoke_name_needs_the_threshold() -> None:
    assert hold(Claim(), {"a": 0.49}) == Claim()
    assert hold(Claim(), {"a": 0.5}) == Claim("a")
    assert hold(Claim(), {}) == Claim()


def test_smoke_held_name_survives_down_to_the_margin() -> None:
    assert hold(Claim("a"), {"a": 0.46}).held == "a"
    assert hold(Claim("a"), {"a": 0.45}).held == "a"
    assert hold(Claim("a"), {"a": 0.44}).held == ""
    assert hold(Claim("a"), {"b": 0.7}).held == "b"  # a is no longer in the gallery


def test_smoke_rival_has_to_lead_for_consecutive_windows() -> None:
    leads, close = {"a": 0.6, "b": 0.66}, {"a": 0.6, "b": 0.64}
    assert hold(Claim("a"), close, 50).held == "a"
    assert hold(Claim("a"), leads, 2) == Claim("a", "b", 2)
    assert hold(Claim("a"), leads, 3) == Claim("b")
    interrupted = hold(hold(Claim("a"), leads, 2), close)
    assert interrupted == Claim("a")
    assert hold(interrupted, leads, 2).held == "a"
    changing = hold(hold(Claim("a"), leads, 2), {"a": 0.6, "c": 0.7})
    assert changing == Claim("a", "c", 1)


def test_property_alternating_scores_do_not_make_a_name_flicker() -> None:
    claim, said = Claim(), []
    for window in range(100):
        swing = 0.04 if window % 2 else -0.04
        claim = hold(claim, {"a": 0.52 + swing, "b": 0.52 - swing})
        said.append(claim.held)
    assert len(set(said)) == 1 and said[0]


def test_smoke_one_name_goes_to_the_better_track() -> None:
    assert assign([{"a": 0.1}, {"a": 0.2}]) == ["", "a"]
    assert assign([{"a": 0.1, "b": 0.05}, {"a": 0.2}]) == ["b", "a"]
    assert assign([]) == [] and assign([{}, {}]) == ["", ""]


def test_smoke_ties_go_to_the_first_track_and_the_smaller_id() -> None:
    assert assign([{"b": 0.1, "a": 0.1}]) == ["a"]
    assert assign([{"a": 0.1}, {"a": 0.1}]) == ["a", ""]
    assert assign([{"b": 0.1, "a": 0.1}, {"a": 0.1, "b": 0.1}]) in (["a", "b"], ["b", "a"])


def test_smoke_conflict_over_a_held_name_needs_the_margin() -> None:
    def names(first: float, second: float) -> list[str]:
        one = wishes(Claim("a"), {"a": first}, RULES)
        return assign([one, wishes(Claim(), {"a": second}, RULES)])

    assert names(0.60, 0.64) == ["a", ""]
    assert names(0.60, 0.66) == ["", "a"]


tables = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 1000).map(lambda v: v / 1000)),
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(tables)
def test_property_assignment_is_unique_and_best(wanted: list[dict[str, float]]) -> None:
    given_names = assign(wanted)
    names = [name for name in given_names if name]
    assert len(names) == len(set(names))
    total = sum(w[name] for w, name in zip(wanted, given_names, strict=True) if name)
    best = 0.0
    for choice in itertools.product(*[["", *w] for w in wanted]):
        taken = [name for name in choice if name]
        if len(taken) == len(set(taken)):
            best = max(best, sum(w[n] for w, n in zip(wanted, choice, strict=True) if n))
    assert total == pytest.approx(best, abs=1e-6)
    assert assign(wanted) == given_names


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 1000))
def test_property_best_of_is_a_sorted_prefix(people: int, count: int, seed: int) -> None:
    ids = [f"p{number:02}" for number in range(people)]
    scores = np.round(np.random.default_rng(seed).random(people), 1)
    order = sorted(range(people), key=lambda row: (-scores[row], ids[row]))
    best = best_of(ids, scores, count)
    assert list(best) == [ids[row] for row in order[:count]]
    held = ids[order[-1]]
    assert best_of(ids, scores, count, held)[held] == scores[order[-1]]
    assert "gone" not in best_of(ids, scores, count, "gone")


def score_at(distance: float) -> float:
    return 1.0 / (1.0 + distance)


@pytest.mark.parametrize(
    ("scores", "held", "expected"),
    [
        ({}, "", True),
        ({"a": score_at(1.0)}, "", True),
        ({"a": score_at(0.8), "b": score_at(1.0)}, "", True),
        ({"a": score_at(0.87), "b": score_at(1.0)}, "", False),
        ({"a": score_at(0.87), "b": score_at(1.0)}, "b", False),
        ({"a": score_at(0.87), "b": score_at(1.0)}, "a", True),
        ({"a": 1.0, "b": 1.0}, "", True),
    ],
)
def test_a_name_needs_to_stand_out(scores: dict[str, float], held: str, expected: bool) -> None:
    assert stands_out(scores, held, RULES) is expected
