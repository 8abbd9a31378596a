"""One person as seen in one frame, before the tracker has given a number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.detect.pose import Roi


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """A person in one frame.

    Attributes:
        box: float64 [4], x1, y1, x2, y2 pixels of the frame: the mask's own box.
        score: 0..1.
        mask: bool [h,w], cut to the box.
        mask_xy: left and top of the mask in the frame.
        strength: float32 [h,w], 0..1, how surely each pixel is this person.
        landmarks: float64 [33,4]: x, y, z pixels of the frame, visibility 0..1; [0,4] for none.
        world: float32 [33,4], metres and visibility; [0,4] for none.
        roi: the square to read in the next frame.
        spill: share of the network's mask that was too far from the bones to be this person;
            high when another body hangs on this one.
    """

    box: np.ndarray
    score: float
    mask: np.ndarray
    mask_xy: tuple[int, int]
    strength: np.ndarray
    landmarks: np.ndarray
    world: np.ndarray
    roi: Roi
    spill: float = 0.0

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return float(self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True)
class Expected:
    """A person that the tracker expects in a frame.

    Attributes:
        key: the tracker's own number of the track, shown or not.
        roi: where to read, pixels of the frame.
        last_roi: where it was last seen, in case it has stopped.
        box: float64 [4], where the person should be.
        unseen_s: seconds since it was last seen.
    """

    key: int
    roi: Roi
    last_roi: Roi
    box: np.ndarray
    unseen_s: float
