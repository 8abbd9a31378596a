"""A causal low-pass filter for moving points.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012. The cutoff rises with speed: still points do not tremble, fast
ones do not lag. Here the speed is that of the point, not of each coordinate, so that turning
the axes does not change the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FilteredPoints:
    """Filter state, and the result: position [m,3] in metres, velocity [m,3] in metres/s."""

    position_m: NDArray[np.float64]
    velocity_m_s: NDArray[np.float64]


def start_filter(points_m: NDArray) -> FilteredPoints:
    """State after the first sample [m,3]: the sample itself, at rest."""
    return FilteredPoints(np.array(points_m, dtype=np.float64), np.zeros(points_m.shape))


def smoothing_factor(step_s: float, cutoff_hz: NDArray) -> NDArray[np.float64]:
    """Weights [m] of the new sample in first-order low-pass filters of [m] cutoffs, 0 to 1."""
    phase = 2.0 * np.pi * step_s * cutoff_hz
    return phase / (phase + 1.0)


def filter_step(
    state: FilteredPoints,
    points_m: NDArray,
    step_s: float,
    min_cutoff_hz: float,
    speed_gain_per_m: float,
    velocity_cutoff_hz: float,
) -> FilteredPoints:
    """One sample on.

    Args:
        state: what the last step returned.
        points_m: [m,3], metres, finite.
        step_s: time since the last sample, above zero.
        min_cutoff_hz: cutoff of a point at rest.
        speed_gain_per_m: cutoff in Hz added for each metre a second.
        velocity_cutoff_hz: cutoff of the speed estimate.
    """
    velocity = (points_m - state.position_m) / step_s
    weight = smoothing_factor(step_s, np.array([velocity_cutoff_hz]))
    velocity = state.velocity_m_s + weight * (velocity - state.velocity_m_s)
    speed = np.sqrt(np.einsum("ij,ij->i", velocity, velocity))
    weights = smoothing_factor(step_s, min_cutoff_hz + speed_gain_per_m * speed)
    position = state.position_m + weights[:, None] * (points_m - state.position_m)
    return FilteredPoints(position, velocity)
