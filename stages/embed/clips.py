"""The check that every network makes of what it is given."""

from __future__ import annotations

import numpy as np

from pipeline.errors import InputError
from stages.embed.interface import Clip

THETA_SIZE = 85
KEYPOINTS = (17, 3)


def check_clip(clip: Clip, silhouette_hw: tuple[int, int] | None, reads: tuple[str, ...]) -> None:
    """Check what a network `reads` of a clip.

    Raises:
        InputError: saying what was expected and what came.
    """
    if not any(map(len, (clip.silhouettes, clip.keypoints_px, clip.theta))):
        raise InputError("silhouettes: expected one frame or more, got none")
    if silhouette_hw is not None:
        _check_silhouettes(clip.silhouettes, silhouette_hw)
        frames = len(clip.silhouettes)
    else:
        frames = len(clip.keypoints_px if "keypoints" in reads else clip.theta)
    if "theta" in reads:
        if len(clip.theta) == 0:
            raise InputError(
                "this network reads a body (85 SMPL numbers) for each silhouette, and there are "
                "none",
                hint="Give the SMPL rows (smpls.npy), or say that it shall do without: --no-smpl.",
            )
        _check_rows("theta", clip.theta, (frames, THETA_SIZE))
    if "keypoints" in reads:
        if len(clip.keypoints_px) == 0:
            raise InputError(
                "this network reads 17 keypoints for each frame, and there are none",
                hint="Give them (keypoints.npy), or choose a network that reads silhouettes.",
            )
        _check_rows("keypoints", clip.keypoints_px, (frames, *KEYPOINTS))


def _check_silhouettes(sils: np.ndarray, silhouette_hw: tuple[int, int]) -> None:
    height, width = silhouette_hw
    if sils.dtype != np.uint8 or sils.ndim != 3 or sils.shape[1:] != (height, width):
        raise InputError(
            f"silhouettes: expected uint8[*, {height}, {width}], got {sils.dtype}{list(sils.shape)}"
        )
    if len(sils) == 0:
        raise InputError("silhouettes: expected one frame or more, got none")


def _check_rows(name: str, rows: np.ndarray, shape: tuple[int, ...]) -> None:
    if rows.dtype != np.float32 or rows.shape != shape:
        raise InputError(
            f"{name}: expected float32{list(shape)}, got {rows.dtype}{list(rows.shape)}"
        )
    if not np.isfinite(rows).all():
        raise InputError(f"{name}: some numbers are not finite")
