"""Bags, long hair and what sticks out of hats, as closed meshes that move with a joint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from stages.human.scenes.clothing_colours import HATS, Look
from stages.human.scenes.clothing_parts import HEAD, HeadBox
from stages.human.walkers.wardrobe import Outfit

AROUND = np.arange(24) * 2 * np.pi / 24


@dataclass(frozen=True, eq=False)
class SolidMesh:
    """vertices float32 [K,3] at rest, metres; faces int32 [F,3] outward; joint; colour [3]."""

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    joint: int
    colour: NDArray[np.float32]


def solid_meshes(outfit: Outfit, look: Look, rest: NDArray[np.float32]) -> tuple[SolidMesh, ...]:
    """Everything of an outfit that has a shape of its own, on a body at rest [V,3].

    A hat is cloth on the head (`clothing_parts`); only its peak or brim is a solid here.
    """
    out = []
    for solid in outfit.solids:
        if solid.kind not in HATS:
            colour = look.hair if solid.kind == "hair" else look.thing
            out.append(hull_mesh(solid.points, solid.joint, colour))
    if look.hat_kind in ("cap", "brim"):
        points = _brim(HeadBox.of(rest), look.hat_kind == "cap")
        out.append(hull_mesh(points, HEAD, 0.9 * look.hat))
    return tuple(out)


def _brim(head: HeadBox, is_cap: bool) -> NDArray[np.float64]:
    """A thin disc around the head, or a peak before the brow: points [K,3]."""
    middle, size = 0.5 * (head.low + head.high), head.high - head.low
    level = head.low[1] + (0.745 if is_cap else 0.74) * size[1]
    if is_cap:
        angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 13)
        x = 0.46 * size[0] * np.sin(angle)
        z = head.high[2] - 0.09 + (0.08 + 0.09) * np.cos(angle)
        y = level - 0.12 * (z - head.high[2])
    else:
        x, z = 0.95 * size[0] * np.cos(AROUND), middle[2] - 0.015 + 0.85 * size[2] * np.sin(AROUND)
        y = np.full(len(AROUND), level)
    return np.concatenate([np.stack([x, y, z], 1), np.stack([x, y + 0.008, z], 1)])


def hull_mesh(points: NDArray[np.floating], joint: int, colour: NDArray[np.float32]) -> SolidMesh:
    """The convex hull of points [K,3], faces turned outwards."""
    points = points.astype(np.float64)
    hull = ConvexHull(points)
    used, faces = np.unique(hull.simplices, return_inverse=True)
    faces = faces.reshape(hull.simplices.shape)
    vertices = points[used]
    corner = vertices[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    inwards = (normal * hull.equations[:, :3]).sum(axis=1) < 0
    faces[inwards] = faces[inwards][:, ::-1]
    return SolidMesh(vertices.astype(np.float32), faces.astype(np.int32), joint, colour)
