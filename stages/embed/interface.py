"""What every gait network looks like to the rest: one interface for all networks and runtimes.

Letters: s frames, h w height and width of a silhouette, c numbers for each of p body parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np


class Clip(Protocol):
    """What a network reads. `pipeline.messages.Window` is one; so is a whole stored sequence.

    silhouettes: uint8 [s,h,w] aligned, oldest first; theta: float32 [s,85], finite, or [0,85] if
    there are no bodies; keypoints_px: float32 [s,17,3], or [0,17,3] if there are none.
    """

    @property
    def silhouettes(self) -> np.ndarray: ...

    @property
    def theta(self) -> np.ndarray: ...

    @property
    def keypoints_px(self) -> np.ndarray: ...


class Embedder(Protocol):
    """A gait network, loaded and ready.

    name: the network's. weights_hash: 16 hex digits, or a constant for a network without weights;
    vectors of different hashes are never compared. trained: False if the vectors come from no
    training. reads: of silhouettes, theta and keypoints, what it looks at. vector_shape: (c, p).
    silhouette_hw: (h, w) it reads, None if it reads none.
    """

    @property
    def name(self) -> str: ...

    @property
    def weights_hash(self) -> str: ...

    @property
    def trained(self) -> bool: ...

    @property
    def reads(self) -> tuple[str, ...]: ...

    @property
    def vector_shape(self) -> tuple[int, int]: ...

    @property
    def silhouette_hw(self) -> tuple[int, int] | None: ...

    def embed(self, windows: Sequence[Clip]) -> list[np.ndarray]:
        """Return float32 [c,p] for each window, in order; lengths may differ.

        Raises:
            InputError: a window that this network cannot read.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what a report should say: name, hash, runtime, device and the like."""
        ...
