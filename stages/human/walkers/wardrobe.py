"""What people wear and carry, as layers over the body.

Cloth is a thickness along the normals; what has a shape of its own is a solid fixed to a joint
(bag, hat, bun) or a drape: the convex hull of what it hangs on, from waist or shoulders to the hem,
so that a skirt closes the gap between the legs. Letters: V vertices of the mesh, K points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stages.human.joints import SMPL_JOINT_NAMES
from stages.human.walkers.bodies import Mesh, load_mesh, load_walker_skeleton
from stages.human.walkers.gaits import Style
from stages.human.walkers.people import Hair, Person

# As CASIA-B: normal clothes, with a bag, in a coat (or skirt, or hood).
Dress = Literal["nm", "bg", "cl"]
DRESSES: tuple[Dress, ...] = get_args(Dress)

_J = {name: place for place, name in enumerate(SMPL_JOINT_NAMES)}
REGIONS: dict[str, tuple[str, ...]] = {
    "head": ("head", "neck"),
    "trunk": ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar"),
    "upper_arms": ("left_shoulder", "right_shoulder"),
    "forearms": ("left_elbow", "right_elbow"),
    "hands": ("left_wrist", "right_wrist", "left_hand", "right_hand"),
    "thighs": ("left_hip", "right_hip"),
    "shanks": ("left_knee", "right_knee"),
    "feet": ("left_ankle", "right_ankle", "left_foot", "right_foot"),
}
REGION_NAMES = tuple(REGIONS)
# Thickness of cloth, metres: least and most, by region.
LIGHT = {"trunk": (0.004, 0.03), "upper_arms": (0.002, 0.022), "forearms": (0.0, 0.018),
         "thighs": (0.004, 0.03), "shanks": (0.003, 0.035), "feet": (0.004, 0.014)}  # fmt: skip
HEAVY = {"trunk": (0.02, 0.07), "upper_arms": (0.015, 0.045), "forearms": (0.012, 0.04),
         "thighs": (0.008, 0.035), "shanks": (0.005, 0.04), "feet": (0.006, 0.02)}  # fmt: skip
FOLDS = 4  # waves that make cloth uneven
FOLD_DEPTH = 0.5  # of the thickness


@dataclass(frozen=True, eq=False)
class Solid:
    """A convex thing that moves with a joint: points float32 [K,3] at rest, metres."""

    kind: str
    joint: int
    points: NDArray[np.float32]


@dataclass(frozen=True)
class Drape:
    """Cloth that hangs: from `top_y` to `hem_y` (metres at rest, y up), `flare` times as wide."""

    kind: Literal["coat", "skirt"]
    top_y: float
    hem_y: float
    flare: float


@dataclass(frozen=True, eq=False)
class Outfit:
    """What somebody wears on one walk.

    Attributes:
        dress: nm, bg or cl.
        thickness: float32 [8] by `REGION_NAMES`, metres.
        folds: float32 [4,4], each a wave: direction (3) in radians a metre, and its phase.
        solids: bags, hats, hair.
        drape: coat or skirt.
        hair: on the head, if nothing covers it.
        carriage: how what is carried changes the walk.
    """

    dress: Dress
    thickness: NDArray[np.float32]
    folds: NDArray[np.float32]
    solids: tuple[Solid, ...]
    drape: Drape | None
    hair: Hair
    carriage: Style

    def dressed(self, mesh: Mesh, rest: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rest vertices [V,3] with cloth and hair on."""
        offset = self.thickness[region_of(mesh)]
        waves = np.sin(rest @ self.folds[:, :3].T + self.folds[:, 3]).mean(axis=1)
        offset = offset * (1.0 + FOLD_DEPTH * 2.0 * waves)
        offset = offset + hair_offset(self.hair, mesh, rest)
        return np.asarray(rest + offset[:, None] * rest_normals(mesh, rest), np.float32)


_REGION_OF_JOINT = np.array(
    [
        next(i for i, n in enumerate(REGION_NAMES) if joint in REGIONS[n])
        for joint in SMPL_JOINT_NAMES
    ]
)


def region_of(mesh: Mesh) -> NDArray[np.int64]:
    """Region [V] of each vertex, by `REGION_NAMES`."""
    return _REGION_OF_JOINT[mesh.owner]


def rest_normals(mesh: Mesh, rest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit normals [V,3] outwards."""
    a, b, c = (rest[mesh.faces[:, k]] for k in range(3))
    of_faces = np.cross(b - a, c - a)
    normals = np.zeros_like(rest)
    for axis in range(3):
        for corner in range(3):
            normals[:, axis] += np.bincount(
                mesh.faces[:, corner], of_faces[:, axis], minlength=len(rest)
            ).astype(np.float32)
    return np.asarray(
        normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9), np.float32
    )


def hair_offset(hair: Hair, mesh: Mesh, rest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thickness of hair [V] on the skull: none on the face."""
    is_head = mesh.owner == _J["head"]
    out = np.zeros(len(rest), np.float32)
    if not is_head.any():
        return out
    head = rest[is_head]
    low, high = head.min(axis=0), head.max(axis=0)
    up = (head[:, 1] - low[1]) / (high[1] - low[1])
    front = (head[:, 2] - low[2]) / (high[2] - low[2])
    top = np.clip((up - 0.65) / 0.25, 0, 1)
    back = np.clip((0.5 - front) / 0.3, 0, 1) * np.clip((up - 0.2) / 0.2, 0, 1)
    out[is_head] = hair.top_m * top + hair.back_m * back * (1 - top)
    return out


def draw_outfit(dress: Dress, person: Person, rng: np.random.Generator) -> Outfit:
    """An outfit of a kind for somebody; each call draws anew.

    Normal clothes have a skirt or a hat now and then, as people do; `bg` adds something carried,
    `cl` a coat, a heavy jacket with hood, or a long skirt.
    """
    heavy = dress == "cl"
    thickness = np.zeros(len(REGION_NAMES), np.float32)
    for place, name in enumerate(REGION_NAMES):
        low, high = (HEAVY if heavy else LIGHT).get(name, (0.0, 0.0))
        thickness[place] = low + (high - low) * rng.beta(1.3, 2.2)
    folds = np.concatenate(
        [rng.normal(0.0, 14.0, (FOLDS, 3)), rng.uniform(0, 2 * np.pi, (FOLDS, 1))], axis=1
    ).astype(np.float32)
    drape = _drape(heavy, person, rng)
    solids: list[Solid] = []
    carriage = Style()
    if dress == "bg":
        bag, carriage = _bag(person, rng)
        solids.append(bag)
    hair = person.hair
    if rng.random() < (0.35 if heavy else 0.08):
        solids.append(_hat(person, rng))
        hair = replace(hair, top_m=0.0)
    elif hair.hangs_m > 0:
        solids.append(_long_hair(person, hair))
    if rng.random() < 0.12:  # hands in the pockets, a phone, folded arms
        carriage = _still_arms(carriage, rng)
    return Outfit(dress, thickness, folds, tuple(solids), drape, hair, carriage)


def _drape(heavy: bool, person: Person, rng: np.random.Generator) -> Drape | None:
    joints = load_walker_skeleton().rest_joints(person.shape)
    hip, knee, ankle = joints[1, 1], joints[4, 1], joints[7, 1]
    wears_skirt = person.group in ("woman", "girl") and rng.random() < (0.25 if heavy else 0.15)
    if wears_skirt:
        hem = rng.uniform(ankle + 0.1, knee + 0.15)
        return Drape("skirt", float(hip + 0.08), float(hem), float(rng.uniform(1.0, 1.25)))
    if heavy and rng.random() < 0.65:
        hem = rng.uniform(knee - 0.15, hip - 0.1)
        return Drape("coat", float(joints[6, 1]), float(hem), float(rng.uniform(1.0, 1.15)))
    return None


def _ellipsoid(
    centre: NDArray[np.float64], radii: tuple[float, float, float]
) -> NDArray[np.float32]:
    return np.asarray(centre + _sphere() * np.array(radii), np.float32)


def _box(centre: NDArray[np.float64], half: tuple[float, float, float]) -> NDArray[np.float32]:
    corners = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), axis=-1).reshape(-1, 3)
    return np.asarray(centre + corners * np.array(half), np.float32)


@cache
def _sphere() -> NDArray[np.float64]:
    """60 directions spread evenly (a Fibonacci lattice)."""
    place = np.arange(60) + 0.5
    up = 1 - place / 30
    turn = np.pi * (1 + 5**0.5) * place
    flat = np.sqrt(1 - up**2)
    return np.stack([flat * np.cos(turn), up, flat * np.sin(turn)], axis=1)


def _surface(person: Person) -> NDArray[np.float32]:
    return load_mesh().shaped(person.shape)


def _bag(person: Person, rng: np.random.Generator) -> tuple[Solid, Style]:
    """Something carried, and what it does to the arms."""
    joints = load_walker_skeleton().rest_joints(person.shape)
    body, owner = _surface(person), load_mesh().owner
    size = float(rng.uniform(0.75, 1.25)) * person.height_m / 1.7
    side = int(rng.integers(2))  # 0 left, 1 right
    sign = 1.0 if side == 0 else -1.0
    still = (0.25, 1.0) if side == 0 else (1.0, 0.25)
    kind = str(rng.choice(["backpack", "shoulder", "hand", "parcel"], p=[0.4, 0.25, 0.25, 0.1]))
    if kind == "backpack":
        back = body[np.isin(owner, [3, 6, 9])][:, 2].min()
        centre = np.array([0.0, joints[6, 1] + 0.06, back - 0.07 * size])
        half = (0.14 * size, 0.21 * size, 0.085 * size)
        points = _ellipsoid(centre, half) if rng.random() < 0.5 else _box(centre, half)
        return Solid(kind, 6, points), Style()
    if kind == "shoulder":
        wide = np.abs(body[np.isin(owner, [0, 1, 2])][:, 0]).max()
        centre = np.array([sign * (wide + 0.05 * size), joints[1, 1] + 0.05, -0.03])
        half = (0.06 * size, 0.15 * size, 0.17 * size)
        return Solid(kind, 0, _box(centre, half)), Style(arm_swing=still)
    if kind == "hand":
        hand = joints[22 + side]
        # At rest arms point sideways: hanging down is outwards along x.
        centre = hand + np.array([sign * 0.22 * size, 0.0, 0.0])
        half = (0.17 * size, 0.05 * size, 0.16 * size)
        return Solid(kind, 20 + side, _box(centre, half)), Style(arm_swing=still)
    front = body[np.isin(owner, [0, 3, 6])][:, 2].max()
    centre = np.array([0.0, joints[3, 1] + 0.08, front + 0.12 * size])
    half = (0.17 * size, 0.12 * size, 0.11 * size)
    return Solid(kind, 6, _box(centre, half)), Style(arm_swing=(0.15, 0.15), elbow_bend=2.6)


def _hat(person: Person, rng: np.random.Generator) -> Solid:
    head = _surface(person)[load_mesh().owner == _J["head"]]
    low, high = head.min(axis=0), head.max(axis=0)
    centre = 0.5 * (low + high).astype(np.float64)
    radius = 0.5 * float(high[2] - low[2])
    kind = str(rng.choice(["cap", "beanie", "brim", "hood"]))
    crown = centre + np.array([0.0, 0.35 * radius, 0.0])
    if kind == "brim":
        wide = float(rng.uniform(1.25, 1.7)) * radius
        points = _ellipsoid(crown, (wide, 0.5 * radius, wide))
    elif kind == "hood":
        points = _ellipsoid(
            centre - radius * np.array([0.0, 0.2, 0.1]),
            (1.15 * radius, 1.55 * radius, 1.2 * radius),
        )
    elif kind == "cap":
        points = np.concatenate(
            [
                _ellipsoid(crown, (0.85 * radius, 0.95 * radius, 1.02 * radius)),
                _ellipsoid(
                    crown + radius * np.array([0.0, 0.1, 1.2]), (0.5 * radius, 0.06, 0.4 * radius)
                ),
            ]
        )
    else:
        tall = float(rng.uniform(0.95, 1.35)) * radius
        points = _ellipsoid(crown, (0.9 * radius, tall, 1.05 * radius))
    return Solid(kind, _J["head"], points)


def _long_hair(person: Person, hair: Hair) -> Solid:
    head = _surface(person)[load_mesh().owner == _J["head"]]
    low, high = head.min(axis=0), head.max(axis=0)
    back = np.array([0.0, high[1] - 0.1 - hair.hangs_m / 2, low[2] + 0.03])
    return Solid("hair", _J["head"], _ellipsoid(back, (0.085, 0.06 + hair.hangs_m / 2, 0.05)))


def _still_arms(carriage: Style, rng: np.random.Generator) -> Style:
    both = rng.random() < 0.5
    side = int(rng.integers(2))
    swing = [carriage.arm_swing[0], carriage.arm_swing[1]]
    for place in (0, 1):
        if both or place == side:
            swing[place] *= float(rng.uniform(0.1, 0.5))
    bend = float(rng.uniform(1.0, 2.8))
    return replace(carriage, arm_swing=(swing[0], swing[1]), elbow_bend=bend)
