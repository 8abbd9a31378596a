"""Places with a ceiling."""

from __future__ import annotations

import numpy as np

from stages.human.rasteriser import from_srgb
from stages.human.scenes.facades import with_closed_doors, with_pictures
from stages.human.scenes.props import bench, bin_, plant, table, turned
from stages.human.scenes.stage_set import Obstacle, Prop, StageSet, Wall
from stages.human.scenes.surfaces import (
    Array,
    Painter,
    band,
    boards,
    bricks,
    lines,
    mix,
    plaster,
    tiles,
    with_skirting,
)
from stages.human.scenes.weather import indoor_light

PLASTERS = ("#cfcabd", "#d8d4cc", "#bfc6c4", "#c9bfae", "#a9b4bd", "#d9cdb4", "#b9a99a")
FLOORS = ("#b3aca2", "#8f8a82", "#7b8288", "#c2b8a6", "#6e665e")
WOODS = ("#8a6748", "#b08a62", "#6b4a32", "#c2a27a")
ACCENTS = ("#8d9a8e", "#7a8a99", "#9a7f6a", "#5f6f66", "#a39480")
DOOR_COLOURS = ("#6b4a32", "#8f949a", "#3c5060", "#a08060")
GREENS = ("#5c8a55", "#4a7046", "#6f8f4f")
HALL_HALF_M = 12.5
CORRIDOR_HALF_M, CORRIDOR_LONG_M = 2.5, 15.0


def pick(rng: np.random.Generator, colours: tuple[str, ...]) -> Array:
    """One of the colours, a little lighter or darker."""
    base = from_srgb(colours[int(rng.integers(len(colours)))])
    return np.asarray(base * np.exp(rng.normal(0, 0.1)), np.float32)


def draw_hall(rng: np.random.Generator) -> StageSet:
    """A hall of 25 m with doorways on all sides, and things along its walls."""
    painter = _wall_painter(rng)
    walls = []
    for axis in (0, 1):
        for side in (-1, 1):
            doors = tuple(float(d) for d in rng.uniform(-1.2, 1.2, 3) + np.array([-6.5, 0, 6.5]))
            walls.append(Wall(axis, side * HALL_HALF_M, 4.0, painter, doors))
    props: list[Prop] = []
    obstacles: list[Obstacle] = []
    _furnish(walls, props, obstacles, rng)
    return StageSet(
        "hall",
        _floor_painter(rng),
        tuple(walls),
        4.0,
        _ceiling(rng),
        _no_sky,
        tuple(props),
        indoor_light(rng),
        tuple(obstacles),
    )


def draw_corridor(rng: np.random.Generator) -> StageSet:
    """A corridor along y with rooms on both sides."""
    painter = with_closed_doors(
        _wall_painter(rng), pick(rng, DOOR_COLOURS), float(rng.uniform(3.5, 5)), 1.2
    )
    end = _wall_painter(rng)
    walls = (
        Wall(0, -CORRIDOR_HALF_M, 2.9, painter, (-1.5, 5.5, 11.0)),
        Wall(0, CORRIDOR_HALF_M, 2.9, painter, (-2.5, 4.0, 10.0)),
        Wall(1, -CORRIDOR_LONG_M, 2.9, end, (-1.0, 1.0)),
        Wall(1, CORRIDOR_LONG_M, 2.9, end, (-1.2, 1.2)),
    )
    props = [turned(bin_(pick(rng, ACCENTS)), 0, 2.2, 2.6)]
    obstacles = [Obstacle(2.2, 2.6, 0.6)]
    if rng.random() < 0.6:
        props.append(turned(plant(pick(rng, GREENS), pick(rng, ACCENTS), rng), 0, -2.1, 7.5))
        obstacles.append(Obstacle(-2.1, 7.5, 0.8))
    return StageSet(
        "corridor",
        _floor_painter(rng),
        walls,
        2.9,
        _ceiling(rng),
        _no_sky,
        tuple(props),
        indoor_light(rng),
        tuple(obstacles),
    )


def _wall_painter(rng: np.random.Generator) -> Painter:
    kind = rng.integers(4)
    if kind == 0:
        painter = bricks(pick(rng, ("#a5826a", "#b9b2a6", "#8c6a58")), from_srgb("#b9b2a6"), rng)
    else:
        painter = plaster(pick(rng, PLASTERS), rng)
    if kind == 1:
        painter = with_skirting(painter, pick(rng, ACCENTS), float(rng.uniform(0.8, 1.3)))
    else:
        painter = with_skirting(painter, pick(rng, ACCENTS), 0.1)
    return with_pictures(painter, rng, float(rng.uniform(3, 5))) if kind in (1, 2) else painter


def _floor_painter(rng: np.random.Generator) -> Painter:
    kind = rng.integers(3)
    if kind == 0:
        return boards(pick(rng, WOODS), float(rng.uniform(0.08, 0.2)), rng)
    if kind == 1:
        return plaster(pick(rng, FLOORS), rng, 0.06)
    return tiles(pick(rng, FLOORS), float(rng.uniform(0.3, 1.0)), rng)


def _no_sky(rays: Array) -> Array:
    """What is seen of the sky indoors: nothing but a white that no ray should meet."""
    return np.ones_like(rays)


def _ceiling(rng: np.random.Generator) -> Painter:
    """White panels, some of them lamps."""
    colour, spacing = from_srgb("#e0ddd6"), float(rng.uniform(1.8, 3.0))

    def painter(u: Array, v: Array, pixel_m: Array) -> Array:
        out = np.tile(colour, (len(u), 1)).astype(np.float32)
        seam = np.maximum(lines(u, 0.6, 0.02, pixel_m), lines(v, 0.6, 0.02, pixel_m))
        out = mix(out, 0.6 * colour, seam)
        x = np.mod(u, spacing) - 0.5 * spacing
        y = np.mod(v, spacing) - 0.5 * spacing
        lamp = band(x, -0.15, 0.15, pixel_m) * band(y, -0.6, 0.6, pixel_m)
        return mix(out, np.full(3, 3.5, np.float32), lamp)

    return painter


def _furnish(
    walls: list[Wall], props: list[Prop], obstacles: list[Obstacle], rng: np.random.Generator
) -> None:
    """Benches, tables and plants along the walls, away from the doorways."""
    wood, metal = pick(rng, WOODS), from_srgb("#8f948f")
    for wall in walls:
        inwards = -np.sign(wall.at_m)
        for along in (-9.5, -3.3, 3.3, 9.5):
            if min(abs(along - door) for door in wall.doors_m) < 1.9 or rng.random() < 0.35:
                continue
            kind = rng.integers(3)
            thing = (bench(wood, metal), table(wood, metal), None)[kind]
            if thing is None:
                thing = plant(pick(rng, GREENS), pick(rng, ACCENTS), rng)
            at = wall.at_m + 0.6 * inwards
            x, y = (at, along) if wall.axis == 0 else (along, at)
            # Benches have their backs to the wall.
            angle = {(0, 1): -0.5, (0, -1): 0.5, (1, 1): 0.0, (1, -1): 1.0}[
                (wall.axis, int(-inwards))
            ]
            props.append(turned(thing, angle * np.pi, float(x), float(y)))
            obstacles.append(Obstacle(float(x), float(y), 1.2))
