"""What MediaPipe's pose makes of true landmarks: nobody's size, bent bones, tremor and mix-ups.

Measured on rendered people through the real detect stage (scripts/measure_imperfections.py; figures
in data/imperfections.json). What it showed, and what is imitated here:

- Everybody comes out equally tall: the lengths of MediaPipe's bones say next to nothing about a
  person's. So each bone first gets an average person's length, but for a small share of its own.
- Everybody comes out much alike in posture, too: of how somebody's head, trunk or feet are held
  otherwise than is usual, a sixth to two thirds is seen. How bones move is seen better.
- Trunk and arms are turned by some degrees, and every bone is off by something that depends on
  the view, something that stays for a whole sequence, and something that wanders within a tenth of
  a second. Errors of a bone carry on to all that hangs on it.
- Seen from the side the two legs change places for a few frames, and the far arm is mostly guessed;
  seen along the way, some people's front is taken for their back, often for as long as they walk.

Letters: T frames, B = 36 bones (stages/human/walkers/landmark_bones.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.joints import MEDIAPIPE_TO_COCO
from stages.human.rotation import axis_angle_to_matrix
from stages.human.walkers.landmark_bones import (
    BONES,
    LEFT_LEG,
    LEFT_OF_PAIRS,
    MIRROR,
    RIGHT_LEG,
    RIGHT_OF_PAIRS,
    SIDE,
    TRUNK_AND_ARMS,
    bones_of,
    landmarks_of,
    taken_apart,
    view_of,
    view_terms,
)
from stages.human.walkers.measured import LandmarkFigures, load_figures

Floats = NDArray[np.float64]

_COCO = list(MEDIAPIPE_TO_COCO)
MOST_MIXED_UP = 0.45
LENGTH_RATIOS = (0.3, 3.0)  # no bone is made shorter or longer than by these


@dataclass(frozen=True, eq=False)
class SeenLandmarks:
    """What a pose network says.

    Attributes:
        world: float64 [T,33,4]: metres from mid-hips along the camera's axes, and visibility 0..1.
        keypoints_px: float64 [T,17,3]: COCO's order, x y in pixels and confidence.
    """

    world: Floats
    keypoints_px: Floats


@dataclass(frozen=True, eq=False)
class _Draws:
    """Draws errors of a sequence."""

    frames: int
    step_s: float
    rng: np.random.Generator

    def __call__(self, steady: Floats, wandering: Floats, wander_s: Floats) -> Floats:
        """Errors [T,...] of spreads [...]: one draw for all frames, and one that wanders."""
        stays = self.rng.standard_normal(steady.shape) * steady
        return stays + wandering * wander(
            self.frames, steady.shape, self.step_s, wander_s, self.rng
        )


def seen_landmarks(
    true_camera_m: Floats,
    image_px: Floats,
    height_px: float,
    step_s: float,
    rng: np.random.Generator,
    strength: float = 1.0,
    figures: LandmarkFigures | None = None,
) -> SeenLandmarks:
    """Landmarks with the errors of one sequence.

    Args:
        true_camera_m: [T,33,3], metres from mid-hips, the camera's axes (x right, y down, z away).
        image_px: [T,33,2], their true places in the image, pixels.
        height_px: of the person in the image.
        step_s: between two frames, seconds.
        strength: 1 as measured; 0 leaves what MediaPipe always does: nobody's size.
        figures: what errors are like; None: the shipped figures.
    """
    figures = load_figures().landmarks if figures is None else figures
    draw = _Draws(len(true_camera_m), step_s, rng)
    size = strength * float(np.interp(height_px, figures.heights_px, figures.height_factor))
    view = view_of(true_camera_m)
    average, seen = _seen_points(true_camera_m, view, strength, size, draw, figures)
    scale = _pixels_per_metre(true_camera_m, image_px, height_px)
    image_px = image_px + scale * _lost_proportions(true_camera_m, average, figures)
    mixed = mix_ups(view, size, step_s, rng, figures)
    world, points = mixed.applied(seen), mixed.applied(image_px)[:, _COCO]
    world -= 0.5 * (world[:, 23:24] + world[:, 24:25])
    points += figures.keypoint_follows[:, None] * scale * (seen - average)[:, _COCO, :2]
    points += (size * height_px) * draw(
        figures.keypoint_steady, figures.keypoint_wander, figures.keypoint_wander_s
    )
    visibility = _visibility(view, strength, rng, figures)
    return SeenLandmarks(
        np.concatenate([world, visibility[..., None]], axis=2),
        np.concatenate([points, visibility[:, _COCO, None]], axis=2),
    )


def _seen_points(
    true: Floats,
    view: Floats,
    strength: float,
    size: float,
    draw: _Draws,
    figures: LandmarkFigures,
) -> tuple[Floats, Floats]:
    """Landmarks [T,33,3] of an average person in this pose, and as they are seen.

    Args:
        view: [T,2] cosine and sine. size: of what is drawn, strength and height taken together.
    """
    bones, terms = bones_of(true), view_terms(view)
    ratio = _lengths(bones) / np.maximum(figures.length_m, 1e-6)
    own = figures.own_share * np.log(np.clip(ratio, *LENGTH_RATIOS))
    ordinary = resized(bones, own, figures)
    walking = taken_apart(ordinary, view, figures.average_m)
    bent = walking.average + walking.posture * figures.posture**strength
    bent += walking.motion * figures.gain**strength
    bent += strength * np.einsum("tv,bcv->tbc", terms, figures.bias_m)
    off = draw(figures.steady_m, figures.wander_m, figures.wander_s)
    off[:, RIGHT_OF_PAIRS] = -off[:, LEFT_OF_PAIRS]
    bent += size * off
    log_length = own + strength * figures.length_view @ terms.mean(axis=0)
    log_length += size * figures.length_spread * draw.rng.standard_normal(BONES)
    turn = strength * terms @ figures.turn.T
    turn += size * draw(figures.turn_steady, figures.turn_wander, figures.turn_wander_s)
    seen = resized(bent, log_length, figures)
    seen[:, TRUNK_AND_ARMS] @= np.swapaxes(axis_angle_to_matrix(turn), -1, -2)
    return landmarks_of(ordinary), landmarks_of(seen)


def _lost_proportions(true: Floats, average: Floats, figures: LandmarkFigures) -> Floats:
    """How far keypoints [T,33,2] move, metres, towards those of more common proportions.

    In the image people are as tall as they are, unlike their landmarks in metres.
    """
    tall = np.median(np.ptp(true[..., 1], axis=1) / np.ptp(average[..., 1], axis=1))
    return np.asarray((1.0 - figures.keypoint_own_share) * (average * tall - true)[..., :2])


def resized(bones: Floats, log_length: Floats, figures: LandmarkFigures) -> Floats:
    """Bones [T,36,3] whose median lengths over time are exp(`log_length`) of the average [36]."""
    wanted = figures.length_m * np.exp(log_length)
    scale = np.clip(wanted / np.maximum(_lengths(bones), 1e-6), *LENGTH_RATIOS)
    return np.asarray(bones * scale[:, None])


def _lengths(bones: Floats) -> Floats:
    """Median lengths [36] of bones [T,36,3]."""
    lengths = np.sqrt(np.einsum("tbc,tbc->tb", bones, bones))
    middle = len(lengths) // 2
    return np.asarray(np.partition(lengths, middle, axis=0)[middle])


@dataclass(frozen=True, eq=False)
class MixUps:
    """Frames [T] in which the legs change places, or the whole person is taken to face about.

    The latter looks the same in the image: left and right change places and depths their sign.
    """

    legs: NDArray[np.bool_]
    faces_about: NDArray[np.bool_]

    def applied(self, points: Floats) -> Floats:
        """Points [T,33,2 or 3] so mixed up."""
        out = points.copy()
        out[self.faces_about] = out[self.faces_about][:, MIRROR[:33]]
        out[self.faces_about, :, 2:] *= -1.0
        legs = np.flatnonzero(self.legs)[:, None]
        out[legs, LEFT_LEG + RIGHT_LEG] = out[legs, RIGHT_LEG + LEFT_LEG]
        return out


def mix_ups(
    view: Floats, size: float, step_s: float, rng: np.random.Generator, figures: LandmarkFigures
) -> MixUps:
    """Draw mix-ups: of the legs from the side, facing about from the front and from behind.

    Args:
        view: [T,2] cosine and sine, 0 faces the camera.
        size: of the errors, 1 at the mean height.
    """

    def happens(kind: Floats, exposed: Floats) -> NDArray[np.bool_]:
        share = np.clip(size * kind[0] * exposed**2, 0.0, MOST_MIXED_UP)
        level = np.sqrt(kind[2]) * rng.standard_normal()
        passing = wander(len(view), (1,), step_s, float(kind[1]), rng)[:, 0]
        level = level + np.sqrt(1 - kind[2]) * passing
        return np.asarray(level < normal_quantile(share))

    return MixUps(happens(figures.mix_up, view[:, 1]), happens(figures.about_face, view[:, 0]))


def normal_quantile(share: Floats) -> Floats:
    """Quantiles of the normal distribution for shares in 0..0.5.

    Within 0.003, after Hastings, "Approximations for Digital Computers", 1955.
    """
    t = np.sqrt(-2.0 * np.log(np.clip(share, 1e-12, 0.5)))
    return np.asarray((2.30753 + 0.27061 * t) / (1.0 + 0.99229 * t + 0.04481 * t**2) - t)


def _visibility(
    view: Floats, strength: float, rng: np.random.Generator, figures: LandmarkFigures
) -> Floats:
    """Visibility [T,33]: limbs on the far side are doubted."""
    mean, near, ahead, steady, flicker = figures.doubt.T
    logit = mean + SIDE[:33] * near * view[:, 1:] + ahead * view[:, :1]
    logit = logit + strength * steady * rng.standard_normal(33)
    logit = logit + strength * flicker * rng.standard_normal((len(view), 33))
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def _pixels_per_metre(landmarks: Floats, image_px: Floats, height_px: float) -> float:
    """Scale of the picture at the person, from how far the landmarks reach up and down."""
    metres = float(np.median(np.ptp(landmarks[..., 1], axis=1)))
    pixels = float(np.median(np.ptp(image_px[..., 1], axis=1)))
    return pixels / metres if metres > 0.3 else height_px / 1.7


def wander(
    frames: int,
    shape: tuple[int, ...],
    step_s: float,
    time_s: float | Floats,
    rng: np.random.Generator,
) -> Floats:
    """Noise [T,...] of variance 1 that forgets itself within `time_s` (AR(1)).

    Args:
        shape: of one frame's noise. time_s: seconds, one number or one for each of `shape`.
    """
    keep = np.exp(-step_s / np.asarray(time_s))
    out = rng.standard_normal((frames, *shape))
    out[1:] *= np.sqrt(1 - keep**2)
    for frame in range(1, frames):
        out[frame] += keep * out[frame - 1]
    return out
