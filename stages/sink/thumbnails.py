"""The best picture of each track so far."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import FrameError
from pipeline.messages import Person
from stages.sink.outdir import write_failed

# A new picture must be this much better: someone who walks up to the camera gets larger with every
# frame, and each rewrite costs a millisecond.
BETTER = 1.2
MARGIN = 0.06
JPEG_QUALITY = 88


def worth(person: Person, size_wh: tuple[int, int]) -> float:
    """Return how good a picture of the person this is: visible area in pixels times trust.

    0 when nothing of the person is in the picture.
    """
    x1, y1, x2, y2 = crop_box(person.bbox_xyxy_px, size_wh, margin=0.0)
    trust = max(0.0, float(person.score))
    if person.cut_by_border:
        trust *= 0.25
    if person.occluded:
        trust *= 0.25
    return (x2 - x1) * (y2 - y1) * trust


def crop_box(
    bbox_xyxy_px: np.ndarray, size_wh: tuple[int, int], margin: float = MARGIN
) -> tuple[int, int, int, int]:
    """Return the box widened by `margin` of its longer side, cut to the picture, whole pixels.

    All zero when they do not meet, or when the box holds something that is not a number.
    """
    if not np.isfinite(bbox_xyxy_px).all():
        return 0, 0, 0, 0
    x1, y1, x2, y2 = (float(side) for side in bbox_xyxy_px)
    more = margin * max(x2 - x1, y2 - y1, 0.0)
    width, height = size_wh
    left, right = max(0.0, x1 - more), min(float(width), x2 + more)
    top, bottom = max(0.0, y1 - more), min(float(height), y2 + more)
    if right - left < 1 or bottom - top < 1:
        return 0, 0, 0, 0
    return int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))


def thumbnail_jpeg(pixels: np.ndarray, person: Person, side_px: int) -> bytes:
    """Return the person cut from uint8 [h,w,3] BGR as a JPEG of at most `side_px` a side.

    Raises:
        FrameError: OpenCV cannot encode it.
    """
    x1, y1, x2, y2 = crop_box(person.bbox_xyxy_px, (pixels.shape[1], pixels.shape[0]))
    crop = pixels[y1:y2, x1:x2]
    scale = side_px / max(crop.shape[:2])
    if scale < 1:
        size = max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise FrameError(f"a crop of {x2 - x1}x{y2 - y1} pixels cannot be made a JPEG")
    return data.tobytes()


class ThumbnailWriter:
    """Keeps `thumbnails/<track_id>.jpg` of one source at the best picture so far.

    It keeps one number for each open track, never a picture.
    """

    def __init__(self, folder: Path, side_px: int) -> None:
        self._folder = folder
        self._side_px = side_px
        self._best: dict[int, float] = {}

    def add(self, pixels: np.ndarray, person: Person) -> None:
        """Write the person's picture if it is clearly better than the one there.

        Raises:
            ResourceError, InputError: the disk did not take it; the former picture stays.
        """
        value = worth(person, (pixels.shape[1], pixels.shape[0]))
        if value <= 0 or value < BETTER * self._best.get(person.track_id, 0.0):
            return
        data = thumbnail_jpeg(pixels, person, self._side_px)
        path = self._folder / f"{person.track_id}.jpg"
        part = path.with_suffix(".jpg.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise write_failed(path, error) from error
        self._best[person.track_id] = value

    def state(self) -> dict[int, float]:
        """Return what is kept, for another writer that takes this one's place."""
        return dict(self._best)

    def go_on_after(self, best: dict[int, float]) -> None:
        """Take up another writer's state. Pictures written since are written again."""
        self._best = dict(best)

    def end(self, track_id: int) -> None:
        """Forget a track."""
        self._best.pop(track_id, None)
