"""What a person wears, as two colour histograms: a cheap cue for who is who after a crossing."""

from __future__ import annotations

import cv2
import numpy as np

SAMPLES_HIGH = 96  # rows a person is thinned to; colour needs no more
HUES, TONES = 12, 8
GREY_BELOW = 40  # saturation under which a hue says nothing
DARK_BELOW = 48  # brightness under which it says nothing
UPPER = (0.15, 0.5)  # of the box height: chest, without the head
LOWER = (0.5, 0.9)  # hips and legs, without the feet
# Where each brightness and each of OpenCV's hues (0 to 179) is counted.
_TONE_BINS = HUES + np.arange(256) * TONES // 256
_HUE_BINS = np.minimum(np.arange(256) * HUES // 180, HUES - 1)


def clothing(pixels: np.ndarray, mask: np.ndarray, xy: tuple[int, int]) -> np.ndarray:
    """Return float32 [2,20], each row summing to 1 (or 0): hues and tones, upper and lower body.

    Args:
        pixels: uint8 [h,w,3] BGR, the frame.
        mask: bool [h,w], the person.
        xy: left and top of the mask in the frame.
    """
    height, width = mask.shape
    step = max(1, height // SAMPLES_HIGH)
    rows = slice(xy[1], xy[1] + height, step)
    columns = slice(xy[0], xy[0] + width, step)
    hsv = cv2.cvtColor(np.ascontiguousarray(pixels[rows, columns]), cv2.COLOR_BGR2HSV)
    person = mask[::step, ::step]
    out = np.zeros((2, HUES + TONES), np.float32)
    for row, (top, bottom) in enumerate((UPPER, LOWER)):
        band = slice(round(top * len(person)), round(bottom * len(person)))
        colours = hsv[band][person[band]]
        if len(colours):
            out[row] = _histogram(colours)
    return out


def _histogram(hsv: np.ndarray) -> np.ndarray:
    """Return [20] of uint8 [n,3]: grey pixels by tone, coloured ones by hue, each counted once."""
    grey = (hsv[:, 1] < GREY_BELOW) | (hsv[:, 2] < DARK_BELOW)
    bins = np.where(grey, _TONE_BINS[hsv[:, 2]], _HUE_BINS[hsv[:, 0]])
    counts = np.bincount(bins, minlength=HUES + TONES)
    return counts.astype(np.float32) / len(hsv)


def unlikeness(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Hellinger distance of two clothings [2,20]: 0 the same, 1 nothing in common."""
    return float(np.sqrt(max(0.0, 1.0 - float(np.sqrt(a * b).sum()) / 2)))
