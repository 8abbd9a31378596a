"""The pictures in a window on this machine's screen."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np

from pipeline.errors import ConfigError

_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1); cv2.destroyAllWindows()"
_PROBE_TIMEOUT_S = 30.0
_STOP_KEYS = (ord("q"), ord("Q"), 27)


def require_display() -> None:
    """Make sure that a window can be opened.

    Tried in a process of its own: without a display Qt does not raise, it ends the process.

    Raises:
        ConfigError: it cannot.
    """
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _PROBE],
            check=False,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
        )
        failed = tried.returncode != 0
        said = tried.stderr.decode("utf-8", "replace").strip().splitlines()
    except subprocess.TimeoutExpired:
        failed, said = True, [f"no answer within {_PROBE_TIMEOUT_S:.0f} s"]
    if failed:
        reason = next((line for line in said if line.strip()), "no reason given")
        raise ConfigError(
            f"sink.display is on, but no window can be opened on this machine: {reason}",
            hint="Leave out --display, or run where a screen is (over ssh: ssh -X).",
        )


class Window:
    """One window. Must be used from the process's main thread; some systems insist on it."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = False

    def show(self, picture: np.ndarray) -> str:
        """Show uint8 [h,w,3] BGR. Return why the user wants to stop, "" to go on."""
        if not self._shown:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
            self._shown = True
        cv2.imshow(self._title, picture)
        if (cv2.waitKey(1) & 0xFF) in _STOP_KEYS:
            return "stopped from the window"
        if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            return "the window was closed"
        return ""

    def close(self) -> None:
        """Close the window if it is open."""
        if self._shown:
            self._shown = False
            cv2.destroyWindow(self._title)
            cv2.waitKey(1)
