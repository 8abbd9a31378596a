"""Where something moved, for a camera that stands still.

A mixture-of-Gaussians background (Zivkovic 2004, as OpenCV has it) on a small picture, cleaned and
cut into boxes as large as a person could be. Boxes are proposals: the pose networks decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from stages.detect.boxes import area, suppress

UNSETTLED_SHARE = 0.4  # more moving pixels than that: the camera or the light moved
SETTLED_SHARE = 0.15
SETTLING_FRAMES = 5  # calm frames before the model is believed again
FIRST_RATE = 0.2  # learning rate while it is not believed
SHORTEST_SHARE = 0.5  # of the least height: feet or head may be missing from a blob
STACK_GAP = 0.35  # vertical gap between two fragments of one person, share of the joint height
NARROWEST = 0.35  # width over height of somebody walking, seen from the front
SAME_SLIVER_IOU = 0.6  # two slivers that grow into about the same box
WIDEST = 1.1  # width over height beyond which a blob is taken for several people


@dataclass(frozen=True, slots=True)
class Motion:
    """What moved in one frame.

    Attributes:
        moving: uint8 [h,w] of the small picture, 255 where something moved; all 0 if not settled.
        scale: small pixels per frame pixel.
        settled: the model is to be believed.
    """

    moving: np.ndarray
    scale: float
    settled: bool


class MotionModel:
    """The background of one source.

    In: frames uint8 [h,w,3] BGR of one size (another size starts anew). Out: `Motion`. Keeps the
    background model. A frame costs about 3 ms at 480 pixels wide, whatever the frame's size.
    """

    def __init__(self, width_px: int, history_frames: float) -> None:
        self._width_px = width_px
        self._rate = 1.0 / max(history_frames, 2.0)
        self._size_wh = (0, 0)
        self._restart()

    def _restart(self) -> None:
        self._model = cv2.createBackgroundSubtractorMOG2(detectShadows=True)
        self._seen = 0
        self._calm = 0
        self._settled = False

    def __getstate__(self) -> dict[str, Any]:
        """What is kept of it: of OpenCV's model, which gives no more away, the background."""
        state = {key: value for key, value in vars(self).items() if key != "_model"}
        return state | {"background": self._model.getBackgroundImage() if self._seen else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Learn the background of such a state at once. Its spread is learnt anew meanwhile."""
        background = state.pop("background")
        self._model = cv2.createBackgroundSubtractorMOG2(detectShadows=True)
        vars(self).update(state)
        if background is not None:
            self._model.apply(background, learningRate=1.0)

    def update(self, pixels: np.ndarray) -> Motion:
        """Learn from one frame and tell what moved in it."""
        height, width = pixels.shape[:2]
        if (width, height) != self._size_wh:
            self._size_wh = (width, height)
            self._restart()
        scale = min(1.0, self._width_px / width)
        small = shrink(pixels, scale)
        self._seen += 1
        rate = self._rate if self._settled else max(self._rate, FIRST_RATE)
        raw = self._model.apply(small, learningRate=1.0 if self._seen == 1 else rate)
        moving = cv2.threshold(raw, 200, 255, cv2.THRESH_BINARY)[1]  # shadows are 127
        self._judge(float(np.count_nonzero(moving)) / moving.size)
        if not self._settled:
            return Motion(np.zeros_like(moving), scale, False)
        return Motion(clean(moving), scale, True)

    def _judge(self, share: float) -> None:
        if share > UNSETTLED_SHARE:
            self._settled, self._calm = False, 0
        elif not self._settled:
            self._calm = self._calm + 1 if share < SETTLED_SHARE else 0
            self._settled = self._calm >= SETTLING_FRAMES


def shrink(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Return frame uint8 [h,w,3] made smaller, `scale` at most 1.

    Below a half in two steps, of which the last averages two by two: OpenCV's averaging by an odd
    factor takes 15 ms at 1080p, this 1 ms, and the picture is only looked at for change.
    """
    height, width = pixels.shape[:2]
    if scale >= 1.0:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if scale >= 0.5:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    double = cv2.resize(pixels, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(double, size, interpolation=cv2.INTER_AREA)


def clean(moving: np.ndarray) -> np.ndarray:
    """Return mask uint8 [h,w] without specks and with small gaps closed."""
    speck = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    gap = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 9))
    opened = cv2.morphologyEx(moving, cv2.MORPH_OPEN, speck)
    return cv2.morphologyEx(opened, cv2.MORPH_CLOSE, gap)


def proposals(moving: np.ndarray, scale: float, min_height_px: float) -> np.ndarray:
    """Return boxes float64 [n,4] in frame pixels, largest first, each about one person large.

    Args:
        moving: uint8 [h,w] of the small picture, non-zero where something moved.
        scale: small pixels per frame pixel.
        min_height_px: shortest person, pixels of the frame.
    """
    count, _, stats, _ = cv2.connectedComponentsWithStats(moving, connectivity=8)
    if count < 2:
        return np.zeros((0, 4))
    x, y, w, h, pixels = (stats[1:, column].astype(float) for column in range(5))
    shortest = min_height_px * scale
    solid = pixels >= 0.02 * shortest**2
    parts = np.stack([x, y, x + w, y + h], axis=1)[solid]
    parts = stack_fragments(parts)
    tall = parts[:, 3] - parts[:, 1] >= SHORTEST_SHARE * shortest
    boxes = split_wide(parts[tall]) / scale
    sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[np.argsort(-sizes, kind="stable")]


def leftovers(
    rest: np.ndarray, moving: np.ndarray, scale: float, min_height_px: float
) -> np.ndarray:
    """Return boxes float64 [n,4] in frame pixels of people who are partly behind known ones.

    `rest` is `moving` without the pixels of the known. What is left of somebody half hidden is a
    sliver, so each is grown to as tall as the motion around it was and to a person's width.
    """
    boxes = proposals(rest, scale, min_height_px)
    _, parts = cv2.connectedComponents(moving, connectivity=8)
    out = []
    for box in boxes:
        x1, y1, x2, y2 = (int(side) for side in np.round(box * scale))
        strip = parts[:, max(x1, 0) : max(x2, x1 + 1)]
        names = np.unique(strip[max(y1, 0) : y2][rest[max(y1, 0) : y2, max(x1, 0) : x2] > 0])
        rows = np.flatnonzero(np.isin(strip, names[names > 0]).any(axis=1))
        if len(rows):
            y1, y2 = min(rows[0], y1), max(rows[-1] + 1, y2)
        tall = np.array([box[0], y1 / scale, box[2], y2 / scale])
        short = NARROWEST * (tall[3] - tall[1]) - (tall[2] - tall[0])
        out.append(tall + np.array([-0.5, 0, 0.5, 0]) * max(short, 0.0))
    grown = np.array(out).reshape(-1, 4)
    return grown[suppress(grown, area(grown), SAME_SLIVER_IOU)]


def stack_fragments(boxes: np.ndarray) -> np.ndarray:
    """Join boxes [n,4] that stand above one another like head, trunk and legs of one person."""
    parts = list(boxes[np.argsort(boxes[:, 1], kind="stable")])
    joined = True
    while joined:
        joined = False
        for i in range(len(parts)):
            for j in range(i + 1, len(parts)):
                if _stacked(parts[i], parts[j]):
                    low = np.minimum(parts[i][:2], parts[j][:2])
                    high = np.maximum(parts[i][2:], parts[j][2:])
                    parts[i] = np.concatenate([low, high])
                    del parts[j]
                    joined = True
                    break
            if joined:
                break
    return np.array(parts).reshape(-1, 4)


def _stacked(a: np.ndarray, b: np.ndarray) -> bool:
    shared = min(a[2], b[2]) - max(a[0], b[0])
    if shared < 0.5 * min(a[2] - a[0], b[2] - b[0]):
        return False
    height = max(a[3], b[3]) - min(a[1], b[1])
    width = max(a[2], b[2]) - min(a[0], b[0])
    gap = max(a[1], b[1]) - min(a[3], b[3])
    return bool(gap <= STACK_GAP * height and width <= WIDEST * height)


def split_wide(boxes: np.ndarray) -> np.ndarray:
    """Cut boxes [n,4] that are wider than one person into overlapping windows, left to right."""
    out: list[np.ndarray] = []
    for box in boxes:
        width, height = box[2] - box[0], box[3] - box[1]
        if width <= WIDEST * height:
            out.append(box)
            continue
        side = 0.8 * height
        for left in np.linspace(box[0], box[2] - side, int(np.ceil(2 * width / side)) - 1):
            out.append(np.array([left, box[1], left + side, box[3]]))
    return np.array(out).reshape(-1, 4)
