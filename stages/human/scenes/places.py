"""The places there are, and which of them suits some cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.errors import ConfigError
from stages.human.scenes.places_indoors import draw_corridor, draw_hall
from stages.human.scenes.places_outdoors import (
    draw_car_park,
    draw_lawn,
    draw_street,
    draw_yard,
)
from stages.human.scenes.settings import MOST_CAMERAS, PLACES, Place, check_room
from stages.human.scenes.stage_set import StageSet
from stages.human.scenes.surfaces import plaster
from stages.human.scenes.weather import draw_sky, outdoor_light


@dataclass(frozen=True)
class PlaceRule:
    """A place: how it is drawn, and how far the first camera may stand off the y axis, degrees."""

    draw: Callable[[np.random.Generator], StageSet]
    aside_deg: float


RULES: dict[Place, PlaceRule] = {
    "hall": PlaceRule(draw_hall, 20.0),
    "corridor": PlaceRule(draw_corridor, 4.0),
    "street": PlaceRule(draw_street, 20.0),
    "lawn": PlaceRule(draw_lawn, 20.0),
    "car_park": PlaceRule(draw_car_park, 20.0),
    "yard": PlaceRule(draw_yard, 20.0),
}


def choose_place(wanted: str, cameras: int, rng: np.random.Generator) -> Place:
    """The place asked for, or one with room for the cameras.

    Raises:
        ConfigError: there is no room for so many cameras.
    """
    try:
        check_room(wanted, cameras)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    fitting = [place for place in PLACES if cameras <= MOST_CAMERAS[place]]
    if wanted == "any":
        return fitting[int(rng.integers(len(fitting)))]
    return next(place for place in fitting if place == wanted)


def open_air(rng: np.random.Generator) -> StageSet:
    """Light and no place: for pictures that stand in for one."""
    light = outdoor_light(rng)
    floor = plaster(np.full(3, 0.4, np.float32), rng)
    return StageSet("picture", floor, (), None, None, draw_sky(light, rng, None), (), light)


def draw_place(place: Place, rng: np.random.Generator) -> StageSet:
    """A place of a kind; each call draws another one."""
    return RULES[place].draw(rng)
