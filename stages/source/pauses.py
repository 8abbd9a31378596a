"""How long to wait before a lost source is tried again."""

from __future__ import annotations

import random

# Even the shortest pause, times the least jitter, is longer than the gap in a track's times that
# the sequence stage takes for the same walk (max_gap_s, 0.5 s): no window bridges a loss.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 10.0
LEAST_JITTER = 0.6


class Pauses:
    """Pauses that double up to the longest, each cut by up to 40 % at random, so that many programs
    that lost one recorder do not all come back to it at the same moment.
    """

    def __init__(self) -> None:
        self._doublings = 0

    def next(self) -> float:
        """Return the next pause, seconds."""
        pause_s = min(FIRST_PAUSE_S * 2**self._doublings, LONGEST_PAUSE_S)
        self._doublings += pause_s < LONGEST_PAUSE_S
        return pause_s * random.uniform(LEAST_JITTER, 1.0)

    def reset(self) -> None:
        """Begin anew: the source has been well for a while."""
        self._doublings = 0
