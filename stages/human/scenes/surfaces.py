"""Procedural surfaces: what floors and walls look like, as albedo in linear light.

A painter takes two coordinates on the surface (metres) and how many metres a pixel covers there,
float32 [n] each, and returns albedo [n,3]. Detail finer than a pixel fades out: it would flicker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.human.scenes.fabrics import seamless_noise

Array = NDArray[np.float32]
Painter = Callable[[Array, Array, Array], Array]

NOISE_SIDE = 512
CELLS = 64
ROW = 4096  # OpenCV looks up at most 32,767 rows or columns at once


@dataclass(frozen=True, eq=False)
class Noise:
    """A seamless field [NOISE_SIDE,NOISE_SIDE] to be looked up at any scale."""

    field: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, blur: float = 1.5) -> Noise:
        """A field of its own."""
        return cls(seamless_noise(NOISE_SIDE, blur, rng))

    def at(self, u: Array, v: Array, cell_m: float, pixel_m: Array | None = None) -> Array:
        """Values [n] at places in metres: mean 0, and deviation 1 where a pixel resolves it."""
        count = len(u)
        rows = -(-count // ROW)
        maps = []
        for place in (u, v):
            padded = np.zeros(rows * ROW, np.float32)
            padded[:count] = np.mod(place / np.float32(cell_m), NOISE_SIDE)
            maps.append(padded.reshape(rows, ROW))
        out = cv2.remap(self.field, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        values = np.asarray(out.ravel()[:count], np.float32)
        return values if pixel_m is None else values * resolved(4 * cell_m, pixel_m)


def resolved(size_m: float, pixel_m: Array) -> Array:
    """How much of a detail of a size is left, 1 (resolved) to 0, at metres a pixel [n]."""
    return np.asarray(np.clip(1.5 * size_m / np.maximum(pixel_m, 1e-6) - 0.5, 0, 1), np.float32)


def lines(u: Array, spacing_m: float, width_m: float, pixel_m: Array) -> Array:
    """Lines every `spacing_m`: how much of a pixel [n] lies on one, 0..1."""
    away = np.abs(u / spacing_m - np.round(u / spacing_m)) * spacing_m
    soft = np.maximum(pixel_m, 1e-4)
    edge = np.clip((0.5 * width_m - away) / soft + 0.5, 0, 1)
    # Below a pixel's width a line is as faint as it is thin.
    return np.asarray(edge * np.clip(width_m / soft, 0, 1), np.float32)


def band(u: Array, low: float, high: float, pixel_m: Array) -> Array:
    """How much of a pixel [n] lies between two coordinates, 0..1."""
    soft = np.maximum(pixel_m, 1e-4)
    inside = np.clip((u - low) / soft + 0.5, 0, 1) * np.clip((high - u) / soft + 0.5, 0, 1)
    return np.asarray(inside, np.float32)


def mix(below: Array, above: Any, share: Array) -> Array:
    """`above` (a colour or [n,3]) over `below` [n,3], by share [n]."""
    return np.asarray(below + share[..., None] * (above - below), np.float32)


def cell_numbers(rng: np.random.Generator) -> Array:
    """Normal numbers for `cells`."""
    return rng.standard_normal((CELLS, CELLS)).astype(np.float32)


def cells(u: Array, v: Array, side_u: float, side_v: float, numbers: Array) -> Array:
    """A number for each cell of a grid [n]: no two tiles or bricks are alike."""
    i = np.floor(u / side_u).astype(np.int64) % CELLS
    j = np.floor(v / side_v).astype(np.int64) % CELLS
    return np.asarray(numbers[j, i])


def tiles(colour: Array, side_m: float, rng: np.random.Generator, variety: float = 0.06) -> Painter:
    """Square tiles with joints."""
    cloud, grain, numbers = Noise.draw(rng, 6.0), Noise.draw(rng, 0.8), cell_numbers(rng)

    def painter(u: Array, v: Array, pixel_m: Array) -> Array:
        tone = 1 + variety * cells(u, v, side_m, side_m, numbers) * resolved(side_m, pixel_m)
        tone += 0.06 * cloud.at(u, v, 0.03, pixel_m) + 0.05 * grain.at(u, v, 0.01, pixel_m)
        joint = np.maximum(lines(u, side_m, 0.012, pixel_m), lines(v, side_m, 0.012, pixel_m))
        return np.asarray(colour * (tone * (1 - 0.4 * joint))[..., None], np.float32)

    return painter


def plaster(colour: Array, rng: np.random.Generator, rough: float = 0.03) -> Painter:
    """Nearly even, with clouds and grain: plaster, concrete, carpet."""
    cloud, grain = Noise.draw(rng, 6.0), Noise.draw(rng, 0.9)

    def painter(u: Array, v: Array, pixel_m: Array) -> Array:
        tone = 1 + rough * cloud.at(u, v, 0.05, pixel_m) + rough * grain.at(u, v, 0.012, pixel_m)
        return np.asarray(colour * tone[..., None], np.float32)

    return painter


def boards(colour: Array, wide_m: float, rng: np.random.Generator) -> Painter:
    """Wooden boards along u."""
    grain, numbers = Noise.draw(rng, 1.2), cell_numbers(rng)

    def painter(u: Array, v: Array, pixel_m: Array) -> Array:
        shift = 0.7 * np.floor(v / wide_m)
        tone = 1 + 0.1 * cells(u + shift, v, 1.8, wide_m, numbers) * resolved(wide_m, pixel_m)
        tone += 0.09 * grain.at(u + 3 * shift, 12 * v, 0.03, pixel_m)
        joint = lines(v, wide_m, 0.006, pixel_m)
        return np.asarray(colour * (tone * (1 - 0.5 * joint))[..., None], np.float32)

    return painter


def bricks(colour: Array, mortar: Array, rng: np.random.Generator) -> Painter:
    """Bricks of 25 x 7.5 cm in running bond."""
    grain, cloud, numbers = Noise.draw(rng, 0.8), Noise.draw(rng, 7.0), cell_numbers(rng)

    def painter(u: Array, v: Array, pixel_m: Array) -> Array:
        row = np.floor(v / 0.075)
        shifted = u + 0.125 * (row % 2)
        tone = 1 + 0.16 * cells(shifted, v, 0.25, 0.075, numbers) * resolved(0.1, pixel_m)
        tone += 0.08 * grain.at(u, v, 0.01, pixel_m) + 0.05 * cloud.at(u, v, 0.06, pixel_m)
        joint = np.maximum(lines(v, 0.075, 0.012, pixel_m), lines(shifted, 0.25, 0.012, pixel_m))
        return mix(np.asarray(colour * tone[..., None], np.float32), mortar, joint)

    return painter


def asphalt(colour: Array, rng: np.random.Generator) -> Painter:
    """Speckled, with patches and a few cracks."""
    speck, cloud, patch = Noise.draw(rng, 0.6), Noise.draw(rng, 8.0), Noise.draw(rng, 3.0)

    def painter(u: Array, v: Array, pixel_m: Array) -> Array:
        tone = 1 + 0.16 * speck.at(u, v, 0.008, pixel_m) + 0.08 * cloud.at(u, v, 0.04, pixel_m)
        worn = patch.at(u, v, 0.35, pixel_m)
        tone *= np.where(worn > 1.3, 0.82, 1.0)
        crack = np.exp(-((patch.at(u + 40, v, 0.2, pixel_m) / 0.025) ** 2))
        tone *= 1 - 0.35 * crack * resolved(0.03, pixel_m)
        return np.asarray(colour * tone[..., None], np.float32)

    return painter


def grass(colour: Array, rng: np.random.Generator) -> Painter:
    """Blades, tufts, and bare or dry patches."""
    blade, tuft, patch = Noise.draw(rng, 0.7), Noise.draw(rng, 2.0), Noise.draw(rng, 9.0)
    dry = np.array([1.35, 1.12, 0.8], np.float32)

    def painter(u: Array, v: Array, pixel_m: Array) -> Array:
        tone = 1 + 0.3 * blade.at(u, v, 0.006, pixel_m) + 0.2 * tuft.at(u, v, 0.025, pixel_m)
        bleached = np.clip(0.35 + 0.3 * patch.at(u, v, 0.06, pixel_m), 0, 1)
        out = colour * np.clip(tone, 0.3, 2.0)[..., None]
        return mix(np.asarray(out, np.float32), out * dry, bleached)

    return painter


def leaves(colour: Array, rng: np.random.Generator) -> Painter:
    """A hedge: leaves before the dark."""
    leaf, clump = Noise.draw(rng, 1.3), Noise.draw(rng, 4.0)

    def painter(u: Array, v: Array, pixel_m: Array) -> Array:
        tone = 0.75 + 0.4 * leaf.at(u, v, 0.02, pixel_m) + 0.25 * clump.at(u, v, 0.06, pixel_m)
        return np.asarray(colour * np.clip(tone, 0.12, 1.9)[..., None], np.float32)

    return painter


def with_skirting(painter: Painter, colour: Array, height_m: float) -> Painter:
    """A wall whose lower part has another colour, with a rail above it."""

    def painted(u: Array, v: Array, pixel_m: Array) -> Array:
        low = band(v, -1.0, height_m, pixel_m)
        rail = band(v, height_m, height_m + 0.05, pixel_m)
        out = painter(u, v, pixel_m)
        tone = out.mean(axis=1, keepdims=True) / max(float(out.mean()), 1e-6)
        return mix(mix(out, colour * tone, low), 0.7 * colour, rail)

    return painted


def with_way(painter: Painter, way: Painter, low: float, high: float, wobble: Noise) -> Painter:
    """A floor with a way along x between two y, its edges not quite straight."""

    def painted(u: Array, v: Array, pixel_m: Array) -> Array:
        edge = v + 0.08 * wobble.at(u, v, 0.08, pixel_m)
        return mix(
            painter(u, v, pixel_m), way(u, v, pixel_m), band(edge, low, high, pixel_m + 0.03)
        )

    return painted


def with_marks(painter: Painter, colour: Array, marks: tuple[tuple[float, ...], ...]) -> Painter:
    """A floor with painted bars, each from (u1, v1) to (u2, v2)."""

    def painted(u: Array, v: Array, pixel_m: Array) -> Array:
        out = painter(u, v, pixel_m)
        for u1, v1, u2, v2 in marks:
            share = band(u, u1, u2, pixel_m) * band(v, v1, v2, pixel_m)
            out = mix(out, colour, 0.85 * share)
        return out

    return painted
