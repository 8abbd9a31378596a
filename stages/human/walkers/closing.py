"""The stretch of a motion clip that repeats best, and how its ends are joined without a jump.

Letters: T frames, P frames of one cycle, J joints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.human.rotation import (
    axis_angle_to_matrix,
    matrix_to_quaternion,
    quaternion_to_axis_angle,
)

# A stride (left heel to left heel) of an adult walk, seconds.
STRIDE_RANGE_S = (0.8, 1.7)


class RetargetError(ValueError):
    """The clip does not fit the body, or holds no whole stride."""


def find_cycle(
    rotations: NDArray[np.float64],
    fps: float,
    strides: int = 1,
    start_range: tuple[float, float] = (0.0, 1.0),
) -> tuple[int, int, float]:
    """The stretch of rotations [T,J,3,3] that closes on itself best.

    Args:
        start_range: fractions of the clip within which the stretch has to lie.

    Returns:
        First frame, frames, and misfit in radians, mean over the joints.

    Raises:
        RetargetError: the clip is shorter than the strides.
    """
    first, last = (round(f * (len(rotations) - 2)) for f in start_range)
    poses = rotations[: last + 2].reshape(min(last + 2, len(rotations)), -1)
    speed = np.gradient(poses, axis=0) * fps * 0.1  # a tenth of a second of motion counts as pose
    features = np.concatenate([poses, speed], axis=1)
    shortest, longest = (round(s * fps * strides) for s in STRIDE_RANGE_S)
    best = (np.inf, 0, 0)
    for length in range(shortest, min(longest, last - first) + 1):
        gap = features[first + length : last + 1] - features[first : last + 1 - length]
        misfit = np.sqrt((gap**2).mean(axis=1))
        start = int(misfit.argmin())
        best = min(best, (float(misfit[start]), first + start, length))
    if not np.isfinite(best[0]):
        raise RetargetError(
            f"expected at least {shortest} frames for {strides} stride(s), got {last - first}"
        )
    return best[1], best[2], best[0]


def close_cycle(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make rotations [P+1,J,3,3] whose ends nearly meet into [P,J,3,3] that repeat without a jump.

    What is missing between last and first pose is spread evenly over the cycle.
    """
    missing = _vectors(rotations[0] @ np.swapaxes(rotations[-1], -1, -2))
    share = np.arange(len(rotations) - 1) / (len(rotations) - 1)
    return np.asarray(axis_angle_to_matrix(share[:, None, None] * missing) @ rotations[:-1])


def _vectors(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation vectors [J,3] of rotations [J,3,3]."""
    return quaternion_to_axis_angle(matrix_to_quaternion(rotations))
