"""Drawing people into a picture: outline, skeleton, box, label. Pure functions on arrays.

Colours tell two things apart: the box and label say what is known (green, orange or grey, and the
label says it in words), the outline and skeleton say which track it is. All are from palettes that
colour-blind people can tell apart (Okabe and Ito). Lines have dark edges, so that they show on any
background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from pipeline.messages import IdentityState, Mask
from stages.human.joints import COCO_EDGES
from stages.sink.lettering import (
    Bgr,
    clean,
    elide,
    keep_apart,
    line_metrics,
    text_patch,
    text_width,
)

STATE_COLOURS: dict[IdentityState, Bgr] = {
    "known": (115, 190, 40),
    "unknown": (40, 160, 245),
    "pending": (185, 185, 185),
}
TRACK_COLOURS: tuple[Bgr, ...] = (
    (233, 180, 86),
    (167, 121, 204),
    (66, 228, 240),
    (200, 130, 30),
    (90, 110, 235),
    (220, 220, 130),
    (160, 200, 250),
    (210, 150, 150),
)
DARK: Bgr = (24, 22, 20)
JOINT: Bgr = (255, 255, 255)
MIN_KEYPOINT_CONFIDENCE = 0.3
FILL = 0.22
# A label needs a picture of this size; below, the box alone is drawn.
MIN_LABEL_WIDTH_PX, MIN_LABEL_HEIGHT_PX = 120, 60
_FAR_PX = 1e5
_FACE_POINTS = 5  # the first of the 17 keypoints: nose, eyes, ears
_MIN_FACE_LINES = 12  # a face narrower than this many lines is drawn as one point
_LABEL_WEIGHT = 8  # covering a label is this much worse than covering a head


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One person to draw, in pixels of the original frame.

    Attributes:
        bbox_xyxy_px: [4].
        keypoints_px: [17,3], COCO order, x, y and confidence.
        name: shown for a known person.
        score: similarity 0..1, None while nothing was compared.
        false_alarm_rate: how often a stranger would score as high, None without a calibration.
    """

    track_id: int
    bbox_xyxy_px: np.ndarray
    mask: Mask | None
    keypoints_px: np.ndarray
    state: IdentityState = "pending"
    name: str = ""
    score: float | None = None
    false_alarm_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Pen:
    """Sizes that suit a picture, pixels: a box's line, a body's finer line, a letter's height.

    `edge` is how far the dark edge of a line reaches on each side: none in a small picture, where
    it would be all one sees.
    """

    line: int
    fine: int
    edge: int
    font: int


def pen_for(size_wh: tuple[int, int]) -> Pen:
    """Return the sizes for a picture of `size_wh` pixels, readable from 320x240 to 4K."""
    short, long = min(size_wh), max(size_wh)
    side = min(short, long * 0.75)
    line = max(1, round(side / 360))
    return Pen(
        line=line,
        fine=max(1, line * 2 // 3),
        edge=min(2, line // 2),
        font=max(11, round(side * 0.0235)),
    )


def draw_people(
    image: np.ndarray, figures: Sequence[Figure], scale_xy: tuple[float, float]
) -> None:
    """Draw `figures` into `image` (uint8 [h,w,3] BGR, changed in place).

    `scale_xy` turns pixels of the original frame into pixels of `image`. The lower a person stands
    in the picture the nearer they are, so they are drawn later; labels come last. Costs about 4 ms
    for eight people in 1920x1080.
    """
    pen = pen_for((image.shape[1], image.shape[0]))
    scale = np.array(scale_xy, np.float64)
    people: list[tuple[Figure, np.ndarray]] = []
    for figure in figures:
        box = _to_ints(np.reshape(figure.bbox_xyxy_px, (2, 2)), scale)
        if box is not None:
            people.append((figure, box))
    people.sort(key=lambda person: (person[1][1, 1], person[0].track_id))
    for figure, _ in people:
        colour = track_colour(figure.track_id)
        if figure.mask is not None:
            draw_mask(image, figure.mask, scale_xy, colour, pen)
        draw_skeleton(image, figure.keypoints_px, scale_xy, colour, pen)
    for figure, box in people:
        draw_box(image, box, STATE_COLOURS[figure.state], pen)
    if image.shape[1] >= MIN_LABEL_WIDTH_PX and image.shape[0] >= MIN_LABEL_HEIGHT_PX:
        _draw_labels(image, people, pen)


def track_colour(track_id: int) -> Bgr:
    """Return the colour of a track."""
    return TRACK_COLOURS[track_id % len(TRACK_COLOURS)]


def _to_ints(points: np.ndarray, scale: np.ndarray) -> np.ndarray | None:
    """Return [n,2] points scaled to whole pixels, None if one is not a number."""
    scaled = np.asarray(points, np.float64) * scale
    if not np.isfinite(scaled).all():
        return None
    return np.rint(np.clip(scaled, -_FAR_PX, _FAR_PX)).astype(np.int32)


def draw_mask(
    image: np.ndarray, mask: Mask, scale_xy: tuple[float, float], colour: Bgr, pen: Pen
) -> None:
    """Tint the mask's pixels and draw its outline."""
    inside: np.ndarray = mask.unpack().view(np.uint8)
    left, top = round(mask.x * scale_xy[0]), round(mask.y * scale_xy[1])
    size = max(1, round(mask.width * scale_xy[0])), max(1, round(mask.height * scale_xy[1]))
    if size != (mask.width, mask.height):
        inside = cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST)
    _tint(image, inside, left, top, colour)
    outlines, _ = cv2.findContours(
        inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
    )
    # Without the corners that nobody sees, drawing takes a third of the time.
    smooth = [cv2.approxPolyDP(outline, 0.4 * pen.fine, True) for outline in outlines]
    cv2.polylines(image, smooth, True, colour, pen.fine, cv2.LINE_AA)


def _tint(image: np.ndarray, inside: np.ndarray, left: int, top: int, colour: Bgr) -> None:
    """Mix `colour` into the pixels of `image` where `inside` is 1."""
    height, width = image.shape[:2]
    x1, y1 = max(0, left), max(0, top)
    x2, y2 = min(width, left + inside.shape[1]), min(height, top + inside.shape[0])
    if x2 <= x1 or y2 <= y1:
        return
    part = image[y1:y2, x1:x2]
    cv2.copyTo(
        cv2.LUT(part, _tint_table(colour)), inside[y1 - top : y2 - top, x1 - left : x2 - left], part
    )


@lru_cache(maxsize=32)
def _tint_table(colour: Bgr) -> np.ndarray:
    """Return uint8 [1,256,3]: each channel's values mixed with `colour`."""
    values = np.arange(256, dtype=np.float32)[None, :, None]
    return np.rint(values * (1 - FILL) + np.array(colour, np.float32) * FILL).astype(np.uint8)


def draw_skeleton(
    image: np.ndarray,
    keypoints_px: np.ndarray,
    scale_xy: tuple[float, float],
    colour: Bgr,
    pen: Pen,
) -> None:
    """Draw the bones whose two ends were seen, and the joints."""
    points = np.asarray(keypoints_px, np.float64)
    seen = np.isfinite(points).all(axis=1) & (points[:, 2] >= MIN_KEYPOINT_CONFIDENCE)
    places = np.where(seen[:, None], points[:, :2], 0.0) * np.array(scale_xy)
    places = np.rint(np.clip(places, -_FAR_PX, _FAR_PX)).astype(int)
    face = places[:_FACE_POINTS][seen[:_FACE_POINTS]]
    if len(face) and np.ptp(face[:, 0]) < _MIN_FACE_LINES * pen.fine:
        seen[1:_FACE_POINTS] = False  # a far face would be a blot: its nose is enough
    bones = [
        np.array((places[a], places[b]), np.int32) for a, b in COCO_EDGES if seen[a] and seen[b]
    ]
    edge = pen.edge if pen.fine > 1 else 0
    if edge:
        cv2.polylines(image, bones, False, DARK, pen.fine + 2 * edge, cv2.LINE_8)
    cv2.polylines(image, bones, False, colour, pen.fine, cv2.LINE_AA)
    for x, y in places[seen].tolist():
        if edge:
            cv2.circle(image, (x, y), pen.fine + edge, DARK, -1, cv2.LINE_8)
        cv2.circle(image, (x, y), pen.fine, JOINT, -1, cv2.LINE_8)


def draw_box(image: np.ndarray, box: np.ndarray, colour: Bgr, pen: Pen) -> None:
    """Draw a box, int [2,2] corners; sides beyond the border are drawn at the border."""
    height, width = image.shape[:2]
    inset = pen.line // 2
    low = np.clip(box[0], inset, (max(inset, width - 1 - inset), max(inset, height - 1 - inset)))
    high = np.clip(box[1], inset, (max(inset, width - 1 - inset), max(inset, height - 1 - inset)))
    corners = (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))
    if pen.edge:
        cv2.rectangle(image, *corners, DARK, pen.line + 2 * pen.edge, cv2.LINE_8)
    cv2.rectangle(image, *corners, colour, pen.line, cv2.LINE_8)


def fit_label(figure: Figure, size_px: int, width_px: int) -> str:
    """Return what the label says: the track's number, who it is, how sure.

    How sure is the false-alarm rate where it is known (`Ada 1:500`), else the similarity
    (`Ada 0.71`). A long name is shortened so that number and rate still fit into `width_px`.
    """
    known = figure.state == "known"
    who = (clean(figure.name) or "known") if known else figure.state
    score = "" if figure.state == "pending" else _how_sure(figure)
    number = f"#{figure.track_id} "
    room = width_px - text_width(number, size_px) - text_width(score, size_px)
    text = number + keep_apart(elide(who, size_px, max(0, room))) + score
    return elide(text, size_px, width_px)


def _how_sure(figure: Figure) -> str:
    if figure.false_alarm_rate is not None and np.isfinite(figure.false_alarm_rate):
        return f" {rate_text(figure.false_alarm_rate)}"
    return "" if figure.score is None else f" {figure.score:.2f}"


def rate_text(rate: float) -> str:
    """Return a rate, 0..1, never less than it is: `31%`, and below 1 % `1:1200`."""
    if rate >= 0.01:
        # 0.07 is a little more than 7 % in binary and must not become 8 %.
        return f"{min(100, math.ceil(round(100 * rate, 6)))}%"
    if not rate > 0:
        return "0"
    times = math.floor(round(1 / rate, 6))
    unit = 10 ** max(0, len(str(times)) - 2)
    return f"1:{times // unit * unit}"


def _draw_labels(image: np.ndarray, people: Sequence[tuple[Figure, np.ndarray]], pen: Pen) -> None:
    width, height = image.shape[1], image.shape[0]
    pad, swatch = max(2, pen.font // 4), max(3, pen.font // 3)
    texts = [fit_label(f, pen.font, int(width * 0.42)) for f, _ in people]
    label_h = line_metrics(pen.font)[0] + 2 * (pad // 2)
    sizes = [(text_width(t, pen.font) + 2 * pad + swatch, label_h) for t in texts]
    places = place_labels([box for _, box in people], sizes, (width, height), gap=pen.line)
    for (figure, box), text, (x, y), (w, h) in zip(people, texts, places, sizes, strict=True):
        paper = STATE_COLOURS[figure.state]
        if y + h < box[0, 1]:  # not right above its box: a line leads there
            cv2.line(image, (x + 1, y + h), (x + 1, int(box[0, 1])), paper, pen.line, cv2.LINE_8)
        cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), paper, -1)
        cv2.rectangle(image, (x, y), (x + swatch - 1, y + h - 1), track_colour(figure.track_id), -1)
        cv2.rectangle(image, (x - 1, y - 1), (x + w, y + h), DARK, 1)
        paste(image, text_patch(text, pen.font, DARK, paper), x + swatch + pad, y + pad // 2)


def paste(image: np.ndarray, patch: np.ndarray, x: int, y: int) -> None:
    """Copy `patch` into `image` at (x, y), as much of it as lies inside."""
    height, width = image.shape[:2]
    x1, y1 = max(0, x), max(0, y)
    x2, y2 = min(width, x + patch.shape[1]), min(height, y + patch.shape[0])
    if x2 > x1 and y2 > y1:
        image[y1:y2, x1:x2] = patch[y1 - y : y2 - y, x1 - x : x2 - x]


def place_labels(
    boxes: Sequence[np.ndarray],
    sizes: Sequence[tuple[int, int]],
    bounds_wh: tuple[int, int],
    gap: int,
) -> list[tuple[int, int]]:
    """Return the top left corner of each label, inside the picture and clear of the others.

    Tried in turn for each: above the box, below it, inside it, then further up and down. It should
    cover no other label, and better no head. The last person (the nearest) chooses first; with no
    free place left, the one that covers least is taken.
    """
    places: list[tuple[int, int]] = [(0, 0)] * len(boxes)
    taken: list[tuple[int, int, int, int]] = []
    heads = [_head(box) for box in boxes]
    for i in reversed(range(len(boxes))):
        width, height = sizes[i]
        best, best_cover = (0, 0), float("inf")
        for left, top in _candidates(boxes[i], sizes[i], gap):
            x = min(max(1, left), max(1, bounds_wh[0] - width - 1))
            y = min(max(1, top), max(1, bounds_wh[1] - height - 1))
            area = (x, y, x + width, y + height)
            cover = _LABEL_WEIGHT * sum(_overlap(area, other) for other in taken)
            cover += sum(_overlap(area, head) for head in heads)
            if cover < best_cover:
                best, best_cover = (x, y), cover
            if cover == 0:
                break
        places[i] = best
        taken.append((best[0] - 1, best[1] - 1, best[0] + width + 1, best[1] + height + 1))
    return places


def _candidates(box: np.ndarray, size: tuple[int, int], gap: int) -> list[tuple[int, int]]:
    (left, top), (right, bottom) = box.tolist()
    width, height = size
    step = height + 2
    above, below = top - height - gap, bottom + gap
    near = [
        (left, above),
        (right - width, above),
        (left, above - step),
        (left, below),
        (right - width, below),
        (left, bottom - height - gap),
        (left, above - 2 * step),
        (left, top + gap),
    ]
    return near + [(left, above + sign * k * step) for k in range(3, 9) for sign in (-1, 1)]


def _head(box: np.ndarray) -> tuple[int, int, int, int]:
    """Return the part of a box where a standing person's head is."""
    (left, top), (right, bottom) = box.tolist()
    side = (right - left) // 4
    return left + side, top, right - side, top + (bottom - top) // 6


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> int:
    """Return the area that two boxes (x1, y1, x2, y2) share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
