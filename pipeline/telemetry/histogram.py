"""Percentiles in bounded memory, mergeable between processes.

Durations fall into buckets whose bounds grow by 2 %, from 1 µs to about an hour, so a percentile is
right within 1 % however long a run lasts (the idea of HdrHistogram, with plain logarithms).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

GROWTH = 1.02
_LOG_GROWTH = math.log(GROWTH)
_SMALLEST_NS = 1_000
_BUCKETS = int(math.log(3600e9 / _SMALLEST_NS) / _LOG_GROWTH) + 1


class LatencyHistogram:
    """A bag of durations."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, duration_ns: int) -> None:
        """Add one duration; what is under a microsecond counts as one."""
        if duration_ns <= _SMALLEST_NS:
            bucket = 0
        else:
            bucket = min(int(math.log(duration_ns / _SMALLEST_NS) / _LOG_GROWTH) + 1, _BUCKETS)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def __len__(self) -> int:
        return sum(self.counts.values())

    def percentile_ms(self, percent: float) -> float | None:
        """Return the duration in milliseconds that `percent` of all do not exceed."""
        total = len(self)
        if total == 0:
            return None
        rank = max(1, math.ceil(total * percent / 100))
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                break
        middle_ns = _SMALLEST_NS * GROWTH ** (bucket - 0.5 if bucket else 0)
        return middle_ns / 1e6

    def summary(self) -> dict[str, float | None]:
        """Return p50, p95 and p99 in milliseconds, rounded to microseconds."""
        values = {f"p{percent}": self.percentile_ms(percent) for percent in (50, 95, 99)}
        return {key: None if value is None else round(value, 3) for key, value in values.items()}
