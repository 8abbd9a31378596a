"""Places under the sky."""

from __future__ import annotations

import numpy as np

from stages.human.rasteriser import from_srgb
from stages.human.scenes.facades import house_front
from stages.human.scenes.places_indoors import pick
from stages.human.scenes.props import bench, bin_, box, car, lamp_post, tree, turned
from stages.human.scenes.stage_set import Obstacle, Prop, StageSet, Wall
from stages.human.scenes.surfaces import (
    Noise,
    Painter,
    asphalt,
    bricks,
    grass,
    leaves,
    plaster,
    tiles,
    with_marks,
    with_way,
)
from stages.human.scenes.weather import draw_sky, outdoor_light

HOUSES = ("#b98f72", "#c9bfae", "#a5826a", "#8f8a82", "#cdb98a", "#9aa5a8", "#7d5a4a", "#d8d0c0")
SIGNS = ("#8c2f2a", "#2b4a6a", "#2f5a3c", "#3a3430", "#b08a3a")
STONES = ("#a39c92", "#8f8a82", "#b5ada0", "#7f7b76")
TARS = ("#4a4a4c", "#3c3d40", "#5b5a58")
MEADOWS = ("#4f6b34", "#5c7a3a", "#6a7a40", "#42602f")
HEDGES = ("#3c5a30", "#2f4a2a", "#4a6636")
CARS = ("#8c2f2a", "#2b3d5a", "#c9ccd0", "#3a3d42", "#e6e3dc", "#5a6b5f", "#1d1f22", "#7d8a96")
LIME = from_srgb("#e6e3dc")


def draw_street(rng: np.random.Generator) -> StageSet:
    """A wide pavement before house fronts, a road with parked cars behind the camera."""
    fronts = float(rng.uniform(5.0, 6.5))
    sides = (
        (1, fronts, 11.0, (-7.5, -2.5, 2.5, 7.5)),
        (1, -19.0, 9.0, (-8.0, 0.0, 8.0)),
        (0, -26.0, 10.0, (-2.0,)),
        (0, 26.0, 10.0, (-2.0,)),
    )
    walls = tuple(Wall(axis, at, top, _house(d, rng), d) for axis, at, top, d in sides)
    pavement = tiles(pick(rng, STONES), float(rng.uniform(0.35, 0.8)), rng, 0.1)
    floor = with_way(asphalt(pick(rng, TARS), rng), pavement, -6.2, fronts, Noise.draw(rng))
    props, obstacles = [], []
    for x in (-15.0, -9.5, 9.5, 15.0):
        if rng.random() < 0.7:
            props.append(turned(car(pick(rng, CARS)), float(rng.integers(2)) * np.pi, x, -7.6))
            obstacles += [Obstacle(x + k, -7.6, 1.5) for k in (-1.2, 1.2)]
    for x in (-5.5, 6.0):
        kind = rng.integers(3)
        thing = (lamp_post(from_srgb("#3a3d42")), bin_(pick(rng, SIGNS)), None)[kind]
        if thing is not None:
            props.append(turned(thing, 0.0, x, fronts - 1.2))
            obstacles.append(Obstacle(x, fronts - 1.2, 0.7))
    light = outdoor_light(rng)
    return StageSet(
        "street",
        floor,
        walls,
        None,
        None,
        draw_sky(light, rng, None),
        tuple(props),
        light,
        tuple(obstacles),
    )


def _house(doors_m: tuple[float, ...], rng: np.random.Generator) -> Painter:
    colour = pick(rng, HOUSES)
    wall = bricks(colour, LIME * 0.7, rng) if rng.random() < 0.5 else plaster(colour, rng, 0.05)
    return house_front(wall, pick(rng, SIGNS), float(rng.uniform(2.2, 3.4)), doors_m, rng)


def draw_lawn(rng: np.random.Generator) -> StageSet:
    """Grass with a gravel way, a hedge around it, trees and benches."""
    hedge = leaves(pick(rng, HEDGES), rng)
    height = float(rng.uniform(1.9, 2.6))
    walls = tuple(
        Wall(axis, side * 17.0, height, hedge, tuple(float(d) for d in rng.uniform(-9, 9, 2)))
        for axis in (0, 1)
        for side in (-1, 1)
    )
    middle, half = float(rng.uniform(-1, 1)), float(rng.uniform(0.9, 1.8))
    gravel = asphalt(pick(rng, ("#b5a88e", "#a39c92", "#94826a")), rng)
    floor = with_way(
        grass(pick(rng, MEADOWS), rng), gravel, middle - half, middle + half, Noise.draw(rng, 4.0)
    )
    props: list[Prop] = []
    obstacles: list[Obstacle] = []
    green = pick(rng, HEDGES)
    for _ in range(int(rng.integers(3, 7))):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(11.5, 15.5)
        x, y = float(away * np.cos(angle)), float(away * np.sin(angle))
        props.append(turned(tree(green, float(rng.uniform(4, 6.5)), rng), 0.0, x, y))
        obstacles.append(Obstacle(x, y, 0.9))
    light = outdoor_light(rng)
    return StageSet(
        "lawn",
        floor,
        walls,
        None,
        None,
        draw_sky(light, rng, 0.8 * green),
        tuple(props),
        light,
        tuple(obstacles),
    )


def draw_car_park(rng: np.random.Generator) -> StageSet:
    """Asphalt with bays, parked cars on all sides, low walls."""
    concrete = plaster(pick(rng, STONES), rng, 0.07)
    walls = tuple(
        Wall(axis, side * 16.0, float(rng.uniform(2.6, 3.6)), concrete, (-6.0, 1.0, 7.0))
        for axis in (0, 1)
        for side in (-1, 1)
    )
    marks = [(x - 0.05, s * 13.2 - 2.4, x + 0.05, s * 13.2 + 2.4)
             for x in np.arange(-13.5, 13.6, 2.7) for s in (-1, 1)]  # fmt: skip
    marks += [(-3.0, -0.07, 3.0, 0.07)]
    floor = with_marks(asphalt(pick(rng, TARS), rng), LIME, tuple(marks))
    props, obstacles = [], []
    for side in (-1, 1):
        for bay in np.arange(-12.15, 13.0, 2.7):
            x = float(bay)
            if rng.random() < 0.45 or min(abs(x - d) for d in (-6.0, 1.0, 7.0)) < 1.6:
                continue
            angle = side * np.pi / 2 if rng.random() < 0.7 else -side * np.pi / 2
            props.append(turned(car(pick(rng, CARS)), angle, x, side * 13.2))
            obstacles += [Obstacle(x, side * 13.2 + k, 1.4) for k in (-1.3, 0.0, 1.3)]
    light = outdoor_light(rng)
    return StageSet(
        "car_park",
        floor,
        walls,
        None,
        None,
        draw_sky(light, rng, pick(rng, HEDGES)),
        tuple(props),
        light,
        tuple(obstacles),
    )


def draw_yard(rng: np.random.Generator) -> StageSet:
    """Before a plain wall: brick or plaster, stone slabs, hardly anything else."""
    near = float(rng.uniform(3.2, 4.5))
    colour = pick(rng, HOUSES)
    wall = bricks(colour, LIME * 0.7, rng) if rng.random() < 0.5 else plaster(colour, rng, 0.06)
    other = plaster(pick(rng, HOUSES), rng, 0.05)
    walls = (
        Wall(1, near, 5.5, wall, (-5.5, 5.5)),
        Wall(1, -18.0, 4.0, other, (-4.0, 4.0)),
        Wall(0, -15.0, 4.0, other, (0.0,)),
        Wall(0, 15.0, 4.0, other, (0.0,)),
    )
    slabs = tiles(pick(rng, STONES), float(rng.uniform(0.5, 1.2)), rng, 0.08)
    props, obstacles = [], []
    if rng.random() < 0.6:
        x = float(rng.uniform(-2.5, 2.5))
        props.append(turned(bench(from_srgb("#8a6748"), from_srgb("#3a3d42")), 0.0, x, near - 0.5))
        obstacles += [Obstacle(x + k, near - 0.5, 0.8) for k in (-0.5, 0.5)]
    if rng.random() < 0.6:
        x = float(rng.uniform(-3, 3))
        props.append(turned(box((-0.4, -0.4, 0), (0.4, 0.4, 1.0), pick(rng, SIGNS)), 0.3, x, 2.9))
        obstacles.append(Obstacle(x, 2.9, 1.0))
    light = outdoor_light(rng)
    return StageSet(
        "yard",
        slabs,
        walls,
        None,
        None,
        draw_sky(light, rng, None),
        tuple(props),
        light,
        tuple(obstacles),
    )
