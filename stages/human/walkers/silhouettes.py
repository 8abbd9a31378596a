"""A walk as a camera's masks: the mesh, what is worn and what is carried, filled in one colour.

No depth is needed: whatever of a person meets a pixel fills it. Letters: T frames, V vertices,
F faces, h w height and width of a mask, which is cut to the person with a margin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.human.compiling import import_njit
from stages.human.rasteriser import Camera
from stages.human.walkers.bodies import Mesh, PosedJoints, skin
from stages.human.walkers.viewing import BODY_TO_WORLD
from stages.human.walkers.wardrobe import Outfit

MARGIN_PX = 4
MAX_SIDE_PX = 4096
SUBPIXEL_BITS = 4  # of OpenCV's polygon coordinates


@dataclass(frozen=True, eq=False)
class Mask:
    """pixels uint8 [h,w], 0 or 255; origin_xy of its left top in the image, pixels."""

    pixels: NDArray[np.uint8]
    origin_xy: tuple[int, int]


def draw_walk(
    mesh: Mesh,
    rest: NDArray[np.float32],
    rest_joints: NDArray[np.float64],
    posed: PosedJoints,
    travel: NDArray[np.float64],
    outfit: Outfit,
    camera: Camera,
) -> list[Mask]:
    """The masks of a walk.

    Args:
        rest: [V,3] metres, the body at rest without clothes.
        rest_joints: [24,3] metres.
        posed: joints of T frames.
        travel: [T,3] metres, where the walker's axes stand, in the walker's axes (y up).
        camera: in the world's axes.
    """
    clothed = outfit.dressed(mesh, rest)
    vertices = skin(mesh, clothed, rest_joints, posed)
    shift = travel.copy()
    shift[:, 1] -= vertices[..., 1].min(axis=1)
    image = project(vertices, shift, camera)
    hulls = [_solid_points(solid.points, solid.joint, rest_joints, posed, shift, camera)
             for solid in outfit.solids]  # fmt: skip
    drape = _drape_vertices(mesh, rest, outfit)
    masks = []
    for frame in range(len(image)):
        convex = [hull[frame] for hull in hulls]
        if drape is not None and outfit.drape is not None:
            convex.append(_flared(image[frame, drape], outfit.drape.flare))
        masks.append(fill(image[frame], mesh.faces, convex))
    return masks


def project(
    points: NDArray[np.float32], shift: NDArray[np.float64], camera: Camera
) -> NDArray[np.float32]:
    """Image points [T,K,2] of points [T,K,3] in the walker's axes, moved by `shift` [T,3]."""
    turn = camera.k @ camera.r @ BODY_TO_WORLD
    place = shift @ turn.T + camera.k @ camera.t
    seen = points @ turn.T.astype(np.float32) + place[:, None].astype(np.float32)
    return np.asarray(seen[..., :2] / seen[..., 2:])


def fill(
    points: NDArray[np.float32], faces: NDArray[np.int32], convex: Sequence[NDArray[np.float32]]
) -> Mask:
    """One mask: triangles `faces` [F,3] of image points [V,2], and convex hulls of point sets."""
    bounds, fill_triangles = _kernels()
    low, high = bounds(points)
    for hull in convex:
        low, high = np.minimum(low, hull.min(axis=0)), np.maximum(high, hull.max(axis=0))
    low = np.floor(low).astype(int) - MARGIN_PX
    size = np.ceil(high).astype(int) + MARGIN_PX - low
    if not (size > 0).all() or size.max() > MAX_SIDE_PX:
        raise ValueError(f"expected a person of at most {MAX_SIDE_PX} px, got {size} px")
    pixels = np.zeros((size[1], size[0]), np.uint8)
    fill_triangles(points - low.astype(np.float32), faces, pixels)
    for hull in convex:
        outline = cv2.convexHull((hull - low).astype(np.float32))[:, 0]
        fixed = np.round((outline - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillConvexPoly(pixels, fixed, (255,), cv2.LINE_8, SUBPIXEL_BITS)
    return Mask(pixels, (int(low[0]), int(low[1])))


def _solid_points(
    points: NDArray[np.float32],
    joint: int,
    rest_joints: NDArray[np.float64],
    posed: PosedJoints,
    shift: NDArray[np.float64],
    camera: Camera,
) -> NDArray[np.float32]:
    """Image points [T,K,2] of a solid that moves with a joint."""
    local = points - rest_joints[joint]
    moved = local @ np.swapaxes(posed.turns[:, joint], -1, -2) + posed.joints[:, None, joint]
    return project(moved.astype(np.float32), shift, camera)


def _drape_vertices(
    mesh: Mesh, rest: NDArray[np.float32], outfit: Outfit
) -> NDArray[np.int64] | None:
    """The vertices that a coat or skirt hangs on: trunk and legs between top and hem."""
    if outfit.drape is None:
        return None
    hangs = np.isin(mesh.owner, [0, 1, 2, 3, 4, 5, 6])
    height = rest[:, 1]
    found = np.flatnonzero(hangs & (height < outfit.drape.top_y) & (height > outfit.drape.hem_y))
    return found if len(found) >= 3 else None


def _flared(points: NDArray[np.float32], flare: float) -> NDArray[np.float32]:
    """Image points [K,2], wider by `flare` towards the hem."""
    x, y = points[:, 0], points[:, 1]
    down = (y - y.min()) / max(float(np.ptp(y)), 1e-6)
    middle = 0.5 * (x.min() + x.max())
    wide = middle + (x - middle) * (1 + (flare - 1) * down)
    return np.stack([wide, y], axis=1).astype(np.float32)


@cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The compiled loops (bounds, triangle fill); compiled once, kept on disk by numba."""
    njit = import_njit("walkers")
    compiled = njit(cache=True, nogil=True)
    return compiled(_bounds), compiled(_fill_triangles)


def _bounds(points):  # type: ignore[no-untyped-def]
    """Smallest and largest x, y of points [V,2]."""
    low, high = points[0].copy(), points[0].copy()
    for v in range(points.shape[0]):
        for a in range(2):
            low[a] = min(low[a], points[v, a])
            high[a] = max(high[a], points[v, a])
    return low, high


def _fill_triangles(points, faces, pixels):  # type: ignore[no-untyped-def]
    """Fill triangles either way round, row by row; pixel (0, 0) covers [0, 1) x [0, 1)."""
    rows, columns = pixels.shape
    for f in range(faces.shape[0]):
        ax, ay = points[faces[f, 0], 0], points[faces[f, 0], 1]
        bx, by = points[faces[f, 1], 0], points[faces[f, 1], 1]
        cx, cy = points[faces[f, 2], 0], points[faces[f, 2], 1]
        # y points down: what faces the camera has negative area, the rest is behind it.
        if (bx - ax) * (cy - ay) - (cx - ax) * (by - ay) >= 0.0:
            continue
        top = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(rows - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        for y in range(top, bottom + 1):
            py = y + np.float32(0.5)
            left, right = np.float32(1e9), np.float32(-1e9)
            for k in range(3):
                if k == 0:
                    x1, y1, x2, y2 = ax, ay, bx, by
                elif k == 1:
                    x1, y1, x2, y2 = bx, by, cx, cy
                else:
                    x1, y1, x2, y2 = cx, cy, ax, ay
                if (y1 <= py and py <= y2) or (y2 <= py and py <= y1):
                    x = x1 if y1 == y2 else x1 + (py - y1) * (x2 - x1) / (y2 - y1)
                    left, right = min(left, x), max(right, x)
                    if y1 == y2:
                        left, right = min(left, x2), max(right, x2)
            first = max(0, int(np.ceil(left - 0.5)))
            last = min(columns - 1, int(np.floor(right - 0.5)))
            for x in range(first, last + 1):
                pixels[y, x] = 255
