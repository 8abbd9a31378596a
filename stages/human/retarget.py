"""Mocap walks on Anny bodies: CMU-style BVH motion to the `cmu_mb` rig, and gait cycles from it.

World axes are Anny's: metres, z up, a body at rest faces −y. Only `load_anny` and `build_body`
need torch and anny (extra `synth`); what follows is numpy on the arrays they give.
Letters: T frames, P frames of one cycle, J joints of the rig (31), V vertices, F faces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from stages.human.bvh import Bvh

if TYPE_CHECKING:
    from anny import Anny

Floats = NDArray[np.floating]

RIG = "cmu_mb"
TOPOLOGY = "notoes"  # toes show through shoes
# BVH axes (y up, facing +z) to Anny's (z up, facing −y).
BVH_TO_WORLD = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
MIRROR = np.diag([-1.0, 1.0, 1.0])
# The rig's names that the CMU files spell otherwise.
BVH_NAMES = {
    "LeftHandFinger1": "LeftHandIndex1",
    "RightHandFinger1": "RightHandIndex1",
}
# Limbs whose rest direction differs between the two skeletons, and the joint they point to.
LIMB_ENDS = {"UpLeg": "Leg", "Leg": "Foot", "Arm": "ForeArm", "ForeArm": "Hand"}
HAND_BONES = ("Hand", "Thumb", "FingerBase", "HandFinger1")
SOLE_BONES = ("LeftFoot", "LeftToeBase", "RightFoot", "RightToeBase")
# A stride (left heel to left heel) of an adult walk, seconds.
STRIDE_RANGE_S = (0.8, 1.7)
# Height over which a sole counts as touching the floor, metres.
CONTACT_DEPTH_M = 0.006
# Speed over the floor above which a low point of the foot swings, metres a second.
STANDING_MPS = 0.35
# Smoothing of the path and height found from floor contact, seconds (sigma).
CONTACT_SMOOTH_S = 0.03


class RetargetError(ValueError):
    """The clip does not fit the rig, or holds no whole stride."""


@dataclass(frozen=True)
class Body:
    """One person's body at rest.

    vertices: [V, 3] float32 metres; faces: [F, 3] int32, outward counter-clockwise;
    weights: [V, J] float32 skinning weights, rows sum to 1;
    names: J joint names; parents: [J] int64, -1 for the root; heads: [J, 3] float64 metres.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    weights: NDArray[np.float32]
    names: tuple[str, ...]
    parents: NDArray[np.int64]
    heads: NDArray[np.float64]


@dataclass(frozen=True)
class WalkCycle:
    """One or two strides of a body that repeat without a seam, walking towards −y.

    vertices: [P, V, 3] float32 metres, horizontally relative to `path`, floor at z = 0.
    path: [P + 1, 2] float64 metres of travel; the last row is one whole cycle's.
    fps: frames a second.
    """

    vertices: NDArray[np.float32]
    path: NDArray[np.float64]
    fps: float

    @property
    def seconds(self) -> float:
        return len(self.vertices) / self.fps

    @property
    def speed_mps(self) -> float:
        return float(np.linalg.norm(self.path[-1])) / self.seconds

    def at(self, time_s: float) -> NDArray[np.float32]:
        """Vertices [V, 3] at any time; time 0 is the cycle's first frame at the origin."""
        frames = len(self.vertices)
        turns, phase = divmod(time_s * self.fps, frames)
        low = min(int(phase), frames - 1)
        part = phase - low
        out = self.vertices[low] * (1 - part) + self.vertices[(low + 1) % frames] * part
        out[:, :2] += self.path[low] * (1 - part) + self.path[low + 1] * part
        out[:, :2] += turns * self.path[-1]
        return np.asarray(out, dtype=np.float32)


def load_anny() -> Anny:
    """Anny's model on the `cmu_mb` rig. The first call on a machine takes about a minute."""
    try:
        import anny
    except ImportError as error:
        raise ImportError(
            f"walking bodies need the extra 'synth' ({error}): pip install 'gaitstream[synth]'"
        ) from error
    return anny.Anny(rig=RIG, topology=TOPOLOGY)


def build_body(model: Anny, phenotype: Mapping[str, float]) -> Body:
    """A body from phenotypes in [0, 1]: gender (0 male), age, muscle, weight, height, proportions.

    Age: 1/3 child, 2/3 young adult, 1 old.
    """
    import torch

    with torch.no_grad():
        out = model(phenotype_kwargs=dict(phenotype))
    vertices = out["rest_vertices"][0].numpy()
    weights = np.zeros((len(vertices), len(model.bone_labels)), dtype=np.float32)
    rows = np.arange(len(vertices))[:, None]
    np.add.at(weights, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    return Body(
        vertices=vertices.astype(np.float32),
        faces=model.get_triangular_faces().numpy().astype(np.int32),
        weights=weights / weights.sum(axis=1, keepdims=True),
        names=tuple(model.bone_labels),
        parents=np.array(model.bone_parents, dtype=np.int64),
        heads=out["rest_bone_heads"][0].numpy().astype(np.float64),
    )


def minimal_rotation(source: Floats, target: Floats) -> NDArray[np.float64]:
    """The smallest rotation [3, 3] that turns direction `source` [3] into `target` [3]."""
    a = source / np.linalg.norm(source)
    b = target / np.linalg.norm(target)
    v, cos = np.cross(a, b), float(a @ b)
    if cos < -1 + 1e-9:  # opposite: any half turn about a perpendicular axis
        axis = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
        axis /= np.linalg.norm(axis)
        return np.asarray(2 * np.outer(axis, axis) - np.eye(3))
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.asarray(np.eye(3) + k + k @ k / (1 + cos))


def side_swapped(name: str) -> str:
    """The joint's name on the other side of the body: LeftLeg → RightLeg, LThumb → RThumb."""
    for one, other in (("Left", "Right"), ("L", "R")):
        for a, b in ((one, other), (other, one)):
            # "LowerBack" begins with an L too: the single letter needs a capital behind it.
            if name.startswith(a) and name[len(a) : len(a) + 1].isupper():
                return b + name[len(a) :]
    return name


def source_skeleton(
    clip: Bvh, body: Body, mirror: bool
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """The clip's world rotations [T, J, 3, 3] and offsets by name, in our axes, rig order.

    Frame 0 of the CMU files is a T-pose and is left out.
    """
    world = np.empty_like(clip.rotations)
    for j, parent in enumerate(clip.parents):
        local = clip.rotations[:, j]
        world[:, j] = local if parent < 0 else world[:, parent] @ local
    world = BVH_TO_WORLD @ world[1:] @ BVH_TO_WORLD.T
    offsets = clip.offsets @ BVH_TO_WORLD.T
    if mirror:
        world, offsets = MIRROR @ world @ MIRROR, offsets @ MIRROR
    index = {name: i for i, name in enumerate(clip.names)}
    rotations, by_name = [], {}
    for name in body.names:
        wanted = side_swapped(name) if mirror else name
        wanted = BVH_NAMES.get(wanted, wanted)
        if wanted not in index:
            raise RetargetError(f"expected a joint {wanted!r} in the clip, got {clip.names}")
        rotations.append(world[:, index[wanted]])
        by_name[name] = offsets[index[wanted]]
    return np.stack(rotations, axis=1), by_name


def retarget(clip: Bvh, body: Body, mirror: bool = False) -> NDArray[np.float64]:
    """World rotations [T, J, 3, 3] that carry the body's rest pose into the clip's poses.

    The reference is the zero-rotation offset pose. Arms and legs are first turned from the body's
    rest direction to the clip's (`S`); feet, spine and neck are close enough in both skeletons.
    """
    world, offsets = source_skeleton(clip, body, mirror)
    index = {name: i for i, name in enumerate(body.names)}
    out = world.copy()
    for side in ("Left", "Right"):
        for limb, end in LIMB_ENDS.items():
            rest = body.heads[index[side + end]] - body.heads[index[side + limb]]
            s = minimal_rotation(rest, offsets[side + end])
            bones = [side + limb]
            if limb == "ForeArm":
                bones += [(side[0] if b == "Thumb" else side) + b for b in HAND_BONES]
            for bone in bones:
                out[:, index[bone]] = world[:, index[bone]] @ s
    return out


def skin(
    body: Body, rotations: NDArray[np.float64], rest_vertices: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Linear blend skinning with the root joint at the origin.

    rotations: [T, J, 3, 3] world rotations against the rest pose; rest_vertices: [V, 3] instead of
    the body's own (clothed, say). Returns [T, V, 3] float32 metres.
    """
    heads = np.zeros((len(rotations), len(body.names), 3))
    for j, parent in enumerate(body.parents):
        if parent >= 0:
            bone = body.heads[j] - body.heads[parent]
            heads[:, j] = heads[:, parent] + rotations[:, parent] @ bone
    shifts = heads - np.einsum("tjab,jb->tja", rotations, body.heads)
    affine = np.concatenate([rotations, shifts[..., None]], axis=-1).astype(np.float32)
    vertices = body.vertices if rest_vertices is None else rest_vertices
    homogeneous = np.concatenate([vertices, np.ones_like(vertices[:, :1])], axis=1)
    out = np.empty((len(rotations), len(vertices), 3), dtype=np.float32)
    for t, transforms in enumerate(affine):  # by frame: the blended matrices fit the cache
        blended = (body.weights @ transforms.reshape(-1, 12)).reshape(-1, 3, 4)
        np.einsum("vab,vb->va", blended, homogeneous, out=out[t])
    return out


def find_cycle(
    rotations: NDArray[np.float64],
    fps: float,
    strides: int = 1,
    start_range: tuple[float, float] = (0.0, 1.0),
) -> tuple[int, int, float]:
    """The stretch that closes on itself best: first frame, frames, misfit (radians, mean joint).

    start_range: fractions of the clip within which the stretch has to lie.
    """
    first, last = (round(f * (len(rotations) - 2)) for f in start_range)
    poses = rotations[: last + 2].reshape(min(last + 2, len(rotations)), -1)
    speed = np.gradient(poses, axis=0) * fps * 0.1  # a tenth of a second of motion counts as pose
    features = np.concatenate([poses, speed], axis=1)
    shortest, longest = (round(s * fps * strides) for s in STRIDE_RANGE_S)
    best = (np.inf, 0, 0)
    for length in range(shortest, min(longest, last - first) + 1):
        gap = features[first + length : last + 1] - features[first : last + 1 - length]
        misfit = np.sqrt((gap**2).mean(axis=1))
        start = int(misfit.argmin())
        best = min(best, (float(misfit[start]), first + start, length))
    if not np.isfinite(best[0]):
        raise RetargetError(
            f"expected at least {shortest} frames for {strides} stride(s), got {last - first}"
        )
    return best[1], best[2], best[0]


def rotation_log(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation vectors [..., 3] of rotations [..., 3, 3] well below a half turn."""
    cos = np.clip((np.trace(rotation, axis1=-2, axis2=-1) - 1) / 2, -1, 1)
    angle = np.arccos(cos)
    antisymmetric = rotation - np.swapaxes(rotation, -1, -2)
    axis = np.stack(
        [antisymmetric[..., 2, 1], antisymmetric[..., 0, 2], antisymmetric[..., 1, 0]], -1
    )
    return np.asarray(axis * (0.5 / np.maximum(np.sinc(angle / np.pi), 1e-6))[..., None])


def rotation_exp(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations [..., 3, 3] of rotation vectors [..., 3] (Rodrigues; safe at 0)."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    k = np.zeros((*vector.shape[:-1], 3, 3))
    for i, j, n, sign in ((0, 1, 2, -1), (0, 2, 1, 1), (1, 2, 0, -1)):
        k[..., i, j] = sign * vector[..., n]
        k[..., j, i] = -sign * vector[..., n]
    half = np.sinc(angle / (2 * np.pi))
    return np.asarray(np.eye(3) + np.sinc(angle / np.pi) * k + 0.5 * half**2 * (k @ k))


def close_cycle(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """[P + 1, J, 3, 3] with ends that nearly meet → [P, J, 3, 3] that repeats without a jump.

    What is missing between last and first pose is spread evenly over the cycle.
    """
    missing = rotation_log(rotations[0] @ np.swapaxes(rotations[-1], -1, -2))
    share = np.arange(len(rotations) - 1) / (len(rotations) - 1)
    return np.asarray(rotation_exp(share[:, None, None] * missing) @ rotations[:-1])


def root_steps(clip: Bvh, body: Body, mirror: bool = False) -> NDArray[np.float64]:
    """Horizontal travel [T - 1, 2] of the clip's root for the body's legs, metres a frame."""
    index = {name: i for i, name in enumerate(clip.names)}
    legs = [index[side + end] for side in ("Left", "Right") for end in ("Leg", "Foot")]
    ours = [body.names.index(clip.names[i]) for i in legs]
    bones = body.heads[ours] - body.heads[body.parents[ours]]
    scale = np.linalg.norm(bones, axis=1).sum() / np.linalg.norm(clip.offsets[legs], axis=1).sum()
    positions = clip.root_positions[1:] @ BVH_TO_WORLD.T
    if mirror:
        positions = positions @ MIRROR
    return np.asarray(np.diff(positions[:, :2], axis=0) * scale)


def ground(
    vertices: NDArray[np.float32],
    soles: NDArray[np.int64],
    steps: NDArray[np.float64],
    fps: float,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Set a periodic walk on the floor; the path is what keeps the standing sole still.

    A path taken from the mocap alone slides as soon as the body's legs differ from the actor's; it
    only tells here which low points stand: a swinging foot's toe is low, too, but fast.
    vertices: [P, V, 3] with the root at the origin; soles: indices; steps: [P, 2] metres a frame.
    Returns (vertices on z = 0, path [P + 1, 2]).
    """
    sigma = CONTACT_SMOOTH_S * fps
    feet = vertices[:, soles].astype(np.float64)
    after = np.roll(feet, -1, axis=0)
    height = 0.5 * (feet[..., 2] + after[..., 2])
    moved = (after - feet)[..., :2]
    speed = np.linalg.norm(moved + steps[:, None], axis=-1) * fps
    cost = 0.5 * (speed / STANDING_MPS) ** 2
    total = cost + (height - height.min(axis=1, keepdims=True)) / CONTACT_DEPTH_M
    touch = np.exp(total.min(axis=1, keepdims=True) - total)
    touch /= touch.sum(axis=1, keepdims=True)
    step = gaussian_filter1d(-(moved * touch[..., None]).sum(axis=1), sigma, axis=0, mode="wrap")
    floor = gaussian_filter1d((height * touch).sum(axis=1), sigma, mode="wrap")
    out = vertices.copy()
    out[..., 2] -= floor[:, None].astype(np.float32)
    return out, np.concatenate([np.zeros((1, 2)), np.cumsum(step, axis=0)])


def walk_cycle(
    clip: Bvh,
    body: Body,
    rest_vertices: NDArray[np.float32] | None = None,
    strides: int = 1,
    start_range: tuple[float, float] = (0.0, 1.0),
    mirror: bool = False,
) -> WalkCycle:
    """The best closing stretch of a clip on a body, on the floor, turned to walk towards −y."""
    fps = 1.0 / clip.frame_time_s
    rotations = retarget(clip, body, mirror)
    start, length, _ = find_cycle(rotations, fps, strides, start_range)
    closed = close_cycle(rotations[start : start + length + 1])
    soles_of = [body.names.index(name) for name in SOLE_BONES]
    soles = np.flatnonzero(np.isin(body.weights.argmax(axis=1), soles_of))
    steps = root_steps(clip, body, mirror)[start : start + length]
    vertices, path = ground(skin(body, closed, rest_vertices), soles, steps, fps)
    away = path[-1] / np.linalg.norm(path[-1])
    turn = np.array([[-away[1], away[0]], [-away[0], -away[1]]])  # takes `away` to (0, −1)
    vertices[..., :2] = vertices[..., :2] @ turn.T.astype(np.float32)
    return WalkCycle(vertices, path @ turn.T, fps)
