"""The check that every network makes of what it is given."""

from __future__ import annotations

import numpy as np

from pipeline.errors import InputError
from stages.embed.interface import Clip

THETA_SIZE = 85


def check_clip(clip: Clip, silhouette_hw: tuple[int, int], needs_smpl: bool) -> None:
    """Check silhouettes, and bodies if they are needed.

    Raises:
        InputError: saying what was expected and what came.
    """
    sils = clip.silhouettes
    height, width = silhouette_hw
    if sils.dtype != np.uint8 or sils.ndim != 3 or sils.shape[1:] != (height, width):
        raise InputError(
            f"silhouettes: expected uint8[*, {height}, {width}], got {sils.dtype}{list(sils.shape)}"
        )
    if len(sils) == 0:
        raise InputError("silhouettes: expected one frame or more, got none")
    if not needs_smpl:
        return
    theta = clip.theta
    if len(theta) == 0:
        raise InputError(
            "this network reads a body (85 SMPL numbers) for each silhouette, and there are none",
            hint="Give the SMPL rows (smpls.npy), or say that it shall do without: --no-smpl.",
        )
    if theta.dtype != np.float32 or theta.shape != (len(sils), THETA_SIZE):
        raise InputError(
            f"theta: expected float32[{len(sils)}, {THETA_SIZE}], got "
            f"{theta.dtype}{list(theta.shape)}"
        )
    if not np.isfinite(theta).all():
        raise InputError("theta: some numbers are not finite")
