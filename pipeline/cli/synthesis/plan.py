"""Which sequences a set has, and how each is made: a function of the configuration alone.

A sequence's random numbers come from the seed, who walks, and the sequence's own name. So it is
the same whichever process makes it, in whatever order, and whatever else is asked for beside it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.cli.synthesis.config import CONDITION, OCCLUDED, SynthConfig
from stages.human.walkers.gaits import SPLITS
from stages.human.walkers.sequences import Recipe
from stages.human.walkers.wardrobe import DRESSES, Dress

# Streams of random numbers that must not meet, nor those of stages/human/walkers/people.py.
SEQUENCE_STREAM, SETTING_STREAM, OUTFIT_STREAM, SCENE_STREAM = 211, 223, 227, 229


@dataclass(frozen=True, slots=True)
class Planned:
    """One sequence of somebody: kind and view are its place in the layout, as nm-01 and 090."""

    number: int
    kind: str
    view: str
    recipe: Recipe


def subject_of(config: SynthConfig, number: int) -> str:
    """Return a person's id; people of other splits and seeds have others."""
    return f"{config.split}{config.seed}-{number:05d}"


def kinds_of(config: SynthConfig) -> list[str]:
    """Return the walks of each person: nm-01, nm-02, bg-01 ..."""
    return [
        f"{condition}-{walk + 1:02d}"
        for condition, count in config.conditions.items()
        for walk in range(count)
    ]


def views_of(config: SynthConfig) -> list[str]:
    """Return the views of each walk: azimuths in whole degrees, 000 coming, 090 their left side."""
    return [f"{round(place * 360 / config.views) % 360:03d}" for place in range(config.views)]


def planned_of(config: SynthConfig, number: int) -> Iterator[Planned]:
    """Yield the sequences of a person, by walk and view."""
    for kind in kinds_of(config):
        for place, view in enumerate(views_of(config)):
            azimuth = place * 360 / config.views
            yield Planned(number, kind, view, _recipe(config, number, kind, view, azimuth))


def stream(config: SynthConfig, number: int, name: str, purpose: int) -> np.random.Generator:
    """Return the random numbers of one purpose of one sequence or walk of somebody."""
    split = SPLITS.index(config.split)
    return np.random.default_rng((config.seed, purpose, split, number, zlib.crc32(name.encode())))


def sequence_rng(config: SynthConfig, planned: Planned) -> np.random.Generator:
    """Return what `make_sequence` draws from."""
    name = f"{planned.kind}/{planned.view}"
    return stream(config, planned.number, name, SEQUENCE_STREAM)


def _recipe(config: SynthConfig, number: int, kind: str, view: str, azimuth: float) -> Recipe:
    rng = stream(config, number, f"{kind}/{view}", SETTING_STREAM)
    # Each draws in any case, so that a setting changes nothing but itself.
    turn, rate, noise, hidden, strays = rng.uniform(-1, 1), *rng.random(4)
    condition = kind.partition("-")[0]
    found = CONDITION.fullmatch(condition)
    assert found is not None, f"{condition} was checked before"
    fps = float(found["rate"] or _between(config.frame_rates_hz, rate))
    dress: Dress = "nm"
    for each in DRESSES:
        dress = each if each == condition else dress
    return Recipe(
        dress=dress,
        azimuth_deg=float((azimuth + turn * config.azimuth_jitter_deg) % 360),
        frames=config.frames,
        fps=fps,
        noise=_between(config.noise, noise),
        day_spread=_between(config.day_spread, strays),
        occluded=condition == OCCLUDED or bool(hidden < config.occluded),
        elevations_deg=config.elevations_deg,
        distances_m=config.distances_m,
        heights_px=config.heights_px,
        height=config.size,
    )


def _between(limits: tuple[float, float], share: float) -> float:
    return float(limits[0] + (limits[1] - limits[0]) * share)
