"""Cartoon walkers: small data sets in the OpenGait layout, for tests. They are no data of people.

A walker is the open body's skeleton with limbs of some thickness, swung by sines. Who it is shows
in the bones (shape), the widths, the stride and the swing; how it walks that day in a bag or a
coat; the view turns it about its long axis. Theta, keypoints and silhouettes are of one pose.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from stages.human.joints import SMPL_JOINT_NAMES
from stages.human.rotation import axis_angle_to_matrix, matrix_to_axis_angle, rotation_about
from stages.human.silhouette import align
from stages.human.skeleton import Skeleton, forward_kinematics, load_skeleton

KINDS = ("nm-01", "nm-02", "bg-01", "cl-01")
VIEWS = ("000", "090")
FRAME_RATE_HZ = 25.0
PICTURE_PX = 160
PX_A_METRE = 75.0

J = {name: index for index, name in enumerate(SMPL_JOINT_NAMES)}
LIMBS = (
    ("left_hip", "left_knee", 0.075),
    ("right_hip", "right_knee", 0.075),
    ("left_knee", "left_ankle", 0.055),
    ("right_knee", "right_ankle", 0.055),
    ("left_ankle", "left_foot", 0.045),
    ("right_ankle", "right_foot", 0.045),
    ("left_shoulder", "left_elbow", 0.05),
    ("right_shoulder", "right_elbow", 0.05),
    ("left_elbow", "left_wrist", 0.04),
    ("right_elbow", "right_wrist", 0.04),
    ("neck", "pelvis", 0.12),
    ("left_shoulder", "right_shoulder", 0.09),
    ("left_hip", "right_hip", 0.1),
    ("neck", "head", 0.06),
)
# COCO's 17: the face's five lie about the head joint, the rest are joints.
BODY_KEYPOINTS = (
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist"),
    *("right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle"),
)
FACE_M = np.array(  # nose, eyes, ears: about the head joint, metres, facing +z, left towards +x
    [[0, 0.05, 0.1], [0.03, 0.09, 0.08], [-0.03, 0.09, 0.08], [0.07, 0.07, 0], [-0.07, 0.07, 0]]
)


@dataclass(frozen=True, slots=True)
class Walker:
    """What makes a subject: shape [10], thickness, cadence, and how far the joints swing, rad."""

    shape: np.ndarray
    thickness: float
    trunk: float
    cadence_hz: float
    hip: float
    knee: float
    elbow: float
    arm: float
    lean: float
    bounce_m: float


def walker(seed: int, number: int) -> Walker:
    """Draw a subject."""
    rng = np.random.default_rng((seed, number))
    return Walker(
        shape=rng.normal(0, 1.2, 10),
        thickness=rng.uniform(0.75, 1.35),
        trunk=rng.uniform(0.75, 1.5),
        cadence_hz=rng.uniform(0.75, 1.2),
        hip=rng.uniform(0.3, 0.6),
        knee=rng.uniform(0.5, 1.1),
        elbow=rng.uniform(0.1, 0.9),
        arm=rng.uniform(0.05, 0.6),
        lean=rng.uniform(-0.05, 0.2),
        bounce_m=rng.uniform(0.0, 0.05),
    )


@cache
def _skeleton() -> Skeleton:
    return load_skeleton()


def poses(who: Walker, frames: int, phase: float, view_deg: float) -> np.ndarray:
    """Axis-angle poses, float64 [T,24,3], radians; 0 degrees walks towards the camera."""
    turn = 2 * np.pi * who.cadence_hz * np.arange(frames) / FRAME_RATE_HZ + phase
    pose = np.zeros((frames, 24, 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = np.sin(turn) * sign
        pose[:, J[f"{side}_hip"], 0] = -who.hip * swing
        pose[:, J[f"{side}_knee"], 0] = who.knee * np.clip(np.cos(turn) * sign, 0, None)
        pose[:, J[f"{side}_shoulder"], 0] = who.arm * swing
        pose[:, J[f"{side}_shoulder"], 2] = -1.25 * sign  # down from the rest pose's T
        pose[:, J[f"{side}_elbow"], 1] = -who.elbow * sign
    pose[:, J["spine1"], 0] = who.lean
    root = rotation_about(np.array([0.0, 1.0, 0.0]), np.deg2rad(np.array(view_deg)))
    pose[:, 0] = matrix_to_axis_angle(root)
    return pose


def walk(
    who: Walker, kind: str, view_deg: float, frames: int, rng: np.random.Generator, height: int = 64
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return aligned silhouettes uint8 [T,H,H], theta float32 [T,85], keypoints [T,17,3]."""
    pose = poses(who, frames, rng.uniform(0, 2 * np.pi), view_deg + rng.normal(0, 4))
    rest = _skeleton().rest_joints(who.shape)
    joints, turns = forward_kinematics(axis_angle_to_matrix(pose), rest)
    bounce = who.bounce_m * np.abs(np.sin(np.arange(frames) * who.cadence_hz / 4))
    joints = joints - joints[:, :1] + np.stack([0 * bounce, bounce, 0 * bounce], -1)[:, None]
    scale = PX_A_METRE * height / 64
    size = PICTURE_PX * height // 64
    places = np.stack(
        [size / 2 + joints[..., 0] * scale, size * 0.45 - joints[..., 1] * scale], -1
    )  # [T,24,2] pixels
    masks = [_mask(who, kind, place, scale, size, rng) for place in places]
    silhouettes = [align(mask, height) for mask in masks]
    assert all(silhouette is not None for silhouette in silhouettes)
    camera = np.broadcast_to([0.9, 0.0, 0.0], (frames, 3))
    shape = np.broadcast_to(who.shape, (frames, 10))
    theta = np.concatenate([camera, pose.reshape(frames, 72), shape], 1)
    theta = theta + rng.normal(0, 0.05, theta.shape)
    face = joints[:, J["head"], None] + np.einsum("tij,kj->tki", turns[:, J["head"]], FACE_M)
    body = joints[:, [J[name] for name in BODY_KEYPOINTS]]
    seen = np.concatenate([face, body], 1)[..., :2] * [scale, -scale] + [size / 2, size * 0.45]
    confidence = rng.uniform(0.6, 1.0, (frames, 17, 1))
    keypoints = np.concatenate([seen + rng.normal(0, 0.7, seen.shape), confidence], -1)
    return np.stack(silhouettes), theta.astype(np.float32), keypoints.astype(np.float32)  # type: ignore[arg-type]


def _mask(
    who: Walker, kind: str, place: np.ndarray, scale: float, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw one frame's mask, uint8 [size,size] 0 or 255."""
    mask = np.zeros((size, size), np.uint8)
    coat = 1.45 if kind.startswith("cl") else 1.0
    for first, last, radius in LIMBS:
        trunk = "pelvis" in (first, last) or "hip" in first
        wide = radius * (who.trunk * coat if trunk else who.thickness)
        points = (tuple(int(v) for v in np.rint(place[J[name]] * 8)) for name in (first, last))
        thick = max(1, round(2 * wide * scale))
        cv2.line(mask, *points, 255, thick, cv2.LINE_8, 3)
    head = tuple(int(v) for v in np.rint(place[J["head"]] - [0, 0.06 * scale]))
    cv2.circle(mask, head, max(1, round(0.1 * scale)), 255, -1)
    if kind.startswith("bg"):
        bag = place[J["left_wrist"]] + [0, 0.1 * scale]
        corner = np.rint(bag - 0.1 * scale).astype(int), np.rint(bag + 0.12 * scale).astype(int)
        cv2.rectangle(mask, tuple(map(int, corner[0])), tuple(map(int, corner[1])), 255, -1)
    if rng.random() < 0.2:  # a segmenter's frayed edge
        mask = cv2.erode(mask, np.ones((2, 2), np.uint8))
    return mask


def write_dataset(
    root: Path,
    subjects: int = 8,
    kinds: Sequence[str] = KINDS,
    views: Sequence[str] = VIEWS,
    frames: int = 40,
    seed: int = 0,
    height: int = 64,
    with_theta: bool = True,
    with_keypoints: bool = True,
    test_share: float = 0.5,
) -> Path:
    """Write `root/<id>/<type>/<view>/<view>.pkl` with smpls.npy and keypoints.npy; return root.

    Beside them lies `partition.json`; the last `test_share` of the subjects are for testing.
    """
    names = [f"{number + 1:03d}" for number in range(subjects)]
    for number, name in enumerate(names):
        who = walker(seed, number)
        for k, kind in enumerate(kinds):
            for v, view in enumerate(views):
                folder = root / name / kind / view
                folder.mkdir(parents=True, exist_ok=True)
                rng = np.random.default_rng((seed, number, k, v))
                silhouettes, theta, keypoints = walk(who, kind, float(view), frames, rng, height)
                with (folder / f"{view}.pkl").open("wb") as file:
                    pickle.dump(silhouettes, file)
                if with_theta:
                    np.save(folder / "smpls.npy", theta)
                if with_keypoints:
                    np.save(folder / "keypoints.npy", keypoints)
    split = subjects - round(subjects * test_share)
    partition = {"TRAIN_SET": names[:split], "TEST_SET": names[split:]}
    (root / "partition.json").write_text(json.dumps(partition), encoding="utf-8")
    return root
