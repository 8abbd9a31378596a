"""Cloth: seamless procedural patterns, as factors on the cloth's colour.

A pattern is a tile that repeats every `repeat_m` metres of cloth. Letters: N texels a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

Weave = Literal[
    "plain", "stripes", "pinstripes", "checks", "tartan", "denim", "knit", "dots", "mottled"
]
WEAVES: tuple[Weave, ...] = get_args(Weave)
TEXELS = 64
# Fibres make even plain cloth uneven.
FIBRE = 0.05


@dataclass(frozen=True, eq=False)
class Fabric:
    """tile: float32 [N,N,3] linear factors, columns across and rows along the cloth; repeat_m."""

    weave: Weave
    tile: NDArray[np.float32]
    repeat_m: float


def draw_fabric(weave: Weave, second: NDArray[np.float32], rng: np.random.Generator) -> Fabric:
    """A fabric of a weave.

    Args:
        second: float32 [3], the pattern's second colour over the cloth's first one.
    """
    tile = np.ones((TEXELS, TEXELS, 3), np.float32)
    repeat_m = float(rng.uniform(0.05, 0.2))
    along = np.arange(TEXELS) / TEXELS
    if weave == "stripes":
        tile[along < rng.uniform(0.2, 0.6)] = second
    elif weave == "pinstripes":
        repeat_m = float(rng.uniform(0.02, 0.05))
        tile[:, along < 0.15] = second
    elif weave in ("checks", "tartan"):
        tile = _crossed(along, second, weave == "tartan", rng)
    elif weave == "dots":
        repeat_m = float(rng.uniform(0.04, 0.12))
        x, y = np.meshgrid(along - 0.5, along - 0.5)
        tile[x**2 + y**2 < rng.uniform(0.03, 0.09)] = second
    elif weave == "knit":
        repeat_m = float(rng.uniform(0.03, 0.07))
        tile *= (1 + 0.16 * np.sin(2 * np.pi * 3 * along))[None, :, None].astype(np.float32)
    elif weave in ("denim", "mottled"):
        depth = 0.1 if weave == "denim" else 0.16
        repeat_m = 0.3
        cloud = seamless_noise(TEXELS, 4.0, rng)
        tile *= (1 + depth * cloud)[..., None]
    grain = seamless_noise(TEXELS, 0.7, rng) * (2.0 if weave == "denim" else 1.0)
    tile = tile * (1 + FIBRE * grain)[..., None]
    return Fabric(weave, np.clip(tile, 0.02, None).astype(np.float32), repeat_m)


def _crossed(
    along: NDArray[np.float64], second: NDArray[np.float32], fine: bool, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Bands both ways, half and half where they meet."""
    wide = rng.uniform(0.3, 0.55)
    band = (along < wide).astype(np.float32)
    if fine:
        band = np.where((along > 0.7) & (along < 0.78), 1.0, 0.7 * band).astype(np.float32)
    share = 0.5 * (band[:, None] + band[None, :])
    return np.asarray(1 + share[..., None] * (second - 1), np.float32)


def seamless_noise(side: int, blur: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A field [side,side] that repeats without a seam, of mean 0 and deviation 1."""
    field = np.tile(rng.standard_normal((side, side)).astype(np.float32), (3, 3))
    smooth = cv2.GaussianBlur(field, (0, 0), blur)[side : 2 * side, side : 2 * side]
    return np.asarray((smooth - smooth.mean()) / max(float(smooth.std()), 1e-6), np.float32)
