"""Bodies of walkers: who has what build, and a mesh that is posed fast (numba, extra `synth`).

Two meshes of one body: `thin` (1,300 vertices) for silhouettes by the million, `full` (the open
body's 5,000) for pictures in colour. SMPL's axes: metres, y up, facing +z, the person's left at +x.
Letters: T frames, V vertices, F faces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from stages.human.body_file import read_body_file
from stages.human.compiling import import_njit
from stages.human.rotation import axis_angle_to_matrix
from stages.human.skeleton import Skeleton, forward_kinematics, skeleton_of

Group = Literal["woman", "man", "girl", "boy"]
GROUPS: tuple[Group, ...] = get_args(Group)
# How often each comes among walkers: a street, not a school.
GROUP_SHARES = (0.44, 0.44, 0.06, 0.06)

FORMAT_VERSION = 1
BODIES_FILE = Path(__file__).parent / "data" / "bodies.npz"
SHAPES = 10
MAX_DEVIATION = 2.5
INFLUENCES = 4  # joints that move a vertex


@dataclass(frozen=True, eq=False)
class Mesh:
    """A body's surface as a function of shape.

    Attributes:
        template: float32 [V,3] metres; directions: float32 [V,3,10]; faces: int32 [F,3],
            counter-clockwise from outside; joints: int32 [V,4] that move a vertex, by weights
            float32 [V,4], which sum to 1; owner: int64 [V], the joint with the largest say.
    """

    template: NDArray[np.float32]
    directions: NDArray[np.float32]
    faces: NDArray[np.int32]
    joints: NDArray[np.int32]
    weights: NDArray[np.float32]
    owner: NDArray[np.int64]

    def shaped(self, shape: NDArray[Any]) -> NDArray[np.float32]:
        """Vertices [V,3] at rest of shape [10]."""
        return np.asarray(self.template + self.directions @ shape.astype(np.float32), np.float32)


@dataclass(frozen=True, eq=False)
class PosedJoints:
    """joints float64 [T,24,3] metres and turns float64 [T,24,3,3], both in the body's axes."""

    joints: NDArray[np.float64]
    turns: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _File:
    kept: NDArray[np.int64]
    faces: NDArray[np.int32]
    means: NDArray[np.float64]
    roots: NDArray[np.float64]


@cache
def _file() -> _File:
    try:
        with BODIES_FILE.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            fields = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{BODIES_FILE} cannot be read: {error}", hint="Install the program anew."
        ) from error
    return _File(
        fields["kept"].astype(np.int64),
        fields["faces"].astype(np.int32),
        fields["means"].astype(np.float64),
        fields["roots"].astype(np.float64),
    )


@cache
def load_mesh(detail: Literal["thin", "full"] = "thin") -> Mesh:
    """The mesh of the open body. Read once; treat it as constant."""
    body = read_body_file()
    kept: Any = slice(None)
    faces = body.faces.astype(np.int32)
    if detail == "thin":
        kept, faces = _file().kept, _file().faces
    weights = body.weights[kept].astype(np.float32)
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    chosen = np.take_along_axis(weights, joints, axis=1)
    return Mesh(
        body.template[kept].astype(np.float32),
        np.ascontiguousarray(body.shape_directions[kept], np.float32),
        faces,
        joints.astype(np.int32),
        chosen / chosen.sum(axis=1, keepdims=True),
        weights.argmax(axis=1),
    )


@cache
def load_walker_skeleton() -> Skeleton:
    """The open body's joints."""
    return skeleton_of(read_body_file())


def group_of_shapes(group: Group) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [10] of a group's shape numbers and the root [10,10] of their covariance."""
    place = GROUPS.index(group)
    return _file().means[place], _file().roots[place]


def draw_shape(group: Group, rng: np.random.Generator) -> NDArray[np.float64]:
    """Shape numbers [10] of somebody of a group, whatever their weight (see `builds`)."""
    mean, root = group_of_shapes(group)
    deviations = np.clip(rng.standard_normal(SHAPES), -MAX_DEVIATION, MAX_DEVIATION)
    return np.asarray(mean + root @ deviations)


def pose_joints(pose: NDArray[Any], rest_joints: NDArray[Any]) -> PosedJoints:
    """Pose a skeleton: pose [T,72] axis-angle in radians, rest_joints [24,3] metres."""
    joints, turns = forward_kinematics(axis_angle_to_matrix(pose.reshape(-1, 24, 3)), rest_joints)
    return PosedJoints(joints, turns)


def skin(
    mesh: Mesh, rest_vertices: NDArray[Any], rest_joints: NDArray[Any], posed: PosedJoints
) -> NDArray[np.float32]:
    """Linear blend skinning.

    Args:
        rest_vertices: [V,3] of one body, clothed or not, or [T,V,3] where cloth moves.
        rest_joints: [24,3] metres.

    Returns:
        Vertices float32 [T,V,3] metres.
    """
    shifts = posed.joints - (posed.turns @ rest_joints[..., None])[..., 0]
    affine = np.concatenate([posed.turns, shifts[..., None]], axis=-1).astype(np.float32)
    rest = np.ascontiguousarray(rest_vertices, np.float32)
    if rest.ndim == 2:
        rest = rest[None]
    out = np.empty((len(affine), rest.shape[1], 3), np.float32)
    _blend()(affine, rest, mesh.joints, mesh.weights, out)
    return out


@cache
def _blend() -> Callable[..., None]:
    """The compiled loop; compiled once, kept on disk by numba."""
    njit = import_njit("walkers")
    return njit(cache=True, nogil=True)(_blend_vertices)


def _blend_vertices(affine, rest, joints, weights, out):  # type: ignore[no-untyped-def]
    """One pass over frames and vertices; affine [T,24,3,4]."""
    for t in range(affine.shape[0]):
        r = t if rest.shape[0] > 1 else 0
        for v in range(rest.shape[1]):
            x, y, z = rest[r, v, 0], rest[r, v, 1], rest[r, v, 2]
            for a in range(3):
                total = np.float32(0.0)
                for k in range(joints.shape[1]):
                    w = weights[v, k]
                    if w > 0.0:
                        m = affine[t, joints[v, k], a]
                        total += w * (m[0] * x + m[1] * y + m[2] * z + m[3])
                out[t, v, a] = total
