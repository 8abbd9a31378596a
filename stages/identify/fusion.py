"""How much a window counts when the windows of a track become one vector (`pipeline.fusing`)."""

from __future__ import annotations

import numpy as np

from pipeline.fusing import fuse_vectors
from stages.identify.calibration import Weighing
from stages.identify.records import weight_of

# A window counts at least so much, whatever its quality.
_LEAST_QUALITY = 0.05


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
    weights = [
        window_weight(int(f), float(q), weighing) for f, q in zip(frames, quality, strict=True)
    ]
    return fuse_vectors(vectors, np.array(weights))
