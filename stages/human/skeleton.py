"""The 24 joints of a body without its skin: numpy only, so that a stage need not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.human.body_file import SHAPE_COUNT, BodyData, read_body_file
from stages.human.joints import SMPL_PARENTS

PARENTS = np.array(SMPL_PARENTS)


def _levels() -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
    """Joints of equal depth and their parents, from the root's children down."""
    depth = np.zeros(len(PARENTS), dtype=int)
    for joint in range(1, len(PARENTS)):
        depth[joint] = depth[PARENTS[joint]] + 1
    joints = [np.flatnonzero(depth == level) for level in range(1, depth.max() + 1)]
    return tuple((level, PARENTS[level]) for level in joints)


# One matrix product a level instead of one a joint.
LEVELS = _levels()


@dataclass(frozen=True)
class Skeleton:
    """Joint positions as a linear function of shape.

    Attributes:
        joint_template: float64 [24,3], metres, rest pose of the mean body, SMPL's axes (y up,
            facing +z, the person's left towards +x).
        joint_shapedirs: float64 [24,3,10], metres per unit of shape.
    """

    joint_template: NDArray[np.float64]
    joint_shapedirs: NDArray[np.float64]

    def __post_init__(self) -> None:
        wanted = ((24, 3), (24, 3, SHAPE_COUNT))
        came = (self.joint_template.shape, self.joint_shapedirs.shape)
        if came != wanted:
            raise ValueError(f"Skeleton: expected template and directions {wanted}, got {came}.")

    def rest_joints(self, shape: NDArray) -> NDArray[np.float64]:
        """Joints [...,24,3] in metres of the rest pose for shape [...,10]."""
        shape = np.asarray(shape, dtype=np.float64)
        return self.joint_template + np.einsum("jcs,...s->...jc", self.joint_shapedirs, shape)


def skeleton_of(body: BodyData) -> Skeleton:
    """Applies the joint regressor to the template and to each shape direction, in float64."""
    regressor = body.joint_regressor.astype(np.float64)
    return Skeleton(
        joint_template=regressor @ body.template.astype(np.float64),
        joint_shapedirs=np.einsum(
            "jv,vcs->jcs", regressor, body.shape_directions.astype(np.float64), optimize=True
        ),
    )


def load_skeleton(path: Path | str | None = None) -> Skeleton:
    """Skeleton of a body file (None: the open body). Raises WeightsError as the reader does."""
    return skeleton_of(read_body_file(path))


def forward_kinematics(
    pose_matrices: NDArray, rest_joints: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Poses a skeleton.

    Args:
        pose_matrices: float [...,24,3,3], each joint's rotation in its parent's frame.
        rest_joints: float [...,24,3], metres.

    Returns:
        joints: float64 [...,24,3], metres; the root stays at its rest place.
        rotations: float64 [...,24,3,3], each joint's rotation in the body's axes.
    """
    lead = np.broadcast_shapes(pose_matrices.shape[:-3], rest_joints.shape[:-2])
    joints = np.empty((*lead, 24, 3))
    rotations = np.empty((*lead, 24, 3, 3))
    joints[..., 0, :] = rest_joints[..., 0, :]
    rotations[..., 0, :, :] = pose_matrices[..., 0, :, :]
    for level, parents in LEVELS:
        turn = rotations[..., parents, :, :]
        offset = rest_joints[..., level, :] - rest_joints[..., parents, :]
        joints[..., level, :] = joints[..., parents, :] + (turn @ offset[..., None])[..., 0]
        rotations[..., level, :, :] = turn @ pose_matrices[..., level, :, :]
    return joints, rotations
