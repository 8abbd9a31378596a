"""85 numbers a person a frame from MediaPipe's landmarks: no network, numpy only.

Landmarks -> causal filter -> 24 joints -> analytic inverse kinematics (stages/human/
inverse_kinematics.py) on a rest skeleton with the person's running median bone lengths -> pose;
the same lengths -> shape; the posed joints against the keypoints in the image -> camera.

The 85 numbers follow Kanazawa et al., "End-to-end Recovery of Human Shape and Pose", CVPR 2018:
the root rotation turns the body into the camera's axes (x right, y down, z away), so someone who
faces the camera has it near (pi, 0, 0); s * (xy + t) lies in the crop's square [-1,1], whose
centre is the bounding box's and whose side is the box's longer side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from stages.body.joints_from_landmarks import (
    LANDMARK_LENGTH_BIAS,
    LENGTH_DOUBT,
    LENGTH_ENDS,
    MAIN_LANDMARKS,
    JointObservation,
    TorsoTemplate,
    joints_from_landmarks,
    landmarks_of_rest,
    lengths_of_joints,
    lengths_of_landmarks,
    scale_skeleton,
    symmetric,
)
from stages.body.one_euro import FilteredPoints, filter_step, start_filter
from stages.body.weak_camera import see_body, to_confidence
from stages.human.inverse_kinematics import inverse_kinematics
from stages.human.rotation import matrix_to_quaternion, nearest_sign, quaternion_to_axis_angle
from stages.human.skeleton import Skeleton, forward_kinematics

NANOSECONDS = 1_000_000_000
# A shorter step (a repeated or late frame) is taken as this long: the filter needs one.
MIN_STEP_S = 1.0 / 240.0
# A world landmark further from the hips than this is no landmark.
MAX_REACH_M = 3.0
# A trunk shorter or narrower than this has no orientation.
MIN_TORSO_M, MIN_WIDTH_M = 0.1, 0.02
# Of the 12 main landmarks, this many must be there; below, the last pose is repeated.
MIN_MAIN_LANDMARKS = 8
# Shapes beyond this many standard deviations are measurement errors.
MAX_SHAPE = 4.0
# What a frame without usable landmarks can reach.
LOST_QUALITY = 0.0
_WHOLE = object()  # the key of a track that is estimated as a whole
DEFAULT_CAMERA = np.array([0.9, 0.0, 0.0])


class LandmarksConfig(BaseModel):
    """Body estimate from MediaPipe's landmarks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: Literal["landmarks"] = "landmarks"
    min_cutoff_hz: float = Field(
        default=1.5, ge=0.05, le=30.0, description="Filter cutoff of a landmark at rest, Hz."
    )
    speed_gain_per_m: float = Field(
        default=3.0, ge=0.0, le=50.0, description="Cutoff added per speed, Hz per metre/second."
    )
    velocity_cutoff_hz: float = Field(
        default=1.0, ge=0.05, le=30.0, description="Filter cutoff of the speed estimate, Hz."
    )
    reset_gap_s: float = Field(
        default=0.5, gt=0.0, le=10.0, description="A longer gap in a track starts it anew, seconds."
    )
    length_frames: int = Field(
        default=60, ge=1, le=1000, description="Frames of the running median of bone lengths."
    )
    length_sigma_m: float = Field(
        default=0.007,
        ge=0.001,
        le=0.5,
        description="Trust in measured lengths against the mean shape, m.",
    )
    min_visibility: float = Field(
        default=0.4,
        ge=0.0,
        le=1.0,
        description="Mean visibility from which a frame's lengths count.",
    )


@dataclass(frozen=True)
class BodyEstimate:
    """One person in one frame.

    Attributes:
        theta: float32 [85]: camera 3 (scale, tx, ty), pose 72 (axis-angle, radians), shape 10.
        joints_m: float32 [24,3], the joints of theta's body, camera's axes (x right, y down,
            z away), metres, not moved by the camera: `s * (joints_m[:, :2] + t)` is the crop.
        quality: 0 (a guess: the last or the rest pose) to 1.
    """

    theta: NDArray[np.float32]
    joints_m: NDArray[np.float32]
    quality: float


@dataclass
class _Track:
    """What is kept of a track between frames."""

    time_ns: int
    points: FilteredPoints
    lengths_m: deque[NDArray] = field(default_factory=deque)
    quaternions: NDArray | None = None
    pose_matrices: NDArray | None = None
    camera: NDArray = field(default_factory=DEFAULT_CAMERA.copy)


def usable_landmarks(landmarks_m: NDArray) -> NDArray[np.bool_]:
    """Which of [33,3] are finite, within reach and not the all-zero of a missing point."""
    with np.errstate(invalid="ignore"):
        near = (np.abs(landmarks_m) < MAX_REACH_M).all(axis=1)  # false for nan and inf
    return near & landmarks_m.any(axis=1)


def has_trunk(landmarks_m: NDArray) -> bool:
    """Whether hips and shoulders of [33,3] span a trunk."""
    hip_width, torso, shoulder_width = lengths_of_landmarks(landmarks_m)[:3]
    return bool(min(hip_width, shoulder_width) > MIN_WIDTH_M and torso > MIN_TORSO_M)


class ShapeFit:
    """Shape from the 15 lengths: ridge least squares about the mean body.

    Lengths are taken as linear in shape, which holds within 3 mm over two standard deviations.
    """

    def __init__(self, skeleton: Skeleton, length_sigma_m: float) -> None:
        ends = LENGTH_ENDS @ skeleton.joint_template  # [15,3]
        self.mean_lengths_m = lengths_of_joints(skeleton.joint_template)
        change = np.einsum("lj,jcs->lcs", LENGTH_ENDS, skeleton.joint_shapedirs)
        slopes = np.einsum("lc,lcs->ls", ends / self.mean_lengths_m[:, None], change)
        precision = (length_sigma_m * LENGTH_DOUBT) ** -2
        weighted = slopes.T * precision
        # The prior: shapes are numbers of standard deviations, so the ridge is one.
        self._solution = np.linalg.solve(weighted @ slopes + np.eye(slopes.shape[1]), weighted)

    def __call__(self, lengths_m: NDArray) -> NDArray[np.float64]:
        """Shape [...,10] of lengths [...,15], held to MAX_SHAPE standard deviations."""
        shape = (lengths_m - self.mean_lengths_m) @ self._solution.T
        return np.clip(shape, -MAX_SHAPE, MAX_SHAPE)


class LandmarksBody:
    """Landmarks of a tracked person to theta, joints and quality.

    In: landmarks, keypoints and box of one person in one frame. Out: BodyEstimate. Keeps per
    track: the filter's state, up to `length_frames` rows of 15 lengths, the last pose and camera.
    About 1 ms a person a frame on one core. Never raises on values, only on shapes.
    """

    def __init__(self, skeleton: Skeleton, config: LandmarksConfig | None = None) -> None:
        self._skeleton = skeleton
        self._config = LandmarksConfig() if config is None else config
        self._template = TorsoTemplate(skeleton.joint_template)
        self._shape_fit = ShapeFit(skeleton, self._config.length_sigma_m)
        self._no_shape = np.zeros(skeleton.joint_shapedirs.shape[2])
        self._rest_landmarks = landmarks_of_rest(skeleton.joint_template)
        self._tracks: dict[Hashable, _Track] = {}

    def estimate(
        self,
        track_key: Hashable,
        time_ns: int,
        world_landmarks: NDArray,
        keypoints_px: NDArray,
        bbox_xyxy_px: NDArray,
    ) -> BodyEstimate:
        """The body of one person in one frame; frames of a track come in order.

        Args:
            track_key: whose frames these are; anything hashable.
            time_ns: capture time. A step over `reset_gap_s`, forwards or back, starts anew.
            world_landmarks: [33,4], metres from mid-hips (x right, y down, z away), visibility.
            keypoints_px: [17,3], COCO's order, (x, y, confidence).
            bbox_xyxy_px: [4], the person's box, in the same pixels.

        Raises:
            ValueError: an array of another shape.
        """
        _check_shapes(world_landmarks, keypoints_px, bbox_xyxy_px)
        landmarks = np.asarray(world_landmarks, dtype=np.float64)
        usable = usable_landmarks(landmarks[:, :3])
        visibility = to_confidence(landmarks[:, 3]) * usable
        track = self._track_at(track_key, time_ns)
        filled = np.where(usable[:, None], landmarks[:, :3], track.points.position_m)
        main_seen = np.count_nonzero(usable[MAIN_LANDMARKS])
        is_seen = main_seen >= MIN_MAIN_LANDMARKS and has_trunk(filled)
        quality = float(visibility[MAIN_LANDMARKS].mean()) if is_seen else LOST_QUALITY
        if is_seen:
            self._filter(track, filled, time_ns)
            if main_seen == len(MAIN_LANDMARKS) and quality >= self._config.min_visibility:
                track.lengths_m.append(lengths_of_landmarks(filled))
        lengths = self._lengths(track)
        if is_seen or track.pose_matrices is None:
            self._pose(track, lengths)
        shape = (
            self._shape_fit(lengths / LANDMARK_LENGTH_BIAS) if track.lengths_m else self._no_shape
        )
        return self._finish(track, shape, keypoints_px, bbox_xyxy_px, quality)

    def estimate_track(
        self,
        times_ns: NDArray,
        world_landmarks: NDArray,
        keypoints_px: NDArray,
        bboxes_xyxy_px: NDArray,
    ) -> NDArray[np.float32]:
        """All frames of one person at once, many times faster: theta float32 [s,85].

        As `estimate` gives them frame by frame; a track with lost landmarks or gaps goes that way.

        Args:
            times_ns: [s]. world_landmarks: [s,33,4]. keypoints_px: [s,17,3].
            bboxes_xyxy_px: [s,4].
        """
        rows = (times_ns, world_landmarks, keypoints_px, bboxes_xyxy_px)
        if not self._is_whole(times_ns, world_landmarks):
            self.forget(_WHOLE)
            found = [
                self.estimate(_WHOLE, int(time), *frame).theta
                for time, *frame in zip(*rows, strict=True)
            ]
            self.forget(_WHOLE)
            return np.stack(found) if found else np.zeros((0, 85), np.float32)
        points = self._filtered(times_ns, np.asarray(world_landmarks[..., :3], np.float64))
        lengths = self._running_lengths(np.asarray(world_landmarks[..., :3], np.float64))
        observed = joints_from_landmarks(points, self._template)
        rest = scale_skeleton(
            self._skeleton.joint_template, self._shape_fit.mean_lengths_m, lengths
        )
        matrices = inverse_kinematics(
            observed.joints_m, rest, observed.heel_toe_m, observed.head_rotation
        )
        pose = quaternion_to_axis_angle(continuous_signs(matrix_to_quaternion(matrices)))
        shape = self._shape_fit(lengths / LANDMARK_LENGTH_BIAS)
        joints, _ = forward_kinematics(matrices, self._skeleton.rest_joints(shape))
        cameras, _, fits = see_body(joints, keypoints_px, bboxes_xyxy_px)
        # Where none fits, the last one that did.
        newest = np.maximum.accumulate(np.where(fits, np.arange(len(fits)), -1))
        cameras = np.where(newest[:, None] < 0, DEFAULT_CAMERA, cameras[newest])
        parts = [cameras, pose.reshape(-1, 72), shape]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _is_whole(self, times_ns: NDArray, world_landmarks: NDArray) -> bool:
        """Whether every frame of [s,33,4] can be used and none is far from the one before."""
        if len(times_ns) == 0:
            return False
        steps = np.abs(np.diff(times_ns))
        points = world_landmarks[..., :3]
        seen = all(usable_landmarks(frame).all() and has_trunk(frame) for frame in points)
        visible = to_confidence(world_landmarks[:, MAIN_LANDMARKS, 3]).mean(axis=1)
        sure = (visible >= self._config.min_visibility).all()
        gap_ns = self._config.reset_gap_s * NANOSECONDS
        return bool(seen and sure and (steps <= gap_ns).all())

    def _filtered(self, times_ns: NDArray, points_m: NDArray) -> NDArray[np.float64]:
        """Points [s,33,3] after the filter."""
        config = self._config
        state = start_filter(points_m[0])
        out = np.empty_like(points_m)
        out[0] = points_m[0]
        newest = int(times_ns[0])
        for frame in range(1, len(points_m)):
            step_s = max((int(times_ns[frame]) - newest) / NANOSECONDS, MIN_STEP_S)
            newest = max(newest, int(times_ns[frame]))
            state = filter_step(
                state,
                points_m[frame],
                step_s,
                config.min_cutoff_hz,
                config.speed_gain_per_m,
                config.velocity_cutoff_hz,
            )
            out[frame] = state.position_m
        return out

    def _running_lengths(self, points_m: NDArray) -> NDArray[np.float64]:
        """Running medians [s,15] of the lengths of unfiltered points [s,33,3]."""
        rows = lengths_of_landmarks(points_m)
        out = np.empty_like(rows)
        for frame in range(len(rows)):
            window = rows[max(0, frame + 1 - self._config.length_frames) : frame + 1]
            middle = len(window) // 2
            out[frame] = np.partition(window, middle, axis=0)[middle]
        return symmetric(out)

    def forget(self, track_key: Hashable) -> None:
        """Frees what is kept of a track; an unknown key is no error."""
        self._tracks.pop(track_key, None)

    def snapshot(self) -> Any:
        """What is kept of all tracks, for `restore` in another process."""
        return dict(self._tracks)

    def restore(self, state: Any) -> None:
        """Go on with the tracks of a snapshot."""
        self._tracks = dict(state)

    def _track_at(self, track_key: Hashable, time_ns: int) -> _Track:
        track = self._tracks.get(track_key)
        gap_ns = self._config.reset_gap_s * NANOSECONDS
        if track is None or abs(time_ns - track.time_ns) > gap_ns:
            track = _Track(time_ns, start_filter(self._rest_landmarks))
            track.lengths_m = deque(maxlen=self._config.length_frames)
            self._tracks[track_key] = track
        return track

    def _filter(self, track: _Track, landmarks_m: NDArray, time_ns: int) -> None:
        if track.quaternions is None:  # nothing seen yet: the rest pose is no measurement
            track.points = start_filter(landmarks_m)
        else:
            step_s = max((time_ns - track.time_ns) / NANOSECONDS, MIN_STEP_S)
            track.points = filter_step(
                track.points,
                landmarks_m,
                step_s,
                self._config.min_cutoff_hz,
                self._config.speed_gain_per_m,
                self._config.velocity_cutoff_hz,
            )
        track.time_ns = max(time_ns, track.time_ns)

    def _lengths(self, track: _Track) -> NDArray[np.float64]:
        if not track.lengths_m:
            return self._shape_fit.mean_lengths_m
        rows = np.array(track.lengths_m)
        middle = len(rows) // 2  # the upper median, at a third of np.median's time
        return symmetric(np.partition(rows, middle, axis=0)[middle])

    def _pose(self, track: _Track, lengths_m: NDArray) -> None:
        observed: JointObservation = joints_from_landmarks(track.points.position_m, self._template)
        rest = scale_skeleton(
            self._skeleton.joint_template, self._shape_fit.mean_lengths_m, lengths_m
        )
        track.pose_matrices = inverse_kinematics(
            observed.joints_m, rest, observed.heel_toe_m, observed.head_rotation
        )
        quaternions = matrix_to_quaternion(track.pose_matrices)
        if track.quaternions is None:
            # Like HMR's mean pose, whose root is (+pi, 0, 0).
            if quaternions[0, 1] < 0.0:
                quaternions[0] *= -1.0
        else:
            quaternions = nearest_sign(quaternions, track.quaternions)
        track.quaternions = quaternions

    def _finish(
        self,
        track: _Track,
        shape: NDArray,
        keypoints_px: NDArray,
        bbox_xyxy_px: NDArray,
        quality: float,
    ) -> BodyEstimate:
        assert track.pose_matrices is not None and track.quaternions is not None
        rest = self._skeleton.rest_joints(shape)
        joints, _ = forward_kinematics(track.pose_matrices, rest)
        camera, agreement, fits = see_body(joints, keypoints_px, bbox_xyxy_px)
        track.camera = camera if fits else track.camera
        pose = quaternion_to_axis_angle(track.quaternions)
        theta = np.concatenate([track.camera, pose.reshape(72), shape]).astype(np.float32)
        return BodyEstimate(theta, joints.astype(np.float32), quality * float(agreement))


def continuous_signs(quaternions: NDArray) -> NDArray[np.float64]:
    """Quaternions [s,24,4] of one track, each with the sign nearer to the one before.

    The root begins like HMR's mean pose, (+pi, 0, 0).
    """
    agreement = np.einsum("sji,sji->sj", quaternions[1:], quaternions[:-1])
    signs = np.ones(quaternions.shape[:2])
    signs[1:] = np.cumprod(np.where(agreement < 0.0, -1.0, 1.0), axis=0)
    if quaternions[0, 0, 1] < 0.0:
        signs[:, 0] *= -1.0
    return np.asarray(quaternions * signs[..., None])


def _check_shapes(world_landmarks: NDArray, keypoints_px: NDArray, bbox_xyxy_px: NDArray) -> None:
    for name, array, shape in (
        ("world_landmarks", world_landmarks, (33, 4)),
        ("keypoints_px", keypoints_px, (17, 3)),
        ("bbox_xyxy_px", bbox_xyxy_px, (4,)),
    ):
        if np.shape(array) != shape:
            raise ValueError(f"{name} must be {list(shape)}, got {list(np.shape(array))}.")
