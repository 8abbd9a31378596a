"""Where a step lies in the phases, and its learning rate: pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stages.embed.training.config import Phase, Schedule


@dataclass(frozen=True, slots=True)
class Position:
    """Where a step lies.

    Attributes:
        index: of the phase, from 0.
        phase: the phase itself.
        step: within the phase, from 0.
    """

    index: int
    phase: Phase
    step: int


def total_steps(phases: Sequence[Phase]) -> int:
    """Return the steps of all phases together."""
    return sum(phase.steps for phase in phases)


def position_of(phases: Sequence[Phase], step: int) -> Position:
    """Return where step `step` of the whole training lies, counted from 0."""
    first = 0
    for index, phase in enumerate(phases):
        if step < first + phase.steps:
            return Position(index, phase, step - first)
        first += phase.steps
    raise ValueError(f"step {step} lies beyond the {first} steps of all phases")


def learning_rate(phase: Phase, step: int) -> float:
    """Return the learning rate of a phase's step, counted from 0.

    During warm-up it grows in a straight line from `warmup_from` times the rate of that moment.
    """
    schedule = phase.schedule
    rate = phase.optimiser.lr * _factor(schedule, step, phase.steps)
    if step < schedule.warmup_steps:
        share = step / schedule.warmup_steps
        rate *= schedule.warmup_from + (1 - schedule.warmup_from) * share
    return rate


def _factor(schedule: Schedule, step: int, steps: int) -> float:
    """Return what the phase's rate is multiplied by, warm-up left out."""
    if schedule.kind == "milestones":
        return schedule.gamma ** sum(step >= milestone for milestone in schedule.milestones)
    after_warmup = max(steps - 1 - schedule.warmup_steps, 1)
    share = min(max(step - schedule.warmup_steps, 0) / after_warmup, 1.0)
    falling = (1 + math.cos(math.pi * share)) / 2  # 1 to 0
    return schedule.final + (1 - schedule.final) * falling
