"""Cloth that hangs around both legs: skirts and the lower part of coats, as meshes that walk along.

At each height the cloth is the convex outline of the trunk and legs that are there, a little wider:
it bridges hollows and follows the leg in front. Further down it comes back in slowly.
SMPL's axes (y up), metres. Letters: P phases, V vertices of the body, R rings, S spokes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.human.compiling import import_njit
from stages.human.scenes.painting import Surface
from stages.human.walkers.bodies import PosedJoints
from stages.human.walkers.wardrobe import Drape

RINGS = 16
SPOKES = 40
BAND_M = 0.025  # vertices this near to a ring's height hold it
SLACK_M = 0.012  # cloth does not touch
HANGS_ON = (0, 1, 2, 3, 4, 5, 6)  # joints whose skin carries it: trunk and legs
FALLS_IN = 0.965  # of the radius above is the least that a ring has
PELVIS = 0


@dataclass(frozen=True, eq=False)
class DrapeMesh:
    """A drape ready to hang.

    Attributes:
        carriers: int64, vertices that hold it.
        heights: float64 [R] metres above the pelvis, from the top down.
        widen: float64 [R], factor on the radius.
    """

    carriers: NDArray[np.int64]
    heights: NDArray[np.float64]
    widen: NDArray[np.float64]

    @property
    def vertex_count(self) -> int:
        """R rings of S vertices, and one that closes the hem from below."""
        return len(self.heights) * SPOKES + 1


def drape_mesh(drape: Drape, owner: NDArray[np.integer], rest: NDArray[Any]) -> DrapeMesh:
    """Find what a drape hangs on, on a body at rest [V,3] whose vertices belong to joints [V]."""
    share = np.linspace(0.0, 1.0, RINGS)
    heights = drape.top_y + share * (drape.hem_y - drape.top_y)
    near = (rest[:, 1] < drape.top_y + 0.1) & (rest[:, 1] > drape.hem_y - 0.25)
    carriers = np.flatnonzero(np.isin(owner, HANGS_ON) & near)
    return DrapeMesh(carriers, heights, 1.0 + share * (drape.flare - 1.0))


def drape_faces(rings: int) -> NDArray[np.int32]:
    """Triangles [F,3] of a drape of so many rings, outward, the hem closed."""
    this = np.arange(SPOKES)
    after = (this + 1) % SPOKES
    faces = []
    for ring in range(rings - 1):
        up, down = ring * SPOKES, (ring + 1) * SPOKES
        faces.append(np.stack([up + this, down + this, up + after], axis=1))
        faces.append(np.stack([up + after, down + this, down + after], axis=1))
    low = (rings - 1) * SPOKES
    faces.append(np.stack([low + after, low + this, np.full(SPOKES, rings * SPOKES)], axis=1))
    return np.concatenate(faces).astype(np.int32)


def drape_surface(
    drape: DrapeMesh, colour: NDArray[np.float32], pattern: int, repeat_m: float
) -> Surface:
    """A drape's colours: cloth of a pattern, dark where one looks in from below."""
    faces = drape_faces(len(drape.heights))
    ring, spoke = np.divmod(faces, SPOKES)
    around = spoke / SPOKES
    # A face across the seam has its last corner at the start: put it at the end.
    over = np.ptp(around, axis=1)[:, None] > 0.5
    around = np.where(over & (around < 0.5), around + 1, around)
    repeats = max(1, round(1.1 / repeat_m))
    tall = float(drape.heights[0] - drape.heights[-1])
    down = ring / max(len(drape.heights) - 1, 1) * tall / repeat_m
    albedo = np.tile(colour, (len(faces), 1)).astype(np.float32)
    albedo[-SPOKES:] *= 0.3
    shelter = np.ones(drape.vertex_count, np.float32)
    uv = np.stack([around * repeats, down], axis=-1).astype(np.float32)
    none = np.zeros((0, 1, 1, 3), np.float32)
    return Surface(faces, albedo, shelter, np.full(len(faces), pattern, np.int16), uv, none)


def hang(drape: DrapeMesh, skinned: NDArray[np.float32], posed: PosedJoints) -> NDArray[np.float32]:
    """The drape's vertices [P,R*S+1,3] on skinned vertices [P,V,3]."""
    angles = (np.arange(SPOKES) * 2 * np.pi / SPOKES).astype(np.float32)
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # in the plane (z, x)
    cosine = np.cos(angles[:, None] - angles[None])
    heights = posed.joints[:, PELVIS, 1][:, None] + drape.heights
    centre = posed.joints[:, PELVIS][:, [2, 0]].astype(np.float32)
    reach = np.full((len(skinned), len(drape.heights), SPOKES), -1.0, np.float32)
    carried = np.ascontiguousarray(skinned[:, drape.carriers])
    _kernel()(carried, heights.astype(np.float32), centre, rays, np.float32(BAND_M), reach)
    with np.errstate(divide="ignore"):
        slant = np.where(cosine > 0.05, 1 / cosine, np.inf)
    radius = np.empty(reach.shape, np.float64)
    for ring in range(reach.shape[1]):
        cut = (np.maximum(reach[:, ring], 0.02)[:, None, :] * slant).min(axis=2)
        radius[:, ring] = cut * drape.widen[ring] + SLACK_M
        if ring:
            radius[:, ring] = np.maximum(radius[:, ring], FALLS_IN * radius[:, ring - 1])
    flat = centre[:, None, None] + radius[..., None] * rays
    level = np.broadcast_to(heights[..., None], radius.shape)
    out = np.stack([flat[..., 1], level, flat[..., 0]], axis=-1)
    bottom = out[:, -1].mean(axis=1, keepdims=True)
    whole = np.concatenate([out.reshape(len(out), -1, 3), bottom], axis=1)
    return whole.astype(np.float32)


@cache
def _kernel() -> Callable[..., None]:
    """The compiled loop; compiled once, kept on disk by numba."""
    njit = import_njit("walkers")
    return njit(cache=True, nogil=True)(_reach)


def _reach(points, heights, centre, rays, band, out):  # type: ignore[no-untyped-def]
    """How far points [P,K,3] reach along rays [S,2] at each ring [P,R,S]."""
    for p in range(points.shape[0]):
        for v in range(points.shape[1]):
            for r in range(heights.shape[1]):
                if abs(points[p, v, 1] - heights[p, r]) > band:
                    continue
                z = points[p, v, 2] - centre[p, 0]
                x = points[p, v, 0] - centre[p, 1]
                for s in range(rays.shape[0]):
                    far = z * rays[s, 0] + x * rays[s, 1]
                    if far > out[p, r, s]:
                        out[p, r, s] = far
