"""Landmarks to 85 numbers: known bodies come back, garbage gives finite numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from stages.body import joints_from_landmarks as conversion
from stages.body.landmarks import (
    LandmarksBody,
    LandmarksConfig,
    ShapeFit,
)
from stages.body.weak_camera import fit_camera, see_body, to_crop_square
from stages.human.joints import SMPL_COCO_PAIRS
from stages.human.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from stages.human.skeleton import forward_kinematics, load_skeleton

SKELETON = load_skeleton()
BOX = np.array([100.0, 50.0, 300.0, 450.0])
FRAME_NS = 40_000_000


def turned(landmarks_m, yaw_rad):
    """Turns a person about the vertical; positive turns the left side away from the camera."""
    return landmarks_m @ axis_angle_to_matrix(np.array([0.0, -yaw_rad, 0.0])).T


def standing(yaw_rad=0.0, size=1.0):
    """world_landmarks [33,4] of the rest pose, arms hanging, seen from the front and turned."""
    pose = np.tile(np.eye(3), (24, 1, 1))
    pose[16] = axis_angle_to_matrix(np.array([0.0, 0.0, -1.3]))
    pose[17] = axis_angle_to_matrix(np.array([0.0, 0.0, 1.3]))
    joints, _ = forward_kinematics(pose, SKELETON.joint_template)
    landmarks = turned(conversion.landmarks_of_rest(joints) * size, yaw_rad)
    return np.concatenate([landmarks, np.full((33, 1), 0.9)], axis=1).astype(np.float32)


def keypoints_of(joints_m, camera, confidence=0.9):
    """keypoints_px [17,3] of joints seen by a camera in BOX."""
    keypoints = np.zeros((17, 3))
    for smpl, coco in SMPL_COCO_PAIRS:
        square = camera[0] * (joints_m[smpl, :2] + camera[1:])
        keypoints[coco] = [*(square * 200.0 + [200.0, 250.0]), confidence]
    return keypoints


def estimate(body, time_ns=0, landmarks=None, keypoints=None, box=BOX, key="a"):
    landmarks = standing() if landmarks is None else landmarks
    keypoints = np.zeros((17, 3)) if keypoints is None else keypoints
    return body.estimate(key, time_ns, landmarks, keypoints, box)


@pytest.fixture
def body():
    return LandmarksBody(SKELETON, LandmarksConfig())


def test_shape_of_the_answer(body):
    found = estimate(body)
    assert found.theta.shape == (85,) and found.theta.dtype == np.float32
    assert found.joints_m.shape == (24, 3) and found.joints_m.dtype == np.float32
    assert isinstance(found.quality, float)


@pytest.mark.parametrize("yaw_deg", [-150, -90, -30, 0, 45, 90, 135])
def test_facing(body, yaw_deg):
    found = estimate(body, landmarks=standing(np.radians(yaw_deg)))
    root = axis_angle_to_matrix(found.theta[3:6].astype(float))
    expected = axis_angle_to_matrix(np.array([0, -np.radians(yaw_deg), 0])) @ np.diag([1, -1, -1])
    assert np.linalg.norm(matrix_to_axis_angle(root.T @ expected)) < 0.05
    assert found.joints_m[15, 1] < -0.4 < 0.5 < found.joints_m[7, 1]  # y down


def test_facing_the_camera_has_the_left_side_at_the_right(body):
    found = estimate(body)
    np.testing.assert_allclose(np.abs(found.theta[3:6]), [np.pi, 0, 0], atol=0.05)
    assert found.theta[3] > 0
    assert found.joints_m[16, 0] > 0.1 > found.joints_m[17, 0]
    assert found.joints_m[10, 2] < found.joints_m[7, 2]  # toes towards the camera


def test_joints_are_met(body):
    rng = np.random.default_rng(1)
    landmarks = standing(0.4)
    landmarks[[13, 14, 15, 16, 25, 26], :3] += rng.normal(size=(6, 3)) * 0.02
    found = estimate(body, landmarks=landmarks)
    centred = found.joints_m - found.joints_m[[1, 2]].mean(axis=0)
    for joint, landmark in ((4, 25), (7, 27), (18, 13), (20, 15), (17, 12)):
        # Within what the corrected lengths of shank and torso differ from the landmarks'.
        assert np.linalg.norm(centred[joint] - landmarks[landmark, :3]) < 0.08


@pytest.mark.parametrize("size", [0.85, 1.0, 1.12])
def test_size_goes_into_shape(body, size):
    # Its landmarks as MediaPipe would give them: longer and shorter than the bones are.
    joints = SKELETON.joint_template
    mean = conversion.lengths_of_joints(joints)
    seen = conversion.scale_skeleton(joints, mean, mean * conversion.LANDMARK_LENGTH_BIAS * size)
    landmarks = np.concatenate([conversion.landmarks_of_rest(seen), np.ones((33, 1))], axis=1)
    for frame in range(5):
        found = estimate(body, frame * FRAME_NS, landmarks)
    rest = SKELETON.rest_joints(found.theta[75:])
    lengths = conversion.lengths_of_joints(rest)
    expected = conversion.lengths_of_joints(SKELETON.joint_template) * size
    assert np.abs(lengths - expected).max() < 0.03


@given(hnp.arrays(float, 10, elements=st.floats(-1.0, 1.0)))
def test_property_shape_recovers_bone_lengths(shape):
    fit = ShapeFit(SKELETON, LandmarksConfig().length_sigma_m)
    lengths = conversion.lengths_of_joints(SKELETON.rest_joints(shape))
    found = conversion.lengths_of_joints(SKELETON.rest_joints(fit(lengths)))
    assert np.abs(found - lengths).max() < 0.01


def test_scaled_skeleton_has_the_lengths():
    mean = conversion.lengths_of_joints(SKELETON.joint_template)
    wanted = mean * np.linspace(0.8, 1.2, 15)
    scaled = conversion.scale_skeleton(SKELETON.joint_template, mean, wanted)
    found = conversion.lengths_of_joints(scaled)
    np.testing.assert_allclose(found, wanted, atol=0.01)
    same = conversion.scale_skeleton(SKELETON.joint_template, mean, mean)
    np.testing.assert_allclose(same, SKELETON.joint_template, atol=1e-12)


@given(
    st.floats(0.3, 3.0), st.floats(-1, 1), st.floats(-1, 1), st.floats(-3, 3), st.floats(0.1, 1.0)
)
def test_property_camera_comes_back(scale, tx, ty, yaw, confidence):
    camera = np.array([scale, tx, ty])
    joints = turned(SKELETON.joint_template * [1, -1, -1], yaw)
    points = camera[0] * (joints[:, :2] + camera[1:])
    found, rms, fits = fit_camera(joints, points, np.full(24, confidence))
    assert fits
    np.testing.assert_allclose(found, camera, atol=1e-6)
    assert rms < 1e-6


def test_camera_of_an_estimate(body):
    first = estimate(body)
    camera = np.array([0.8, 0.1, -0.05])
    keypoints = keypoints_of(first.joints_m, camera)
    keypoints[9] = np.nan  # a keypoint that is not there does not count
    found = estimate(body, 1, keypoints=keypoints)
    np.testing.assert_allclose(found.theta[:3], camera, atol=1e-3)
    assert found.quality > 0.85
    kept = estimate(body, 2, keypoints=np.zeros((17, 3)))
    np.testing.assert_allclose(kept.theta[:3], found.theta[:3])


def test_camera_needs_three_points_and_a_positive_scale():
    joints = SKELETON.joint_template
    points = joints[:, :2]
    for seen in (
        fit_camera(joints[:2], points[:2], np.ones(2)),
        fit_camera(joints, points, np.zeros(24)),
        fit_camera(joints, -points, np.ones(24)),
        fit_camera(joints * 0, points, np.ones(24)),
    ):
        assert not seen[2] and not seen[0].any()
    together = [np.stack(rows) for rows in ((joints, joints), (points, -points), np.ones((2, 24)))]
    np.testing.assert_array_equal(fit_camera(*together)[2], [True, False])


def test_parity_cameras_of_a_track_are_those_of_its_frames():
    rng = np.random.default_rng(0)
    joints = SKELETON.joint_template * [1, -1, -1] + rng.normal(0, 0.1, (9, 24, 3))
    keypoints = np.stack([keypoints_of(frame, np.array([0.8, 0.1, 0.0])) for frame in joints])
    boxes = np.tile(BOX, (9, 1))
    keypoints[1] = np.nan
    keypoints[2, :, 2] = np.inf
    keypoints[3, :10, 0] = 1e9
    boxes[4] = np.nan
    boxes[5] = boxes[5, [2, 3, 0, 1]]
    found = see_body(joints, keypoints, boxes)
    np.testing.assert_array_equal(found[2], [1, 0, 0, 1, 0, 0, 1, 1, 1])
    for frame in range(9):
        alone = see_body(joints[frame], keypoints[frame], boxes[frame])
        for one, other in zip(alone, found, strict=True):
            np.testing.assert_allclose(one, other[frame], atol=1e-12)


def test_crop_square_has_the_longer_side():
    corners = np.array([[200.0, 250.0], [200.0, 450.0], [400.0, 250.0]])
    np.testing.assert_allclose(to_crop_square(corners, BOX), [[0, 0], [0, 1], [1, 0]])


ANYTHING = st.floats(width=32, allow_nan=True, allow_infinity=True) | st.sampled_from(
    [0.0, 2.0**-70, 0.5, -0.5, 2.0**120]
)


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (33, 4), elements=ANYTHING),
    hnp.arrays(np.float32, (17, 3), elements=ANYTHING),
    hnp.arrays(np.float32, 4, elements=ANYTHING),
    st.sampled_from([0, 1, -5, FRAME_NS, 10**12]),
    st.booleans(),
)
def test_property_garbage_gives_finite_numbers(landmarks, keypoints, box, step_ns, is_first):
    body = LandmarksBody(SKELETON)
    if not is_first:
        estimate(body)
    for time_ns in (step_ns, step_ns + FRAME_NS):
        found = body.estimate("a", time_ns, landmarks, keypoints, box)
        assert np.isfinite(found.theta).all()
        assert np.isfinite(found.joints_m).all()
        assert 0.0 <= found.quality <= 1.0


@settings(deadline=None)
@given(hnp.arrays(np.bool_, 33), st.sampled_from([np.nan, 0.0, np.inf, 0.05]))
def test_property_missing_landmarks(missing, value):
    landmarks = standing()
    landmarks[missing, :3] = value
    found = estimate(LandmarksBody(SKELETON), landmarks=landmarks)
    assert np.isfinite(found.theta).all() and np.isfinite(found.joints_m).all()


@pytest.mark.parametrize("fill", [0.0, np.nan, 0.3])
def test_degenerate_frame_repeats_the_last_pose(body, fill):
    good = estimate(body, 0, standing(0.7))
    bad = estimate(body, FRAME_NS, np.full((33, 4), fill, np.float32))
    assert bad.quality == 0.0
    np.testing.assert_allclose(bad.theta[3:75], good.theta[3:75])
    after = estimate(body, 2 * FRAME_NS, standing(0.7))
    assert after.quality > 0.3


def test_degenerate_first_frame_is_the_rest_pose(body):
    found = estimate(body, 0, np.zeros((33, 4), np.float32))
    assert found.quality == 0.0
    np.testing.assert_allclose(found.theta[3:6], [np.pi, 0, 0], atol=1e-3)
    np.testing.assert_allclose(found.theta[6:75], 0, atol=0.05)
    np.testing.assert_allclose(found.theta[75:], 0, atol=1e-6)


def test_one_missing_landmark_keeps_the_frame(body):
    estimate(body, 0)
    landmarks = standing()
    landmarks[15, :3] = np.nan
    found = estimate(body, FRAME_NS, landmarks)
    whole = estimate(LandmarksBody(SKELETON))
    np.testing.assert_allclose(found.joints_m, whole.joints_m, atol=0.01)
    assert 0.0 < found.quality < whole.quality


def test_root_is_continuous_while_turning_round(body):
    last = None
    for frame, yaw in enumerate(np.linspace(-np.pi, np.pi, 90)):
        found = estimate(body, frame * FRAME_NS, standing(yaw)).theta[3:75]
        if last is not None:
            assert np.abs(found - last).max() < 0.5
        last = found


def test_filter_quietens_noise_and_does_not_lag_far_behind():
    rng = np.random.default_rng(0)
    raw, smooth = [], []
    body = LandmarksBody(SKELETON)
    for frame in range(60):
        landmarks = standing()
        landmarks[:, :3] += rng.normal(size=(33, 3)) * 0.01
        smooth.append(estimate(body, frame * FRAME_NS, landmarks).joints_m[20])
        raw.append(estimate(LandmarksBody(SKELETON), 0, landmarks).joints_m[20])
    assert np.std(smooth[10:], axis=0).mean() < 0.7 * np.std(raw[10:], axis=0).mean()


def test_gap_starts_anew_and_forget_frees(body):
    estimate(body, 0, standing(1.0))
    soon = estimate(body, FRAME_NS, standing(-1.0))
    late = estimate(body, FRAME_NS + 600_000_000, standing(-1.0))
    fresh = estimate(LandmarksBody(SKELETON), 0, standing(-1.0))
    np.testing.assert_array_equal(late.theta, fresh.theta)
    assert np.abs(soon.theta - fresh.theta).max() > 0.01
    estimate(body, FRAME_NS + 600_000_000, standing(1.0), key="b")
    body.forget("a")
    body.forget("nobody")
    again = estimate(body, FRAME_NS + 620_000_000, standing(-1.0))
    np.testing.assert_array_equal(again.theta, fresh.theta)


def test_parity_tracks_do_not_mix():
    mixed, alone = LandmarksBody(SKELETON), LandmarksBody(SKELETON)
    for frame in range(5):
        estimate(mixed, frame * FRAME_NS, standing(1.0 + 0.1 * frame), key=("cam", 1))
        together = estimate(mixed, frame * FRAME_NS, standing(-0.1 * frame), key=("cam", 2))
        single = estimate(alone, frame * FRAME_NS, standing(-0.1 * frame), key=("cam", 2))
        np.testing.assert_array_equal(together.theta, single.theta)


def test_exception_wrong_shapes(body):
    with pytest.raises(ValueError, match=r"world_landmarks must be \[33, 4\], got \[33, 3\]"):
        body.estimate("a", 0, np.zeros((33, 3)), np.zeros((17, 3)), BOX)
    with pytest.raises(ValueError, match="keypoints_px must be"):
        body.estimate("a", 0, standing(), np.zeros((17, 2)), BOX)


def test_exception_config():
    with pytest.raises(ValidationError, match="extra"):
        LandmarksConfig(cutoff=1)
    with pytest.raises(ValidationError, match="length_frames"):
        LandmarksConfig(length_frames=0)


@pytest.mark.parametrize("spoilt", [False, True])
def test_parity_whole_track_is_frame_by_frame(spoilt: bool) -> None:
    rng = np.random.default_rng(0)
    rest = conversion.landmarks_of_rest(SKELETON.joint_template)
    landmarks = np.concatenate(
        [rest + rng.normal(0, 0.02, (9, 33, 3)), rng.uniform(0.7, 1, (9, 33, 1))], axis=2
    )
    if spoilt:
        landmarks[4, 11:] = np.nan  # one frame without a body
    times_ns = np.arange(9) * 40_000_000
    keypoints = np.concatenate([rng.uniform(0, 100, (9, 17, 2)), np.ones((9, 17, 1))], axis=2)
    boxes = np.tile([0.0, 0.0, 60.0, 120.0], (9, 1))
    one_by_one = LandmarksBody(SKELETON)
    wanted = [
        one_by_one.estimate("a", int(time), *rows).theta
        for time, *rows in zip(times_ns, landmarks, keypoints, boxes, strict=True)
    ]
    found = LandmarksBody(SKELETON).estimate_track(times_ns, landmarks, keypoints, boxes)
    np.testing.assert_allclose(found, np.stack(wanted), atol=1e-6)


def test_shape_whole_track_of_no_frames() -> None:
    empty = LandmarksBody(SKELETON).estimate_track(
        np.zeros(0, np.int64), np.zeros((0, 33, 4)), np.zeros((0, 17, 3)), np.zeros((0, 4))
    )
    assert empty.shape == (0, 85)
