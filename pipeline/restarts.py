"""How often a stage may be started again."""

from __future__ import annotations

from collections import deque

RESTARTS = 5
RESTARTS_WITHIN_S = 60.0


class RestartBudget:
    """Counts each stage's restarts of the last `within_s` seconds, `most` of which are granted."""

    def __init__(self, most: int = RESTARTS, within_s: float = RESTARTS_WITHIN_S) -> None:
        self._most = most
        self._within_s = within_s
        self._at: dict[str, deque[float]] = {}

    def take(self, stage: str, now: float) -> int | None:
        """Return the how-manieth restart this is at `now` (seconds), None if it is one too many."""
        times = self._at.setdefault(stage, deque())
        while times and now - times[0] > self._within_s:
            times.popleft()
        if len(times) >= self._most:
            return None
        times.append(now)
        return len(times)
