"""How the windows of a track become one vector, and how much each of them counts.

A plain mean is shorter than what it is the mean of, the more so the more windows there are and the
more sides they show, and in Euclidean distance a short vector is near to everybody: people enrolled
from many sides were taken for all kinds of others. So a fused vector has the direction of the mean
and the length that its windows have on average (docs/decisions/011-fused-length.md).
"""

from __future__ import annotations

import numpy as np

from stages.identify.calibration import Weighing
from stages.identify.records import weight_of

# A window counts at least so much, whatever its quality.
_LEAST_QUALITY = 0.05
# A mean shorter than this share of its windows is rounding.
_NO_DIRECTION = 1e-6


def window_weight(frames: int, quality: float, weighing: Weighing | None) -> float:
    """Return the weight of a window, above 0; None: its frames times its quality.

    The floor keeps a track that was never seen well from having no answer at all. (Its place in
    `max` makes it the answer for NaN, too.)
    """
    if weighing is None:
        return weight_of(frames, quality)
    good = min(max(_LEAST_QUALITY, quality), 1.0)
    return float(max(frames, 1) ** weighing.frames_power * good**weighing.quality_power)


def fuse(
    vectors: np.ndarray, frames: np.ndarray, quality: np.ndarray, weighing: Weighing | None
) -> np.ndarray:
    """Return windows float32 [k,c,p] as one vector, float32 [c,p]."""
    weights = np.array(
        [window_weight(int(f), float(q), weighing) for f, q in zip(frames, quality, strict=True)]
    )
    weights /= weights.sum()
    wide = vectors.astype(np.float64)
    return as_long_as(np.tensordot(weights, wide, 1), float(weights @ lengths_of(wide)))


def lengths_of(vectors: np.ndarray) -> np.ndarray:
    """Return float64 [k], the lengths of vectors [k,c,p], all parts together."""
    return np.asarray(np.linalg.norm(vectors.reshape(len(vectors), -1), axis=1))


def as_long_as(mean: np.ndarray, length: float) -> np.ndarray:
    """Return a mean float64 [c,p] brought to a length, float32 [c,p].

    Parts keep their shares: one in which windows disagree counts less than one in which they agree.
    What windows cancel altogether has no direction and stays as it is.
    """
    own = float(np.linalg.norm(mean))
    scale = length / own if own > _NO_DIRECTION * length else 1.0
    return (scale * mean).astype(np.float32)
