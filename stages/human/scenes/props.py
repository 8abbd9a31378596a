"""Things that stand about: benches, boxes, plants, trees, lamp posts, pillars and parked cars.

Each is made of triangles in world axes (metres, z up), counter-clockwise from outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.human.rasteriser import from_srgb
from stages.human.scenes.stage_set import Prop

Array = NDArray[np.float32]
Point = tuple[float, float, float]

RUBBER, CHROME = from_srgb("#1c1c1e"), from_srgb("#8f948f")
WINDOW = from_srgb("#2a3238")


def joined(parts: Sequence[Prop]) -> Prop:
    """Several things as one."""
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return Prop(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.albedo for part in parts]),
    )


def turned(prop: Prop, angle_rad: float, x_m: float, y_m: float) -> Prop:
    """A thing turned about z and carried to its place."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], np.float32)
    vertices = prop.vertices @ turn.T + np.array([x_m, y_m, 0], np.float32)
    return Prop(vertices.astype(np.float32), prop.faces, prop.albedo)


def box(low: Point, high: Point, colour: Array) -> Prop:
    """An upright box with flat sides."""
    return frustum(low, high, colour)


def frustum(low: Point, high: Point, colour: Array, inset: Point = (0.0, 0.0, 0.0)) -> Prop:
    """A box whose top is smaller: by inset (front x, back x, sides y) metres."""
    x1, y1, z1 = low
    x2, y2, z2 = high
    front, back, side = inset
    foot = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    top = [(x1 + back, y1 + side), (x2 - front, y1 + side),
           (x2 - front, y2 - side), (x1 + back, y2 - side)]  # fmt: skip
    corners = np.array([(*p, z1) for p in foot] + [(*p, z2) for p in top], np.float32)
    sides = [(k, (k + 1) % 4, (k + 1) % 4 + 4, k + 4) for k in range(4)]
    quads = [(0, 3, 2, 1), (4, 5, 6, 7), *sides]
    return _flat(corners, quads, colour)


def _flat(corners: Array, quads: Sequence[tuple[int, ...]], colour: Array) -> Prop:
    """Quads with vertices of their own, so that every side has one normal."""
    vertices = np.concatenate([corners[list(quad)] for quad in quads])
    faces = np.concatenate(
        [[[4 * k, 4 * k + 1, 4 * k + 2], [4 * k, 4 * k + 2, 4 * k + 3]] for k in range(len(quads))]
    ).astype(np.int32)
    return Prop(vertices, faces, np.tile(colour, (len(vertices), 1)).astype(np.float32))


def column(radius_m: float, low_m: float, high_m: float, colour: Array, sides: int = 16) -> Prop:
    """A round upright column at the origin."""
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = radius_m * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    foot = np.column_stack([ring, np.full(sides, low_m)])
    rim = foot + np.array([0, 0, high_m - low_m])
    # The lid has a rim of its own, so that its light does not bleed into the side.
    vertices = np.concatenate([foot, rim, rim, [[0, 0, high_m]]]).astype(np.float32)
    this, after = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = np.concatenate(
        [
            np.stack([this, after, after + sides], 1),
            np.stack([this, after + sides, this + sides], 1),
            np.stack([this + 2 * sides, after + 2 * sides, np.full(sides, 3 * sides)], 1),
        ]
    ).astype(np.int32)
    return Prop(vertices, faces, np.tile(colour, (len(vertices), 1)).astype(np.float32))


def wheel(radius_m: float, wide_m: float, x_m: float, y_m: float) -> Prop:
    """A wheel that stands across y."""
    sides = 14
    angle = np.arange(sides) * 2 * np.pi / sides
    rim = np.stack([np.cos(angle), np.zeros(sides), np.sin(angle)], axis=1) * radius_m
    half = np.array([0, wide_m / 2, 0])
    near, far = rim - half, rim + half
    hubs = np.stack([-half, half])
    vertices = np.concatenate([near, far, hubs]) + np.array([x_m, y_m, radius_m])
    this, after = np.arange(sides), (np.arange(sides) + 1) % sides
    one, other = np.full(sides, 2 * sides), np.full(sides, 2 * sides + 1)
    faces = np.concatenate(
        [
            np.stack([this, this + sides, after + sides], 1),
            np.stack([this, after + sides, after], 1),
            np.stack([one, this, after], 1),
            np.stack([other, after + sides, this + sides], 1),
        ]
    ).astype(np.int32)
    albedo = np.tile(RUBBER, (len(vertices), 1)).astype(np.float32)
    albedo[-2:] = CHROME
    return Prop(vertices.astype(np.float32), faces, albedo)


def car(colour: Array) -> Prop:
    """A parked car along x, 4.3 m long, at the origin."""
    parts = [
        frustum((-2.1, -0.87, 0.25), (2.15, 0.87, 0.85), colour, (0.12, 0.08, 0.06)),
        frustum((-1.75, -0.78, 0.84), (1.15, 0.78, 1.42), WINDOW, (0.75, 0.45, 0.16)),
        frustum((-1.25, -0.61, 1.41), (0.38, 0.61, 1.47), colour, (0.1, 0.1, 0.05)),
        box((2.02, -0.75, 0.55), (2.12, -0.45, 0.7), FULL_LIGHT),
        box((2.02, 0.45, 0.55), (2.12, 0.75, 0.7), FULL_LIGHT),
        box((-2.12, -0.8, 0.55), (-2.0, -0.5, 0.72), from_srgb("#a8342c")),
        box((-2.12, 0.5, 0.55), (-2.0, 0.8, 0.72), from_srgb("#a8342c")),
    ]
    parts += [wheel(0.32, 0.2, x, y) for x in (-1.3, 1.35) for y in (-0.8, 0.8)]
    return joined(parts)


FULL_LIGHT = from_srgb("#e6e3dc")


def bench(wood: Array, metal: Array) -> Prop:
    """A bench along x, 1.6 m long."""
    parts = [box((-0.8, -0.22, 0.41), (0.8, 0.22, 0.46), wood)]
    parts += [box((-0.8, 0.2, 0.55), (0.8, 0.24, 0.85), wood)]
    parts += [box((x, -0.2, 0.0), (x + 0.06, 0.24, 0.41), metal) for x in (-0.7, 0.64)]
    parts += [box((x, 0.22, 0.4), (x + 0.06, 0.26, 0.85), metal) for x in (-0.7, 0.64)]
    return joined(parts)


def table(wood: Array, metal: Array) -> Prop:
    """A table along x, 1.4 m long."""
    parts = [box((-0.7, -0.4, 0.71), (0.7, 0.4, 0.75), wood)]
    parts += [box((x, y, 0.0), (x + 0.05, y + 0.05, 0.71), metal)
              for x in (-0.66, 0.61) for y in (-0.36, 0.31)]  # fmt: skip
    return joined(parts)


def foliage(
    centre: Point, radius_m: float, count: int, colour: Array, rng: np.random.Generator
) -> Prop:
    """Leaves around a point, each a small rhomb seen from both sides."""
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    middle = np.array(centre) + direction * radius_m * rng.uniform(0.35, 1.0, (count, 1))
    along = direction + 0.7 * rng.standard_normal((count, 3))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.cross(along, rng.standard_normal((count, 3)))
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-6)
    size = radius_m * rng.uniform(0.16, 0.3, (count, 1))
    corners = np.stack(
        [middle - along * size, middle + side * 0.4 * size,
         middle + along * size, middle - side * 0.4 * size], axis=1)  # fmt: skip
    first = 4 * np.arange(count)[:, None]
    faces = np.concatenate([first + k for k in ([0, 1, 2], [0, 2, 3], [2, 1, 0], [3, 2, 0])])
    # Leaves deep inside are dark.
    depth = np.linalg.norm(middle - np.array(centre), axis=1, keepdims=True) / radius_m
    tone = rng.uniform(0.6, 1.25, (count, 1)) * (0.35 + 0.65 * depth)
    albedo = (colour * tone).repeat(4, axis=0)
    return Prop(
        corners.reshape(-1, 3).astype(np.float32), faces.astype(np.int32), albedo.astype(np.float32)
    )


def plant(colour: Array, pot: Array, rng: np.random.Generator) -> Prop:
    """A plant in a pot, as tall as a child."""
    return joined(
        [
            frustum((-0.2, -0.2, 0.0), (0.2, 0.2, 0.42), pot, (-0.04, -0.04, -0.04)),
            foliage((0.0, 0.0, 0.85), 0.45, 160, colour, rng),
        ]
    )


def tree(colour: Array, height_m: float, rng: np.random.Generator) -> Prop:
    """A trunk and a crown of a few clumps."""
    bark = from_srgb("#4b4038")
    parts = [column(0.14, 0.0, 0.6 * height_m, bark, 10)]
    for _ in range(7):
        x, y = rng.normal(0, 0.16 * height_m, 2)
        z = rng.uniform(0.55, 0.9) * height_m
        parts.append(foliage((x, y, z), 0.2 * height_m, 220, colour, rng))
    return joined(parts)


def lamp_post(colour: Array) -> Prop:
    """A street lamp, 4 m tall."""
    return joined(
        [
            column(0.06, 0.0, 4.0, colour, 8),
            column(0.14, 0.0, 0.4, colour, 8),
            box((-0.2, -0.2, 4.0), (0.2, 0.2, 4.3), FULL_LIGHT),
        ]
    )


def bin_(colour: Array) -> Prop:
    """A litter bin."""
    return joined([column(0.24, 0.0, 0.8, colour), column(0.26, 0.8, 0.84, 0.5 * colour)])
