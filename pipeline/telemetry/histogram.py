"""Percentiles in bounded memory, mergeable between processes.

Durations fall into buckets whose bounds grow by 2 %, from 1 µs to about an hour, so a percentile is
right within 1 % however long a run lasts (the idea of HdrHistogram, with plain logarithms).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

GROWTH = 1.02
_LOG_GROWTH = math.log(GROWTH)
_SMALLEST_NS = 1_000
_BUCKETS = int(math.log(3600e9 / _SMALLEST_NS) / _LOG_GROWTH) + 1


def _middle_ns(bucket: int) -> float:
    return _SMALLEST_NS * GROWTH ** (bucket - 0.5 if bucket else 0)


class LatencyHistogram:
    """A bag of durations."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, duration_ns: int) -> None:
        """Add one duration; what is under a microsecond counts as one."""
        if duration_ns <= _SMALLEST_NS:
            bucket = 0
        else:
            bucket = int(math.log(duration_ns / _SMALLEST_NS) / _LOG_GROWTH) + 1
            if bucket > _BUCKETS:
                bucket = _BUCKETS
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def __len__(self) -> int:
        return sum(self.counts.values())

    def up_to(self, bounds_ns: Sequence[float]) -> list[int]:
        """Return how many durations lie at or below each bound, within 2 %; bounds ascend."""
        found, seen = [], 0
        left = sorted(self.counts)
        for bound in bounds_ns:
            while left and _middle_ns(left[0]) <= bound:
                seen += self.counts[left.pop(0)]
            found.append(seen)
        return found

    def total_ns(self) -> float:
        """Return the sum of all durations, within 1 %."""
        return sum(_middle_ns(bucket) * count for bucket, count in self.counts.items())

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
        return _middle_ns(bucket) / 1e6

    def summary(self) -> dict[str, float | None]:
        """Return p50, p95 and p99 in milliseconds, rounded to microseconds."""
        values = {f"p{percent}": self.percentile_ms(percent) for percent in (50, 95, 99)}
        return {key: None if value is None else round(value, 3) for key, value in values.items()}
