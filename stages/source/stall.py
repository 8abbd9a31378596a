"""Whether a live source still gives frames."""

from __future__ import annotations

from typing import Any

from pipeline.clock import NS_PER_S
from stages.source.reading import Reading

STALL_S = 1.5  # so that it is told within 2 s, the time to look and to pass it on included
STALL_INTERVALS = 4  # or so many frames' time, if the source is slow


class StallWatch:
    """Tells, once each, that one reading's frames stop and that they come again."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._stalled_after = 0  # pictures when they stopped, 0 while they come
        self._since_ns = 0

    @property
    def limit_s(self) -> float:
        """Time without a frame from which on that is a stall."""
        return max(STALL_S, STALL_INTERVALS * self._reading.interval_s)

    def note(self) -> tuple[str, str, dict[str, Any]] | None:
        """Look at the reading; return what is to be told: kind, sentence, facts."""
        # The pictures last: one that comes between the two looks must not pass for a stall's end.
        waiting_s, since_ns, pictures = (
            self._reading.waiting_s,
            self._reading.picture_ns,
            self._reading.pictures,
        )
        if self._stalled_after and pictures > self._stalled_after:
            self._stalled_after = 0
            lasted_s = round((self._reading.picture_ns - self._since_ns) / NS_PER_S, 1)
            text = f"source gives frames again after {lasted_s:g} s"
            return "source_flows", text, {"lasted_s": lasted_s}
        if pictures and not self._stalled_after and waiting_s > self.limit_s:
            self._stalled_after, self._since_ns = pictures, since_ns
            text = f"source stalls: no frame for {waiting_s:.1f} s"
            return "source_stalled", text, {"waiting_s": round(waiting_s, 1)}
        return None
