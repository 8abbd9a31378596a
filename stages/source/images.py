"""A folder of images as a recording."""

from __future__ import annotations

import re
from pathlib import Path

import cv2

from pipeline.clock import NS_PER_S
from pipeline.errors import SourceError
from pipeline.stage import EndOfSource
from stages.source.reader import Facts, Picture, Position

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class ImageFolderReader:
    """Reads the images of a folder in the order of the numbers in their names, or those `after`.

    An image that cannot be read is counted and passed over; its moment stays empty, so the times of
    the others are right.

    Raises:
        SourceError: there is no readable image.
    """

    def __init__(
        self,
        folder: Path,
        rate_hz: float,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        after: Position | None = None,
    ) -> None:
        self._folder = folder
        self._rate_hz = rate_hz
        self.decoded = after.decoded if after is not None else 0
        self.damaged = after.damaged if after is not None else 0
        paths = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
        if not paths:
            raise SourceError(
                f"no images in the folder {folder}",
                hint=f"expected files ending in {', '.join(sorted(SUFFIXES))}",
            )
        ordered = list(enumerate(sorted(paths, key=lambda path: natural_order(path.name))))
        last = len(ordered) if end_s is None else round(end_s * rate_hz)
        chosen = ordered[round(start_s * rate_hz) : last]
        expected = len(chosen)
        if after is not None:
            chosen = [each for each in chosen if self._time_ns(each[0]) > after.time_ns]
        self._left = iter(chosen)
        self._passed = 0  # images before the next picture that could not be read
        self._next: Picture | None = self._read()
        if self._next is not None:
            height, width = self._next.pixels.shape[:2]
        elif after is not None:
            height = width = 1  # it was at its end; who goes on from there knows the size
        else:
            raise SourceError(f"none of the {len(paths)} images in {folder} can be read")
        self.facts = Facts((width, height), rate_hz, expected)

    def read(self) -> Picture:
        """Return the next picture."""
        self.damaged += self._passed
        self._passed = 0
        if self._next is None:
            damaged = f"{self.damaged} images of {self._folder} could not be read"
            raise EndOfSource(damaged if self.damaged else "")
        self.decoded += 1
        picture, self._next = self._next, self._read()
        return picture

    def close(self) -> None:
        """Nothing is held."""

    def _read(self) -> Picture | None:
        for index, path in self._left:
            pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if pixels is not None:
                return Picture(pixels, self._time_ns(index))
            self._passed += 1
        return None

    def _time_ns(self, index: int) -> int:
        return round(index / self._rate_hz * NS_PER_S)


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Key by which `frame9` sorts before `frame10`."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
    ]
