"""Whether the pipeline keeps up with a live source."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from pipeline.clock import NS_PER_S

WINDOW_S = 3.0
FEWEST_FRAMES = 10  # in a window, to be judged by
OVERLOAD_SHARE = 2 / 3  # dropped, from which on the pipeline is overloaded
RELIEF_SHARE = 1 / 3  # dropped, below which it is not any more
QUIET_S = 60.0  # from one overload to the next that is told: people who pass by are no news


@dataclass(frozen=True, slots=True)
class _Count:
    time_ns: int
    given: int
    dropped: int


class LoadWatch:
    """Judges by the frames of the last three seconds. Its clock is handed in."""

    def __init__(self) -> None:
        self._counts: deque[_Count] = deque()
        self._since_ns: int | None = None
        self._told_ns: int | None = None

    def note(
        self, time_ns: int, given: int, dropped: int
    ) -> tuple[str, str, dict[str, Any]] | None:
        """Take the counts so far; return what is to be told: kind, sentence, facts.

        Args:
            time_ns: now.
            given: frames that the source has given since it began.
            dropped: those of them that were dropped.
        """
        counts = self._counts
        counts.append(_Count(time_ns, given, dropped))
        while len(counts) > 1 and time_ns - counts[1].time_ns >= WINDOW_S * NS_PER_S:
            counts.popleft()
        if time_ns - counts[0].time_ns < WINDOW_S * NS_PER_S:
            return None
        return self._judge(counts[0], counts[-1])

    def forget(self) -> None:
        """Begin a new window: what a source gives around a pause says nothing of its pace."""
        self._counts.clear()

    def _judge(self, first: _Count, last: _Count) -> tuple[str, str, dict[str, Any]] | None:
        given = last.given - first.given
        if given < FEWEST_FRAMES:
            return None
        dropped = last.dropped - first.dropped
        seconds = (last.time_ns - first.time_ns) / NS_PER_S
        rates = {
            "given_hz": round(given / seconds, 1),
            "taken_hz": round((given - dropped) / seconds, 1),
        }
        says = f"{rates['taken_hz']:g} of {rates['given_hz']:g} frames a second are taken"
        if self._since_ns is None and dropped >= OVERLOAD_SHARE * given:
            quiet = self._told_ns is not None and last.time_ns - self._told_ns < QUIET_S * NS_PER_S
            if quiet:
                return None
            self._since_ns = self._told_ns = last.time_ns
            text = f"more than the pipeline can do: {says}, the others are dropped at the source"
            return "overload", text, rates
        if self._since_ns is not None and dropped < RELIEF_SHARE * given:
            lasted_s = round((last.time_ns - self._since_ns) / NS_PER_S, 1)
            self._since_ns = None
            text = f"the pipeline keeps up again after {lasted_s:g} s: {says}"
            return "overload_over", text, rates | {"lasted_s": lasted_s}
        return None
