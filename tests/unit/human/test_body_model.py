"""Skinned body in torch, against the template, the numpy skeleton and finite gradients."""

import numpy as np
import pytest
import torch

from stages.human.body import BodyModel, axis_angle_to_matrix, load_body, project, split_theta
from stages.human.body_file import BodyData, read_body_file
from stages.human.rotation import axis_angle_to_matrix as numpy_rotations
from stages.human.skeleton import Skeleton, forward_kinematics, load_skeleton


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body()


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    return load_skeleton()


def test_shape_empty_batch(body):
    out = body(torch.zeros(0, 72), torch.zeros(0, 10))
    assert out.vertices.shape == (0, 5000, 3)
    assert out.joints.shape == (0, 24, 3)
    assert out.rotations.shape == (0, 24, 3, 3)


def test_identity_pose_gives_the_template(body):
    out = body(torch.zeros(1, 72), torch.zeros(1, 10))
    torch.testing.assert_close(out.vertices[0], body.template, atol=1e-5, rtol=0)
    expected = body.joint_regressor @ body.template
    torch.testing.assert_close(out.joints[0], expected, atol=1e-6, rtol=0)


def test_root_rotation_turns_about_the_pelvis(body):
    pose = torch.zeros(1, 72)
    pose[0, 0] = torch.pi
    out = body(pose, torch.zeros(1, 10))
    pelvis = out.joints[0, 0]
    expected = (body.template - pelvis) * torch.tensor([1.0, -1.0, -1.0]) + pelvis
    torch.testing.assert_close(out.vertices[0], expected, atol=1e-5, rtol=0)


def test_parity_torch_joints_and_numpy_joints(body, skeleton):
    rng = np.random.default_rng(3)
    pose, shape = rng.normal(size=(5, 24, 3)), rng.normal(size=(5, 10))
    joints, _ = forward_kinematics(numpy_rotations(pose), skeleton.rest_joints(shape))
    out = body(torch.from_numpy(pose).float(), torch.from_numpy(shape).float())
    np.testing.assert_allclose(out.joints.numpy(), joints, atol=2e-6)


def test_parity_batched_and_single(body):
    generator = torch.Generator().manual_seed(1)
    pose, shape = torch.randn(3, 72, generator=generator), torch.randn(3, 10, generator=generator)
    together = body(pose, shape)
    for index in range(3):
        alone = body(pose[index : index + 1], shape[index : index + 1])
        torch.testing.assert_close(alone.vertices[0], together.vertices[index], atol=1e-5, rtol=0)


def test_theta_and_rotations_are_other_ways_to_say_it(body):
    theta = torch.randn(2, 85, generator=torch.Generator().manual_seed(2))
    camera, pose, shape = split_theta(theta)
    assert camera.shape == (2, 3)
    from_theta = body(theta)
    torch.testing.assert_close(from_theta.vertices, body(pose, shape).vertices)
    from_rotations = body(from_theta.rotations, shape)
    torch.testing.assert_close(from_rotations.vertices, from_theta.vertices)


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-4, 1e-3, 1.0, float(np.pi)])
def test_gradients_are_finite(body, size):
    pose = torch.full((1, 72), size / np.sqrt(3.0), requires_grad=True)
    shape = torch.zeros(1, 10, requires_grad=True)
    body(pose, shape).vertices.square().sum().backward()
    assert torch.isfinite(pose.grad).all()
    assert pose.grad.abs().max() > 0
    assert torch.isfinite(shape.grad).all()


def test_rodrigues_gradient_at_zero_is_the_skew_matrix():
    vector = torch.zeros(3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(axis_angle_to_matrix, vector)
    assert jacobian[2, 1, 0] == 1 and jacobian[1, 2, 0] == -1
    small = torch.tensor([6e-4, -4e-4, 5e-4], dtype=torch.float64)
    for vector in (small, small * 2):  # both sides of the switch to the series
        expected = torch.from_numpy(numpy_rotations(vector.numpy()))
        torch.testing.assert_close(axis_angle_to_matrix(vector), expected, atol=1e-12, rtol=0)


def test_pose_directions_move_vertices_and_not_joints():
    plain = read_body_file()
    fields = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    directions = np.full((5000, 3, 207), 1e-3, np.float32)
    corrected = BodyModel(BodyData(**(fields | {"pose_directions": directions})))
    pose = torch.randn(1, 72, generator=torch.Generator().manual_seed(4))
    with_it, without = corrected(pose), BodyModel(plain)(pose)
    torch.testing.assert_close(with_it.joints, without.joints)
    assert (with_it.vertices - without.vertices).abs().max() > 1e-4


def test_projection():
    points = torch.tensor([[[1.0, 2.0, 9.0]]])
    found = project(points, torch.tensor([[2.0, 0.5, -1.0]]))
    torch.testing.assert_close(found, torch.tensor([[[3.0, 2.0]]]))


def test_exception_wrong_shapes(body):
    with pytest.raises(ValueError, match=r"theta must be \[n, 85\]"):
        split_theta(torch.zeros(2, 82))
    with pytest.raises(ValueError, match="pose must be"):
        body(torch.zeros(2, 71))
    with pytest.raises(ValueError, match=r"shape must be \[2, 10\]"):
        body(torch.zeros(2, 72), torch.zeros(1, 10))


def test_exception_skeleton_checks_its_arrays():
    with pytest.raises(ValueError, match="expected template"):
        Skeleton(np.zeros((23, 3)), np.zeros((24, 3, 10)))
