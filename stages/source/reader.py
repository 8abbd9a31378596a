"""What every kind of source offers: facts, and one picture after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a source once it is open.

    Attributes:
        size_wh: width and height of its frames as shown, pixels.
        rate_hz: nominal frames per second, 0 when unknown.
        frames_expected: frames still to come, 0 when unknown.
    """

    size_wh: tuple[int, int]
    rate_hz: float
    frames_expected: int


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One frame as read: uint8 [h,w,3] BGR, upright, and its time in the recording.

    `time_ns` is None where the source has no clock of its own (a camera).
    """

    pixels: np.ndarray
    time_ns: int | None


class Reader(Protocol):
    """A source of pictures. `damaged` counts pieces that could not be decoded."""

    facts: Facts
    damaged: int

    def read(self) -> Picture:
        """Return the next picture; `EndOfSource` after the last."""
        ...

    def close(self) -> None: ...
