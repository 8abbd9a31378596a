"""From a person's mask to the aligned silhouette that gait networks read.

The steps are those that the field shares (GaitSet, Chao et al., AAAI 2019, and OpenGait after it):
leave out faint masks, cut to the rows that hold something, bring to a fixed height with a cubic
filter, centre on the median column, take half a height to either side. Letters: h, w height and
width of a mask in pixels.

Where ours differs from the common form, and why: it resizes a mask together with the rest of its
frame, so that the result depends on where in the frame the person stood (the width is rounded to
whole pixels, and the filter's phase moves with the position). Here a mask is first cut to its own
columns and set into a canvas whose width is a whole number of heights. Both axes then have exactly
one scale, a shift in the frame changes nothing, and the cost is that of the person, not the frame.
"""

from __future__ import annotations

import cv2
import numpy as np

MIN_PIXEL_SUM = 10_000  # of a 0..255 mask; at or under it the field drops the frame
CANVAS_MARGIN_PX = 2  # the cubic filter reads two pixels to either side
MAX_WIDTH_IN_HEIGHTS = 4  # wider is nobody walking; the rest is cut off, so memory stays bounded
SIDE_UNIT_PX = 64


def align(mask: np.ndarray, height: int = SIDE_UNIT_PX) -> np.ndarray | None:
    """Return the aligned silhouette of one mask.

    Args:
        mask: bool or uint8 [h,w]; uint8 is 0..255 with soft edges kept, or 0 and 1.
        height: side of the result in pixels, even.

    Returns:
        uint8 [height,height], 0..255, not binarised; None if the mask is empty or too faint
        (pixel sum of 10000 or less, which is 39 inside pixels).

    Raises:
        ValueError: for a mask of another dtype or number of axes.
    """
    grey = as_grey(mask)
    if int(grey.sum(dtype=np.int64)) <= MIN_PIXEL_SUM:
        return None
    canvas = _canvas(grey)
    rows, columns = canvas.shape
    scaled = cv2.resize(canvas, (height * columns // rows, height), interpolation=cv2.INTER_CUBIC)
    return _around_median(scaled, height)


def as_grey(mask: np.ndarray) -> np.ndarray:
    """Return uint8 [h,w] 0..255 of a bool or uint8 mask; ValueError for anything else."""
    if mask.ndim != 2:
        raise ValueError(f"mask: expected [h,w], got {list(mask.shape)}")
    if mask.dtype == np.bool_:
        return mask.view(np.uint8) * np.uint8(255)
    if mask.dtype != np.uint8:
        raise ValueError(f"mask: expected bool or uint8, got {mask.dtype}")
    if mask.size and mask.max() == 1:
        return mask * np.uint8(255)
    return mask


def cut_sides(aligned: np.ndarray) -> np.ndarray:
    """Return a view of [...,h,w] without its outer columns: 64 becomes 44, 128 becomes 88.

    A walking person seldom reaches them. For every whole 64 pixels of width, 10 go on each side.
    """
    side = aligned.shape[-1] // SIDE_UNIT_PX * 10
    return aligned[..., side : aligned.shape[-1] - side]


def _canvas(grey: np.ndarray) -> np.ndarray:
    """Cut to what is not zero and set it amid zeros, a whole number of heights wide."""
    x, y, w, h = cv2.boundingRect(np.ascontiguousarray(grey))
    person = grey[y : y + h, x : x + w]
    if w > MAX_WIDTH_IN_HEIGHTS * h:
        half = MAX_WIDTH_IN_HEIGHTS * h // 2
        middle = median_column(person)
        person = person[:, max(0, middle - half) : middle + half]
        w = person.shape[1]
    heights = -(-(w + 2 * CANVAS_MARGIN_PX) // h)
    canvas = np.zeros((h, heights * h), np.uint8)
    left = (canvas.shape[1] - w) // 2  # amid: so the filter's phase is the same at every size
    canvas[:, left : left + w] = person
    return canvas


def median_column(grey: np.ndarray) -> int:
    """Return the first column of uint8 [h,w] at which the mass from the left passes half."""
    mass = grey.sum(axis=0, dtype=np.int64).cumsum()
    return int(np.searchsorted(2 * mass, mass[-1], side="right"))


def _around_median(scaled: np.ndarray, height: int) -> np.ndarray:
    """Return [height,height] around the median column, zeros where `scaled` runs out."""
    half = height // 2
    left = median_column(scaled) - half
    first, last = max(0, left), min(scaled.shape[1], left + height)
    square = np.zeros((height, height), np.uint8)
    square[:, first - left : last - left] = scaled[:, first:last]
    return square
