"""The truth about a body in front of a camera: 85 numbers, 24 joints, 17 keypoints.

The 85 numbers are as the body stage writes them: the root turned into the camera's axes (x right,
y down, z away), and a weak-perspective camera with which s * (xy + t) lies in the square [-1,1]
about the box, its side the box's longer one.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from stages.human.joints import SMPL_COCO_PAIRS
from stages.human.rasteriser import Camera
from stages.human.rotation import (
    axis_angle_to_matrix,
    matrix_to_quaternion,
    quaternion_to_axis_angle,
)
from stages.human.scenes.moving import Moment, Stride3d
from stages.human.skeleton import forward_kinematics
from stages.human.truth import Box, TruePose
from stages.human.walkers.bodies import load_mesh
from stages.human.walkers.people import Person
from stages.human.walkers.viewing import BODY_TO_WORLD

_SMPL_POINTS = [pair[0] for pair in SMPL_COCO_PAIRS]
_COCO_POINTS = [pair[1] for pair in SMPL_COCO_PAIRS]
HEAD_JOINT = 15


@cache
def face_vertices() -> NDArray[np.int64]:
    """Vertices [5] of the full mesh: nose, left and right eye, left and right ear."""
    mesh = load_mesh("full")
    places = mesh.template
    head = np.flatnonzero(mesh.owner == HEAD_JOINT)
    low, high = places[head].min(axis=0), places[head].max(axis=0)
    tall, wide = high[1] - low[1], high[0] - low[0]
    eye_y = low[1] + 0.58 * tall
    nose = head[np.argmax(places[head, 2] - 10 * np.abs(places[head, 0]))]

    def nearest(x: float, y: float, z: float) -> np.int64:
        return head[np.argmin(np.linalg.norm(places[head] - [x, y, z], axis=1))]

    front = high[2] - 0.02
    middle = 0.5 * (low[2] + high[2]) - 0.01
    return np.array(
        [
            nose,
            nearest(0.2 * wide, eye_y, front),
            nearest(-0.2 * wide, eye_y, front),
            nearest(0.5 * wide, eye_y - 0.02, middle),
            nearest(-0.5 * wide, eye_y - 0.02, middle),
        ]
    )


def true_pose(lens: Camera, moment: Moment, person: Person, stride: Stride3d, box: Box) -> TruePose:
    """The truth about one person in one frame; `box` is the visible one."""
    to_camera = lens.r @ moment.turn @ BODY_TO_WORLD
    matrices = axis_angle_to_matrix(moment.pose.reshape(24, 3))
    matrices[0] = to_camera @ matrices[0]
    pose = moment.pose.copy()
    pose[:3] = _root_vector(matrices[0])
    own, _ = forward_kinematics(matrices, stride.rest_joints)
    keypoints = _keypoints(lens, moment)
    camera = weak_camera(own[_SMPL_POINTS], keypoints[_COCO_POINTS, :2], box)
    theta = np.concatenate([camera, pose, person.shape]).astype(np.float32)
    return TruePose(
        theta,
        moment.joints.astype(np.float32),
        (moment.joints @ lens.r.T + lens.t).astype(np.float32),
        keypoints.astype(np.float32),
    )


def _root_vector(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis-angle [3] with the sign that the body stage takes: +pi about x facing the camera."""
    quaternion = matrix_to_quaternion(rotation[None])[0]
    if quaternion[1] < 0:
        quaternion = -quaternion
    return np.asarray(quaternion_to_axis_angle(quaternion[None])[0])


def _keypoints(lens: Camera, moment: Moment) -> NDArray[np.float64]:
    """COCO's 17 [17,3]: x, y in pixels, and 1 in front of the camera, else 0."""
    points = np.zeros((17, 3))
    points[:5] = moment.vertices[face_vertices()]
    points[_COCO_POINTS] = moment.joints[_SMPL_POINTS]
    image, depth = lens.project(points)
    return np.column_stack([image, (depth > 0).astype(np.float64)])


def weak_camera(
    joints_m: NDArray[np.float64], points_px: NDArray[np.float64], box: Box
) -> NDArray[np.float64]:
    """Scale and shift [3] that bring joints [m,3] (camera axes) best onto points [m,2]."""
    corners = np.array(box, np.float64)
    side = max(float((corners[2:] - corners[:2]).max()), 1.0)
    target = (points_px - 0.5 * (corners[:2] + corners[2:])) / (0.5 * side)
    source = joints_m[:, :2]
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    apart = source - source_mean
    scale = float((apart * (target - target_mean)).sum() / max((apart**2).sum(), 1e-9))
    scale = max(scale, 1e-3)
    return np.array([scale, *(target_mean / scale - source_mean)])
