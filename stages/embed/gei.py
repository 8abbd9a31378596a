"""Gait energy image: the mean silhouette of a window.

Han and Bhanu, "Individual Recognition Using Gait Energy Image", IEEE TPAMI 28(2), 2006. Nothing is
trained, so it works with no weights; on easy footage it is a fair baseline and no more.
Where ours differs: theirs averages over whole gait cycles and then projects by PCA and LDA; here
the mean over the window itself is the vector. Read as c = 44 columns of p = 64 rows, so that a
distance by parts compares row with row. Numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.messages import WINDOW_HEIGHT, WINDOW_WIDTH
from stages.embed.clips import check_clip
from stages.embed.interface import Clip

WEIGHTS_HASH = "gei-average-1"


def gait_energy(silhouettes: np.ndarray) -> np.ndarray:
    """Return the mean of uint8 [s,h,w] as float32 [w,h], 0..1."""
    # Sums of bytes fit int64 exactly, so the order of the frames does not matter.
    total = silhouettes.sum(axis=0, dtype=np.int64)  # [h,w]
    mean = total / (255.0 * len(silhouettes))
    return np.ascontiguousarray(mean.T, np.float32)  # [w,h] = [c,p]


class GaitEnergyImage:
    """The `Embedder` of gait energy images. A window costs 0.05 ms."""

    name = "gei"
    weights_hash = WEIGHTS_HASH
    trained = False
    reads = ("silhouettes",)
    vector_shape = (WINDOW_WIDTH, WINDOW_HEIGHT)
    silhouette_hw = (WINDOW_HEIGHT, WINDOW_WIDTH)

    def embed(self, windows: Sequence[Clip]) -> list[np.ndarray]:
        """Return float32 [44,64], 0..1, for each window; InputError for a wrong one."""
        for window in windows:
            check_clip(window, self.silhouette_hw, self.reads)
        return [gait_energy(window.silhouettes) for window in windows]

    def describe(self) -> Mapping[str, Any]:
        """Return what a report should say."""
        return {
            "network": self.name,
            "weights_hash": self.weights_hash,
            "trained": self.trained,
            "runtime": "numpy",
            "device": "cpu",
        }
