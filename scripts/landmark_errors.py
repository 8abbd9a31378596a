"""What MediaPipe's landmarks are off by, and the figures that imitate it.

Everything is folded at the body's middle: a left arm seen from the left is a right arm seen from
the right in a mirror, so both count for both. Axes look at the person's hips (x right, y down,
z away). Letters: N frames, B = 36 bones (stages/human/walkers/landmark_bones.py), s sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from landmark_observations import Observed, Spreads, spreads_of
from numpy.typing import NDArray
from scipy.stats import norm
from seen_people import COCO, FPS

from stages.human.joints import COCO_FLIP
from stages.human.rotation import matrix_to_axis_angle
from stages.human.walkers.landmark_bones import (
    BONES,
    MIDDLE_HIPS,
    MIRROR,
    SIDE,
    TRUNK_AND_ARMS,
    bones_of,
    facing_axes,
    landmarks_of,
    taken_apart,
)
from stages.human.walkers.measured import LandmarkFigures

Floats = NDArray[np.float64]

HEIGHT_EDGES_PX = (48.0, 75.0, 110.0, 160.0, 220.0, 500.0)
MIRRORED_TERMS = np.array([1.0, 1.0, -1.0, 1.0, -1.0])  # of the view, seen from the other side
MIRRORED_AXES = np.array([-1.0, 1.0, 1.0])
MIRRORED_TURN = np.array([1.0, -1.0, -1.0])
# Points that say how the trunk is turned, and how much each counts.
TRUNK = {11: 1.0, 12: 1.0, 23: 1.0, 24: 1.0, 13: 0.3, 14: 0.3}
OWN_SHARES = (0.0, 0.5)
POSTURES = (0.02, 1.0)
GAINS = (0.2, 1.3)
# Ridge on functions of the view, share of the observations' variance.
RIDGE = 0.02
CAUTION = 0.6  # how much of a difference one round takes away
CHANGES = (0.6, 1.5)  # of one round
STEADY_PARTS = np.linspace(0.0, 0.95, 20)


def ridge(inputs: Floats, outputs: Floats) -> Floats:
    """Least squares of outputs [n,...] on inputs [n,k], whose first column is free."""
    flat = outputs.reshape(len(outputs), -1)
    penalty = RIDGE * len(inputs) * np.eye(inputs.shape[1])
    penalty[0, 0] = 1e-9
    solved = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ flat)
    return np.asarray(solved.reshape(-1, *outputs.shape[1:]))


def folded(
    terms: Floats, values: Floats, place: int, flip: Floats | float
) -> tuple[Floats, Floats]:
    """Inputs and outputs of one bone or point and of its mirror image, one below the other."""
    both = [values[:, place], values[:, MIRROR[place]] * flip]
    return np.concatenate([terms, terms * MIRRORED_TERMS]), np.concatenate(both)


@dataclass(frozen=True, eq=False)
class Lengths:
    """Bones' lengths, as in `LandmarkFigures`."""

    length_m: Floats
    own_share: Floats
    length_view: Floats
    length_spread: Floats


def fit_lengths(o: Observed) -> Lengths:
    """How long bones are seen, and how much of a person's own length is in it."""
    sequences = o.plain_sequences()
    true, seen = (
        np.array([np.median(np.linalg.norm(bones_of(x[one]), axis=2), axis=0) for one in sequences])
        for x in (o.true, o.seen)
    )
    terms = np.array([o.terms[one].mean(axis=0) for one in sequences])
    bone = np.arange(BONES) != MIDDLE_HIPS
    log_true, log_seen = np.zeros_like(true), np.zeros_like(seen)
    log_true[:, bone], log_seen[:, bone] = np.log(true[:, bone]), np.log(seen[:, bone])
    usual = np.median(log_seen, axis=0)
    usual = 0.5 * (usual + usual[MIRROR])
    share, spread = np.zeros(BONES), np.zeros(BONES)
    by_view = np.zeros((BONES, terms.shape[1]))
    for place in np.flatnonzero(bone):
        inputs, own = folded(terms, log_true - usual, place, 1.0)
        _, got = folded(terms, log_seen - usual, place, 1.0)
        full = ridge(np.column_stack([inputs, own - own.mean()]), got)
        share[place] = np.clip(full[-1], *OWN_SHARES)
        by_view[place] = ridge(inputs, got - share[place] * own)
        spread[place] = np.std(got - share[place] * own - inputs @ by_view[place])
    return Lengths(np.where(bone, np.exp(usual), 0.0), share, by_view, spread)


def ordinary_bones(o: Observed, lengths: Lengths) -> Floats:
    """True bones [N,36,3] at the lengths that are seen."""
    bones = bones_of(o.true)
    out = np.zeros_like(bones)
    for one in o.sequences:
        own = np.median(np.linalg.norm(bones[one], axis=2), axis=0)
        usual = np.maximum(lengths.length_m, 1e-6)
        ratio = np.maximum(own, 1e-6) / usual
        scale = np.where(lengths.length_m > 0, ratio ** (lengths.own_share - 1.0), 0.0)
        out[one] = bones[one] * scale[:, None]
    return out


@dataclass(frozen=True, eq=False)
class Postures:
    """How people hold themselves, as in `LandmarkFigures`."""

    average_m: Floats
    posture: Floats


def fit_postures(o: Observed, ordinary: Floats) -> Postures:
    """How an average person walks, and how much of what is otherwise in somebody is seen."""
    sequences = o.plain_sequences()
    facing = [(ordinary[one] @ facing_axes(o.view[one])).mean(axis=0) for one in sequences]
    average = np.mean(facing, axis=0)
    average = 0.5 * (average + average[MIRROR] * MIRRORED_AXES)
    seen = bones_of(o.seen)
    apart = [taken_apart(ordinary[one], o.view[one], average).posture for one in sequences]
    own = np.array([one.mean(axis=0) for one in apart])  # [s,B,3]
    got = np.array([seen[one].mean(axis=0) for one in sequences])
    terms = np.array([o.terms[one].mean(axis=0) for one in sequences])
    share = np.ones((BONES, 3))
    for place in range(BONES):
        if place == MIDDLE_HIPS:
            continue
        inputs, x = folded(terms, own, place, MIRRORED_AXES)
        _, y = folded(terms, got, place, MIRRORED_AXES)
        spread = np.maximum(x.std(axis=0), 1e-6)
        for axis in range(3):
            columns = np.column_stack([inputs, x[:, axis] / spread[axis]])
            share[place, axis] = ridge(columns, y[:, axis])[-1] / spread[axis]
    return Postures(average, np.clip(share, *POSTURES))


def with_postures(o: Observed, ordinary: Floats, postures: Postures) -> tuple[Floats, Floats]:
    """What is seen of bones [N,36,3] but for their motion, and their motion."""
    held, motion = np.zeros_like(ordinary), np.zeros_like(ordinary)
    for one in o.sequences:
        walking = taken_apart(ordinary[one], o.view[one], postures.average_m)
        held[one] = walking.average + walking.posture * postures.posture
        motion[one] = walking.motion
    return held, motion


def turns_between(ordinary: Floats, seen: Floats) -> Floats:
    """Rotations [N,3,3] that bring the trunk of [N,33,3] onto the seen one (Kabsch)."""
    places, weights = list(TRUNK), np.array(list(TRUNK.values()))
    spread = np.einsum("k,nki,nkj->nij", weights, seen[:, places], ordinary[:, places])
    left, _, right = np.linalg.svd(spread)
    signs = np.ones((len(left), 1, 3))
    signs[:, 0, 2] = np.linalg.det(left @ right)
    return np.asarray((left * signs) @ right)


def both_sides(values: Floats, mirror: Sequence[int] | NDArray[Any] = MIRROR) -> Floats:
    """Left and right replaced by their common root mean square."""
    return np.sqrt(0.5 * (values**2 + values[np.asarray(mirror)] ** 2))


def memory_s(remembered: Floats) -> Floats:
    """Seconds in which a wandering forgets itself."""
    return np.asarray(-1.0 / FPS / np.log(remembered))


def fit_landmarks(o: Observed) -> LandmarkFigures:
    """Everything at once."""
    lengths = fit_lengths(o)
    ordinary = ordinary_bones(o, lengths)
    postures = fit_postures(o, ordinary)
    held, motion = with_postures(o, ordinary, postures)
    turned = turns_between(landmarks_of(held + motion), o.seen)
    vectors = matrix_to_axis_angle(turned)
    plain = o.plain
    inputs = np.concatenate([o.terms[plain], o.terms[plain] * MIRRORED_TERMS])
    turn = ridge(inputs, np.concatenate([vectors[plain], vectors[plain] * MIRRORED_TURN])).T
    turn_spreads = spreads_of(vectors - o.terms @ turn.T, o)
    upright = bones_of(o.seen)
    upright[:, TRUNK_AND_ARMS] = upright[:, TRUNK_AND_ARMS] @ turned
    gain, bias = _gain_and_bias(o, held, motion, upright)
    rest = upright - held - motion * gain - np.einsum("nv,bcv->nbc", o.terms, bias)
    bone_spreads = spreads_of(rest, o)
    heights, factors = _by_height(rest, o)
    keypoints = _keypoints(o, ordinary)
    own = keypoints.errors
    kept = bone_spreads.remembered
    return LandmarkFigures(
        length_m=lengths.length_m,
        own_share=lengths.own_share,
        length_view=lengths.length_view,
        length_spread=lengths.length_spread,
        average_m=postures.average_m,
        posture=postures.posture,
        gain=gain,
        bias_m=bias,
        steady_m=both_sides(bone_spreads.steady),
        wander_m=both_sides(bone_spreads.wander),
        wander_s=memory_s(0.5 * (kept + kept[MIRROR])),
        turn=turn,
        turn_steady=turn_spreads.steady,
        turn_wander=turn_spreads.wander,
        turn_wander_s=memory_s(turn_spreads.remembered),
        doubt=_doubt(o),
        mix_up=_mix_up(o.legs_swapped, o.view[:, 1] ** 2, o),
        about_face=_mix_up(o.faced_about, o.view[:, 0] ** 2, o),
        heights_px=heights,
        height_factor=factors,
        keypoint_own_share=keypoints.own_share,
        keypoint_follows=keypoints.follows,
        keypoint_steady=both_sides(own.steady, COCO_FLIP),
        keypoint_wander=both_sides(own.wander, COCO_FLIP),
        keypoint_wander_s=memory_s(0.5 * (own.remembered + own.remembered[list(COCO_FLIP)])),
    )


def closer(figures: LandmarkFigures, o: Observed, seen: Floats) -> LandmarkFigures:
    """Figures whose points stray as the measured ones do.

    Errors of bones are drawn apart, but a real thigh and its shank make up for each other in part.

    Args:
        seen: [N,33,3] as the figures imitate them.
    """
    real, ours = (_strayed(points, o) for points in (o.seen, seen))
    ratio = np.ones((BONES, 3))
    ratio[:33] = (real / np.maximum(ours, 1e-4)) ** CAUTION
    ratio = np.clip(0.5 * (ratio + ratio[MIRROR]), *CHANGES)
    return replace(figures, steady_m=figures.steady_m * ratio, wander_m=figures.wander_m * ratio)


def _strayed(points: Floats, o: Observed) -> Floats:
    """Spread [33,3] of the errors of points [N,33,3], whatever stays and whatever wanders."""
    off = points - o.true
    return np.asarray((off - off.mean(axis=0)).std(axis=0))


def _gain_and_bias(
    o: Observed, held: Floats, motion: Floats, upright: Floats
) -> tuple[Floats, Floats]:
    """What of a bone's motion is seen [36,3], and a bias by view [36,3,5]."""
    plain = o.plain
    moved = np.zeros_like(upright)
    for one in o.plain_sequences():
        moved[one] = upright[one] - upright[one].mean(axis=0)
    gain, bias = np.ones((BONES, 3)), np.zeros((BONES, 3, 5))
    for place in range(BONES):
        if place == MIDDLE_HIPS:
            continue
        _, x = folded(o.terms[plain], motion[plain], place, MIRRORED_AXES)
        _, y = folded(o.terms[plain], moved[plain], place, MIRRORED_AXES)
        power = (x**2).sum(axis=0) + 1e-6 * len(x)
        gain[place] = np.clip((x * y).sum(axis=0) / power, *GAINS)
    rest = upright - held - motion * gain
    for place in range(BONES):
        if place != MIDDLE_HIPS:
            inputs, off = folded(o.terms[plain], rest[plain], place, MIRRORED_AXES)
            bias[place] = ridge(inputs, off).T
    return gain, bias


def _by_height(rest: Floats, o: Observed) -> tuple[Floats, Floats]:
    """Size of the errors by the person's height, 1 on average."""
    sequences = o.plain_sequences()
    bone = np.arange(BONES) != MIDDLE_HIPS
    within = np.array([rest[one][:, bone].var(axis=0) for one in sequences])
    size = (within / np.maximum(within.mean(axis=0), 1e-9)).mean(axis=(1, 2))
    tall = np.array([o.height_px[one].mean() for one in sequences])
    heights, factors = [], []
    for low, high in pairwise(HEIGHT_EDGES_PX):
        chosen = (tall >= low) & (tall < high)
        if chosen.sum() >= 4:
            heights.append(tall[chosen].mean())
            factors.append(np.sqrt(size[chosen].mean()))
    if not heights:
        raise ValueError("expected at least four walks of about one height, got fewer")
    return np.array(heights), np.array(factors)


def _doubt(o: Observed) -> Floats:
    """Visibility's logit [33,5], see `LandmarkFigures`."""
    seen = np.clip(o.visibility, 2e-3, 1 - 2e-3)
    logit = np.log(seen / (1 - seen))
    out = np.zeros((33, 5))
    for place in range(33):
        pair = (place, int(MIRROR[place]))
        inputs = [
            np.stack([np.ones(len(logit)), SIDE[p] * o.view[:, 1], o.view[:, 0]], axis=1)
            for p in pair
        ]
        given = np.concatenate([logit[:, p] for p in pair])
        found = np.linalg.lstsq(np.concatenate(inputs), given, rcond=None)[0]
        rest = np.stack([logit[:, p] - x @ found for p, x in zip(pair, inputs, strict=True)], 1)
        steady = np.mean([(rest[one].mean(axis=0) ** 2).mean() for one in o.sequences])
        flicker = np.mean([rest[one].var(axis=0).mean() for one in o.sequences])
        out[place] = [*found, np.sqrt(steady), np.sqrt(flicker)]
    return out


def _mix_up(flags: NDArray[np.bool_], exposed: Floats, o: Observed) -> Floats:
    """Share of frames at full exposure, seconds that a mix-up lasts, and how steady it is."""
    share = flags.sum() / max(float(exposed.sum()), 1.0)
    lasts = []
    for one in o.sequences:
        ends = np.flatnonzero(np.diff(np.concatenate([[0], flags[one].astype(int), [0]])))
        lasts += list(ends[1::2] - ends[::2])
    return np.array(
        [share, (np.mean(lasts) if lasts else 1.0) / FPS, _steadiness(flags, share * exposed, o)]
    )


def _steadiness(flags: NDArray[np.bool_], expected: Floats, o: Observed) -> float:
    """How much of mix-ups is a matter of the sequence: so that their shares spread as seen."""
    shares = np.array([flags[one].mean() for one in o.sequences])
    wanted = np.array([expected[one].mean() for one in o.sequences])
    seen = float(((shares - wanted) ** 2).mean())
    draws = norm.ppf((np.arange(200) + 0.5) / 200)
    level = norm.ppf(np.clip(wanted, 1e-6, 0.45))[:, None]
    spreads = [
        float(
            (
                (norm.cdf((level - np.sqrt(part) * draws) / np.sqrt(1 - part)) - wanted[:, None])
                ** 2
            ).mean()
        )
        for part in STEADY_PARTS
    ]
    return float(STEADY_PARTS[int(np.argmin(np.abs(np.array(spreads) - seen)))])


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Keypoints in the image, as in `LandmarkFigures`."""

    own_share: Floats
    follows: Floats
    errors: Spreads


def _keypoints(o: Observed, ordinary: Floats) -> Keypoints:
    """How much of a person's own proportions and of a landmark's error a keypoint shows."""
    average = landmarks_of(ordinary)
    scale = np.ones(len(average))
    for one in o.sequences:
        scale[one] = np.median(np.ptp(o.true[one, :, 1], 1) / np.ptp(average[one, :, 1], 1))
    to_px = o.pixels_per_metre[:, None, None]
    other = (average * scale[:, None, None] - o.true)[:, COCO, :2] * to_px
    moved = (o.seen - average)[:, COCO, :2] * to_px
    plain = o.plain
    both = np.stack([other[plain].ravel(), moved[plain].ravel()], axis=1)
    lost = np.linalg.lstsq(both, o.keypoint_error[plain].ravel(), rcond=None)[0][0]
    lost = float(np.clip(lost, 0.0, 1.0))
    rest = o.keypoint_error - lost * other
    follows = np.zeros(17)
    for place in range(17):
        pair = [place, COCO_FLIP[place]]
        x, y = moved[plain][:, pair], rest[plain][:, pair]
        follows[place] = np.clip((x * y).sum() / (x**2).sum(), 0.0, 1.2)
    errors = (rest - moved * follows[:, None]) / o.height_px[:, None, None]
    return Keypoints(np.array(1.0 - lost), follows, spreads_of(errors, o))
