"""Make the demo clip: four invented people walk past two cameras (extra `synth`).

    python scripts/make_demo_clip.py --mocap DIR --out demo

DIR holds CMU walking clips as BVH (120 frames/s, frame 0 a T-pose). Writes camera_a.mp4,
camera_b.mp4 and truth.npz (layout: stages/human/truth.py). The same seed gives the same files.
World: metres, z up, floor at z = 0, people walk along x, a wall stands at y = WALL_Y_M.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix, diags

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed, too

from stages.human.bvh import read_bvh  # noqa: E402
from stages.human.rasteriser import (  # noqa: E402
    Buffers,
    Camera,
    Light,
    block_mean,
    draw,
    from_srgb,
    look_at,
    merge,
    resolve,
    to_srgb,
    vertex_normals,
)
from stages.human.retarget import Body, WalkCycle, build_body, load_anny, walk_cycle  # noqa: E402
from stages.human.truth import Truth, TruthCamera, TruthPerson, save_truth  # noqa: E402

Array = NDArray[Any]
Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in image pixels, may leave the image

SIZE_WH = (960, 540)
FPS = 25
FRAMES = 345
FOCAL_PX = 1150.0
SUPERSAMPLING = 2
TARGET_M = np.array([0.0, 0.0, 1.02])
CAMERA_DISTANCE_M = 9.2
CAMERA_HEIGHT_M = 1.9
AZIMUTHS_DEG = {"camera_a": -6.0, "camera_b": 19.0}
WALL_Y_M = 2.6
REACH_M = 0.6  # half a stride: how far out of the image a walker starts
NOISE_LEVELS = 1.2  # sensor noise, sigma in 8-bit levels
CRF = 21
LIGHT = Light(np.array([-0.42, -0.52, 0.74]) / np.linalg.norm([-0.42, -0.52, 0.74]))


@dataclass(frozen=True)
class Outfit:
    """Colours '#rrggbb'; sleeve: share of the arm covered, 0 shoulder to 2 wrist; loose: metres."""

    shirt: str
    legs: str
    skin: str
    hair: str
    shoes: str
    sleeve: float = 2.0
    hem: float = -0.03  # where the shirt ends, metres above the hip joint
    loose: float = 0.012
    long_hair: bool = False
    skirt: str = ""


@dataclass(frozen=True)
class Walker:
    """A person: phenotype (see `build_body`), clothes, and one mocap clip per camera."""

    name: str
    phenotype: dict[str, float]
    outfit: Outfit
    clips: tuple[str, str]
    heading: int  # +1 walks towards +x (to the right), −1 to the left
    lane_y_m: float
    enters_s: tuple[float, float]
    strides: int = 2


CAST = (
    Walker(
        "Ada",
        {
            "gender": 1.0,
            "age": 0.72,
            "muscle": 0.45,
            "weight": 1.0,
            "height": 0.36,
            "proportions": 0.3,
        },
        Outfit("#c8963c", "#4a3a34", "#c98f6b", "#54504e", "#3a2a26", loose=0.028, skirt="#7a2f3c"),
        ("35_14.bvh", "35_28.bvh"),
        heading=-1,
        lane_y_m=-0.9,
        enters_s=(8.5, 6.7),
    ),
    Walker(
        "Bo",
        {
            "gender": 0.0,
            "age": 0.62,
            "muscle": 0.42,
            "weight": 0.15,
            "height": 0.52,
            "proportions": 0.8,
        },
        Outfit("#3f86c6", "#2b3147", "#e3b592", "#3b2718", "#4b4038", sleeve=0.8),
        ("39_12.bvh", "39_04.bvh"),
        heading=1,
        lane_y_m=0.7,
        enters_s=(1.1, 1.1),
    ),
    Walker(
        "Cleo",
        {
            "gender": 1.0,
            "age": 0.6,
            "muscle": 0.5,
            "weight": 0.42,
            "height": 0.45,
            "proportions": 0.7,
        },
        Outfit("#1f8a84", "#23252b", "#8a5a3c", "#1b1412", "#b8443a", long_hair=True, loose=0.008),
        ("07_01.bvh", "07_02.bvh"),
        heading=-1,
        lane_y_m=-0.4,
        enters_s=(6.4, 8.9),
        strides=1,
    ),
    Walker(
        "Dan",
        {
            "gender": 0.0,
            "age": 0.74,
            "muscle": 1.0,
            "weight": 0.78,
            "height": 0.38,
            "proportions": 0.5,
        },
        Outfit("#a8342c", "#6f6a4c", "#d19f7c", "#8a8580", "#2a2622", loose=0.022, hem=-0.08),
        ("16_58.bvh", "16_47.bvh"),
        heading=1,
        lane_y_m=0.2,
        enters_s=(2.0, 2.0),
    ),
)


@dataclass(frozen=True)
class Dressed:
    """Rest vertices [V, 3] with clothes on and linear vertex colours [V, 3]."""

    vertices: NDArray[np.float32]
    colours: NDArray[np.float32]


def neighbour_mean(faces: Array, count: int) -> csr_matrix:
    """The matrix [V, V] that replaces a value by its neighbours' mean; lone ones keep theirs."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    links = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    links.data[:] = 1.0
    degree = np.asarray(links.sum(axis=1)).ravel()
    return diags(1 / np.maximum(degree, 1)) @ links + diags((degree == 0).astype(float))


def along_limb(body: Body, vertices: Array, start: str, end: str) -> Array:
    """Where vertices [V, 3] lie along a bone: 0 at joint `start`, 1 at `end`."""
    a, b = (body.heads[body.names.index(n)] for n in (start, end))
    return np.asarray((vertices - a) @ (b - a) / ((b - a) @ (b - a)))


def regions(body: Body, outfit: Outfit) -> dict[str, Array]:
    """Masks [V] by what covers the skin there: shirt, legs, shoes, hair; the rest is skin."""
    v = body.vertices
    bone = np.array(body.names)[body.weights.argmax(axis=1)]
    joint = dict(zip(body.names, body.heads, strict=True))
    arm = np.zeros(len(v))
    for side in ("Left", "Right"):
        for k, (start, end) in enumerate((("Arm", "ForeArm"), ("ForeArm", "Hand"))):
            here = bone == side + start
            arm[here] = k + along_limb(body, v[here], side + start, side + end)
    hands = np.array(["Hand" in b or "Finger" in b or "Thumb" in b for b in bone])
    below_ankle = v[:, 2] < joint["LeftFoot"][2] - (0.02 if not outfit.skirt else -0.01)
    feet = np.array(["Foot" in b or "Toe" in b for b in bone]) & below_ankle
    head = np.isin(bone, ["Neck", "Neck1", "Head"])
    hips = joint["LeftUpLeg"][2]
    shirt = ~head & ~hands & ~feet & (v[:, 2] > hips + outfit.hem) & (arm < outfit.sleeve)
    legs = ~head & ~hands & ~feet & ~shirt & (arm == 0)
    tall = v[:, 2].max() - v[:, 2].min()
    crown, chin = v[:, 2].max(), v[:, 2].max() - 0.128 * tall
    face = head & (v[:, 2] > chin - 0.02)
    front, back = v[face, 1].min(), v[face, 1].max()
    up, deep = (v[:, 2] - chin) / (crown - chin), (v[:, 1] - front) / (back - front)
    down_to = -0.35 if outfit.long_hair else 0.42
    hair = head & ((up > 0.93 - 0.25 * deep) | ((deep > 0.62) & (up > down_to)))
    hair |= head & (deep > 0.52) & (deep <= 0.62) & (up > 0.62)
    return {"shirt": shirt, "legs": legs, "shoes": feet, "hair": hair}


def dress(body: Body, outfit: Outfit, rng: np.random.Generator) -> Dressed:
    """Clothes as normal offsets over a smoothed skin, with a few folds, and colours by region."""
    mean = neighbour_mean(body.faces, len(body.vertices))
    part = regions(body, outfit)
    covered = part["shirt"] | part["legs"] | part["shoes"]
    v = body.vertices.astype(np.float64)
    for _ in range(10):  # cloth spans the hollows of a body
        v = np.where(covered[:, None], mean @ v, v)
    normals = vertex_normals(v, body.faces).astype(np.float64)
    knee = body.heads[body.names.index("LeftLeg")][2]
    ankle = body.heads[body.names.index("LeftFoot")][2]
    offset = np.zeros(len(v))
    offset[part["shirt"]] = outfit.loose + 0.006
    offset[part["shoes"]] = 0.012
    below = np.clip((knee - v[:, 2]) / (knee - ankle), 0, 1)
    trousers = 0.0 if outfit.skirt else outfit.loose + 0.012 * below
    offset[part["legs"]] = (trousers + np.zeros(len(v)))[part["legs"]]
    offset[part["hair"]] = 0.016
    folds = sum(np.sin(v @ rng.normal(0, 22, 3) + rng.uniform(0, 6.3)) for _ in range(4))
    offset += 0.0016 * folds * (part["shirt"] | part["legs"]) * (0.4 if outfit.skirt else 1)
    offset = mean @ offset * 0.5 + offset * 0.5
    return Dressed(np.asarray(v + normals * offset[:, None], np.float32), paint(body, outfit, part))


def paint(body: Body, outfit: Outfit, part: dict[str, Array]) -> NDArray[np.float32]:
    """Linear vertex colours [V, 3]."""
    v = body.vertices
    colours = np.tile(from_srgb(outfit.skin), (len(v), 1))
    for name in ("shirt", "legs", "shoes", "hair"):
        colours[part[name]] = from_srgb(getattr(outfit, name))
    sole = part["shoes"] & (v[:, 2] < v[:, 2].min() + 0.018)
    colours[sole] = colours[sole] * 0.35 + 0.02
    # Eyes and brows: a darker band across the face is all that 25 pixels of head can show.
    crown, tall = v[:, 2].max(), v[:, 2].max() - v[:, 2].min()
    up = (v[:, 2] - (crown - 0.128 * tall)) / (0.128 * tall)
    front = v[:, 1] < v[up > 0.2, 1].min() + 0.035
    eyes = (up > 0.49) & (up < 0.56) & front & (np.abs(np.abs(v[:, 0]) - 0.033) < 0.014)
    colours[eyes & ~part["hair"]] *= 0.18
    mouth = (up > 0.2) & (up < 0.25) & front & (np.abs(v[:, 0]) < 0.024)
    colours[mouth] *= np.array([0.75, 0.45, 0.45], np.float32)
    return colours.astype(np.float32)


def skirt(cycle: WalkCycle, body: Body, rings: int = 12, spokes: int = 48) -> tuple[Array, Array]:
    """A skirt that hangs around both legs: vertices [P, R·S + 1, 3] and faces [F, 3].

    Each ring is the convex outline of the leg at one height of the rest pose, a little wider.
    """
    joint = dict(zip(body.names, body.heads, strict=True))
    top, hem = joint["LowerBack"][2] - 0.02, joint["LeftLeg"][2] - 0.06
    trunk = ~np.isin(body.weights.argmax(axis=1), arm_bones(body))
    angles = np.arange(spokes) * 2 * np.pi / spokes
    rays = np.stack([np.cos(angles), np.sin(angles)])
    cosine = np.cos(angles[:, None] - angles[None])
    out = []
    for k, z in enumerate(np.linspace(top, hem, rings)):
        band = cycle.vertices[:, trunk & (np.abs(body.vertices[:, 2] - z) < 0.03)]
        centre = 0.5 * (band[..., :2].max(axis=1) + band[..., :2].min(axis=1))
        reach = ((band[..., :2] - centre[:, None]) @ rays).max(axis=1)
        with np.errstate(divide="ignore"):
            cut = np.where(cosine > 0.05, reach[:, None, :] / cosine, np.inf)
        radius = cut.min(axis=2) * (1 + 0.012 * k) + 0.014
        ring = centre[:, None] + radius[..., None] * rays.T
        height = np.broadcast_to(band[..., 2].mean(axis=1)[:, None, None], (*ring.shape[:2], 1))
        out.append(np.concatenate([ring, height], axis=2))
    bottom = out[-1].mean(axis=1, keepdims=True)
    vertices = np.concatenate([*out, bottom], axis=1)
    this = np.arange(spokes)
    after = (this + 1) % spokes
    faces = [
        np.stack([k + this, k + spokes + this, k + after], axis=1)
        for k in range(0, (rings - 1) * spokes, spokes)
    ]
    faces += [
        np.stack([k + after, k + spokes + this, k + spokes + after], axis=1)
        for k in range(0, (rings - 1) * spokes, spokes)
    ]
    low = (rings - 1) * spokes
    faces.append(np.stack([low + after, low + this, np.full(spokes, rings * spokes)], axis=1))
    return vertices.astype(np.float32), np.concatenate(faces).astype(np.int32)


def arm_bones(body: Body) -> list[int]:
    words = ("Arm", "Hand", "Finger", "Thumb", "Shoulder")
    return [i for i, n in enumerate(body.names) if any(w in n for w in words)]


@dataclass(frozen=True)
class Actor:
    """A walker in front of one camera: a cycle, faces, colours, and when and where."""

    cycle: WalkCycle
    faces: NDArray[np.int32]
    colours: NDArray[np.float32]
    heading: int
    start_xy_m: tuple[float, float]
    enters_s: float

    def at(self, time_s: float) -> NDArray[np.float32]:
        """Vertices [V, 3] in the world."""
        v = self.cycle.at(time_s - self.enters_s)
        out = np.empty_like(v)
        out[:, 0] = -self.heading * v[:, 1] + self.start_xy_m[0]
        out[:, 1] = self.heading * v[:, 0] + self.start_xy_m[1]
        out[:, 2] = v[:, 2]
        return out


def entry_x(camera: Camera, heading: int, lane_y_m: float) -> float:
    """Where on a lane a walker is just outside the image, metres."""
    p = camera.k @ np.column_stack([camera.r, camera.t])
    edge = p[0] - (0 if heading > 0 else camera.size_wh[0]) * p[2]  # edge · (x, y, z, 1) = 0
    return float(-(edge[1] * lane_y_m + edge[2] * 1.0 + edge[3]) / edge[0] - heading * REACH_M)


def cast_actors(mocap: Path, seed: int) -> list[list[Actor]]:
    """[2 cameras][people]; a person has the same body and clothes in front of both."""
    model = load_anny()
    actors: list[list[Actor]] = [[], []]
    for i, walker in enumerate(CAST):
        body = build_body(model, walker.phenotype)
        dressed = dress(body, walker.outfit, np.random.default_rng([seed, i]))
        for c, clip in enumerate(walker.clips):
            cycle = walk_cycle(
                read_bvh(mocap / clip), body, dressed.vertices, strides=walker.strides
            )
            faces, colours = body.faces, dressed.colours
            if walker.outfit.skirt:
                extra, extra_faces = skirt(cycle, body)
                faces = np.concatenate([faces, extra_faces + len(body.vertices)])
                tint = np.tile(from_srgb(walker.outfit.skirt), (extra.shape[1], 1))
                colours = np.concatenate([colours, tint])
                joined = np.concatenate([cycle.vertices, extra], axis=1)
                cycle = WalkCycle(joined, cycle.path, cycle.fps)
            camera = make_camera(list(AZIMUTHS_DEG.values())[c])
            start = (entry_x(camera, walker.heading, walker.lane_y_m), walker.lane_y_m)
            actors[c].append(
                Actor(cycle, faces, colours, walker.heading, start, walker.enters_s[c])
            )
            height = float(np.ptp(dressed.vertices[:, 2]))
            print(f"{walker.name}: {height:.2f} m, {clip}, {cycle.speed_mps:.2f} m/s")
    return actors


def make_camera(azimuth_deg: float) -> Camera:
    """A camera on a circle around the scene; azimuth 0 looks straight at the wall."""
    a = np.radians(azimuth_deg)
    away = CAMERA_DISTANCE_M * np.array([np.sin(a), -np.cos(a), 0.0])
    place = np.array([0, 0, CAMERA_HEIGHT_M]) + away
    return look_at(place, TARGET_M, FOCAL_PX, SIZE_WH)


def noise_map(rng: np.random.Generator, cells: int = 256, blur: float = 1.0) -> NDArray[np.float32]:
    """A seamless field [cells, cells] float32 of mean 0, deviation 1."""
    field = gaussian_filter(rng.normal(size=(cells, cells)), blur, mode="wrap")
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def sample(field: Array, u: Array, v: Array) -> Array:
    """A seamless field at u, v (cells), bilinear."""
    n = len(field)
    iu, iv = np.floor(u).astype(int), np.floor(v).astype(int)
    fu, fv = u - iu, v - iv
    a, b = field[iv % n, iu % n], field[iv % n, (iu + 1) % n]
    c, d = field[(iv + 1) % n, iu % n], field[(iv + 1) % n, (iu + 1) % n]
    return np.asarray((a * (1 - fu) + b * fu) * (1 - fv) + (c * (1 - fu) + d * fu) * fv)


def floor_colour(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """Large stone tiles, linear [..., 3]: a shade per tile, clouds, grain, and joints between."""
    side = 0.9
    i, j = np.floor(x / side).astype(int), np.floor(y / side).astype(int)
    shades = rng.normal(size=(64, 64))
    clouds, grain = noise_map(rng, 256, 6.0), noise_map(rng, 512, 0.8)
    tone = 1 + 0.05 * shades[j % 64, i % 64] + 0.05 * sample(clouds, x * 40, y * 40)
    tone += 0.05 * sample(grain, x * 110, y * 110)
    edge = np.minimum(np.abs(x / side - np.round(x / side)), np.abs(y / side - np.round(y / side)))
    tone = np.where(edge * side < 0.006, tone * 0.62, tone)
    near_wall = 1 - 0.4 * np.exp(-(WALL_Y_M - y) / 0.35)
    return np.asarray(from_srgb("#b3aca2") * (tone * near_wall)[..., None])


def wall_colour(x: Array, z: Array, rng: np.random.Generator) -> Array:
    """Plaster over a boarded base, with three pictures; linear [..., 3]."""
    plaster, grain = noise_map(rng, 256, 5.0), noise_map(rng, 512, 0.9)
    tone = 1 + 0.03 * sample(plaster, x * 25, z * 25) + 0.025 * sample(grain, x * 90, z * 90)
    out = from_srgb("#cfcabd") * tone[..., None]
    boards = np.mod(x, 0.16)
    wood = (
        1
        + 0.10 * sample(grain, x * 160, z * 9)
        + 0.08 * rng.normal(size=997)[np.floor(x / 0.16).astype(int) % 997]
    )
    wood = np.where(boards < 0.009, wood * 0.55, wood)
    out = np.where((z < 0.95)[..., None], from_srgb("#8d9a8e") * wood[..., None], out)
    rail = (z >= 0.95) & (z < 1.0)
    out = np.where(rail[..., None], from_srgb("#6f7b70") * np.ones_like(out), out)
    out = np.where((z < 0.1)[..., None], from_srgb("#57605a") * np.ones_like(out), out)
    for centre, one, two in ((-2.9, "#3c6e8f", "#e0b45c"), (0.1, "#a34a3a", "#ecdcc0")):
        out = picture(out, x - centre, z - 1.85, from_srgb(one), from_srgb(two))
    out = picture(out, x - 3.1, z - 1.85, from_srgb("#4f7a52"), from_srgb("#dfe6d2"))
    light = 0.86 + 0.14 * np.clip(z / 2.5, 0, 1) - 0.25 * np.exp(-z / 0.18)
    return np.asarray(out * light[..., None])


def picture(wall: Array, x: Array, z: Array, one: Array, two: Array) -> Array:
    """A framed print of hills and a sun on the wall, centred at x = z = 0; metres."""
    across, up = np.abs(x), np.abs(z)
    shadow = (across < 0.68) & (np.abs(z + 0.03) < 0.53)
    out = np.where(shadow[..., None], wall * 0.8, wall)
    out = np.where(((across < 0.64) & (up < 0.48))[..., None], from_srgb("#3a3430"), out)
    out = np.where(((across < 0.61) & (up < 0.45))[..., None], from_srgb("#eee9df"), out)
    inside = (across < 0.52) & (up < 0.36)
    hills = z < -0.1 + 0.09 * np.sin(5 * x + 1) + 0.03 * np.sin(13 * x)
    near = z < -0.2 + 0.05 * np.sin(7 * x - 1)
    sun = (x - 0.2) ** 2 + (z - 0.14) ** 2 < 0.011
    art = np.where(sun[..., None], from_srgb("#f3d9a0"), two * np.ones_like(wall))
    art = np.where(hills[..., None], one * 0.8 + two * 0.2, art)
    art = np.where(near[..., None], one * 0.55, art)
    return np.asarray(np.where(inside[..., None], art, out))


def box_mesh(low: Array, high: Array) -> tuple[Array, Array]:
    """An upright box with flat sides: vertices [24, 3], faces [12, 3]."""
    vertices: list[Array] = []
    faces: list[list[int]] = []
    for axis in range(3):
        for side in (0, 1):
            i, j = (axis + 1) % 3, (axis + 2) % 3
            start = len(vertices)
            for a, b in ((0, 0), (1, 0), (1, 1), (0, 1)):
                corner = np.array(low, float)
                corner[axis] = (low, high)[side][axis]
                corner[i], corner[j] = (low, high)[a][i], (low, high)[b][j]
                vertices.append(corner)
            ring = [start, start + 1, start + 2, start + 3]
            ring = ring if side else ring[::-1]
            faces += [[ring[0], ring[1], ring[2]], [ring[0], ring[2], ring[3]]]
    return np.array(vertices), np.array(faces, np.int32)


def leaves_mesh(centre: Array, rng: np.random.Generator, count: int = 90) -> tuple[Array, Array]:
    """A pot plant: pointed leaves from a stem; vertices [4n, 3], faces [4n, 3], both sides."""
    vertices: list[Array] = []
    faces: list[list[int]] = []
    for n in range(count):
        turn, lift = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.35)
        out = np.array([np.cos(turn) * np.cos(lift), np.sin(turn) * np.cos(lift), np.sin(lift)])
        side = np.array([-np.sin(turn), np.cos(turn), 0.0]) * 0.035
        base = centre + np.array([0, 0, rng.uniform(0, 0.25)])
        tip = base + out * rng.uniform(0.35, 0.6) - np.array([0, 0, 0.1 * np.cos(lift)])
        middle = base + out * 0.26
        vertices += [base, middle + side, tip, middle - side]
        k = 4 * n
        faces += [[k, k + 1, k + 2], [k, k + 2, k + 3], [k + 2, k + 1, k], [k + 3, k + 2, k]]
    return np.array(vertices), np.array(faces, np.int32)


PLANTS_X_M = (-4.3, 3.9)  # beside the pictures, where few legs pass in front of the pots


def furniture(seed: int) -> Iterator[tuple[Array, Array, Array]]:
    """A bench and two plants along the wall: vertices, faces, linear shaded colours."""
    rng = np.random.default_rng([seed, 77])
    wood, metal, clay, leaf = (from_srgb(c) for c in ("#b08a62", "#8f948f", "#93958a", "#5c8a55"))
    boxes = [((-0.75 - 0.1, 2.0, 0.40), (0.75 - 0.1, 2.45, 0.46), wood)]
    boxes += [((x, 2.05, 0.0), (x + 0.06, 2.4, 0.40), metal) for x in (-0.75, 0.49)]
    boxes += [((x - 0.2, 2.0, 0.0), (x + 0.2, 2.4, 0.42), clay) for x in PLANTS_X_M]
    for low, high, colour in boxes:
        vertices, faces = box_mesh(np.array(low), np.array(high))
        normals = vertex_normals(vertices, faces)
        yield vertices, faces, LIGHT.shade(np.tile(colour, (len(vertices), 1)), normals)
    for x in PLANTS_X_M:
        vertices, faces = leaves_mesh(np.array([x, 2.2, 0.42]), rng)
        tones = leaf * rng.uniform(0.5, 1.3, (len(vertices) // 4, 1)).repeat(4, axis=0)
        yield vertices, faces, np.asarray(tones, np.float32) * 0.75


def draw_scene(camera: Camera, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The empty room: linear colour [H, W, 3], and how much of each pixel is bare floor [H, W]."""
    s = 3
    buffers = Buffers.empty(camera.size_wh, supersampling=s)
    rows, columns = buffers.depth.shape
    px = (np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1) + 0.5) / s
    rays = np.concatenate([px, np.ones((rows, columns, 1))], -1) @ np.linalg.inv(camera.k).T
    rays = rays @ camera.r
    eye = camera.position
    to_floor, to_wall = -eye[2] / rays[..., 2], (WALL_Y_M - eye[1]) / rays[..., 1]
    on_floor = (to_floor > 0) & (to_floor < to_wall)
    at = eye + rays * np.where(on_floor, to_floor, to_wall)[..., None]
    lit = LIGHT.shade(np.ones((2, 3)), np.array([[0, 0, 1.0], [0, -1.0, 0]]))[:, 0]
    floor = floor_colour(at[..., 0], at[..., 1], np.random.default_rng([seed, 1])) * lit[0]
    wall = wall_colour(at[..., 0], at[..., 2], np.random.default_rng([seed, 2])) * lit[1] * 1.25
    colour = np.where(on_floor[..., None], floor, wall)
    for vertices, faces, shades in furniture(seed):
        draw(buffers, camera, vertices, faces, shades)
    bare = ~np.isfinite(buffers.depth)
    colour = np.where(bare[..., None], colour, buffers.colour)
    return block_mean(colour, s), block_mean(on_floor & bare, s)


def floor_shadow(camera: Camera, actors: list[tuple[Actor, Array]]) -> NDArray[np.float32]:
    """Shadow on the floor [H, W] in [0, 1]: thrown by the lamp, soft, darker under the feet."""
    thrown, contact = (Buffers.empty(camera.size_wh, supersampling=1) for _ in range(2))
    for actor, vertices in actors:
        black = np.zeros_like(vertices)
        flat = LIGHT.shadow_on_floor(vertices)
        draw(thrown, camera, flat, actor.faces, black, cull=False)
        low = vertices[:, 2] < 0.07
        under = vertices.copy()
        under[:, 2] = 0
        near = actor.faces[low[actor.faces].all(axis=1)]
        draw(contact, camera, under, near, black, cull=False)
    thrown_on, contact_on = (np.isfinite(b.depth).astype(np.float32) for b in (thrown, contact))
    soft = cv2.GaussianBlur(thrown_on, (0, 0), sigmaX=3.5, sigmaY=2.0)
    close = cv2.GaussianBlur(contact_on, (0, 0), sigmaX=3.0, sigmaY=1.5)
    return np.asarray(1 - (1 - 0.42 * soft) * (1 - 0.6 * np.clip(1.3 * close, 0, 1)))


def draw_person(
    camera: Camera, actor: Actor, vertices: Array, person: int
) -> tuple[Buffers, Window] | None:
    """One person alone in a window around them, even where it leaves the image."""
    points, _ = camera.project(vertices)
    x1, y1 = (int(v) for v in np.floor(points.min(axis=0)))
    x2, y2 = (int(v) for v in np.ceil(points.max(axis=0)))
    if x1 >= camera.size_wh[0] or x2 <= 0 or y1 >= camera.size_wh[1] or y2 <= 0:
        return None
    buffers = Buffers.empty((x2 - x1, y2 - y1), (x1, y1), SUPERSAMPLING)
    shades = LIGHT.shade(actor.colours, vertex_normals(vertices, actor.faces))
    draw(buffers, camera, vertices, actor.faces, shades, person)
    return buffers, (x1, y1, x2, y2)


def visible_people(
    everyone: Buffers, alone: dict[int, tuple[Buffers, Window]]
) -> tuple[TruthPerson, ...]:
    """Boxes and masks after occlusion; a pixel is a person's if half of its samples are."""
    out = []
    for person, (buffers, _) in alone.items():
        whole, full = mask_and_box(buffers, person)
        seen, box = mask_and_box(everyone, person)
        if full is None or box is None:
            continue
        dx, dy = everyone.origin_xy
        out.append(
            TruthPerson(
                person=person,
                name=CAST[person].name,
                bbox_xyxy_px=box,
                full_bbox_xyxy_px=full,
                visibility=float(seen.sum() / whole.sum()),
                mask=seen[box[1] - dy : box[3] - dy, box[0] - dx : box[2] - dx],
            )
        )
    return tuple(out)


def mask_and_box(buffers: Buffers, person: int) -> tuple[NDArray[np.bool_], Window | None]:
    """A person's pixels in the window [h, w], and their box in image pixels (None without any)."""
    mask = block_mean(buffers.person == person, buffers.supersampling) >= 0.5
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(ys):
        return mask, None
    dx, dy = buffers.origin_xy
    return mask, (int(xs[0]) + dx, int(ys[0]) + dy, int(xs[-1]) + 1 + dx, int(ys[-1]) + 1 + dy)


def render_frame(
    camera: Camera, actors: list[Actor], time_s: float, room: Array, bare_floor: Array
) -> tuple[NDArray[np.float32], tuple[TruthPerson, ...]]:
    """One frame in linear light [H, W, 3] and who is to be seen in it."""
    alone: dict[int, tuple[Buffers, Window]] = {}
    posed = []
    for person, actor in enumerate(actors):
        if time_s < actor.enters_s:
            continue
        vertices = actor.at(time_s)
        drawn = draw_person(camera, actor, vertices, person)
        posed.append((actor, vertices))
        if drawn is not None:
            alone[person] = drawn
    if not posed:
        return room, ()
    image = room * (1 - floor_shadow(camera, posed) * bare_floor)[..., None]
    if not alone:
        return image, ()
    windows = np.array([window for _, window in alone.values()])
    x1, y1 = (int(v) for v in np.maximum(windows[:, :2].min(axis=0), 0))
    x2, y2 = (int(v) for v in np.minimum(windows[:, 2:].max(axis=0), camera.size_wh))
    everyone = Buffers.empty((x2 - x1, y2 - y1), (x1, y1), SUPERSAMPLING)
    for buffers, _ in alone.values():
        merge(everyone, buffers)
    colour, cover = resolve(everyone)
    image[y1:y2, x1:x2] = image[y1:y2, x1:x2] * (1 - cover)[..., None] + colour
    return image, visible_people(everyone, alone)


def render_frames(
    camera: Camera, actors: list[Actor], seed: int, frames: range
) -> Iterator[tuple[NDArray[np.uint8], tuple[TruthPerson, ...]]]:
    """RGB frames [H, W, 3] uint8 with a little sensor noise, and who is to be seen in them."""
    room, bare_floor = draw_scene(camera, seed)
    for frame in frames:
        image, people = render_frame(camera, actors, frame / FPS, room, bare_floor)
        rng = np.random.default_rng([seed, 3, frame])
        noise = rng.standard_normal((*room.shape[:2], 1), dtype=np.float32)
        levels = to_srgb(image) + NOISE_LEVELS * noise
        yield np.clip(levels + 0.5, 0, 255).astype(np.uint8), people


def encode(path: Path, frames: Iterator[NDArray[np.uint8]]) -> None:
    """Write an H.264 MP4 (yuv420p, index in front so that it plays while it loads)."""
    import av

    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuv420p"
        # One thread, no macroblock tree: with either, the same frames gave other bytes (measured).
        options = {"crf": str(CRF), "preset": "slow", "threads": "1", "x264-params": "mbtree=0"}
        stream.options = options
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def make_clip(
    name: str, actors: list[Actor], out: Path, seed: int, say: Callable[[str], None]
) -> TruthCamera:
    """Render and write one camera's clip; returns its truth."""
    camera = make_camera(AZIMUTHS_DEG[name])
    people: list[tuple[TruthPerson, ...]] = []
    began = time.perf_counter()

    def images() -> Iterator[NDArray[np.uint8]]:
        for image, seen in render_frames(camera, actors, seed, range(FRAMES)):
            people.append(seen)
            if len(people) % 50 == 0:
                rate = len(people) / (time.perf_counter() - began)
                say(f"{name}: {len(people)} of {FRAMES} frames, {rate:.1f} frames/s")
            yield image

    encode(out / f"{name}.mp4", images())
    return TruthCamera(
        name, camera.k, camera.r, camera.t, camera.size_wh, float(FPS), tuple(people)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Render the demo clip: four people, two cameras.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--mocap", type=Path, required=True, help="folder of CMU walks (BVH)")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write to")
    parser.add_argument("--seed", type=int, default=7, help="textures, folds and sensor noise")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    actors = cast_actors(args.mocap, args.seed)
    cameras = tuple(
        make_clip(name, actors[c], args.out, args.seed, print)
        for c, name in enumerate(AZIMUTHS_DEG)
    )
    save_truth(args.out / "truth.npz", Truth(tuple(w.name for w in CAST), cameras))


if __name__ == "__main__":
    main()
