"""The two clocks. Stages never read them; the runner and the sources do."""

from __future__ import annotations

import time

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


def monotonic_ns() -> int:
    """Nanoseconds of the host's monotonic clock: the same one in every process of a host."""
    return time.monotonic_ns()


def unix_ns() -> int:
    """Nanoseconds since 1970-01-01 UTC."""
    return time.time_ns()
