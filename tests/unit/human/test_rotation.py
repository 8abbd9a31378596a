"""Rotation conversions, near zero and near pi too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.human import rotation

VECTORS = st.tuples(*[st.floats(-3.0, 3.0)] * 3).map(np.array)
DIRECTIONS = VECTORS.filter(lambda v: np.linalg.norm(v) > 0.1).map(lambda v: v / np.linalg.norm(v))


def test_shape_empty_batch():
    assert rotation.axis_angle_to_matrix(np.zeros((0, 3))).shape == (0, 3, 3)
    assert rotation.matrix_to_quaternion(np.zeros((0, 3, 3))).shape == (0, 4)
    assert rotation.minimal_rotation(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0, 3, 3)


@given(VECTORS)
def test_property_axis_angle_round_trip(axis_angle):
    matrix = rotation.axis_angle_to_matrix(axis_angle)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    again = rotation.matrix_to_axis_angle(matrix)
    assert np.linalg.norm(again) <= np.pi + 1e-9
    np.testing.assert_allclose(rotation.axis_angle_to_matrix(again), matrix, atol=1e-9)


@given(DIRECTIONS, st.sampled_from([0.0, 1e-12, 1e-6, np.pi - 1e-6, np.pi, np.pi + 1e-6]))
def test_property_conversions_at_the_edges(axis, angle):
    matrix = rotation.axis_angle_to_matrix(axis * angle)
    again = rotation.quaternion_to_matrix(rotation.matrix_to_quaternion(matrix))
    np.testing.assert_allclose(again, matrix, atol=1e-9)
    vector = rotation.matrix_to_axis_angle(matrix)
    np.testing.assert_allclose(rotation.axis_angle_to_matrix(vector), matrix, atol=1e-7)


def test_axis_angle_is_continuous_through_pi():
    angles = np.linspace(2.9, 3.4, 21)
    turns = rotation.axis_angle_to_matrix(angles[:, None] * np.array([0.0, 1.0, 0.0]))
    quaternion = rotation.axis_angle_to_quaternion(np.array([0.0, 2.9, 0.0]))
    found = []
    for matrix in turns:
        quaternion = rotation.nearest_sign(rotation.matrix_to_quaternion(matrix), quaternion)
        found.append(rotation.quaternion_to_axis_angle(quaternion)[1])
    np.testing.assert_allclose(found, angles, atol=1e-7)


@given(DIRECTIONS, DIRECTIONS)
def test_property_minimal_rotation(source, target):
    matrix = rotation.minimal_rotation(source, target)
    np.testing.assert_allclose(matrix @ source, target, atol=1e-6)
    angle = np.linalg.norm(rotation.matrix_to_axis_angle(matrix))
    between = np.arctan2(np.linalg.norm(np.cross(source, target)), source @ target)
    assert angle == pytest.approx(between, abs=1e-6)


@given(DIRECTIONS)
def test_property_minimal_rotation_half_turn_and_none(direction):
    matrix = rotation.minimal_rotation(direction, -direction)
    np.testing.assert_allclose(matrix @ direction, -direction, atol=1e-9)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    still = rotation.minimal_rotation(direction, np.zeros(3))
    np.testing.assert_allclose(still, np.eye(3), atol=1e-12)


@given(VECTORS)
def test_property_align_point_sets_finds_the_rotation(axis_angle):
    points = np.array([[0.1, -0.05, 0.0], [-0.1, -0.05, 0.0], [0.0, 0.1, -0.03]])
    matrix = rotation.axis_angle_to_matrix(axis_angle)
    found = rotation.align_point_sets(points, points @ matrix.T)
    np.testing.assert_allclose(found, matrix, atol=1e-7)
