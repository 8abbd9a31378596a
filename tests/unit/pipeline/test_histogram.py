"""Percentiles from buckets."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.telemetry import LatencyHistogram


def test_smoke_empty() -> None:
    assert LatencyHistogram().summary() == {"p50": None, "p95": None, "p99": None}


@given(st.lists(st.integers(1_000, 10**11), min_size=1, max_size=200))
def test_property_percentiles_are_right_within_two_percent(durations_ns: list[int]) -> None:
    histogram = LatencyHistogram()
    for duration in durations_ns:
        histogram.add(duration)
    for percent in (50, 95, 99):
        exact = float(np.percentile(durations_ns, percent, method="inverted_cdf")) / 1e6
        got = histogram.percentile_ms(percent)
        assert got is not None and abs(got - exact) <= 0.02 * exact + 1e-3


def test_extremes_stay_in_bounds() -> None:
    histogram = LatencyHistogram()
    histogram.add(-5)
    histogram.add(10**20)
    assert len(histogram) == 2 and len(histogram.counts) == 2
