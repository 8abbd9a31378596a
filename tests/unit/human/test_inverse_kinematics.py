"""Forward, then inverse kinematics gives the pose back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.human.inverse_kinematics import inverse_kinematics
from stages.human.rotation import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    minimal_rotation,
    unit,
)
from stages.human.skeleton import forward_kinematics, load_skeleton

SKELETON = load_skeleton()
SEEDS = st.integers(0, 10_000)
HINGES = {4: [1.0, 0, 0], 5: [1.0, 0, 0], 18: [0, -1.0, 0], 19: [0, 1.0, 0]}
CHILD = {4: 7, 5: 8, 18: 20, 19: 21}


def random_rest(rng):
    return SKELETON.rest_joints(np.clip(rng.normal(size=10), -2, 2))


def bent(rest, joint, angle_rad):
    """Rotation of knee or elbow that bends it by an angle in its hinge's plane."""
    upper = unit(rest[joint] - rest[{4: 1, 5: 2, 18: 16, 19: 17}[joint]])
    lower = unit(rest[CHILD[joint]] - rest[joint])
    hinge = np.array(HINGES[joint])
    hinge = unit(hinge - (hinge @ upper) * upper)
    aim = np.cos(angle_rad) * upper + np.sin(angle_rad) * np.cross(hinge, upper)
    return minimal_rotation(lower, aim)


def test_shape_empty_batch():
    assert inverse_kinematics(np.zeros((0, 24, 3)), np.zeros((24, 3))).shape == (0, 24, 3, 3)


@settings(deadline=None)
@given(SEEDS, st.floats(0.0, 1.2))
def test_property_joints_are_met_for_any_pose(seed, spread):
    rng = np.random.default_rng(seed)
    rest = random_rest(rng)
    pose = axis_angle_to_matrix(rng.normal(size=(24, 3)) * spread)
    joints, _ = forward_kinematics(pose, rest)
    found, _ = forward_kinematics(inverse_kinematics(joints, rest), rest)
    np.testing.assert_allclose(found, joints, atol=1e-4)


@settings(deadline=None)
@given(SEEDS)
def test_property_rotations_come_back_where_twist_shows(seed):
    rng = np.random.default_rng(seed)
    rest = random_rest(rng)
    pose = np.tile(np.eye(3), (24, 1, 1))
    # Full rotations where three bones, or a bent limb, show them.
    pose[0] = axis_angle_to_matrix(rng.normal(size=3) * 2)
    pose[9] = axis_angle_to_matrix(rng.normal(size=3) * 0.4)
    for joint in (1, 2, 16, 17):
        pose[joint] = axis_angle_to_matrix(rng.normal(size=3) * 0.5)
    for joint in HINGES:
        pose[joint] = bent(rest, joint, rng.uniform(np.radians(26), np.radians(110)))
    joints, _ = forward_kinematics(pose, rest)
    found = inverse_kinematics(joints, rest)
    for joint in (0, 9, 1, 2, 16, 17, 4, 5, 18, 19):
        off = matrix_to_axis_angle(found[joint].T @ pose[joint])
        assert np.linalg.norm(off) < 1e-3, joint


def test_straight_leg_takes_its_twist_from_the_toes():
    rest = SKELETON.joint_template.copy()
    rest[[4, 7]] = rest[1] + [[0, -0.4, 0], [0, -0.8, 0]]  # straight, so that the knee says nothing
    rest[10] = rest[7] + [0.0, -0.05, 0.14]
    pose = np.tile(np.eye(3), (24, 1, 1))
    pose[1] = axis_angle_to_matrix(np.array([0.0, 0.5, 0.0]))
    joints, _ = forward_kinematics(pose, rest)
    found = inverse_kinematics(joints, rest)
    np.testing.assert_allclose(matrix_to_axis_angle(found[1]), [0, 0.5, 0], atol=1e-6)
    heel_toe = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])  # says: not turned
    told = inverse_kinematics(joints, rest, heel_toe=heel_toe)
    np.testing.assert_allclose(matrix_to_axis_angle(told[1]), [0, 0, 0], atol=1e-6)


def test_hanging_arm_has_no_twist():
    pose = np.tile(np.eye(3), (24, 1, 1))
    pose[16] = axis_angle_to_matrix(np.array([0.0, 0.0, -1.4]))
    joints, _ = forward_kinematics(pose, SKELETON.joint_template)
    found = inverse_kinematics(joints, SKELETON.joint_template)
    np.testing.assert_allclose(matrix_to_axis_angle(found[16]), [0, 0, -1.4], atol=1e-3)


def test_head_rotation_is_taken_over():
    turn = axis_angle_to_matrix(np.array([0.0, 0.7, 0.0]))
    joints = SKELETON.joint_template
    pose = inverse_kinematics(joints, joints, head_rotation=turn)
    _, rotations = forward_kinematics(pose, joints)
    np.testing.assert_allclose(rotations[15], turn, atol=1e-9)


def test_other_bone_lengths_give_directions():
    rng = np.random.default_rng(5)
    pose = axis_angle_to_matrix(rng.normal(size=(24, 3)) * 0.4)
    joints, _ = forward_kinematics(pose, SKELETON.joint_template * 1.3)
    same, _ = forward_kinematics(pose, SKELETON.joint_template)
    found = inverse_kinematics(joints, SKELETON.joint_template)
    again, _ = forward_kinematics(found, SKELETON.joint_template)
    np.testing.assert_allclose(again - again[0], same - same[0], atol=1e-6)


def test_parity_batched_and_single():
    rng = np.random.default_rng(6)
    poses = axis_angle_to_matrix(rng.normal(size=(4, 24, 3)) * 0.5)
    joints, _ = forward_kinematics(poses, SKELETON.joint_template)
    together = inverse_kinematics(joints, SKELETON.joint_template)
    for index in range(4):
        alone = inverse_kinematics(joints[index], SKELETON.joint_template)
        np.testing.assert_allclose(alone, together[index], atol=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=72, max_size=72))
def test_property_any_points_give_rotations(values):
    pose = inverse_kinematics(np.array(values).reshape(24, 3), SKELETON.joint_template)
    assert np.isfinite(pose).all()
    np.testing.assert_allclose(
        pose @ np.swapaxes(pose, -1, -2), np.tile(np.eye(3), (24, 1, 1)), atol=1e-6
    )
    np.testing.assert_allclose(np.linalg.det(pose), 1.0, atol=1e-6)


def test_exception_wrong_shape():
    with pytest.raises(ValueError, match=r"joints must be \[\.\.\.,24,3\]"):
        inverse_kinematics(np.zeros((17, 3)), np.zeros((24, 3)))
