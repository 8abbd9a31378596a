"""A dressed person's stride as meshes: what is worn walks along, the standing sole keeps its place.

One stride is worked out once for a few dozen phases; any moment of a walk lies between two of them.
World axes: metres, z up, floor at z = 0; without a turn people walk towards -y (`viewing.py`).
Letters: P phases of a stride, V vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from stages.human.rasteriser import vertex_normals
from stages.human.scenes.drapes3d import hang
from stages.human.scenes.dressing import Figure
from stages.human.walkers.bodies import PosedJoints, pose_joints, skin
from stages.human.walkers.gaits import Gait
from stages.human.walkers.viewing import to_world

PHASES = 48
# The foot that bears the weight is the lower one; at this difference in height it bears 73 %.
BEARING_M = 0.015
ANKLES, BALLS = (7, 8), (10, 11)
# Height over which a sole counts as touching the floor, metres.
CONTACT_DEPTH_M = 0.006
# Speed over the floor above which a low point of the foot swings, metres a second.
STANDING_MPS = 0.35
# How far a swinging foot may sink into the floor before the walker is lifted, metres.
SINKS_M = 0.015
# Smoothing of the path and height found from floor contact, seconds (sigma).
CONTACT_SMOOTH_S = 0.03


@dataclass(frozen=True, eq=False)
class Moment:
    """A person at one time, at the origin, walking towards -y.

    Attributes:
        vertices, normals: float32 [V,3].
        pose: float64 [72], axis-angle in radians, SMPL's axes.
        joints: float64 [24,3], world axes.
        turn: float64 [3,3], how the walker stands in the world: a turn about z.
    """

    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    pose: NDArray[np.float64]
    joints: NDArray[np.float64]
    turn: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stride3d:
    """One stride, periodic.

    Attributes:
        gait: whose stride it is.
        rest_joints: float64 [24,3], SMPL's axes.
        vertices, normals: float32 [P,V,3], on the floor, horizontally relative to `path`.
        path: float64 [P+1,2] metres of travel that keeps the standing sole still.
        bearing: float64 [P,2], the standing foot, relative to `path`.
        drops: float64 [P+1], how far the body's axes were lowered, metres.
    """

    gait: Gait
    rest_joints: NDArray[np.float64]
    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    path: NDArray[np.float64]
    bearing: NDArray[np.float64]
    drops: NDArray[np.float64]

    @property
    def duration_s(self) -> float:
        """Seconds of a stride."""
        return self.gait.duration_s

    @property
    def speed_mps(self) -> float:
        """Metres a second."""
        return float(np.linalg.norm(self.path[-1])) / self.duration_s

    def at(self, phase: float) -> Moment:
        """The person at a phase, in strides."""
        place = (phase % 1.0) * PHASES
        low = int(place) % PHASES
        part = np.float32(place - int(place))
        high = (low + 1) % PHASES
        vertices = self.vertices[low] * (1 - part) + self.vertices[high] * part
        normals = self.normals[low] * (1 - part) + self.normals[high] * part
        pose = self.gait.pose(np.array([phase % 1.0]))
        drop = float(self.drops[low] * (1 - part) + self.drops[low + 1] * part)
        joints = to_world(pose_joints(pose, self.rest_joints).joints[0])
        joints[:, 2] -= drop
        return Moment(vertices, normals, pose[0], joints, np.eye(3))


def stride_of(figure: Figure, gait: Gait, leg_m: float) -> Stride3d:
    """A figure's stride of a gait; `leg_m` is the length of its leg, hip to ankle."""
    phases = np.arange(PHASES) / PHASES
    posed = pose_joints(gait.pose(phases), figure.rest_joints)
    skinned = skin(figure.mesh, figure.mesh.template, figure.rest_joints, posed)
    vertices = to_world(np.concatenate([skinned, *_hung(figure, skinned, posed)], axis=1))
    step_m = gait.pace_hz * leg_m * gait.duration_s / PHASES
    soles = vertices[:, figure.soles]
    grounded, path = ground(
        soles.astype(np.float32),
        np.arange(len(figure.soles)),
        np.tile([0.0, -step_m], (PHASES, 1)),
        PHASES / gait.duration_s,
    )
    drops = (soles[:, 0, 2] - grounded[:, 0, 2]).astype(np.float64)
    vertices[..., 2] -= drops[:, None]
    away = path[-1] / np.linalg.norm(path[-1])
    turn = np.array([[-away[1], away[0]], [-away[0], -away[1]]])  # takes `away` to (0, -1)
    out = vertices.astype(np.float32)
    normals = np.stack([vertex_normals(frame, figure.surface.faces) for frame in out])
    return Stride3d(
        gait,
        figure.rest_joints,
        out,
        normals,
        path @ turn.T,
        _bearing(to_world(posed.joints)),
        np.append(drops, drops[0]),
    )


def _hung(
    figure: Figure, skinned: NDArray[np.float32], posed: PosedJoints
) -> list[NDArray[np.float32]]:
    return [hang(drape, skinned, posed) for drape in figure.drapes]


def _bearing(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the standing foot is [P,2], of joints [P,24,3] in world axes."""
    feet = np.stack([joints[:, [ANKLES[k], BALLS[k]]].mean(axis=1) for k in (0, 1)], axis=1)
    share = 1 / (1 + np.exp((feet[:, 0, 2] - feet[:, 1, 2]) / BEARING_M))
    return np.asarray(feet[:, 0, :2] * share[:, None] + feet[:, 1, :2] * (1 - share[:, None]))


def ground(
    vertices: NDArray[np.float32],
    soles: NDArray[np.int64],
    steps: NDArray[np.float64],
    fps: float,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Set a periodic walk on the floor; the path is what keeps the standing sole still.

    A path taken from the mocap alone slides as soon as the body's legs differ from the actor's; it
    only tells here which low points stand: a swinging foot's toe is low, too, but fast.

    Args:
        vertices: [P,V,3] with the root at the origin.
        soles: indices of vertices under the feet.
        steps: [P,2], travel by the mocap, metres a phase.
        fps: phases a second.

    Returns:
        Vertices on z = 0, and the path [P+1,2] in metres.
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
    standing = np.minimum((height * touch).sum(axis=1), height.min(axis=1) + SINKS_M)
    floor = gaussian_filter1d(standing, sigma, mode="wrap")
    out = vertices.copy()
    out[..., 2] -= floor[:, None].astype(np.float32)
    return out, np.concatenate([np.zeros((1, 2)), np.cumsum(step, axis=0)])
