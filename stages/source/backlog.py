"""Whether a live picture is new, or comes late out of a buffer.

After a pause of the network, and while a stream is being opened, pictures pile up somewhere on the
way. They then come faster than the camera makes them, and none shows what it sees now. Two signs
tell it without a common clock: that pace, and where the stream has times of its own, that they have
not gone on as far as ours.
"""

from __future__ import annotations

from collections import deque

GAP_S = 0.5  # without a picture, after which there may be a backlog
GAP_INTERVALS = 4  # or so many pictures' time, if the source is slow
OPENING_S = 10.0  # of pictures may wait when a stream is opened: the last group of some recorders
PACE_PICTURES = 5  # by which the pace is judged: packets often come in pairs
FAST = 2.0  # times the usual pace
MARGIN = 3.0  # times the gap: what is made while they are caught up with comes late too


class Backlog:
    """Follows the pictures of one opening of a source. It doubts no more of them than can have
    piled up, so that a wrongly told rate costs some pictures and not all.
    """

    def __init__(self) -> None:
        self._left_s = OPENING_S
        self._times_s: deque[float] = deque(maxlen=PACE_PICTURES + 1)
        self._offset_s: float | None = None  # our time less the stream's, when all was well

    def is_old(self, time_s: float, interval_s: float, stream_s: float | None = None) -> bool:
        """Return whether a picture comes out of a buffer.

        Args:
            time_s: when it came.
            interval_s: usual time from picture to picture.
            stream_s: its time by the stream's own clock, None if it has none.
        """
        gap_s = time_s - self._times_s[-1] if self._times_s else 0.0
        if gap_s > max(GAP_S, GAP_INTERVALS * interval_s):
            self._left_s = MARGIN * gap_s
            self._times_s.clear()
        self._times_s.append(time_s)
        if self._left_s > 0:
            self._left_s -= interval_s
            if self._is_fast(time_s, interval_s) or self._is_late(time_s, stream_s):
                return True
            self._left_s = 0.0
        if stream_s is not None:
            self._offset_s = time_s - stream_s
        return False

    def _is_fast(self, time_s: float, interval_s: float) -> bool:
        if len(self._times_s) <= PACE_PICTURES:
            return True  # not known yet
        return FAST * (time_s - self._times_s[0]) / PACE_PICTURES < interval_s

    def _is_late(self, time_s: float, stream_s: float | None) -> bool:
        if stream_s is None or self._offset_s is None:
            return False
        return time_s - stream_s - self._offset_s > GAP_S
