"""Shadows that people throw on the floor: the lamp's, soft at its edge, and that under the feet.

Each is worked out within the few pixels that it reaches. Letters: H W the image, h w a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.human.compiling import import_njit
from stages.human.rasteriser import Camera
from stages.human.scenes.lighting import SceneLight
from stages.human.scenes.painting import cover, project
from stages.human.truth import Box

Floats = NDArray[np.float32]

FOOT_RADIUS_M = 0.09
FOOT_FADES_M = 0.10  # a foot lifted by this darkens the floor a third as much
BODY_RADIUS_M = 0.38
FOOT_DEPTH, BODY_DEPTH = 0.62, 0.28  # how dark right beneath
REACH = 2.6  # deviations of a soft edge after which it has faded
STANDING_M = 0.02  # height of the ball of a foot that stands
FINEST_SIGMA_PX = 1.5  # a softer edge is worked out on a coarser grid
COARSEST = 8
NEAR_M = 0.1
_SQUARE = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float64)


@dataclass(frozen=True, eq=False)
class Caster:
    """Somebody who throws a shadow: vertices float32 [V,3], faces int32 [F,3], joints [24,3]."""

    vertices: Floats
    faces: NDArray[np.int32]
    joints: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shadow:
    """The share of light that is left, float32 [h,w], at origin_xy of the image."""

    left: Floats
    origin_xy: tuple[int, int]

    @property
    def box(self) -> Box:
        """The window in the image, x1, y1, x2, y2."""
        x, y = self.origin_xy
        return x, y, x + self.left.shape[1], y + self.left.shape[0]


def shadows_of(camera: Camera, light: SceneLight, caster: Caster) -> list[Shadow]:
    """Somebody's shadows as far as they fall into the image."""
    found = (_thrown(camera, light, caster), _contact(camera, caster))
    return [shadow for shadow in found if shadow is not None]


def floor_shade(shadows: list[Shadow], window: Box, bare_floor: Floats) -> Floats:
    """What is left of the light [h,w] in a window that holds all shadows.

    Args:
        bare_floor: float32 [H,W], how much of each pixel of the image is floor.
    """
    x1, y1, x2, y2 = window
    left = np.ones((y2 - y1, x2 - x1), np.float32)
    for shadow in shadows:
        a, b, c, d = shadow.box
        left[b - y1 : d - y1, a - x1 : c - x1] *= shadow.left
    return np.asarray(1 - bare_floor[y1:y2, x1:x2] * (1 - left), np.float32)


def _window(camera: Camera, points: Floats, depth: Floats, margin_px: int) -> Box | None:
    """The pixels within the image around image points [n,2] of depths [n]."""
    points = points[depth > NEAR_M]
    if not len(points):
        return None
    low = np.maximum(np.floor(points.min(axis=0)) - margin_px, 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0)) + margin_px, camera.size_wh).astype(int)
    if (high <= low).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _thrown(camera: Camera, light: SceneLight, caster: Caster) -> Shadow | None:
    """The lamp's shadow."""
    flat = light.thrown(caster.vertices)
    points, depth = project(camera, flat)
    if (depth < NEAR_M).any():
        return None  # behind the camera: it would be turned inside out
    pixel_m = float(np.median(depth)) / float(camera.k[0, 0])
    sigma = max(light.softness_m / pixel_m, 0.5)
    window = _window(camera, points, depth, int(REACH * sigma) + 2)
    if window is None:
        return None
    x1, y1, x2, y2 = window
    coarse = int(min(max(sigma / FINEST_SIGMA_PX, 1), COARSEST))
    size = (-(-(y2 - y1) // coarse), -(-(x2 - x1) // coarse))
    mask = np.zeros(size, np.uint8)
    cover(
        mask, (0, 0), (points - np.array([x1, y1], np.float32)) / np.float32(coarse), caster.faces
    )
    # The floor is seen at a slant: blur less along the depth.
    slant = max(0.15, abs(float(camera.r[2, 2])))
    across = sigma / coarse
    soft = cv2.GaussianBlur(mask, (0, 0), sigmaX=across, sigmaY=max(across * slant, 0.4))
    if coarse > 1:
        whole = (size[1] * coarse, size[0] * coarse)
        soft = cv2.resize(soft, whole, interpolation=cv2.INTER_LINEAR)
    dark = soft[: y2 - y1, : x2 - x1].astype(np.float32) * np.float32(light.shadow_depth / 255)
    return Shadow(np.float32(1) - dark, (x1, y1))


def _contact(camera: Camera, caster: Caster) -> Shadow | None:
    """Darkness under feet and body, where little of the sky reaches the floor."""
    balls, ankles = caster.joints[[10, 11]], caster.joints[[7, 8]]
    along = 0.35 * (balls - ankles)
    lifted = np.maximum(0.0, balls[:, 2] - STANDING_M)
    depths = FOOT_DEPTH * np.exp(-lifted / FOOT_FADES_M)
    middle = ankles[:, :2].mean(axis=0)
    corners = np.zeros((12, 3))
    corners[:4, :2] = middle + REACH * BODY_RADIUS_M * _SQUARE
    for k in range(2):
        spot = balls[k, :2] + REACH * FOOT_RADIUS_M * _SQUARE
        corners[4 + 4 * k : 8 + 4 * k, :2] = spot
    window = _window(camera, *camera.project(corners), 2)
    if window is None:
        return None
    x1, y1, x2, y2 = window
    left = np.ones((y2 - y1, x2 - x1), np.float32)
    feet = np.concatenate(
        [(ankles - along)[:, :2], (balls + along)[:, :2], depths[:, None]], axis=1
    )
    _kernel()(
        floor_map(camera).astype(np.float32),
        np.float32(x1),
        np.float32(y1),
        feet.astype(np.float32),
        middle.astype(np.float32),
        left,
    )
    return Shadow(left, (x1, y1))


def floor_map(camera: Camera) -> NDArray[np.float64]:
    """The matrix [3,3] that takes image points (x, y, 1) to the floor's (X, Y, 1) over depth."""
    plane = camera.k @ np.stack([camera.r[:, 0], camera.r[:, 1], camera.t], axis=1)
    return np.asarray(np.linalg.inv(plane))


def floor_places(camera: Camera) -> tuple[Floats, Floats]:
    """Floor coordinates x, y [H,W] metres that the image's pixels see; inf above the horizon."""
    width, height = camera.size_wh
    back = floor_map(camera).astype(np.float32)
    px = np.arange(width, dtype=np.float32) + np.float32(0.5)
    py = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    nearness = back[2, 0] * px + back[2, 1] * py + back[2, 2]  # one over the depth
    is_floor = nearness > 1e-9
    over = np.where(is_floor, nearness, np.float32(1))
    x = (back[0, 0] * px + back[0, 1] * py + back[0, 2]) / over
    y = (back[1, 0] * px + back[1, 1] * py + back[1, 2]) / over
    far = np.float32(np.inf)
    return np.where(is_floor, x, far), np.where(is_floor, y, far)


@cache
def _kernel() -> Callable[..., None]:
    """The compiled loop; compiled once, kept on disk by numba."""
    njit = import_njit("scenes")
    return njit(cache=True, nogil=True)(_darken)


def _darken(back, x1, y1, feet, middle, left):  # type: ignore[no-untyped-def]
    """Darken float32 [h,w] around feet [2,5] (two ends of a line, darkness) and below the body."""
    half = np.float32(0.5)
    for row in range(left.shape[0]):
        py = y1 + row + half
        for column in range(left.shape[1]):
            px = x1 + column + half
            nearness = back[2, 0] * px + back[2, 1] * py + back[2, 2]
            if nearness <= 1e-9:
                continue
            x = (back[0, 0] * px + back[0, 1] * py + back[0, 2]) / nearness
            y = (back[1, 0] * px + back[1, 1] * py + back[1, 2]) / nearness
            away = (x - middle[0]) ** 2 + (y - middle[1]) ** 2
            light = 1 - BODY_DEPTH * np.exp(-half * away / BODY_RADIUS_M**2)
            for k in range(feet.shape[0]):
                dx, dy = feet[k, 2] - feet[k, 0], feet[k, 3] - feet[k, 1]
                share = (x - feet[k, 0]) * dx + (y - feet[k, 1]) * dy
                share = min(max(share / max(dx * dx + dy * dy, 1e-9), 0.0), 1.0)
                ox, oy = x - feet[k, 0] - share * dx, y - feet[k, 1] - share * dy
                away = (ox * ox + oy * oy) / FOOT_RADIUS_M**2
                light *= 1 - feet[k, 4] * np.exp(-half * away)
            left[row, column] = light
