"""A skinned body in torch: SMPL's equations on any file of SMPL's layout.

Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015. By default it
poses the open body that ships here (stages/human/data/README.md); a user who holds a licence may
load an own SMPL file through the same door. The 85 numbers and the weak-perspective camera
follow Kanazawa et al., "End-to-end Recovery of Human Shape and Pose", CVPR 2018.

Letters: n bodies, V vertices, F triangles.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stages.human.body_file import JOINT_COUNT, SHAPE_COUNT, BodyData, read_body_file
from stages.human.joints import SMPL_PARENTS

THETA_COUNT = 85


class Theta(NamedTuple):
    """The 85 numbers taken apart: camera [n,3] (scale, tx, ty), pose [n,72], shape [n,10]."""

    camera: Tensor
    pose: Tensor
    shape: Tensor


class PosedBody(NamedTuple):
    """vertices [n,V,3] and joints [n,24,3] in metres; rotations [n,24,3,3], parent's frame."""

    vertices: Tensor
    joints: Tensor
    rotations: Tensor


def split_theta(theta: Tensor) -> Theta:
    """Takes [n,85] apart in the order camera 3, pose 72 (axis-angle, radians), shape 10.

    Raises:
        ValueError: the last dimension is not 85.
    """
    if theta.shape[-1] != THETA_COUNT:
        raise ValueError(f"theta must be [n, {THETA_COUNT}], got {list(theta.shape)}.")
    return Theta(theta[..., :3], theta[..., 3:75], theta[..., 75:])


def project(points: Tensor, camera: Tensor) -> Tensor:
    """Weak perspective, s * (xy + t).

    Args:
        points: [n,m,3], metres, camera's axes (x right, y down, z away from the camera).
        camera: [n,3], scale (per metre) and translation (metres).

    Returns:
        [n,m,2], x right and y down, the crop's square being [-1,1].
    """
    return camera[:, None, :1] * (points[..., :2] + camera[:, None, 1:])


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula [...,3] -> [...,3,3]; value and gradient are finite at zero too."""
    squared = (axis_angle * axis_angle).sum(dim=-1)[..., None, None]
    is_small = squared < 1e-6
    # sqrt's slope is infinite at zero, and where() would pass on inf * 0: feed it a safe number.
    safe = torch.where(is_small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(is_small, 1 - squared / 6, torch.sin(angle) / angle)
    cosine = torch.where(is_small, 0.5 - squared / 24, (1 - torch.cos(angle)) / safe)
    x, y, z = axis_angle.unbind(dim=-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    skew = skew.reshape(*axis_angle.shape[:-1], 3, 3)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sine * skew + cosine * (skew @ skew)


class BodyModel(nn.Module):
    """Pose and shape to vertices and joints, batched and differentiable.

    Buffers only: nothing is trained here. A file without pose directions poses without them.
    """

    template: Tensor
    faces: Tensor
    shape_directions: Tensor
    pose_directions: Tensor | None
    joint_regressor: Tensor
    weights: Tensor

    def __init__(self, body: BodyData) -> None:
        super().__init__()
        self.register_buffer("template", torch.from_numpy(body.template))
        self.register_buffer("faces", torch.from_numpy(body.faces))
        self.register_buffer("shape_directions", torch.from_numpy(body.shape_directions))
        pose_directions = body.pose_directions
        self.register_buffer(
            "pose_directions",
            None if pose_directions is None else torch.from_numpy(pose_directions),
        )
        self.register_buffer("joint_regressor", torch.from_numpy(body.joint_regressor))
        self.register_buffer("weights", torch.from_numpy(body.weights))

    def forward(self, pose: Tensor, shape: Tensor | None = None) -> PosedBody:
        """Linear blend skinning.

        Args:
            pose: [n,72] or [n,24,3] axis-angle in radians, [n,24,3,3] rotations, or theta [n,85],
                whose camera is left aside and whose shape holds unless `shape` is given.
            shape: [n,10], one unit being one standard deviation; None is the mean body.

        Returns:
            PosedBody: vertices and joints in metres, in the axes that the root rotation gives.

        Raises:
            ValueError: a shape other than these.
        """
        rotations, shape = self._arguments(pose, shape)
        shaped = self.template + torch.einsum("vcs,ns->nvc", self.shape_directions, shape)
        rest_joints = self.joint_regressor @ shaped  # [n,24,3]
        if self.pose_directions is not None:
            identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
            feature = (rotations[:, 1:] - identity).reshape(len(rotations), -1)  # [n,207]
            shaped = shaped + torch.einsum("vcp,np->nvc", self.pose_directions, feature)
        joints, turns = _chain(rotations, rest_joints)
        # A vertex goes to turn @ (v - rest joint) + joint, so the constant part per joint is:
        shift = joints - (turns @ rest_joints[..., None])[..., 0]  # [n,24,3]
        blended = torch.einsum("vj,njab->nvab", self.weights, turns)
        vertices = (blended @ shaped[..., None])[..., 0] + self.weights @ shift
        return PosedBody(vertices, joints, rotations)

    def _arguments(self, pose: Tensor, shape: Tensor | None) -> tuple[Tensor, Tensor]:
        count = len(pose)
        if tuple(pose.shape) == (count, THETA_COUNT):
            theta = split_theta(pose)
            pose, shape = theta.pose, theta.shape if shape is None else shape
        if tuple(pose.shape) == (count, JOINT_COUNT, 3, 3):
            rotations = pose
        elif tuple(pose.shape) in ((count, 3 * JOINT_COUNT), (count, JOINT_COUNT, 3)):
            rotations = axis_angle_to_matrix(pose.reshape(count, JOINT_COUNT, 3))
        else:
            raise ValueError(
                "pose must be [n,72], [n,24,3], [n,24,3,3] or theta [n,85], "
                f"got {list(pose.shape)}."
            )
        if shape is None:
            shape = pose.new_zeros(count, SHAPE_COUNT)
        if tuple(shape.shape) != (count, SHAPE_COUNT):
            raise ValueError(f"shape must be [{count}, {SHAPE_COUNT}], got {list(shape.shape)}.")
        return rotations, shape


def _chain(rotations: Tensor, rest_joints: Tensor) -> tuple[Tensor, Tensor]:
    """Joint positions [n,24,3] and rotations in the body's axes [n,24,3,3], root to leaves."""
    turns, joints = [rotations[:, 0]], [rest_joints[:, 0]]
    for joint in range(1, JOINT_COUNT):
        parent = SMPL_PARENTS[joint]
        offset = rest_joints[:, joint] - rest_joints[:, parent]
        joints.append(joints[parent] + (turns[parent] @ offset[..., None])[..., 0])
        turns.append(turns[parent] @ rotations[:, joint])
    return torch.stack(joints, dim=1), torch.stack(turns, dim=1)


def load_body(path: Path | str | None = None) -> BodyModel:
    """Body model of a file (None: the open body). Raises WeightsError as the reader does."""
    return BodyModel(read_body_file(path))
