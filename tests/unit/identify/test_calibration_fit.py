"""From labelled walks to a calibration that holds for people it has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from calibration_samples import made_up_walks, simple_calibration

from pipeline.errors import CalibrationError
from stages.identify.assessing import checks_of, cross_check, with_checks
from stages.identify.calibration import Calibration
from stages.identify.fitting import MIN_PEOPLE, fit_calibration
from stages.identify.normalise import Norm, Place, comparison_scores, place_of
from stages.identify.site import adapt
from stages.identify.trials import (
    best_scores,
    compare,
    draw_galleries,
    draw_own,
    fuse_walks,
    gallery_sizes,
    measure,
)
from stages.identify.walks import Walks, side_of, thin_out
from stages.identify.ways import FitOptions

PLAIN = FitOptions(metrics=("euclidean",), normalise=False, draws=8)


def test_smoke_levels_hold_for_people_not_seen() -> None:
    walks = made_up_walks(people=120, each=4, windows=2)
    tried, fits = cross_check(walks, PLAIN)
    assert len(tried) == len(fits) == 2
    checks = {(one.templates, one.asked): one for one in checks_of(tried)}
    for size in (1, 10, 50):
        one = checks[size, 0.1]
        assert one.is_carried and one.people == 120
        assert one.achieved is not None and 0.06 < one.achieved < 0.15
        assert one.low is not None and one.high is not None and one.low < 0.1 < one.high * 1.3
    rare = checks[1, 0.01]
    assert rare.is_carried and rare.achieved is not None and 0.004 < rare.achieved < 0.025
    assert rare.named_same is not None and rare.named_same > 0.5
    assert rare.named_other is None, "all walks are of one side"
    assert not checks[50, 0.001].is_carried
    careful = with_checks(fits[0].calibration, tuple(checks.values()))
    assert careful.checks and 1.0 <= careful.caution < 1.5
    bar = careful.threshold(0.01, 10, 30, 1)
    assert bar >= fits[0].calibration.threshold(0.01, 10, 30, 1)


def test_replay_of_a_fit_is_the_same() -> None:
    walks = made_up_walks(people=18, each=3, windows=2)
    one, two = (fit_calibration(walks, PLAIN).calibration for _ in range(2))
    scores = np.linspace(-5, 0, 50)
    assert np.array_equal(one.strengths(scores, 9, 30, 1), two.strengths(scores, 9, 30, 1))
    other = fit_calibration(walks, replace(PLAIN, seed=1)).calibration
    assert other.basis.people == one.basis.people == 18


def test_smoke_cohort_is_taken_where_it_helps_and_not_where_it_does_not() -> None:
    options = FitOptions(metrics=("euclidean",), draws=4)
    even = fit_calibration(made_up_walks(people=60, each=4, windows=2), options)
    assert even.calibration.norm.kind == "plain" and even.calibration.cohort is None
    assert even.calibration.basis.people == 60, "nobody stands aside for a cohort in vain"
    stretched = made_up_walks(people=60, each=4, windows=2, stretch=0.5, walk_noise=0.25)
    helped = fit_calibration(stretched, options)
    taken = [choice for choice in helped.choices if choice.taken]
    plain = helped.choices[0]
    assert helped.calibration.norm.kind != "plain" and helped.calibration.cohort is not None
    assert len(taken) == 1 and taken[0].named_right > 1.05 * plain.named_right
    assert helped.calibration.basis.people == 45


def test_smoke_metric_is_chosen_by_what_it_names_right() -> None:
    stretched = made_up_walks(people=60, each=4, windows=2, stretch=0.5, walk_noise=0.25)
    fitted = fit_calibration(stretched, FitOptions(normalise=False, draws=4))
    assert fitted.calibration.metric == "cosine"
    assert [choice.what for choice in fitted.choices if choice.taken] == ["cosine, plain"]


def test_smoke_windows_are_weighed_by_quality_where_that_helps() -> None:
    noisy = {"walk_noise": 0.3, "window_noise": 0.6, "quality": True}
    walks = made_up_walks(people=60, each=4, windows=4, **noisy)  # type: ignore[arg-type]
    fitted = fit_calibration(walks, PLAIN)
    weighing = fitted.calibration.weighing
    assert weighing is not None and weighing.quality_power >= 2.0
    alike = fit_calibration(made_up_walks(people=30, each=4), PLAIN)
    assert alike.calibration.weighing is None


def test_smoke_more_windows_make_strangers_no_nearer_and_the_table_knows() -> None:
    walks = made_up_walks(people=60, each=4, windows=8, window_noise=0.8)
    evidence = fit_calibration(walks, PLAIN).calibration.evidence
    assert evidence.frames.tolist() == [30.0, 38.0, 54.0, 86.0]
    # A mean of windows would be shorter the more there are, and nearer to everybody.
    assert np.ptp(evidence.middle) < 0.02 * evidence.spread.min()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.full((3, 2, 1), np.nan, np.float32)}, "not finite"),
        ({"weights_hash": "untrained-1"}, "no trained weights"),
        ({"vectors": np.zeros((3, 2, 1))}, "do not fit together"),
        ({"sides": ("any",)}, "do not fit together"),
        ({"starts": np.array([0, 0, 3])}, "do not fit together"),
    ],
)
def test_exception_walks(change: dict, message: str) -> None:
    good = {
        "network": "gei",
        "weights_hash": "x",
        "vectors": np.zeros((3, 2, 1), np.float32),
        "starts": np.array([0, 2, 3]),
        "frames": np.full(3, 30),
        "distinct": np.full(3, 30.0),
        "quality": np.ones(3),
        "people": ("a", "b"),
        "sides": ("any", "any"),
    }
    assert len(Walks(**good)) == 2  # type: ignore[arg-type]
    with pytest.raises(CalibrationError, match=message):
        Walks(**(good | change))  # type: ignore[arg-type]


def test_exception_too_few_people_and_nothing_to_tell() -> None:
    few = made_up_walks(people=MIN_PEOPLE - 1)
    with pytest.raises(CalibrationError, match="takes 12 people or more, these are walks of 11"):
        fit_calibration(few, PLAIN)
    with pytest.raises(CalibrationError, match="takes 24 people or more"):
        cross_check(made_up_walks(people=20, each=2, windows=1), PLAIN)
    same = made_up_walks(people=20, each=2, windows=1)
    alike = replace(same, vectors=np.ones_like(same.vectors))
    with pytest.raises(CalibrationError, match="all alike"):
        fit_calibration(alike, PLAIN)


def test_property_galleries_hold_others_once_each_and_of_the_same_side() -> None:
    walks = made_up_walks(people=14, each=4, windows=2, sides=("000", "090"))
    made = compare(measure(fuse_walks(walks, (1, 2), None), "euclidean", None), Norm())
    for same_side in (True, False):
        for columns in draw_galleries(made, 3, 0, same_side=same_side):
            for track, row in enumerate(columns):
                people = made.people[row[row >= 0]]
                assert len(set(people)) == len(people) == 10
                assert made.people[track] not in people
                sides = set(made.sides[row[row >= 0]])
                assert sides == {made.sides[track]} if same_side else len(sides) == 2
            best = best_scores(made, columns, gallery_sizes(made))
            assert (np.diff(best, axis=2) >= 0).all(), "more people never score lower"
    own = draw_own(made, 0, 0, same_side=False)
    assert (made.people[own] == made.people).all() and (made.sides[own] != made.sides).all()


def test_golden_normalised_scores() -> None:
    found = np.array([[1.0, 3.0]], np.float32)
    tracks = Place(np.array([3.0]), np.array([2.0]))
    templates = Place(np.array([2.0, 5.0]), np.array([0.5, 1.0]))
    plain = comparison_scores(found, Norm(), None, None)
    assert plain.tolist() == [[-1.0, -3.0]]
    by_track = comparison_scores(found, Norm("track", 2), tracks, None)
    assert by_track.tolist() == [[1.0, 0.0]]
    by_template = comparison_scores(found, Norm("template", 2), None, templates)
    assert by_template.tolist() == [[2.0, 2.0]]
    both = comparison_scores(found, Norm("both", 2), tracks, templates)
    assert both.tolist() == [[1.5, 1.0]]
    place = place_of(np.array([[5.0, 1.0, 3.0]], np.float32), 2)
    assert (place.mean.tolist(), place.spread.tolist()) == ([2.0], [1.0])
    flat = place_of(np.ones((1, 4), np.float32), 3)
    assert flat.spread[0] > 0, "a cohort at one distance divides by something"


@pytest.mark.parametrize(
    ("view", "side"),
    [("000", "000"), ("018", "030"), ("350", "000"), ("-90", "270"), ("", "any"), ("nan", "any"),
     ("seq0", "seq0"), ("344", "330")],
)  # fmt: skip
def test_golden_sides(view: str, side: str) -> None:
    assert side_of(view) == side


def test_smoke_thinning_takes_as_many_of_each() -> None:
    thin = thin_out(made_up_walks(people=5, each=6, windows=2), 15, 0)
    assert sorted(np.unique(thin.people, return_counts=True)[1]) == [3] * 5
    assert len(thin_out(thin, 100, 0)) == 15


def best_of_strangers(calibration: Calibration, count: int, shift: float) -> np.ndarray:
    """Return best scores of strangers against ten templates, moved by `shift` spreads."""
    shares = (np.arange(count) + 0.5) / count
    one = -np.expm1(np.log(shares) / calibration.crowd.at(10))
    standard = calibration.tail.quantile(one) + shift
    return calibration.evidence.raw(standard, 30.0, 1.0)


@pytest.mark.parametrize(("count", "shift"), [(20, 0.0), (20, 1.0), (400, 1.0), (400, -0.5)])
def test_golden_place_is_shrunk_to_the_prior(count: int, shift: float) -> None:
    prior = simple_calibration()
    scores = best_of_strangers(prior, count, shift)
    ones = np.ones(count)
    found = adapt(prior, scores, 30 * ones, ones, 10, 0.1, "door.mp4")
    site = found.calibration.site
    assert site is not None and site.tracks == count
    assert site.trust == pytest.approx(count / (count + 20))
    assert site.shift == pytest.approx(shift * site.trust, abs=0.03)
    assert site.scale == pytest.approx(1.0, abs=0.03)
    if shift > 0:
        assert found.named_after < found.named_before
        higher = found.calibration.threshold(0.01, 10, 30, 1.0)
        assert higher > prior.threshold(0.01, 10, 30, 1.0)


def test_exception_place() -> None:
    prior = simple_calibration()
    ones = np.ones(2)
    with pytest.raises(CalibrationError, match="2 tracks were long enough"):
        adapt(prior, -ones, ones, ones, 10, 0.01, "")
    with pytest.raises(CalibrationError, match="1 of 4 tracks have scores that are no numbers"):
        bad = np.array([-1.0, np.nan, -2.0, -3.0])
        adapt(prior, bad, np.ones(4), np.ones(4), 10, 0.01, "")
