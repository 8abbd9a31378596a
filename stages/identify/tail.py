"""How rarely a stranger scores that high: measured where many do, fitted where few do.

Up to a high quantile the survival curve of strangers' scores is kept as it was seen. Above it a
generalised Pareto distribution is fitted to what exceeds the quantile (Pickands, "Statistical
Inference Using Extreme Order Statistics", Annals of Statistics 3, 1975), by probability-weighted
moments (Hosking and Wallis, Technometrics 29, 1987), which have a closed form and do not fail on
small samples. Scores are standardised: about 0 in the middle, about 1 at the upper end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.errors import CalibrationError

# Largest share of the scores that the fitted part may describe, and scores that it needs.
TAIL_SHARE = 0.05
MIN_EXCESSES = 30
# Survival at the knots of the measured part, down to where the fitted part begins.
BODY_SHARES = np.linspace(0.999, 0.5, 12)
UPPER_KNOTS = 30
# Beyond these the moments do not exist, or the end of the curve is made up by a few scores.
MIN_SHAPE, MAX_SHAPE = -0.5, 0.4
# Knots closer than this would make thresholds jump.
_MIN_STEP = 1e-9
# A curve whose end is known goes on from this survival as an exponential: nobody vouches for it
# there, but of two scores beyond the end the higher is still to be the rarer.
_DEEP = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The survival curve of strangers' standardised scores.

    Attributes:
        knots: float64 [k], scores, strictly ascending.
        shares: float64 [k], survival at the knots, strictly descending, the last is where the
            fitted part begins.
        shape, scale: of the generalised Pareto distribution.
        excesses: scores that it was fitted to.
    """

    knots: np.ndarray
    shares: np.ndarray
    shape: float
    scale: float
    excesses: int

    def __post_init__(self) -> None:
        numbers = np.r_[self.knots, self.shares, self.shape, self.scale]
        sound = (
            len(self.knots) == len(self.shares) >= 2
            and np.isfinite(numbers).all()
            and bool((np.diff(self.knots) > 0).all())
            and bool((np.diff(self.shares) < 0).all())
            and _DEEP < self.shares[-1] < self.shares[0] < 1
            and self.scale > 0
        )
        if not sound:
            raise CalibrationError(
                "a calibration's survival curve is damaged: knots must ascend, shares descend "
                "between 1 and 0, the scale be above 0"
            )

    def survival(self, scores: np.ndarray) -> np.ndarray:
        """Return the share of strangers' scores that reach each of float64 [...], 0..1."""
        scores = np.asarray(scores, np.float64)
        body = np.exp(np.interp(scores, self.knots, np.log(self.shares)))
        # Below the first knot the curve goes on to 1 with the slope that it has there.
        slope = (np.log(self.shares[1]) - np.log(self.shares[0])) / (self.knots[1] - self.knots[0])
        low = np.minimum(1.0, self.shares[0] * np.exp(slope * (scores - self.knots[0])))
        far = np.exp(self._log_far(np.maximum(scores - self.knots[-1], 0.0) / self.scale))
        return np.where(scores < self.knots[0], low, np.where(scores > self.knots[-1], far, body))

    def quantile(self, shares: np.ndarray) -> np.ndarray:
        """Return the score that each share (0..1, not 0) of the strangers' scores reaches."""
        shares = np.asarray(shares, np.float64)
        logs = np.log(np.clip(shares, 1e-300, 1.0))
        known = np.log(self.shares)
        body = np.interp(-logs, -known, self.knots)
        slope = (known[1] - known[0]) / (self.knots[1] - self.knots[0])
        low = self.knots[0] + (logs - known[0]) / slope
        far = self.knots[-1] + self.scale * self._far_of(np.minimum(logs, known[-1]))
        return np.where(logs > known[0], low, np.where(logs < known[-1], far, body))

    def _deep(self) -> float:
        """Return the excess (in scales) at which the exponential takes over."""
        return float(_pareto_quantile(np.array(_DEEP / self.shares[-1]), self.shape))

    def _log_far(self, excess: np.ndarray) -> np.ndarray:
        """Return the logarithm of the survival of excesses, in scales, 0 or more."""
        deep = self._deep()
        inside = _pareto_survival(np.minimum(excess, deep), self.shape)
        return np.log(self.shares[-1]) + np.log(inside) - np.maximum(excess - deep, 0.0)

    def _far_of(self, logs: np.ndarray) -> np.ndarray:
        """Return the excess, in scales, at which the logarithm of the survival is `logs`."""
        inside = np.exp(np.maximum(logs, np.log(_DEEP)) - np.log(self.shares[-1]))
        beyond = np.maximum(np.log(_DEEP) - logs, 0.0)
        return _pareto_quantile(np.minimum(inside, 1.0), self.shape) + beyond


def fit_tail(scores: np.ndarray, share: float = TAIL_SHARE) -> Tail:
    """Return the survival curve of strangers' standardised scores, float64 [n], finite.

    Args:
        share: of the scores, those that the fitted part describes, up to `TAIL_SHARE`. The smaller
            it is, the better the fit suits the far end, and the fewer people it rests on.

    Raises:
        CalibrationError: too few scores, or all alike.
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    if len(ordered) * share < MIN_EXCESSES:
        raise CalibrationError(
            f"strangers' scores can be described from {MIN_EXCESSES / share:.0f} comparisons "
            f"on, there are {len(ordered)}",
            hint="Calibrate with more people.",
        )
    shares = np.r_[BODY_SHARES, np.geomspace(0.5, share, UPPER_KNOTS)[1:]]
    knots = np.quantile(ordered, 1.0 - shares)
    # Of equal scores the first knot is kept, with its larger share: so many do reach that score.
    keep = np.r_[True, np.diff(knots) > _MIN_STEP]
    knots, shares = knots[keep], shares[keep]
    excesses = ordered[ordered > knots[-1]] - knots[-1]
    if len(knots) < 2 or len(excesses) < MIN_EXCESSES // 2:
        raise CalibrationError(
            "strangers' scores are all alike: nothing can be told from them",
            hint="Are these vectors of different people?",
        )
    shape, scale = pareto_moments(excesses)
    return Tail(knots, shares, shape, scale, len(excesses))


def pareto_moments(excesses: np.ndarray) -> tuple[float, float]:
    """Return shape and scale of a generalised Pareto distribution, by weighted moments.

    Args:
        excesses: float64 [n], above 0. A shape beyond the bounds is moved to them, with the scale
            that keeps the mean.
    """
    ordered = np.sort(excesses)
    count = len(ordered)
    mean = float(ordered.mean())
    weights = 1.0 - (np.arange(1, count + 1) - 0.35) / count
    second = float((weights * ordered).mean())
    spare = mean - 2.0 * second
    shape = MAX_SHAPE if spare <= 0 else float(np.clip(2.0 - mean / spare, MIN_SHAPE, MAX_SHAPE))
    return shape, mean * (1.0 - shape)


def _pareto_survival(excess: np.ndarray, shape: float) -> np.ndarray:
    if abs(shape) < 1e-9:
        return np.exp(-excess)
    return (1.0 + shape * excess) ** (-1.0 / shape)


def _pareto_quantile(survival: np.ndarray, shape: float) -> np.ndarray:
    if abs(shape) < 1e-9:
        return -np.log(survival)
    return (survival**-shape - 1.0) / shape
