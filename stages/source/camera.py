"""A camera on this machine, through OpenCV."""

from __future__ import annotations

import cv2

from pipeline.errors import SourceError
from stages.source.reader import Facts, Lost, Picture


class CameraReader:
    """Reads from camera number `index`.

    Raises:
        SourceError: there is no such camera, or it gives no picture.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self.decoded = self.damaged = 0
        cv2.setLogLevel(2)  # errors only: a missing camera is told by us
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise SourceError(
                f"there is no camera {index}",
                hint="is it plugged in, free, and may this user read it? ls /dev/video* lists them",
            )
        good, pixels = self._capture.read()
        if not good:
            self._capture.release()
            raise SourceError(f"camera {index} opens but gives no picture", hint="is it in use?")
        height, width = pixels.shape[:2]
        self.facts = Facts((width, height), float(self._capture.get(cv2.CAP_PROP_FPS) or 0), 0)

    def read(self) -> Picture:
        """Return the next picture; a camera has no clock of its own."""
        good, pixels = self._capture.read()
        if not good:
            raise Lost(f"camera {self._index} gives no more pictures")
        self.decoded += 1
        return Picture(pixels, None)

    def close(self) -> None:
        """Let the camera go."""
        self._capture.release()
