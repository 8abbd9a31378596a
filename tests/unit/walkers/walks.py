"""What several tests of walkers need: a motion clip made of a gait."""

from __future__ import annotations

import numpy as np

from stages.human.bvh import Bvh
from stages.human.joints import SMPL_JOINT_NAMES, SMPL_PARENTS
from stages.human.rotation import axis_angle_to_matrix
from stages.human.walkers.bodies import load_walker_skeleton
from stages.human.walkers.cycles import clip_name
from stages.human.walkers.gaits import Gait

FPS = 120.0


def clip_of(gait: Gait, strides: float = 2.6, heading_rad: float = 0.0) -> Bvh:
    """A clip with the CMU files' names on the open body's own bones: frame 0 is a T pose."""
    frames = round(strides * gait.duration_s * FPS)
    pose = gait.pose(np.arange(frames) / FPS / gait.duration_s)
    local = axis_angle_to_matrix(pose.reshape(frames, 24, 3))
    local = np.concatenate([np.tile(np.eye(3), (1, 24, 1, 1)), local])
    cos, sin = np.cos(heading_rad), np.sin(heading_rad)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    local[:, 0] = turn @ local[:, 0]
    rest = load_walker_skeleton().joint_template
    parents = np.array(SMPL_PARENTS)
    offsets = rest - rest[np.maximum(parents, 0)]
    legs = np.linalg.norm(offsets[[4, 5, 7, 8]], axis=1).sum() / 2
    ahead = np.arange(frames + 1) / FPS * gait.pace_hz * legs
    places = ahead[:, None] * (turn @ np.array([0.0, 0.0, 1.0]))
    return Bvh(
        names=tuple(clip_name(joint) for joint in SMPL_JOINT_NAMES),
        parents=parents,
        offsets=offsets,
        rotations=local,
        root_positions=places,
        frame_time_s=1 / FPS,
    )
