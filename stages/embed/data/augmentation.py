"""Changes to training sequences that leave the walker who it is.

All on aligned silhouettes uint8 [s,h,w], with theta and keypoints changed along where they would
be. `flip`, `erase` and `move` are as the field has them; `segmentation_noise` imitates what a real
segmenter does to a silhouette, which clean training data do not show: frayed and swollen edges that
change from frame to frame, limbs and feet cut off, blobs grown together, holes, few pixels, frames
seen twice.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stages.embed.data.interface import StoredClip
from stages.human.joints import COCO_FLIP, SMPL_FLIP

POSE = slice(3, 75)  # of theta: 24 axis-angle rotations
CAMERA_X = 1  # of theta: tx
FOOT_ROWS = 0.12  # of a silhouette's height
MAX_NOISE_PX = 3  # at 64 pixels of height


class AugmentationConfig(BaseModel):
    """What is done to training sequences. Everything is off by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip: float = Field(0.0, ge=0, le=1, description="share of sequences mirrored left to right")
    erase: float = Field(
        0.0, ge=0, le=1, description="share of sequences with a rectangle erased in all frames"
    )
    erase_area: float = Field(
        0.2, gt=0, le=0.5, description="largest rectangle, share of the silhouette's area"
    )
    move: float = Field(
        0.0, ge=0, le=1, description="share of sequences turned, sheared, scaled and shifted"
    )
    turn_deg: float = Field(6.0, ge=0, le=45, description="largest turn, degrees")
    shear: float = Field(0.1, ge=0, le=0.5, description="largest shear, pixels a pixel")
    scale: float = Field(0.1, ge=0, le=0.5, description="largest change of size, share")
    shift: float = Field(0.06, ge=0, le=0.5, description="largest shift, share of the height")
    noise: float = Field(
        0.0, ge=0, le=1, description="share of sequences as a real segmenter would show them"
    )
    noise_level: float = Field(
        1.0, gt=0, le=3, description="how bad the segmenter is at worst; 1 is usual footage"
    )
    hide_bodies: float = Field(
        0.0, ge=0, le=1, description="share of sequences whose SMPL rows are zeros: no body known"
    )


def augment(clip: StoredClip, config: AugmentationConfig, rng: np.random.Generator) -> StoredClip:
    """Return a changed clip. The same generator state gives the same changes."""
    if rng.random() < config.flip:
        clip = flip(clip)
    if rng.random() < config.move:
        clip = move(clip, config, rng)
    if len(clip.silhouettes) and rng.random() < config.noise:
        clip = segmentation_noise(clip, rng.uniform(0.2, 1.0) * config.noise_level, rng)
    if len(clip.silhouettes) and rng.random() < config.erase:
        clip = erase(clip, config.erase_area, rng)
    # Not drawn where it is off, so that trainings from before draw what they drew.
    if config.hide_bodies and rng.random() < config.hide_bodies:
        clip = StoredClip(clip.silhouettes, np.zeros_like(clip.theta), clip.keypoints_px)
    return clip


def flip(clip: StoredClip) -> StoredClip:
    """Return the clip as a mirror shows it: the person's left becomes the right.

    Keypoints are mirrored about the middle of their own columns, since the picture's width is not
    known; joints with confidence 0 stay 0.
    """
    return StoredClip(
        np.ascontiguousarray(clip.silhouettes[..., ::-1]),
        _flipped_theta(clip.theta),
        _flipped_keypoints(clip.keypoints_px),
    )


def _flipped_theta(theta: np.ndarray) -> np.ndarray:
    """Mirror rows [s,85] at the plane between left and right."""
    out = theta.copy()
    pose = theta[:, POSE].reshape(-1, 24, 3)[:, SMPL_FLIP, :]
    # A rotation's axis is no arrow: in a mirror with x turned round, y and z turn and x stays.
    out[:, POSE] = (pose * np.array([1, -1, -1], theta.dtype)).reshape(-1, 72)
    out[:, CAMERA_X] = -theta[:, CAMERA_X]
    return out


def _flipped_keypoints(keypoints: np.ndarray) -> np.ndarray:
    """Mirror [s,17,3] and exchange left and right."""
    seen = keypoints[..., 2] > 0
    if not seen.any():
        return keypoints.copy()
    columns = keypoints[..., 0][seen]
    out = keypoints[:, COCO_FLIP, :].copy()
    mirrored = columns.min() + columns.max() - out[..., 0]
    out[..., 0] = np.where(out[..., 2] > 0, mirrored, out[..., 0])
    return out


def erase(clip: StoredClip, largest: float, rng: np.random.Generator) -> StoredClip:
    """Return the clip with one rectangle of all silhouettes set to 0, as something in front."""
    h, w = clip.silhouettes.shape[1:]
    area, ratio = rng.uniform(0.02, largest) * h * w, np.exp(rng.uniform(-1, 1))
    tall = int(np.clip(np.sqrt(area * ratio), 1, h))
    wide = int(np.clip(np.sqrt(area / ratio), 1, w))
    top, left = rng.integers(0, h - tall + 1), rng.integers(0, w - wide + 1)
    out = clip.silhouettes.copy()
    out[:, top : top + tall, left : left + wide] = 0
    return StoredClip(out, clip.theta, clip.keypoints_px)


def move(clip: StoredClip, config: AugmentationConfig, rng: np.random.Generator) -> StoredClip:
    """Return the clip turned, sheared, scaled and shifted, all frames alike.

    Silhouettes and keypoints are changed in the same way, each about its own middle; theta is left,
    since it tells of the body and not of the picture.
    """
    turn = np.deg2rad(rng.uniform(-config.turn_deg, config.turn_deg))
    shear, size = rng.uniform(-config.shear, config.shear), 1 + rng.uniform(-1, 1) * config.scale
    shift = rng.uniform(-config.shift, config.shift, 2)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = size * rotation @ np.array([[1.0, shear], [0.0, 1.0]])  # [2,2] on (x, y)
    return StoredClip(
        _moved_silhouettes(clip.silhouettes, matrix, shift),
        clip.theta,
        _moved_keypoints(clip.keypoints_px, matrix, shift),
    )


def _moved_silhouettes(
    silhouettes: np.ndarray, matrix: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    if not len(silhouettes):
        return silhouettes
    h, w = silhouettes.shape[1:]
    middle = np.array([(w - 1) / 2, (h - 1) / 2])
    offset = middle + shift * h - matrix @ middle
    warp = np.column_stack([matrix, offset])
    return np.stack([cv2.warpAffine(frame, warp, (w, h)) for frame in silhouettes])


def _moved_keypoints(keypoints: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    seen = keypoints[..., 2] > 0
    if not seen.any():
        return keypoints
    places = keypoints[..., :2][seen]
    low, high = places.min(0), places.max(0)
    middle = (low + high) / 2
    moved = (keypoints[..., :2] - middle) @ matrix.T + middle + shift * (high[1] - low[1])
    out = keypoints.copy()
    out[..., :2] = np.where(seen[..., None], moved, keypoints[..., :2])
    return out


def segmentation_noise(clip: StoredClip, level: float, rng: np.random.Generator) -> StoredClip:
    """Return the clip as a poor segmenter would have cut it out.

    Args:
        level: 0 changes little, 1 is usual footage at its worst.
    """
    out = clip.silhouettes.copy()
    # What a segmenter does wrong it does wrong for a while: each fault has its own stretch.
    for fault, share in FAULTS:
        if rng.random() < share * min(level, 1.0):
            first, last = sorted(rng.integers(0, len(out) + 1, 2))
            fault(out[first:last], level, rng)
    for frame in out:
        _fray(frame, level, rng)
    repeated = rng.random(len(out)) < 0.05 * level  # the tracker saw nothing new
    for i in np.flatnonzero(repeated[1:]) + 1:
        out[i] = out[i - 1]
    return StoredClip(out, clip.theta, clip.keypoints_px)


def _fray(frame: np.ndarray, level: float, rng: np.random.Generator) -> None:
    """Move the edge in and out at random, by up to a few pixels; in place."""
    h, w = frame.shape
    coarse = rng.normal(0, 1, (h // 8, w // 8)).astype(np.float32)
    wave = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    sigma = max(0.3, rng.uniform(0.3, 1.0) * level * MAX_NOISE_PX / 2 * h / 64)
    blurred = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), sigma)
    # Held in, so that nothing appears where nobody is.
    threshold = np.clip(127.0 + 60.0 * level * wave, 40.0, 215.0)
    soft = (blurred - threshold) * 4 + 127.0
    frame[:] = np.clip(soft, 0, 255).astype(np.uint8)


def _swell(frames: np.ndarray, level: float, rng: np.random.Generator) -> None:
    """Make all frames thicker or thinner; in place."""
    size = 1 + round(rng.uniform(0, 2) * level * frames.shape[1] / 64)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size + 1, size + 1))
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    for frame in frames:
        frame[:] = change(frame, kernel)


def _cut_feet(frames: np.ndarray, level: float, rng: np.random.Generator) -> None:
    """Take the lowest rows away, as a shadow, a kerb or grass does; in place."""
    rows = round(rng.uniform(0.2, 1.0) * min(level, 1.5) * FOOT_ROWS * frames.shape[1])
    if rows:
        frames[:, -rows:] = 0


def _cut_limb(frames: np.ndarray, level: float, rng: np.random.Generator) -> None:
    """Take a blob out of each frame near one place; in place."""
    h, w = frames.shape[1:]
    x, y = rng.uniform(0.15, 0.85) * w, rng.uniform(0.2, 1.0) * h
    radius = rng.uniform(0.04, 0.12) * min(level, 1.5) * h
    for frame in frames:
        place = rng.normal((x, y), 0.02 * h)
        cv2.circle(frame, (int(place[0]), int(place[1])), max(1, round(radius)), (0,), -1)


def _grow_blob(frames: np.ndarray, level: float, rng: np.random.Generator) -> None:
    """Add a blob at the silhouette's side: another person, a bag, a shadow; in place."""
    h, w = frames.shape[1:]
    x = w * (0.25 if rng.random() < 0.5 else 0.75)
    y = rng.uniform(0.2, 1.0) * h
    half = rng.uniform(0.03, 0.12, 2) * min(level, 1.5) * h
    axes = max(1, round(float(half[0]))), max(1, round(float(half[1])))
    for frame in frames:
        place = rng.normal((x, y), 0.015 * h)
        cv2.ellipse(frame, (int(place[0]), int(place[1])), axes, 0, 0, 360, (255,), -1)


def _fill_gaps(frames: np.ndarray, level: float, rng: np.random.Generator) -> None:
    """Close the gap between the legs and under the arms; in place."""
    size = 3 + round(rng.uniform(0, 4) * level * frames.shape[1] / 64)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    for frame in frames:
        frame[:] = cv2.morphologyEx(frame, cv2.MORPH_CLOSE, kernel)


def _coarsen(frames: np.ndarray, level: float, rng: np.random.Generator) -> None:
    """Show frames as if the person had been far away: few pixels; in place."""
    h, w = frames.shape[1:]
    share = 1 / (1 + rng.uniform(0.3, 1.5) * level)
    small = max(4, round(w * share)), max(8, round(h * share))
    for frame in frames:
        few = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
        frame[:] = cv2.resize(few, (w, h), interpolation=cv2.INTER_LINEAR)


Fault = Callable[[np.ndarray, float, np.random.Generator], None]
# Each with how often it is there at level 1.
FAULTS: tuple[tuple[Fault, float], ...] = (
    (_swell, 0.5),
    (_fill_gaps, 0.4),
    (_coarsen, 0.5),
    (_cut_feet, 0.4),
    (_cut_limb, 0.3),
    (_grow_blob, 0.2),
)
