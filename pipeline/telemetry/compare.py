"""Two profiles side by side, with intervals that say what is chance.

Frames that follow each other are alike (who is in view, what else the machine does), so intervals
come from drawing stretches of a second anew, not frames (a block bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.clock import NS_PER_S
from pipeline.telemetry.timeline import PARTS, Timeline, parts_ms, whole_ms

DRAWS = 1000
LEVEL = 0.95
SEED = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two runs.

    Attributes:
        name: what of which stage.
        a, b: in milliseconds.
        ratio: b / a. low, high: its 95 % interval.
    """

    name: str
    a: float
    b: float
    ratio: float
    low: float
    high: float

    @property
    def told(self) -> str:
        """What the interval says: "less", "more" or "chance"."""
        if self.high < 1:
            return "less"
        return "more" if self.low > 1 else "chance"


def differences(a: Timeline, b: Timeline) -> list[Difference]:
    """Compare capture to sink and the service time of the stages that both runs have."""
    pairs = [
        (f"capture to sink, p{percent}", whole_ms(a), whole_ms(b), percent) for percent in (50, 95)
    ]
    mine, other = parts_ms(a), parts_ms(b)
    for stage in a.stages:
        if stage not in b.stages:
            continue
        here, there = a.stages.index(stage), b.stages.index(stage)
        pairs += [
            (f"{stage} {part}, p50", mine[part][:, here], other[part][:, there], 50)
            for part in PARTS
        ]
    blocks_a, blocks_b = _blocks(a), _blocks(b)
    found = []
    for name, left, right, percent in pairs:

        def figure(values: np.ndarray, percent: float = percent) -> float:
            return float(np.percentile(values, percent))

        if figure(left) <= 0:
            continue
        drawn_a = _drawn(left, blocks_a, figure, SEED)
        drawn_b = _drawn(right, blocks_b, figure, SEED + 1)
        ratios = drawn_b / np.maximum(drawn_a, 1e-9)
        low, high = np.percentile(ratios, (50 - 50 * LEVEL, 50 + 50 * LEVEL))
        now = (figure(left), figure(right))
        found.append(Difference(name, *now, now[1] / now[0], float(low), float(high)))
    return found


def _blocks(timeline: Timeline) -> list[np.ndarray]:
    """The places of the frames of each second."""
    seconds = (timeline.capture_ns - timeline.capture_ns.min()) // NS_PER_S
    return [np.flatnonzero(seconds == each) for each in np.unique(seconds)]


def _drawn(
    values: np.ndarray,
    blocks: list[np.ndarray],
    figure: Callable[[np.ndarray], float],
    seed: int,
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = np.empty(DRAWS)
    for draw in range(DRAWS):
        chosen = rng.integers(0, len(blocks), len(blocks))
        found[draw] = figure(np.concatenate([values[blocks[each]] for each in chosen]))
    return found
