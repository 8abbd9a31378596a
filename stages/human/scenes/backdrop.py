"""A place without people as a camera sees it: colour, depth, and where the floor is bare.

Worked out once a camera; frames only redraw what people and their shadows cover.
Letters: H W height and width in pixels, S samples a pixel and axis, n samples of one surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.rasteriser import Buffers, Camera, block_mean, draw, vertex_normals
from stages.human.scenes.stage_set import StageSet, Wall

Array = NDArray[np.float32]

SAMPLES = 2
DOOR_HALF_M, DOOR_M = 0.8, 2.25
FAR_M = np.float32(1e6)
# How much darker it is where two surfaces meet, and how far that reaches.
CORNER_DEPTH, CORNER_M = 0.3, 0.4
SKY = 255


@dataclass(frozen=True, eq=False)
class Backdrop:
    """colour float32 [H,W,3] linear; depth float32 [H*S,W*S] metres; bare_floor float32 [H,W]."""

    colour: Array
    depth: Array
    bare_floor: Array


def draw_backdrop(stage: StageSet, camera: Camera) -> Backdrop:
    """See a place through a camera inside it."""
    rays, eye = _rays(camera)
    focal = np.float32(camera.k[0, 0] * SAMPLES)
    heights = [0.0] if stage.ceiling_m is None else [0.0, stage.ceiling_m]
    nearest = np.full(rays.shape[:2], FAR_M, np.float32)
    surface = np.full(rays.shape[:2], SKY, np.uint8)
    meets = [_reach(rays[..., 2], height - float(eye[2])) for height in heights]
    meets += [_meet_wall(wall, rays, eye) for wall in stage.walls]
    for number, depth in enumerate(meets):
        nearer = depth < nearest
        nearest[nearer], surface[nearer] = depth[nearer], number
    buffers = Buffers.empty(camera.size_wh, supersampling=SAMPLES)
    buffers.depth[...] = nearest
    colour = buffers.colour
    for number in range(len(meets)):
        here = surface == number
        if not here.any():
            continue
        depth, ray = nearest[here], rays[here]
        places = eye + ray * depth[:, None]
        if number < len(heights):
            colour[here] = _floor(stage, heights[number], places, _footprint(ray, depth, 2, focal))
        else:
            wall = stage.walls[number - len(heights)]
            pixel = _footprint(ray, depth, wall.axis, focal)
            colour[here] = _wall(stage, wall, places, pixel)
    sky = surface == SKY
    if sky.any():
        ray = rays[sky]
        colour[sky] = stage.sky(ray / np.linalg.norm(ray, axis=-1, keepdims=True))
    for prop in stage.props:
        light = stage.light.falling_on(vertex_normals(prop.vertices, prop.faces))
        draw(buffers, camera, prop.vertices, prop.faces, light * prop.albedo)
    bare = (surface == 0) & (buffers.depth == nearest)
    return Backdrop(block_mean(colour, SAMPLES), buffers.depth, block_mean(bare, SAMPLES))


def _rays(camera: Camera) -> tuple[Array, Array]:
    """Directions [H*S,W*S,3] of depth 1, world axes, and the camera's place [3]."""
    width, height = (side * SAMPLES for side in camera.size_wh)
    back = (np.linalg.inv(camera.k).T @ camera.r).astype(np.float32)
    px = (np.arange(width, dtype=np.float32) + np.float32(0.5)) / SAMPLES
    py = (np.arange(height, dtype=np.float32) + np.float32(0.5)) / SAMPLES
    rays = px[None, :, None] * back[0] + py[:, None, None] * back[1] + back[2]
    return rays, camera.position.astype(np.float32)


def _reach(slope: Array, offset: float) -> Array:
    """Depth at which rays have gone `offset` along an axis; FAR_M where never."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        depth = np.float32(offset) / slope
    return np.where((depth > 0) & (depth < FAR_M), depth, FAR_M).astype(np.float32)


def _meet_wall(wall: Wall, rays: Array, eye: Array) -> Array:
    """Depth [H*S,W*S] at which rays meet a wall below its top."""
    depth = _reach(rays[..., wall.axis], wall.at_m - float(eye[wall.axis]))
    height = eye[2] + rays[..., 2] * depth
    return np.where((height >= 0) & (height <= wall.height_m), depth, FAR_M).astype(np.float32)


def _floor(stage: StageSet, height_m: float, places: Array, pixel: Array) -> Array:
    """Light [n,3] of the floor or ceiling at places [n,3]."""
    is_floor = height_m == 0.0
    painter = stage.floor if is_floor or stage.ceiling is None else stage.ceiling
    normal = np.array([0, 0, 1 if is_floor else -1], np.float32)
    corner = np.zeros(len(places), np.float32)
    for wall in stage.walls:
        corner = np.maximum(corner, np.exp(-np.abs(places[:, wall.axis] - wall.at_m) / CORNER_M))
    lit = stage.light.falling_on(normal) * (1 - CORNER_DEPTH * corner)[:, None]
    return np.asarray(painter(places[:, 0], places[:, 1], pixel) * lit, np.float32)


def _wall(stage: StageSet, wall: Wall, places: Array, pixel: Array) -> Array:
    """Light [n,3] of a wall and its doorways at places [n,3]."""
    along, z = places[:, 1 - wall.axis], places[:, 2]
    normal = np.zeros(3, np.float32)
    normal[wall.axis] = -np.sign(wall.at_m)
    seen = wall.painter(along, z, pixel) * stage.light.falling_on(normal)
    seen = seen * (1 - CORNER_DEPTH * np.exp(-np.maximum(z, 0) / CORNER_M))[:, None]
    soft = np.maximum(pixel, 1e-4)
    for door in wall.doors_m:
        away = np.maximum(np.abs(along - door) - DOOR_HALF_M, z - DOOR_M)
        frame = np.clip(0.5 - (np.abs(away) - 0.05) / soft, 0, 1)
        inside = np.clip(0.5 - away / soft, 0, 1)
        seen = seen * (1 - 0.93 * inside - 0.5 * frame * (1 - inside))[:, None]
    return np.asarray(seen, np.float32)


def _footprint(rays: Array, depth: Array, axis: int, focal: np.float32) -> Array:
    """Metres of a surface across `axis` that a sample covers [n]."""
    steepness = np.abs(rays[:, axis]) / np.linalg.norm(rays, axis=-1)
    return np.asarray(depth / focal / np.maximum(np.sqrt(steepness), 0.05), np.float32)
