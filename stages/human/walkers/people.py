"""Who walks: a body, a gait and hair that stay the same, and what changes from day to day.

A person is a function of split, number and seed alone, so that any process makes the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.human.walkers.bodies import (
    GROUP_SHARES,
    GROUPS,
    Group,
    load_walker_skeleton,
)
from stages.human.walkers.builds import build_of_shape, draw_body
from stages.human.walkers.gaits import (
    GAITS_FILE,
    SPLITS,
    Gait,
    Population,
    Split,
    Style,
    draw_style,
    gait_of,
    load_population,
    styled,
)

# Streams of random numbers that must not meet.
PERSON_STREAM = 101
# How a walk differs from a person's usual one, in standard deviations of what was measured within
# one day and place; a street, other shoes and other days make it more.
DAY_SPREAD = 1.3
STYLE_CHANGE = 0.35


@dataclass(frozen=True)
class Hair:
    """Hair as cloth on the head: thickness on top and behind, and how far it hangs, metres."""

    top_m: float
    back_m: float
    hangs_m: float


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody who does not exist.

    Attributes:
        split, number, seed: what made them.
        group: woman, man, girl or boy.
        shape: float64 [10], the open body's shape numbers.
        numbers: float64 [D], the usual walk (`gaits.Population`).
        style: what they add to it.
        hair: on their head.
        height_m: without shoes and hair.
        mass_index: kg/m2, of a body as dense as water.
    """

    split: Split
    number: int
    seed: int
    group: Group
    shape: NDArray[np.float64]
    numbers: NDArray[np.float64]
    style: Style
    hair: Hair
    height_m: float
    mass_index: float

    @property
    def usual_gait(self) -> Gait:
        """How they walk on average."""
        return styled(gait_of(self.numbers), self.style)

    @property
    def leg_m(self) -> float:
        """Length of a leg, hip to ankle."""
        joints = load_walker_skeleton().rest_joints(self.shape)
        return float(np.linalg.norm(joints[[4, 7]] - joints[[1, 4]], axis=1).sum())

    def walk(
        self, rng: np.random.Generator, population: Population, spread: float = DAY_SPREAD
    ) -> Gait:
        """One of their walks; `spread` 0 is always the usual one."""
        numbers = self.numbers + population.another_day(rng, spread)
        today = draw_style(rng, STYLE_CHANGE * spread / DAY_SPREAD)
        return styled(styled(gait_of(numbers), self.style), today)


def person(
    split: Split, number: int, seed: int = 0, population: Population | None = None
) -> Person:
    """The person of a number.

    Args:
        split: whose gaits they have; `test` people walk as nobody of `train` does.
        number: from 0.
        population: other gaits than the shipped ones.
    """
    rng = np.random.default_rng((seed, PERSON_STREAM, SPLITS.index(split), number))
    group = GROUPS[int(rng.choice(len(GROUPS), p=GROUP_SHARES))]
    shape = draw_body(group, rng)
    gaits = shipped_population(split) if population is None else population
    numbers = gaits.draw(rng)
    style = draw_style(rng)
    build = build_of_shape(shape)
    hair = _hair(group, rng)
    return Person(
        split,
        number,
        seed,
        group,
        shape,
        numbers,
        style,
        hair,
        build.height_m,
        build.mass_index,
    )


@cache
def shipped_population(
    split: Split, path: Path = GAITS_FILE, *, planted: bool = False
) -> Population:
    """A shipped population, read once; `planted`: whose feet stand while they are down."""
    return replace(load_population(split, path), planted=planted)


def _hair(group: Group, rng: np.random.Generator) -> Hair:
    is_long = rng.random() < (0.6 if group in ("woman", "girl") else 0.08)
    top, back = rng.uniform(0.0, 0.035), rng.uniform(0.0, 0.04)
    return Hair(float(top), float(back), float(rng.uniform(0.1, 0.35)) if is_long else 0.0)
