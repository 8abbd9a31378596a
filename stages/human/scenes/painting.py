"""Clothed people to pixels: a z-buffer fill with cloth patterns, and the lay over a backdrop.

A leaner sibling of stages/human/rasteriser.py for scenes with many frames: colours are albedo times
light at each vertex times a cloth pattern looked up at each sample, and only what people cover is
touched. Conventions (axes, pixel centres, linear light, supersampling S) are the rasteriser's.
Letters: V vertices, F faces, K patterns of N x N texels, H W height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from stages.human.compiling import import_njit
from stages.human.rasteriser import NEAR_M, Buffers, Camera, to_srgb

Floats = NDArray[np.float32]

PLAIN = -1  # pattern number of faces without one
# Linear light is looked up in a table this long; its darkest step is a fifth of an 8-bit level.
LEVELS = 1 << 14


@dataclass(frozen=True, eq=False)
class Surface:
    """What of a mesh stays the same while it moves.

    Attributes:
        faces: int32 [F,3], counter-clockwise from outside.
        albedo: float32 [F,3] linear.
        shelter: float32 [V], share of the light that reaches a vertex.
        pattern: int16 [F] into `patterns`, or PLAIN.
        uv: float32 [F,3,2], places on the cloth at the faces' corners, in repeats of the pattern.
        patterns: float32 [K,N,N,3], factors on the albedo, seamless; K may be 0.
    """

    faces: NDArray[np.int32]
    albedo: NDArray[np.float32]
    shelter: NDArray[np.float32]
    pattern: NDArray[np.int16]
    uv: NDArray[np.float32]
    patterns: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.faces)
        wanted = {"albedo": (count, 3), "pattern": (count,), "uv": (count, 3, 2)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                came = list(getattr(self, name).shape)
                raise ValueError(f"Surface: expected {name} {list(shape)}, got {came}")


def paint(
    buffers: Buffers,
    points: NDArray[np.float32],
    depth: NDArray[np.float32],
    light: NDArray[np.float32],
    surface: Surface,
    person: int,
) -> None:
    """Draw a mesh into the buffers, nearer samples winning; faces seen from behind are left out.

    Args:
        points: float32 [V,2], the vertices in the image, px; depth: float32 [V] metres.
        light: float32 [V,3], linear light that falls on each vertex.
        person: number to write where it is seen.
    """
    scale = np.float32(buffers.supersampling)
    points = (points - np.asarray(buffers.origin_xy, np.float32)) * scale
    patterns = surface.patterns
    if not len(patterns):
        patterns = np.ones((1, 1, 1, 3), np.float32)
    _kernels().fill(
        points,
        depth,
        surface.faces,
        np.ascontiguousarray(light * surface.shelter[:, None], np.float32),
        surface.albedo,
        surface.pattern,
        surface.uv,
        patterns,
        np.int16(person),
        buffers.colour,
        buffers.depth,
        buffers.person,
    )


def cover(
    mask: NDArray[np.uint8],
    origin_xy: tuple[int, int],
    points: NDArray[np.float32],
    faces: NDArray[np.int32],
) -> None:
    """Set uint8 [H,W] to 255 wherever a triangle of image points [V,2] (px) lies."""
    _kernels().cover(points - np.asarray(origin_xy, np.float32), faces, mask)


def lay_over(
    frame: NDArray[np.uint8],
    backdrop: NDArray[np.float32],
    shade: NDArray[np.float32],
    people: Buffers,
    exposure: NDArray[np.float32],
) -> None:
    """Write people and what their shadows darken into a frame.

    Args:
        frame: uint8 [H,W,3] BGR, the whole image; changed within the window of `people`.
        backdrop: float32 [H,W,3] linear RGB, the whole image, exposure applied.
        shade: float32 [h,w] of the window, 1 where no shadow falls.
        people: a window within the image.
        exposure: float32 [3], factors on the people's light.
    """
    x, y = people.origin_xy
    height, width = shade.shape
    _kernels().lay(
        frame[y : y + height, x : x + width],
        backdrop[y : y + height, x : x + width],
        shade,
        people.colour,
        people.person,
        people.supersampling,
        exposure,
        srgb_table(),
    )


def add_grain(frame: NDArray[np.uint8], grain: NDArray[np.int8], shift_xy: tuple[int, int]) -> None:
    """Add sensor noise to uint8 [H,W,3] in place.

    Args:
        grain: int8 [R,C,3] levels, larger than the frame.
        shift_xy: where in the grain this frame begins, at most (C-W, R-H).
    """
    x, y = shift_xy
    height, width = frame.shape[:2]
    _kernels().grain(frame, grain[y : y + height, x : x + width])


def put_in_front(into: Buffers, other: Buffers) -> None:
    """Put `other` (same supersampling, any window) into `into` where it is nearer."""
    s = into.supersampling
    dx, dy = (s * (o - i) for o, i in zip(other.origin_xy, into.origin_xy, strict=True))
    _kernels().merge(
        into.colour, into.depth, into.person, other.colour, other.depth, other.person, dx, dy
    )


def mask_of(buffers: Buffers, person: int) -> NDArray[np.bool_]:
    """A person's pixels [h,w] of the window: those of which half of the samples are theirs."""
    s = buffers.supersampling
    rows, columns = buffers.person.shape
    out = np.zeros((rows // s, columns // s), np.bool_)
    _kernels().mask(buffers.person, np.int16(person), s, out)
    return out


def project(camera: Camera, points: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """World points [V,3] in the image: [V,2] px and depths [V] metres, in single precision.

    That is a hundredth of a pixel off at most, at a third of `Camera.project`'s time.
    """
    seen = points @ camera.r.T.astype(np.float32) + camera.t.astype(np.float32)
    depth = seen[:, 2].copy()
    over = np.where(np.abs(depth) < 1e-6, np.float32(1e-6), depth)
    k = camera.k.astype(np.float32)
    image = (seen[:, :2] / over[:, None]) @ k[:2, :2].T + k[:2, 2]
    return np.asarray(image, np.float32), depth


@cache
def srgb_table() -> NDArray[np.uint8]:
    """uint8 [LEVELS], sRGB of linear light 0..1."""
    return np.asarray(to_srgb(np.arange(LEVELS) / (LEVELS - 1)) + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class _Kernels:
    fill: Callable[..., None]
    cover: Callable[..., None]
    lay: Callable[..., None]
    grain: Callable[..., None]
    merge: Callable[..., None]
    mask: Callable[..., None]


@cache
def _kernels() -> _Kernels:
    """The compiled loops; compiled once, kept on disk by numba."""
    njit = import_njit("scenes")
    compiled = (
        njit(cache=True, nogil=True)(f) for f in (_fill, _cover, _lay, _grain, _merge, _mask)
    )
    return _Kernels(*compiled)


def _fill(  # type: ignore[no-untyped-def]
    points,
    depth,
    faces,
    light,
    albedo,
    pattern,
    uv,
    patterns,
    person,
    out_colour,
    out_depth,
    out_person,
):
    """Fill triangles sample by sample; edges count as inside, so neighbours leave no gap."""
    rows, columns = out_depth.shape
    texels = patterns.shape[1]
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if depth[a] < NEAR_M or depth[b] < NEAR_M or depth[c] < NEAR_M:
            continue
        ax, ay = points[a, 0], points[a, 1]
        bx, by = points[b, 0], points[b, 1]
        cx, cy = points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        # y points down, so a face that is counter-clockwise from outside has negative area.
        if area >= 0.0:
            continue
        left = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        right = min(columns - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        top = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(rows - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        over = np.float32(1.0) / area
        near_a, near_b, near_c = 1.0 / depth[a], 1.0 / depth[b], 1.0 / depth[c]
        kind = pattern[f]
        for y in range(top, bottom + 1):
            py = y + np.float32(0.5)
            for x in range(left, right + 1):
                px = x + np.float32(0.5)
                u = ((bx - px) * (cy - py) - (cx - px) * (by - py)) * over
                v = ((cx - px) * (ay - py) - (ax - px) * (cy - py)) * over
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                # 1/z, not z, is linear across the image; attributes go with it.
                u *= near_a
                v *= near_b
                w *= near_c
                z = 1.0 / (u + v + w)
                if z >= out_depth[y, x]:
                    continue
                out_depth[y, x] = z
                out_person[y, x] = person
                u *= z
                v *= z
                w *= z
                if kind < 0:
                    for k in range(3):
                        seen = u * light[a, k] + v * light[b, k] + w * light[c, k]
                        out_colour[y, x, k] = albedo[f, k] * seen
                    continue
                s = u * uv[f, 0, 0] + v * uv[f, 1, 0] + w * uv[f, 2, 0]
                t = u * uv[f, 0, 1] + v * uv[f, 1, 1] + w * uv[f, 2, 1]
                i = int((s - np.floor(s)) * texels) % texels
                j = int((t - np.floor(t)) * texels) % texels
                for k in range(3):
                    seen = u * light[a, k] + v * light[b, k] + w * light[c, k]
                    out_colour[y, x, k] = patterns[kind, j, i, k] * albedo[f, k] * seen


def _cover(points, faces, mask):  # type: ignore[no-untyped-def]
    """Fill triangles either way round."""
    rows, columns = mask.shape
    for f in range(faces.shape[0]):
        ax, ay = points[faces[f, 0], 0], points[faces[f, 0], 1]
        bx, by = points[faces[f, 1], 0], points[faces[f, 1], 1]
        cx, cy = points[faces[f, 2], 0], points[faces[f, 2], 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0.0:
            continue
        left = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        right = min(columns - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        top = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(rows - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        over = np.float32(1.0) / area
        for y in range(top, bottom + 1):
            py = y + np.float32(0.5)
            for x in range(left, right + 1):
                px = x + np.float32(0.5)
                u = ((bx - px) * (cy - py) - (cx - px) * (by - py)) * over
                v = ((cx - px) * (ay - py) - (ax - px) * (cy - py)) * over
                if u >= 0.0 and v >= 0.0 and u + v <= 1.0:
                    mask[y, x] = 255


def _lay(frame, backdrop, shade, colour, person, s, exposure, table):  # type: ignore[no-untyped-def]
    """Average the samples of each pixel, put them over the shaded backdrop, encode as sRGB."""
    height, width = shade.shape
    top = table.shape[0] - 1
    each = np.float32(1.0) / np.float32(s * s)
    for y in range(height):
        for x in range(width):
            red = green = blue = np.float32(0.0)
            count = 0
            for j in range(y * s, y * s + s):
                for i in range(x * s, x * s + s):
                    if person[j, i] >= 0:
                        count += 1
                        red += colour[j, i, 0]
                        green += colour[j, i, 1]
                        blue += colour[j, i, 2]
            if count == 0 and shade[y, x] >= 1.0:
                continue
            bare = shade[y, x] * (1.0 - count * each)
            for k in range(3):
                seen = red if k == 0 else (green if k == 1 else blue)
                light = bare * backdrop[y, x, k] + exposure[k] * each * seen
                place = int(light * top + 0.5)
                frame[y, x, 2 - k] = table[min(max(place, 0), top)]


def _grain(frame, grain):  # type: ignore[no-untyped-def]
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            for k in range(3):
                level = np.int16(frame[y, x, k]) + np.int16(grain[y, x, k])
                frame[y, x, k] = min(max(level, 0), 255)


def _merge(colour, depth, person, other_colour, other_depth, other_person, dx, dy):  # type: ignore[no-untyped-def]
    for j in range(max(0, -dy), min(other_depth.shape[0], depth.shape[0] - dy)):
        for i in range(max(0, -dx), min(other_depth.shape[1], depth.shape[1] - dx)):
            if other_depth[j, i] < depth[j + dy, i + dx]:
                depth[j + dy, i + dx] = other_depth[j, i]
                person[j + dy, i + dx] = other_person[j, i]
                for k in range(3):
                    colour[j + dy, i + dx, k] = other_colour[j, i, k]


def _mask(person, number, s, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            count = 0
            for j in range(y * s, y * s + s):
                for i in range(x * s, x * s + s):
                    if person[j, i] == number:
                        count += 1
            out[y, x] = 2 * count >= s * s
