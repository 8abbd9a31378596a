"""What every kind of source offers: facts, and one picture after another."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.stage import EndOfSource


class Lost(EndOfSource):
    """The source went away, or broke, without having come to its end: it may come back."""


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


@dataclass(frozen=True, slots=True)
class Position:
    """The last picture that was given, so that another reader goes on with the one after it.

    Attributes:
        time_ns: its time in the recording.
        checksum: of its pixels, see `checksum`; None if it is not known.
        decoded, damaged: the reader's counts up to it.
    """

    time_ns: int
    checksum: int | None = None
    decoded: int = 0
    damaged: int = 0


CHECKED_EVERY = 8


def checksum(pixels: np.ndarray) -> int:
    """Return a number that tells pictures uint8 [h,w,3] apart: of every eighth row and column."""
    return zlib.crc32(pixels[::CHECKED_EVERY, ::CHECKED_EVERY].tobytes())


class Reader(Protocol):
    """A source of pictures. `decoded` counts pictures, `damaged` pieces that are none.

    Only one thread at a time calls it.
    """

    facts: Facts
    decoded: int
    damaged: int

    def read(self) -> Picture:
        """Return the next picture; `EndOfSource` after the last, `Lost` if more may come later."""
        ...

    def close(self) -> None: ...
