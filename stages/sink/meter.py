"""Figures for the strip: frames a second, latency, drops. From the messages alone."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

from pipeline.messages import Identities, Stamp
from stages.sink.events import capture_to_identity_ns

WINDOW_NS = 1_000_000_000
# At least two frames, so that a stream slower than the window has a rate as well.
_KEEP_AT_LEAST = 2
_KEEP_AT_MOST = 512


@dataclass(frozen=True, slots=True)
class Figures:
    """What the strip shows; None where it cannot be told.

    Attributes:
        rate_hz: frames that came out of the last stage, a second.
        latency_ms: capture to identity, median over the last second.
        drops: frames that are missing so far: dropped by a live source, or lost on the way.
    """

    rate_hz: float | None
    latency_ms: float | None
    drops: int


class Meter:
    """Rolling figures of one source over the last second of the host's monotonic clock."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=_KEEP_AT_MOST)
        self._next_frame = 0
        self._lost = 0
        self._drops = 0

    def add(self, stamp: Stamp, identities: Identities | None) -> Figures:
        """Take note of a frame and its last message; return the figures as of now."""
        self._lost += max(0, stamp.frame_id - self._next_frame)
        self._next_frame = stamp.frame_id + 1
        self._drops = self._lost + stamp.dropped
        latency_ns = None if identities is None else capture_to_identity_ns(identities)
        if identities is not None and latency_ns is not None:
            self._samples.append((identities.spans[-1].leave_ns, latency_ns))
        return self._figures()

    def _figures(self) -> Figures:
        samples = self._samples
        if not samples:
            return Figures(None, None, self._drops)
        newest = samples[-1][0]
        while len(samples) > _KEEP_AT_LEAST and newest - samples[0][0] > WINDOW_NS:
            samples.popleft()
        elapsed_ns = newest - samples[0][0]
        rate_hz = (len(samples) - 1) * 1e9 / elapsed_ns if elapsed_ns > 0 else None
        return Figures(rate_hz, median(sample[1] for sample in samples) / 1e6, self._drops)
