"""Several windows' vectors as one.

A plain mean is shorter than what it is the mean of, the more so the more windows there are and the
more sides they show, and in Euclidean distance a short vector is near to everybody: people enrolled
from many sides were taken for all kinds of others. So a fused vector has the direction of the mean
and the length that its windows have on average (docs/decisions/011-fused-length.md).
"""

from __future__ import annotations

import numpy as np

# A mean shorter than this share of its windows is rounding.
_NO_DIRECTION = 1e-6


def fuse_vectors(vectors: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return vectors [k,c,p] as one, float32 [c,p].

    Args:
        weights: [k], above 0; None: all the same.
    """
    shares = np.full(len(vectors), 1.0) if weights is None else weights.astype(np.float64)
    shares /= shares.sum()
    wide = vectors.astype(np.float64)
    return as_long_as(np.tensordot(shares, wide, 1), float(shares @ lengths_of(wide)))


def lengths_of(vectors: np.ndarray) -> np.ndarray:
    """Return float64 [k], the lengths of vectors [k,c,p], all parts together."""
    return np.asarray(np.linalg.norm(vectors.reshape(len(vectors), -1), axis=1), np.float64)


def as_long_as(mean: np.ndarray, length: float) -> np.ndarray:
    """Return a mean float64 [c,p] brought to a length, float32 [c,p].

    Parts keep their shares: one in which windows disagree counts less than one in which they agree.
    What windows cancel altogether has no direction and stays as it is.
    """
    own = float(np.linalg.norm(mean))
    scale = length / own if own > _NO_DIRECTION * length else 1.0
    return (scale * mean).astype(np.float32)
