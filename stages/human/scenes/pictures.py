"""A user's own pictures as backgrounds: a folder of images stands in for a place."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from stages.human.rasteriser import Camera
from stages.human.scenes.backdrop import FAR_M, SAMPLES, Backdrop
from stages.human.scenes.shadows import floor_places

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
# Farther away than this nothing of a shadow is seen.
FLOOR_ENDS_M = 60.0


def picture_paths(folder: Path) -> list[Path]:
    """The images of a folder, by name.

    Raises:
        InputError: there is no such folder, it may not be read, it holds no image, or one that
            begins like no image.
    """
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise InputError(
            f"the folder of backgrounds {folder} cannot be read: {error.strerror}"
        ) from error
    if not found:
        raise InputError(
            f"no images in the folder of backgrounds {folder}",
            hint=f"expected files ending in {', '.join(sorted(SUFFIXES))}",
        )
    for path in found:
        # Hours may pass before a scene wants this one.
        if not cv2.haveImageReader(str(path)):
            raise _unreadable(path)
    return found


def _unreadable(path: Path) -> InputError:
    return InputError(f"the background {path} is no readable image", hint="Leave it out.")


def read_picture(path: Path, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """An image, uint8 [H,W,3] BGR, cut to the size's shape and scaled to it.

    Raises:
        InputError: it is no readable image.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise _unreadable(path)
    width, height = size_wh
    rows, columns = pixels.shape[:2]
    scale = max(width / columns, height / rows)
    wide, tall = max(width, round(columns * scale)), max(height, round(rows * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(pixels, (wide, tall), interpolation=how)
    x, y = (wide - width) // 2, (tall - height) // 2
    return np.ascontiguousarray(resized[y : y + height, x : x + width], np.uint8)


def picture_backdrop(pixels: NDArray[np.uint8], camera: Camera) -> Backdrop:
    """A picture [H,W,3] behind the people: endlessly far, with floor below the horizon."""
    width, height = camera.size_wh
    linear = srgb_to_linear()[pixels[..., ::-1]]
    x, y = floor_places(camera)
    eye = camera.position
    near = np.hypot(x - eye[0], y - eye[1]) < FLOOR_ENDS_M
    depth = np.full((height * SAMPLES, width * SAMPLES), FAR_M, np.float32)
    return Backdrop(linear, depth, near.astype(np.float32))


def srgb_to_linear() -> NDArray[np.float32]:
    """float32 [256], linear light of 8-bit sRGB."""
    level = np.arange(256) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)
