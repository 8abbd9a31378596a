"""What MediaPipe's pose makes of true landmarks: nobody's size, bent depths, tremor and mix-ups.

Measured on rendered people through the real detect stage (scripts/measure_imperfections.py, which
writes data/imperfections.json). What it showed, and what is imitated here:

- Everybody comes out about equally tall: the lengths of MediaPipe's bones say next to nothing about
  a person's. So each bone first gets the mean body's length, but for a small share of its own.
- Depths are flattened towards the hips, and every bone is off by something that stays for a whole
  sequence and something that wanders within a fifth of a second. Errors of a bone carry on to all
  that hangs on it, so they are drawn for bones, not for points.
- Seen from the side, the two legs change places for a few frames; the far arm is mostly guessed.

Letters: T frames, B bones of a tree through the 33 landmarks and two points between them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from stages.human.joints import MEDIAPIPE_LANDMARK_NAMES, MEDIAPIPE_TO_COCO

Floats = NDArray[np.float64]

FIGURES_FILE = Path(__file__).parent / "data" / "imperfections.json"
FORMAT_VERSION = 1
MIDDLE_HIPS, MIDDLE_SHOULDERS = 33, 34
POINTS = 35
# Landmarks whose left and right are swapped when the legs are mixed up.
_LEFT_LEG, _RIGHT_LEG = [25, 27, 29, 31], [26, 28, 30, 32]


def _parents() -> NDArray[np.int64]:
    """Which point each of the 35 hangs on; mid-hips, the root, on itself."""
    out = np.full(POINTS, MIDDLE_SHOULDERS)
    out[[MIDDLE_HIPS, MIDDLE_SHOULDERS, 23, 24]] = MIDDLE_HIPS
    for side in (0, 1):
        shoulder, elbow, wrist, hip, knee, ankle = (side + n for n in (11, 13, 15, 23, 25, 27))
        out[elbow], out[wrist], out[knee], out[ankle] = shoulder, elbow, hip, knee
        out[[17 + side, 19 + side, 21 + side]] = wrist
        out[[29 + side, 31 + side]] = ankle
    out[[*range(1, 7), 9, 10]] = 0  # the face hangs on the nose
    return out


PARENTS = _parents()


def _chains() -> Floats:
    """[35,35]: row p sums the bones from the root to point p."""
    out = np.eye(POINTS)
    for _ in range(6):  # no chain is longer
        for point in range(POINTS):
            parent = PARENTS[point]
            out[point] = out[parent] * (parent != point) + np.eye(POINTS)[point]
    out[:, MIDDLE_HIPS] = 0.0
    return out


CHAINS = _chains()


def mirror_of(names: tuple[str, ...] = MEDIAPIPE_LANDMARK_NAMES) -> NDArray[np.int64]:
    """The landmark [33] on the other side of the body."""

    def other(name: str) -> str:
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        return swapped if swapped in names else name

    return np.array([names.index(other(name)) for name in names])


@dataclass(frozen=True, eq=False)
class LandmarkFigures:
    """What was measured; a bone is named by the point at its far end.

    Attributes:
        length_m: [35] of the mean body's bones.
        own_share: [35], how much of a person's own deviation (in the logarithm) is seen.
        gain: [35,3], seen over true component of a bone along the camera's axes.
        steady_m, wander_m: [35,3], spread of what stays for a sequence and of what wanders.
        wander_s: seconds in which the wandering forgets itself.
        doubt: [33,5], logit of visibility: mean, by how far the landmark's side is turned away
            (sine of the view), spread of a sequence, spread of a frame, and by facing away.
        mix_up_share: share of frames with legs swapped, seen from the side.
        mix_up_s: how long that lasts.
        height_px, height_factor: size of the errors by the person's height in the image.
        pixel_share: spread of a keypoint in the image beyond its landmark's, of the height.
    """

    length_m: Floats
    own_share: Floats
    gain: Floats
    steady_m: Floats
    wander_m: Floats
    wander_s: float
    doubt: Floats
    mix_up_share: float
    mix_up_s: float
    height_px: Floats
    height_factor: Floats
    pixel_share: float


@cache
def load_figures(path: Path = FIGURES_FILE) -> LandmarkFigures:
    """Read the measured figures once.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
        landmarks = table["landmarks"]
        if table["format_version"] != FORMAT_VERSION:
            raise ValueError(f"version {table['format_version']}, expected {FORMAT_VERSION}")
        return LandmarkFigures(
            **{
                name: np.array(value, float) if isinstance(value, list) else float(value)
                for name, value in landmarks.items()
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} holds no measured imperfections: {error}",
            hint="Install the program anew, or run scripts/measure_imperfections.py.",
        ) from error


@dataclass(frozen=True, eq=False)
class SeenLandmarks:
    """What a pose network says.

    Attributes:
        world: float64 [T,33,4]: metres from mid-hips along the camera's axes, and visibility 0..1.
        keypoints_px: float64 [T,17,3]: COCO's order, x y in pixels and confidence.
    """

    world: Floats
    keypoints_px: Floats


def bones_of(landmarks: Floats) -> Floats:
    """Bones [...,35,3] of landmarks [...,33,3], mid-hips being the root."""
    middle_hips = 0.5 * (landmarks[..., 23:24, :] + landmarks[..., 24:25, :])
    middle_shoulders = 0.5 * (landmarks[..., 11:12, :] + landmarks[..., 12:13, :])
    points = np.concatenate([landmarks, middle_hips, middle_shoulders], axis=-2)
    return np.asarray(points - points[..., PARENTS, :])


def landmarks_of(bones: Floats) -> Floats:
    """Landmarks [...,33,3] from mid-hips, of bones [...,35,3]."""
    return np.asarray((CHAINS @ bones)[..., :33, :])


def seen_landmarks(
    true_camera_m: Floats,
    image_px: Floats,
    height_px: float,
    step_s: float,
    rng: np.random.Generator,
    strength: float = 1.0,
) -> SeenLandmarks:
    """Landmarks with the errors of one sequence.

    Args:
        true_camera_m: [T,33,3], metres from mid-hips, the camera's axes (x right, y down, z away).
        image_px: [T,33,2], their true places in the image, pixels.
        height_px: of the person in the image.
        step_s: between two frames, seconds.
        strength: 0 only what MediaPipe always does (nobody's size), 1 as measured.
    """
    figures = load_figures()
    frames = len(true_camera_m)
    size = strength * float(np.interp(height_px, figures.height_px, figures.height_factor))
    side = _turned(true_camera_m)  # [T,2]: sine and cosine of the view, 0 degrees faces the camera
    bones = mean_sized(bones_of(true_camera_m), figures)
    if strength > 0:
        bones = bones * figures.gain
    off = rng.standard_normal((POINTS, 3)) * figures.steady_m
    off = off + wander(frames, (POINTS, 3), step_s, figures.wander_s, rng) * figures.wander_m
    clean = landmarks_of(bones)
    world = _mixed_up(clean, side, size, step_s, rng, figures) + size * landmarks_of(off)
    world = world - 0.5 * (world[:, 23:24] + world[:, 24:25])
    visibility = _visibility(side, strength, rng, figures)
    metre_px = _pixels_per_metre(true_camera_m, image_px, height_px)
    shift = (world - landmarks_of(mean_sized(bones_of(true_camera_m), figures)))[..., :2] * metre_px
    coco = list(MEDIAPIPE_TO_COCO)
    extra = strength * figures.pixel_share * height_px * rng.standard_normal((17, 2))
    points = image_px[:, coco] + shift[:, coco] + extra
    return SeenLandmarks(
        np.concatenate([world, visibility[..., None]], axis=2),
        np.concatenate([points, visibility[:, coco, None]], axis=2),
    )


def mean_sized(bones: Floats, figures: LandmarkFigures) -> Floats:
    """Bones [T,35,3] at the mean body's lengths, but for the share of their own that is seen."""
    own = np.median(np.linalg.norm(bones, axis=2), axis=0)
    ratio = figures.length_m / np.maximum(own, 1e-3)
    scale = np.where(figures.length_m > 0, ratio ** (1.0 - figures.own_share), 0.0)
    return np.asarray(bones * np.clip(scale, 0.3, 3.0)[:, None])


def _turned(landmarks: Floats) -> Floats:
    """Sine and cosine [T,2] of the view: 0 faces the camera, 90 degrees shows the left side."""
    across = landmarks[:, 11] - landmarks[:, 12] + landmarks[:, 23] - landmarks[:, 24]
    flat = across[:, [2, 0]] * [-1.0, 1.0]
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6))


def _mixed_up(
    landmarks: Floats,
    side: Floats,
    size: float,
    step_s: float,
    rng: np.random.Generator,
    figures: LandmarkFigures,
) -> Floats:
    """Swap the legs for a while, the more often the more they are seen from the side."""
    share = np.clip(size * figures.mix_up_share * side[:, 0] ** 2, 0.0, 0.45)
    level = wander(len(landmarks), (1,), step_s, figures.mix_up_s, rng)[:, 0]
    swapped = level < _normal_quantile(share)
    out = landmarks.copy()
    frames = np.flatnonzero(swapped)[:, None]
    out[frames, _LEFT_LEG], out[frames, _RIGHT_LEG] = (
        landmarks[frames, _RIGHT_LEG],
        landmarks[frames, _LEFT_LEG],
    )
    return out


def _normal_quantile(share: Floats) -> Floats:
    """Quantiles of the normal distribution for shares in 0..0.5, within 0.02 (Hastings)."""
    t = np.sqrt(-2.0 * np.log(np.clip(share, 1e-9, 0.5)))
    return np.asarray((2.30753 + 0.27061 * t) / (1.0 + 0.99229 * t + 0.04481 * t**2) - t)


def _visibility(
    side: Floats, strength: float, rng: np.random.Generator, figures: LandmarkFigures
) -> Floats:
    """Visibility [T,33]: far limbs are doubted."""
    mean, turned, steady, flicker, away = figures.doubt.T
    sign = np.where(np.arange(33) == mirror_of(), 0.0, np.where(_is_left(), 1.0, -1.0))
    logit = mean + sign * turned * side[:, :1] - away * side[:, 1:]
    spread = strength * (steady * rng.standard_normal(33))
    logit = logit + spread + strength * flicker * rng.standard_normal((len(side), 33))
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


@cache
def _is_left() -> NDArray[np.bool_]:
    return np.array(["left" in name for name in MEDIAPIPE_LANDMARK_NAMES])


def _pixels_per_metre(landmarks: Floats, image_px: Floats, height_px: float) -> float:
    """Scale of the picture at the person, from how far the landmarks reach up and down."""
    metres = float(np.median(np.ptp(landmarks[..., 1], axis=1)))
    pixels = float(np.median(np.ptp(image_px[..., 1], axis=1)))
    return pixels / metres if metres > 0.3 else height_px / 1.7


def wander(
    frames: int, shape: tuple[int, ...], step_s: float, time_s: float, rng: np.random.Generator
) -> Floats:
    """Noise [T,...] of variance 1 that forgets itself within `time_s` (AR(1))."""
    keep = float(np.exp(-step_s / time_s))
    fresh = rng.standard_normal((frames, *shape))
    out = np.empty_like(fresh)
    if frames:
        out[0] = fresh[0]
    for frame in range(1, frames):
        out[frame] = keep * out[frame - 1] + np.sqrt(1 - keep**2) * fresh[frame]
    return out
