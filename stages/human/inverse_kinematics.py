"""Joint positions to joint rotations, in closed form.

Li et al., "HybrIK: A Hybrid Analytical-Neural Inverse Kinematics Solution for 3D Human Pose and
Shape Estimation", CVPR 2021: swing from the bone's direction, twist from elsewhere. There a
network gives the twist; here the planes of elbow and knee and the direction of the toes give it.

From the root outwards: pelvis and upper spine, which carry three bones, by Kabsch; each joint
with one bone by the smallest rotation of the rest bone onto the observed one, in its parent's
frame. A bone is aimed from where the posed skeleton already is, so that errors do not add up
along a limb. Leaves (hands, feet) follow their parent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.human.joints import SMPL_PARENTS
from stages.human.rotation import (
    align_point_sets,
    cross,
    dot,
    minimal_rotation,
    rotation_about,
    unit,
)

# A bone seen this much longer or shorter than at rest gives a direction, not a place to reach.
LENGTH_TOLERANCE_M = 0.015
# The plane of a limb says nothing when it is straight; in between its say grows smoothly.
BEND_SINE_RANGE = (float(np.sin(np.radians(10.0))), float(np.sin(np.radians(25.0))))
# Likewise the toes, where they point along the shank.
TOE_SINE_RANGE = (0.3, 0.6)

_PARENTS = np.array(SMPL_PARENTS)
_PARENT_OR_SELF = np.maximum(_PARENTS, 0)
_PELVIS, _CHEST = 0, 9
# The bone of each one-child joint ends at this joint.
_CHILD = {1: 4, 2: 5, 3: 6, 4: 7, 5: 8, 6: 9, 7: 10, 8: 11, 12: 15, 13: 16, 14: 17,
          16: 18, 17: 19, 18: 20, 19: 21, 20: 22, 21: 23}  # fmt: skip
_SPINE1, _SPINE2, _CHEST_ALONE = np.array([3]), np.array([6]), np.array([_CHEST])
_NECK_AND_COLLARS = np.array([12, 13, 14])
_BRANCHES = {_PELVIS: np.array([1, 2, 3]), _CHEST: np.array([12, 13, 14])}
# Thighs and upper arms, what hangs on them, and what on that: one step for all four limbs.
_UPPER, _LOWER, _END = (np.array(step) for step in ([1, 2, 16, 17], [4, 5, 18, 19], [7, 8, 20, 21]))
_TIPS = np.array([10, 11, 22, 23])
# Axis of positive flexion at rest: knees bend backwards, elbows (in a T pose) forwards.
_HINGES = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])[:, None]
_CHILD_ARRAY = np.array([_CHILD.get(joint, joint) for joint in range(24)])


class _Chain:
    """Work arrays of one solve: what is observed, the rest bones, what is posed so far.

    Joints come first, [24,n,...]: plain indexing by joint is the fastest numpy has.
    """

    def __init__(self, observed: NDArray, rest: NDArray) -> None:
        self.observed = observed
        self.offset = rest - rest[_PARENT_OR_SELF]  # parent to joint
        self.length = np.sqrt(dot(self.offset, self.offset))
        self.direction = unit(self.offset)
        self.joints = np.empty_like(observed)
        self.joints[0] = observed[0]
        self.turns = np.empty((*observed.shape, 3))
        self.local = np.empty((*observed.shape, 3))
        self.local[:] = np.eye(3)

    def bones_to(self, joints: NDArray, children: NDArray) -> NDArray:
        """Where the bones joint -> child should point, in the body's axes, not scaled."""
        reach = self.observed[children] - self.joints[joints]
        too_far = np.abs(np.sqrt(dot(reach, reach)) - self.length[children])
        seen = self.observed[children] - self.observed[joints]
        return np.where((too_far > LENGTH_TOLERANCE_M)[..., None], seen, reach)

    def place(self, joints: NDArray) -> NDArray:
        """Puts joints where their parents carry them; returns the parents' rotations."""
        parents = _PARENTS[joints]
        carried = self.turns[parents]
        moved = (carried @ self.offset[joints][..., None])[..., 0]
        self.joints[joints] = self.joints[parents] + moved
        return carried

    def swing(self, joints: NDArray) -> None:
        """Smallest rotation of each one-child joint's bone onto the observed one."""
        carried = self.place(joints)
        children = _CHILD_ARRAY[joints]
        aim = unit(self.bones_to(joints, children))
        in_parent = (np.swapaxes(carried, -1, -2) @ aim[..., None])[..., 0]
        local = minimal_rotation(self.direction[children], in_parent)
        self.local[joints] = local
        self.turns[joints] = carried @ local

    def branch(self, joint: int) -> None:
        """Best rotation of a joint that carries several bones."""
        children = _BRANCHES[joint]
        seen = unit(self.bones_to(np.array([joint]), children))
        wanted = seen * self.length[children][..., None]
        turn = align_point_sets(np.swapaxes(self.offset[children], 0, 1), np.swapaxes(wanted, 0, 1))
        parent = _PARENTS[joint]
        carried = np.eye(3) if parent < 0 else self.turns[parent]
        self.turns[joint] = turn
        self.local[joint] = np.swapaxes(carried, -1, -2) @ turn

    def twist(self, toes: NDArray) -> None:
        """Turns all four limbs about their upper bone to suit bend plane and toes [2,n,3]."""
        turns = self.turns[_UPPER]
        upper = (turns @ self.direction[_LOWER][..., None])[..., 0]
        turns = rotation_about(upper, self.twist_angle(turns, upper, toes)) @ turns
        carried = self.turns[_PARENTS[_UPPER]]
        self.turns[_UPPER] = turns
        self.local[_UPPER] = np.swapaxes(carried, -1, -2) @ turns

    def twist_angle(self, turns: NDArray, upper: NDArray, toes: NDArray) -> NDArray:
        """Radians [4,n] about the upper bones; zero where neither bend nor toes say a thing.

        Angles are mixed as unit vectors of the plane, so that no jump at pi comes in between.
        """
        hinge = (turns @ _HINGES[..., None])[..., 0]
        lower = unit(self.observed[_END] - self.observed[_LOWER])
        normal = cross(upper, lower)
        bend_weight = _ramp(np.sqrt(dot(normal, normal)), BEND_SINE_RANGE)
        bend_angle = _angle_about(upper, hinge, normal)
        # Toes and shank span the knee's plane however far it is bent. Arms have no toes: a zero
        # vector weighs nothing.
        toe_normal = np.zeros_like(upper)
        toe_normal[:2] = cross(unit(toes), lower[:2])
        toe_weight = _ramp(np.sqrt(dot(toe_normal, toe_normal)), TOE_SINE_RANGE)
        rest_toe_normal = cross(self.direction[_TIPS], self.direction[_END])
        toe_angle = _angle_about(upper, (turns @ rest_toe_normal[..., None])[..., 0], toe_normal)
        # A knee that seems to bend forwards is noise: toes and knee more than a right angle apart.
        disagree = (np.cos(bend_angle - toe_angle) < 0.0) & (toe_weight > 0.5)
        bend_weight = np.where(disagree, 0.0, bend_weight)
        toe_weight = (1.0 - bend_weight) * toe_weight
        mixed = bend_weight * np.exp(1j * bend_angle) + toe_weight * np.exp(1j * toe_angle)
        return np.angle(mixed + (1.0 - bend_weight - toe_weight))


def inverse_kinematics(
    observed_joints: NDArray,
    rest_joints: NDArray,
    heel_toe: NDArray | None = None,
    head_rotation: NDArray | None = None,
) -> NDArray[np.float64]:
    """Rotations that pose a rest skeleton onto observed joints.

    The rest skeleton should have the person's bone lengths; then the posed joints meet the
    observed ones. Where a direction is missing (two joints coincide) the bone keeps its rest
    direction; nothing raises on finite input.

    Args:
        observed_joints: [...,24,3], metres, any axes and origin.
        rest_joints: [24,3] or [...,24,3], metres, rest pose (T pose, y up, facing +z).
        heel_toe: [...,2,3], directions from left and right heel to toes in the axes of
            `observed_joints`; by default the directions from ankle to foot joint.
        head_rotation: [...,3,3], the head's rotation in the axes of `observed_joints`; by default
            the head follows the neck.

    Returns:
        float64 [...,24,3,3], each joint's rotation in its parent's frame, the root's in the axes
        of `observed_joints`.

    Raises:
        ValueError: joints of another shape.
    """
    observed = np.asarray(observed_joints, dtype=np.float64)
    rest = np.asarray(rest_joints, dtype=np.float64)
    if observed.shape[-2:] != (24, 3) or rest.shape[-2:] != (24, 3):
        raise ValueError(
            f"joints must be [...,24,3], got {list(observed.shape)} and {list(rest.shape)}."
        )
    lead = observed.shape[:-2]
    seen = _joints_first(observed, lead)
    chain = _Chain(seen, _joints_first(rest, lead))
    toes = seen[[10, 11]] - seen[[7, 8]] if heel_toe is None else _joints_first(heel_toe, lead)
    chain.branch(_PELVIS)
    chain.swing(_SPINE1)
    chain.swing(_SPINE2)
    chain.place(_CHEST_ALONE)
    chain.branch(_CHEST)
    chain.swing(_NECK_AND_COLLARS)
    chain.swing(_UPPER)
    chain.twist(toes)
    chain.swing(_LOWER)
    chain.swing(_END)
    if head_rotation is not None:
        chain.local[15] = np.swapaxes(chain.turns[12], -1, -2) @ head_rotation.reshape(-1, 3, 3)
    return np.swapaxes(chain.local, 0, 1).reshape(*lead, 24, 3, 3)


def _joints_first(points: NDArray, lead: tuple[int, ...]) -> NDArray:
    """[...,m,3] to [m,n,3], spread over the leading shape."""
    count = points.shape[-2]
    spread = np.broadcast_to(points, (*lead, count, 3))
    return np.ascontiguousarray(np.swapaxes(spread.reshape(-1, count, 3), 0, 1))


def _angle_about(axis: NDArray, before: NDArray, after: NDArray) -> NDArray:
    """Signed radians about unit `axis` from one vector to another; 0 where there is none."""
    before = before - dot(before, axis)[..., None] * axis
    after = after - dot(after, axis)[..., None] * axis
    return np.arctan2(dot(axis, cross(before, after)), dot(before, after))


def _ramp(value: NDArray, bounds: tuple[float, float]) -> NDArray:
    """0 below the bounds, 1 above, smooth between."""
    low, high = bounds
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
