"""The annotated picture: a scaled copy of the frame, people drawn into it, the strip below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stages.sink.annotate import Figure, draw_people, pen_for
from stages.sink.lettering import line_metrics
from stages.sink.strip import Item, draw_strip

# A strip on less than this could not be read.
MIN_STRIP_WIDTH_PX, MIN_STRIP_HEIGHT_PX = 160, 90


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes in pixels: the scaled frame, the strip, and both together, padded to even sides."""

    frame_wh: tuple[int, int]
    strip_px: int
    canvas_wh: tuple[int, int]


def layout_for(size_wh: tuple[int, int], max_side_px: int) -> Layout:
    """Return the layout for frames of `size_wh`, scaled down to `max_side_px` if they are larger.

    H.264 in its common form stores colour for 2x2 pixels, so both sides must be even.
    """
    scale = min(1.0, max_side_px / max(size_wh))
    width, height = (max(1, round(side * scale)) for side in size_wh)
    strip = 0
    if width >= MIN_STRIP_WIDTH_PX and height >= MIN_STRIP_HEIGHT_PX:
        font = pen_for((width, height)).font
        strip = line_metrics(font)[0] + font // 2
    return Layout((width, height), strip, (_even(width), _even(height + strip)))


def _even(side: int) -> int:
    return side + side % 2


class Picture:
    """Draws the frames of one source onto one canvas, which it keeps and reuses.

    The first frame settles the size; a later one of another size is fitted into it.
    """

    def __init__(self, size_wh: tuple[int, int], max_side_px: int) -> None:
        self.layout = layout_for(size_wh, max_side_px)
        width, height = self.layout.canvas_wh
        self._canvas = np.zeros((height, width, 3), np.uint8)

    def draw(
        self, pixels: np.ndarray, figures: Sequence[Figure], label: str, items: Sequence[Item]
    ) -> np.ndarray:
        """Return the annotated picture, uint8 [h,w,3] BGR, good until the next call.

        `pixels` (uint8 [h,w,3] BGR) are only read, and copied once.
        """
        view, scale_xy = self._copy_in(pixels)
        draw_people(view, figures, scale_xy)
        width, height = self.layout.frame_wh
        if self.layout.strip_px:
            font = pen_for((width, height)).font
            draw_strip(self._canvas[height:, :], label, items, font)
        elif self._canvas.shape[0] > height:
            self._canvas[height] = self._canvas[height - 1]
        if self._canvas.shape[1] > width:
            self._canvas[:height, width] = self._canvas[:height, width - 1]
        return self._canvas

    def _copy_in(self, pixels: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
        """Copy a frame onto the canvas; return where it lies and its scale."""
        room_w, room_h = self.layout.frame_wh
        height, width = pixels.shape[:2]
        fit = min(room_w / width, room_h / height)
        new_w = min(room_w, max(1, round(width * fit)))
        new_h = min(room_h, max(1, round(height * fit)))
        left, top = (room_w - new_w) // 2, (room_h - new_h) // 2
        if (new_w, new_h) != (room_w, room_h):
            self._canvas[:room_h, :room_w] = 0
        view = self._canvas[top : top + new_h, left : left + new_w]
        if (new_w, new_h) == (width, height):
            np.copyto(view, pixels)
        else:
            how = cv2.INTER_AREA if new_w < width else cv2.INTER_LINEAR
            cv2.resize(pixels, (new_w, new_h), dst=view, interpolation=how)
        return view, (new_w / width, new_h / height)
