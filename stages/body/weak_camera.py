"""The weak-perspective camera behind a body's joints and the keypoints seen in the image.

A camera is (scale, tx, ty): scale * (xy + t) lies in the square [-1,1] about the person's box,
whose side is the longer one of the box. All functions take any leading shape, a frame or a whole
track; m is the number of points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.human.joints import SMPL_COCO_PAIRS

# Quality halves where keypoints and body disagree by this part of the square's half side.
REPROJECTION_SCALE = 0.2
# What a frame gets in which no camera fits.
UNKNOWN_AGREEMENT = 0.5
SCALE_RANGE = (0.02, 50.0)
# Joints nearer together than this (mean square, m2) give no scale.
MIN_SPREAD_M2 = 1e-4
# Larger numbers are no pixels.
MAX_PX = 1e6
# A keypoint many boxes away is no measurement of this person; half sides of the square.
MAX_REACH = 4.0

_SMPL_POINTS = np.array([pair[0] for pair in SMPL_COCO_PAIRS])
_COCO_POINTS = np.array([pair[1] for pair in SMPL_COCO_PAIRS])


def fit_camera(
    joints_m: NDArray, points: NDArray, weights: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Weak-perspective camera by least squares.

    Args:
        joints_m: [...,m,3] or [...,m,2], metres, x right and y down.
        points: [...,m,2], the same places in the crop's square, [-1,1].
        weights: [...,m], at least zero.

    Returns:
        camera [...,3] (scale, tx, ty), the root mean square distance [...] in the square's units,
        and whether it fits [...]: not where fewer than three points count, nor where no positive
        scale fits. What does not fit has zeros.
    """
    total = weights.sum(axis=-1)
    enough = np.count_nonzero(weights, axis=-1) >= 3
    share = weights / np.where(total > 0.0, total, 1.0)[..., None]
    source = joints_m[..., :2]
    source_mean = np.einsum("...m,...mi->...i", share, source)
    target_mean = np.einsum("...m,...mi->...i", share, points)
    source_off, target_off = source - source_mean[..., None, :], points - target_mean[..., None, :]
    spread = np.einsum("...m,...mi,...mi->...", share, source_off, source_off)
    common = np.einsum("...m,...mi,...mi->...", share, source_off, target_off)
    scale = common / np.maximum(spread, 1e-9)
    in_range = (SCALE_RANGE[0] < scale) & (scale < SCALE_RANGE[1])
    fits = enough & (spread >= MIN_SPREAD_M2) & in_range
    miss = target_off - scale[..., None, None] * source_off
    rms = np.sqrt(np.einsum("...m,...mi,...mi->...", share, miss, miss))
    move = target_mean / np.where(fits, scale, 1.0)[..., None] - source_mean
    camera = np.concatenate([scale[..., None], move], axis=-1)
    return np.where(fits[..., None], camera, 0.0), np.where(fits, rms, 0.0), fits


def to_crop_square(keypoints_px: NDArray, bbox_xyxy_px: NDArray) -> NDArray[np.float64]:
    """Pixels [...,m,2] in the square [-1,1] about boxes [...,4], its side the box's longer one."""
    corners = np.asarray(bbox_xyxy_px, dtype=np.float64)
    centre, size = 0.5 * (corners[..., :2] + corners[..., 2:]), corners[..., 2:] - corners[..., :2]
    half = 0.5 * np.maximum(size.max(axis=-1), 1.0)
    return np.asarray((keypoints_px - centre[..., None, :]) / half[..., None, None])


def see_body(
    joints_m: NDArray, keypoints_px: NDArray, bbox_xyxy_px: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """The camera that shows a body where its keypoints are.

    Args:
        joints_m: [...,24,3]. keypoints_px: [...,17,3], COCO's. bbox_xyxy_px: [...,4]. The latter
            two may hold anything, nan too.

    Returns:
        camera [...,3], how well body and keypoints agree [...], 0 to 1, and whether there is a
        camera [...].
    """
    keypoints = np.asarray(keypoints_px, dtype=np.float64)[..., _COCO_POINTS, :]
    bbox = np.asarray(bbox_xyxy_px, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # comparisons with nan are false
        is_box = (np.abs(bbox) < MAX_PX).all(axis=-1)
        is_box &= (bbox[..., 2:] > bbox[..., :2]).all(axis=-1)
        inside = (np.abs(keypoints[..., :2]) < MAX_PX).all(axis=-1)
    box = np.where(is_box[..., None], bbox, 0.0)
    points = to_crop_square(np.where(inside[..., None], keypoints[..., :2], 0.0), box)
    inside &= is_box[..., None] & (np.abs(points) < MAX_REACH).all(axis=-1)
    # Not by a product: inf times nothing is no number.
    weights = np.where(inside, to_confidence(keypoints[..., 2]), 0.0)
    camera, rms, fits = fit_camera(joints_m[..., _SMPL_POINTS, :], points, weights)
    agreement = 1.0 / (1.0 + (rms / REPROJECTION_SCALE) ** 2)
    return camera, np.where(fits, agreement, UNKNOWN_AGREEMENT), fits


def to_confidence(values: NDArray) -> NDArray[np.float64]:
    """Any numbers to 0..1; nan to 0."""
    return np.clip(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0)
