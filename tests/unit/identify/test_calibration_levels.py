"""Levels, thresholds and what may be claimed; the survival curve under them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from calibration_samples import simple_calibration
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import CalibrationError
from stages.identify.calibration import MIN_LEVEL, Crowd, Evidence, Site
from stages.identify.normalise import Norm
from stages.identify.tail import Tail, fit_tail, pareto_moments

CALIBRATION = simple_calibration(shift_by_frames=0.4)
AT_SITE = replace(CALIBRATION, site=Site(0.2, 1.1, 40, 0.67))

levels = st.floats(1e-6, 0.5)
counts = st.integers(1, 5000)
lengths = st.floats(1.0, 400.0)


@settings(max_examples=50, deadline=None)
@given(level=levels, templates=counts, frames=lengths, at_site=st.booleans())
def test_property_level_of_a_threshold_is_the_level(
    level: float, templates: int, frames: float, at_site: bool
) -> None:
    calibration = AT_SITE if at_site else CALIBRATION
    score = calibration.threshold(level, templates, frames, 0.8)
    found = float(calibration.levels(np.array(score), templates, frames, 0.8))
    assert found == pytest.approx(level, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(level=levels, templates=counts, more=counts, factor=st.floats(1.01, 100), frames=lengths)
def test_property_threshold_rises_with_rarity_and_with_the_gallery(
    level: float, templates: int, more: int, factor: float, frames: float
) -> None:
    def threshold(rate: float, size: int) -> float:
        return CALIBRATION.threshold(rate, size, frames, 1.0)

    assert threshold(level / factor, templates) > threshold(level, templates)
    assert threshold(level, templates + more) > threshold(level, templates)


@settings(max_examples=50, deadline=None)
@given(
    scores=st.lists(st.floats(-8, 0), min_size=2, max_size=2, unique=True),
    templates=counts,
    frames=lengths,
)
def test_property_a_higher_score_is_never_likelier_by_chance(
    scores: list[float], templates: int, frames: float
) -> None:
    low, high = sorted(scores)
    weak, strong = CALIBRATION.strengths(np.array([low, high]), templates, frames, 1.0)
    assert 0 <= weak <= strong
    wide = high - low > 1e-3 and weak > 1e-3
    assert strong > weak or not wide


def test_smoke_far_beyond_the_data_scores_still_differ() -> None:
    found = CALIBRATION.strengths(np.array([-1.0, -0.5, 0.0]), 10, 60, 1.0)
    assert (np.diff(found) > 0.1).all() and np.isfinite(found).all()


@settings(max_examples=60, deadline=None)
@given(level=st.floats(0, 1), templates=counts)
def test_property_no_claim_below_what_the_data_carry(level: float, templates: int) -> None:
    claimed = CALIBRATION.claim(level, templates)
    assert claimed >= min(1.0, max(level, CALIBRATION.carried(templates))) * (1 - 1e-6)
    assert claimed <= min(1.0, 1.01 * max(level, CALIBRATION.carried(templates)))
    assert CALIBRATION.carried(templates) >= MIN_LEVEL
    assert CALIBRATION.measured(templates) >= CALIBRATION.carried(templates)


def test_golden_what_is_carried() -> None:
    # 20 people are 190 pairs; 10 templates are worth 9, and looks raise it by 1.2.
    small = simple_calibration(people=20)
    assert small.carried(10) == pytest.approx(1.2 * 9 / 190)
    assert small.claim(1e-9, 10) == 0.0569
    assert small.claim(0.123456, 10) == 0.124
    assert small.claim(0.1, 10) == 0.1


def test_golden_gallery_sizes() -> None:
    crowd = Crowd(np.array([1, 10, 100]), np.array([1.0, 8.0, 50.0]))
    assert crowd.at(0) == crowd.at(1) == 1.0
    assert crowd.at(10) == pytest.approx(8.0)
    assert crowd.at(200) == pytest.approx(100.0), "beyond the last each one counts in full"


@pytest.mark.parametrize("name", ["normal", "gamma"])
@pytest.mark.parametrize("templates", [1, 10])
def test_property_simulated_strangers_pass_as_often_as_asked(name: str, templates: int) -> None:
    def draw(seed: int, *shape: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return rng.normal(size=shape) if name == "normal" else rng.gamma(3.0, size=shape)

    sizes = np.array([1, 10])
    calibration = simple_calibration(
        tail=fit_tail(draw(1, 200_000), 0.01),
        crowd=Crowd(sizes, sizes.astype(float)),
        looks=1.0,
        evidence=Evidence(np.array([30.0]), np.array([0.0]), np.array([1.0])),
    )
    trials = 60_000
    best = draw(2, trials, templates).max(axis=1)
    reached = calibration.levels(best, templates, 30, 1.0)
    for level in (0.1, 0.01, 0.001):
        alarms = int((reached <= level).sum())
        expected = level * trials
        # Four standard deviations of the trials, and a tenth for the fit itself.
        assert abs(alarms - expected) < 4 * np.sqrt(expected) + 0.1 * expected, (level, alarms)


def test_golden_pareto_moments_of_known_distributions() -> None:
    shares = (np.arange(20_000) + 0.5) / 20_000
    shape, scale = pareto_moments(-2.0 * np.log(1 - shares))  # exponential: shape 0, scale 2
    assert shape == pytest.approx(0.0, abs=0.01) and scale == pytest.approx(2.0, rel=0.01)
    shape, scale = pareto_moments(((1 - shares) ** -0.2 - 1) / 0.2)  # shape 0.2, scale 1
    assert shape == pytest.approx(0.2, abs=0.02) and scale == pytest.approx(1.0, rel=0.03)
    shape, scale = pareto_moments((1 - (1 - shares) ** 0.25) / 0.25)  # shape -0.25
    assert shape == pytest.approx(-0.25, abs=0.01) and scale == pytest.approx(1.0, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(shape=st.floats(-0.5, 0.4), share=st.floats(1e-12, 0.9989))
def test_property_quantile_undoes_survival(shape: float, share: float) -> None:
    tail = replace(CALIBRATION.tail, shape=shape)
    score = tail.quantile(np.array(share))
    assert float(tail.survival(score)) == pytest.approx(share, rel=1e-6)


def test_exception_survival_curve() -> None:
    with pytest.raises(CalibrationError, match="from 600 comparisons on, there are 100"):
        fit_tail(np.arange(100.0))
    with pytest.raises(CalibrationError, match="all alike"):
        fit_tail(np.ones(5000))
    knots, shares = np.array([0.0, 1.0]), np.array([0.5, 0.05])
    for bad in (
        (knots[::-1], shares, 0.1, 1.0, 9),
        (knots, shares[::-1], 0.1, 1.0, 9),
        (knots, shares, np.nan, 1.0, 9),
        (knots, shares, 0.1, 0.0, 9),
        (knots[:1], shares[:1], 0.1, 1.0, 9),
    ):
        with pytest.raises(CalibrationError, match="survival curve is damaged"):
            Tail(*bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": Norm("both", 3)}, "needs a cohort"),
        ({"looks": 0.5}, "looks and caution must be 1 or more"),
        ({"caution": 0.9}, "looks and caution must be 1 or more"),
        ({"looks": float("nan")}, "looks and caution must be 1 or more"),
    ],
)
def test_exception_calibration(change: dict, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        replace(CALIBRATION, **change)


def test_exception_tables() -> None:
    good = np.array([30.0, 60.0])
    with pytest.raises(CalibrationError, match="evidence table is damaged"):
        Evidence(good, good, np.array([1.0, 0.0]))
    with pytest.raises(CalibrationError, match="evidence table is damaged"):
        Evidence(good[::-1], good, good)
    with pytest.raises(CalibrationError, match="gallery sizes are damaged"):
        Crowd(np.array([1, 5]), np.array([1.0, np.inf]))
    with pytest.raises(CalibrationError, match="shift and scale must be finite"):
        Site(float("nan"), 1.0, 5, 0.2)
    with pytest.raises(CalibrationError, match="nearest must be 1"):
        Norm("both", 0)
