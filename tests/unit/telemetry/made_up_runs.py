"""Runs that never were, whose times are known."""

from __future__ import annotations

import numpy as np

from pipeline.telemetry.spans import FrameSpans

MS = 1_000_000
STAGES = ("source", "detect", "sink")


def records(
    count: int = 200, *, work_ms: float = 20.0, period_ms: float = 25.0, seed: int = 0
) -> list[FrameSpans]:
    """A camera, a detector that is slower or faster than it, a sink; one frame after the other."""
    rng = np.random.default_rng(seed)
    free_detect = free_sink = 0
    found = []
    for i in range(count):
        capture = round(1_000 * MS + i * period_ms * MS)
        left = capture + 1 * MS
        ready = free_detect or left
        enter = max(left, ready) + 100_000
        done = enter + round(work_ms * MS * rng.uniform(0.9, 1.1))
        free_detect = done
        last = max(done, free_sink) + 50_000
        end = last + 200_000
        spans = (
            ("source", capture, left, capture),
            ("detect", enter, done, ready),
            ("sink", last, end, free_sink or last),
        )
        free_sink = end
        found.append(FrameSpans("cam0", i, capture - 1_000 * MS, capture, int(i % 50 == 49), spans))
    return found
