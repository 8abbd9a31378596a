"""What the transport benchmark sends, and how a reader tells that it has come whole.

Every picture begins with a mark that the sender writes just before it sends; the rest is one of a
few known patterns. A reader adds up one byte of each page, so that each path's reader has to have
all of it in reach, and compares the sum with the pattern's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from pipeline.messages import Stamp, Window, Windows

# A decoder hands out its buffers in turn too. Eight 1080p pictures do not fit into a core's cache.
RING = 8
FRAMES_A_WINDOW = 30
SILHOUETTES, THETA, KEYPOINTS = (30, 64, 44), (30, 85), (30, 17, 3)
SILHOUETTE_BYTES = 30 * 64 * 44
PAGE_BYTES = 4096

# number, when it was sent, phase, pattern
MARK = struct.Struct("<4q")


@dataclass(frozen=True, slots=True)
class Payload:
    """What one message carries.

    Attributes:
        shape: of the uint8 array.
        checked: bytes from its beginning that the reader's sum is taken over.
    """

    name: str
    shape: tuple[int, ...]
    checked: int

    @property
    def size(self) -> int:
        """Bytes of a message, without what a path adds."""
        return int(np.prod(self.shape))

    @property
    def is_frame(self) -> bool:
        """Whether it is a picture, not a window of silhouettes."""
        return len(self.shape) == 3


def _frame(name: str, width: int, height: int) -> Payload:
    return Payload(name, (height, width, 3), height * width * 3)


# A window: silhouettes, theta, key points, times and frame numbers, in bytes.
WINDOW_BYTES = SILHOUETTE_BYTES + 4 * 30 * 85 + 4 * 30 * 17 * 3 + 2 * 8 * 30
PAYLOADS = {
    payload.name: payload
    for payload in (
        _frame("720p", 1280, 720),
        _frame("1080p", 1920, 1080),
        _frame("4K", 3840, 2160),
        Payload("window", (WINDOW_BYTES,), SILHOUETTE_BYTES),
    )
}


def pattern(payload: Payload, index: int) -> np.ndarray:
    """Return picture `index` of the ring: uint8 in the payload's shape."""
    # A prime length, so that the sums over pages differ from place to place.
    tile = np.random.default_rng(index).integers(0, 256, 4099, np.uint8)
    return np.resize(tile, payload.size).reshape(payload.shape)


def sampled(flat: np.ndarray, checked: int) -> int:
    """Return the sum of one byte of each page of the first `checked` bytes, the mark left out."""
    return int(flat[MARK.size : checked : PAGE_BYTES].sum(dtype=np.int64))


def as_windows(flat: np.ndarray) -> Windows:
    """Return a message with one window whose arrays are views of uint8 [WINDOW_BYTES]."""
    arrays, at = [], 0
    for shape, dtype in (
        (SILHOUETTES, "u1"),
        (THETA, "<f4"),
        (KEYPOINTS, "<f4"),
        ((30,), "<i8"),
        ((30,), "<i8"),
    ):
        end = at + int(np.prod(shape)) * np.dtype(dtype).itemsize
        arrays.append(flat[at:end].view(dtype).reshape(shape))
        at = end
    window = Window(1, *arrays, quality=1.0, left_out=0)
    return Windows(Stamp("bench", 0, 0, 0, 0), (window,), (1,))
