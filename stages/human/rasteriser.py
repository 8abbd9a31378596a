"""Triangles to pixels: a z-buffer rasteriser for a pinhole camera, in numba (extra `synth`).

Camera axes are OpenCV's: x right, y down, z forward, metres; image points in pixels, pixel (0, 0)
covers [0, 1) × [0, 1). Colour is linear light until `to_srgb`. A `Buffers` may be finer than the
image (`supersampling`) and cover only a window of it; `block_mean` averages it down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.human.compiling import import_njit

NOBODY = -1
NEAR_M = 0.05  # triangles with a corner nearer than this are left out, not clipped
MAX_SAMPLES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: image point ~ k @ (r @ world + t). k, r [3, 3]; t [3] metres; size px."""

    k: NDArray[np.float64]
    r: NDArray[np.float64]
    t: NDArray[np.float64]
    size_wh: tuple[int, int]

    @property
    def position(self) -> NDArray[np.float64]:
        """The camera's place in the world [3], metres."""
        return np.asarray(-self.r.T @ self.t)

    def project(self, points: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """World points [V, 3] metres → image points [V, 2] px and depths [V] metres."""
        seen = points @ self.r.T + self.t
        depth = np.where(np.abs(seen[:, 2]) < 1e-6, 1e-6, seen[:, 2])
        image = seen @ self.k.T
        return (image[:, :2] / depth[:, None]).astype(np.float32), seen[:, 2].astype(np.float32)


def look_at(
    position: NDArray[np.float64],
    target: NDArray[np.float64],
    focal_px: float,
    size_wh: tuple[int, int],
) -> Camera:
    """A level camera (world z up) at `position` [3] with `target` [3] in the image's centre."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    r = np.stack([right, np.cross(forward, right), forward])
    width, height = size_wh
    k = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])
    return Camera(k, r, -r @ position, size_wh)


@dataclass
class Buffers:
    """What has been drawn so far in a window of the image; S = supersampling.

    colour: [H·S, W·S, 3] float32 linear; depth: [H·S, W·S] float32 metres, inf where nothing is;
    person: [H·S, W·S] int16, NOBODY where nobody is; origin_xy: the window's left top in px.
    """

    colour: NDArray[np.float32]
    depth: NDArray[np.float32]
    person: NDArray[np.int16]
    origin_xy: tuple[int, int]
    supersampling: int

    @classmethod
    def empty(
        cls, size_wh: tuple[int, int], origin_xy: tuple[int, int] = (0, 0), supersampling: int = 2
    ) -> Buffers:
        """Nothing drawn yet; size and origin in image pixels."""
        width, height = (max(0, side) * supersampling for side in size_wh)
        if width * height > MAX_SAMPLES:
            raise ValueError(f"expected at most {MAX_SAMPLES} samples, got {width} x {height}")
        return cls(
            colour=np.zeros((height, width, 3), np.float32),
            depth=np.full((height, width), np.inf, np.float32),
            person=np.full((height, width), NOBODY, np.int16),
            origin_xy=origin_xy,
            supersampling=supersampling,
        )


@cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    """The compiled loops (triangle fill, normal sums); compiled once, kept on disk by numba."""
    njit = import_njit("drawn people")
    return njit(cache=True)(_fill), njit(cache=True)(_sum_normals)


def draw(
    buffers: Buffers,
    camera: Camera,
    vertices: NDArray[Any],
    faces: NDArray[np.int32],
    colours: NDArray[Any],
    person: int = NOBODY,
    cull: bool = True,
) -> None:
    """Draw a mesh into the buffers, nearer samples winning.

    vertices: [V, 3] world metres; faces: [F, 3], counter-clockwise seen from outside;
    colours: [V, 3] linear, interpolated in perspective; cull: leave out faces seen from behind.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3 or colours.shape != vertices.shape:
        raise ValueError(
            f"expected vertices and colours [V, 3], got {vertices.shape} and {colours.shape}"
        )
    if not len(faces):
        return
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(
            f"expected face indices in 0..{len(vertices) - 1}, got {faces.min()}..{faces.max()}"
        )
    points, depth = camera.project(vertices)
    scale = np.float32(buffers.supersampling)
    points = (points - np.asarray(buffers.origin_xy, np.float32)) * scale
    fill, _ = _kernels()
    fill(
        points,
        depth,
        np.ascontiguousarray(faces, np.int32),
        np.ascontiguousarray(colours, np.float32),
        np.int16(person),
        cull,
        buffers.colour,
        buffers.depth,
        buffers.person,
    )


def _fill(  # type: ignore[no-untyped-def]
    points, depth, faces, colours, person, cull, out_colour, out_depth, out_person
):
    """Fill triangles sample by sample; edges count as inside, so neighbours leave no gap."""
    rows, columns = out_depth.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if depth[a] < NEAR_M or depth[b] < NEAR_M or depth[c] < NEAR_M:
            continue
        ax, ay = points[a, 0], points[a, 1]
        bx, by = points[b, 0], points[b, 1]
        cx, cy = points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        # y points down, so a face that is counter-clockwise from outside has negative area.
        if area == 0.0 or (cull and area > 0.0):
            continue
        left = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        right = min(columns - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        top = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(rows - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        over = 1.0 / area
        near_a, near_b, near_c = 1.0 / depth[a], 1.0 / depth[b], 1.0 / depth[c]
        for y in range(top, bottom + 1):
            py = y + 0.5
            for x in range(left, right + 1):
                px = x + 0.5
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
                for k in range(3):
                    out_colour[y, x, k] = z * (
                        u * colours[a, k] + v * colours[b, k] + w * colours[c, k]
                    )


def vertex_normals(vertices: NDArray[Any], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals [V, 3] outward, faces weighted by area; 0 for lone vertices."""
    normals = np.zeros(vertices.shape, np.float32)
    _, sum_normals = _kernels()
    sum_normals(np.ascontiguousarray(vertices, np.float32), faces, normals)
    return np.asarray(
        normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12), np.float32
    )


def _sum_normals(vertices, faces, out):  # type: ignore[no-untyped-def]
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            n = (vertices[b, i] - vertices[a, i]) * (vertices[c, j] - vertices[a, j]) - (
                vertices[b, j] - vertices[a, j]
            ) * (vertices[c, i] - vertices[a, i])
            out[a, k] += n
            out[b, k] += n
            out[c, k] += n


def block_mean(values: NDArray[Any], s: int) -> NDArray[np.float32]:
    """Mean over s × s blocks: [H·s, W·s, ...] → [H, W, ...] float32."""
    height, width = values.shape[0] // s, values.shape[1] // s
    out = np.zeros((height, width, *values.shape[2:]), np.float32)
    for y in range(s):
        for x in range(s):
            out += values[y::s, x::s]
    return out / np.float32(s * s)


def to_srgb(linear: NDArray[Any]) -> NDArray[np.float32]:
    """Linear light [0, 1] → sRGB values in [0, 255] float32; above 1 is cut."""
    x = np.clip(linear, 0, 1)
    low = x * 12.92
    high = 1.055 * np.power(np.maximum(x, 0.0031308), 1 / 2.4) - 0.055
    return np.asarray(255 * np.where(x <= 0.0031308, low, high), np.float32)


def from_srgb(value: str) -> NDArray[np.float32]:
    """A colour written '#rrggbb' → linear light [3] float32."""
    x = np.array([int(value[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)
