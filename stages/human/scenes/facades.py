"""Walls with something on them: house fronts with windows and shops, doors, notices, pictures."""

from __future__ import annotations

import numpy as np

from stages.human.rasteriser import from_srgb
from stages.human.scenes.surfaces import (
    Array,
    Painter,
    band,
    cell_numbers,
    cells,
    lines,
    mix,
)

GLASS = from_srgb("#33404a")
FRAME = from_srgb("#e2ded6")
STOREY_M = 3.4


def house_front(
    wall: Painter,
    accent: Array,
    spacing_m: float,
    doors_m: tuple[float, ...],
    rng: np.random.Generator,
) -> Painter:
    """Storeys of windows over a row of shop windows that leaves room for doorways at doors_m."""
    numbers, shops = cell_numbers(rng), cell_numbers(rng)
    wide = float(rng.uniform(0.3, 0.42)) * spacing_m
    sill, head = float(rng.uniform(0.7, 1.0)), float(rng.uniform(2.3, 2.8))

    def painter(u: Array, z: Array, pixel_m: Array) -> Array:
        out = wall(u, z, pixel_m)
        upper = z > STOREY_M + 0.3
        up = np.mod(z - STOREY_M - 0.3, STOREY_M)
        across = (u / spacing_m - np.round(u / spacing_m)) * spacing_m
        window = band(up, sill, head, pixel_m) * band(across, -wide / 2, wide / 2, pixel_m)
        outer = band(up, sill - 0.12, head + 0.12, pixel_m)
        outer = outer * band(across, -wide / 2 - 0.1, wide / 2 + 0.1, pixel_m)
        out = mix(out, FRAME, np.where(upper, outer, 0))
        shade = 1 + 0.5 * np.clip(cells(u + spacing_m / 2, z, spacing_m, STOREY_M, numbers), -1, 2)
        glass = GLASS * (shade * (0.7 + 0.5 * up / STOREY_M))[..., None]
        bars = np.maximum(band(across, -0.03, 0.03, pixel_m), lines(up - sill, 0.8, 0.05, pixel_m))
        out = mix(out, mix(glass, FRAME, bars), np.where(upper, window, 0))
        closed = np.ones_like(u)
        for door in doors_m:
            closed *= np.abs(u - door) > 1.15
        shopping = _shops(out, u, z, pixel_m, accent, spacing_m * 1.5, shops)
        return mix(out, shopping, closed)

    return painter


def _shops(
    out: Array, u: Array, z: Array, pixel_m: Array, accent: Array, wide_m: float, numbers: Array
) -> Array:
    """Shop windows on the ground floor, a sign above each."""
    across = (u / wide_m - np.round(u / wide_m)) * wide_m
    half = 0.42 * wide_m
    here = band(across, -half, half, pixel_m)
    number = cells(u + wide_m / 2, z * 0, wide_m, 1.0, numbers)
    shelf = [cells(u + shift, z, 0.37, 0.52, numbers) for shift in (0.0, 5.3, 9.1)]
    tint = np.tanh(np.stack(shelf, axis=-1))
    standing = band(np.mod(u, 0.37), 0.06, 0.31, pixel_m) * band(
        np.mod(z, 0.52), 0.05, 0.4, pixel_m
    )
    goods = GLASS * (1 + 0.35 * z / 3)[..., None] * (1 + 0.6 * tint * standing[..., None])
    out = mix(out, 0.35 * accent, here * band(z, 0.15, 2.75, pixel_m))
    pane = band(across, -half + 0.08, half - 0.08, pixel_m) * band(z, 0.45, 2.6, pixel_m)
    out = mix(out, goods, pane)
    sign = accent * (1 + 0.3 * np.tanh(number))[..., None]
    letters = band(np.mod(u * 3.1, 1.0), 0.25, 0.75, pixel_m) * band(z, 2.92, 3.12, pixel_m)
    out = mix(out, sign, here * band(z, 2.8, 3.25, pixel_m))
    return mix(out, FRAME, here * letters * (np.abs(across) < 0.3 * wide_m))


def with_closed_doors(wall: Painter, colour: Array, spacing_m: float, shift_m: float) -> Painter:
    """Doors that stay shut, every so often."""

    def painter(u: Array, z: Array, pixel_m: Array) -> Array:
        out = wall(u, z, pixel_m)
        across = ((u - shift_m) / spacing_m - np.round((u - shift_m) / spacing_m)) * spacing_m
        frame = band(across, -0.56, 0.56, pixel_m) * band(z, -0.1, 2.16, pixel_m)
        leaf = band(across, -0.48, 0.48, pixel_m) * band(z, -0.1, 2.08, pixel_m)
        out = mix(mix(out, 0.6 * colour, frame), colour, leaf)
        handle = band(across, 0.36, 0.44, pixel_m) * band(z, 1.0, 1.06, pixel_m)
        return mix(out, from_srgb("#c9c4bc"), handle)

    return painter


def with_pictures(wall: Painter, rng: np.random.Generator, spacing_m: float) -> Painter:
    """Framed prints at eye height: hills and a sun, each in its colours."""
    numbers, more = cell_numbers(rng), cell_numbers(rng)
    shift = float(rng.uniform(0, spacing_m))

    def painter(u: Array, z: Array, pixel_m: Array) -> Array:
        out = wall(u, z, pixel_m)
        x = ((u - shift) / spacing_m - np.round((u - shift) / spacing_m)) * spacing_m
        y = z - 1.75
        first = cells(u - shift + spacing_m / 2, z * 0, spacing_m, 1.0, numbers)
        second = cells(u - shift + spacing_m / 2, z * 0, spacing_m, 1.0, more)
        hue = np.stack([first, second, -first - second], axis=-1)
        low = np.clip(0.18 * np.exp(0.7 * hue), 0.02, 0.8)
        high = np.clip(0.5 * np.exp(0.25 * np.roll(hue, 1, axis=-1)), 0.1, 0.9)
        hills = y < -0.08 + 0.09 * np.sin(5 * x + first) + 0.03 * np.sin(13 * x)
        sun = (x - 0.2) ** 2 + (y - 0.14) ** 2 < 0.011
        art = np.where(hills[..., None], low, high)
        art = np.where((sun & ~hills)[..., None], [0.9, 0.7, 0.4], art)
        for half_x, half_y, colour in ((0.64, 0.48, [0.04] * 3), (0.6, 0.44, [0.85] * 3)):
            here = band(x, -half_x, half_x, pixel_m) * band(y, -half_y, half_y, pixel_m)
            out = mix(out, np.array(colour, np.float32), here)
        inside = band(x, -0.52, 0.52, pixel_m) * band(y, -0.36, 0.36, pixel_m)
        return mix(out, art, inside)

    return painter
