"""Made-up walks and calibrations. A person is a point, a walk a point near it, a window nearer."""

from __future__ import annotations

import numpy as np

from stages.identify.calibration import Basis, Calibration, Crowd, Evidence
from stages.identify.normalise import Norm
from stages.identify.tail import fit_tail
from stages.identify.walks import Walks

NETWORK, HASH = "smplgait", "0123456789abcdef"


def made_up_walks(
    people: int = 60,
    each: int = 6,
    windows: int = 4,
    shape: tuple[int, int] = (6, 2),
    walk_noise: float = 0.45,
    window_noise: float = 0.3,
    stretch: float = 0.0,
    quality: bool = False,
    sides: tuple[str, ...] = ("000",),
    seed: int = 0,
) -> Walks:
    """Return walks.

    Args:
        stretch: spread of the factor by which a walk lies further from the origin than its person:
            some walks are then near to everybody, others to nobody.
        quality: windows differ in quality, and bad ones in noise.
    """
    rng = np.random.default_rng(seed)
    vectors, frames, distinct, good, names, views = [], [], [], [], [], []
    for person in range(people):
        centre = rng.normal(size=shape)
        for number in range(each):
            factor = float(np.exp(stretch * rng.normal()))
            walk = factor * (centre + walk_noise * rng.normal(size=shape))
            names.append(f"p{person:03}")
            views.append(sides[number % len(sides)])
            for window in range(windows):
                sharp = rng.uniform(0.2, 1.0) if quality else 1.0
                noise = window_noise * (1 + 8 * (1 - sharp) ** 2 * quality)
                vectors.append(walk + factor * noise * rng.normal(size=shape))
                frames.append(30)
                distinct.append(30.0 + 8 * window)
                good.append(sharp)
    return Walks(
        NETWORK,
        HASH,
        np.array(vectors, np.float32),
        np.arange(0, len(vectors) + 1, windows),
        np.array(frames),
        np.array(distinct),
        np.array(good) if quality else np.full(len(good), np.nan),
        tuple(names),
        tuple(views),
    )


def simple_calibration(
    middle: float = -3.0,
    spread: float = 1.0,
    people: int = 2000,
    shift_by_frames: float = 0.0,
    **more: object,
) -> Calibration:
    """Return a calibration by minus the distance: strangers at `middle`, normal about it."""
    scores = np.random.default_rng(5).normal(size=40_000) / 2
    frames = np.array([30.0, 120.0])
    sizes = np.array([1, 10, 100])
    return Calibration(
        **{  # type: ignore[arg-type]
            "network": NETWORK,
            "weights_hash": HASH,
            "metric": "euclidean",
            "norm": Norm(),
            "cohort": None,
            "evidence": Evidence(
                frames, np.array([middle, middle + shift_by_frames]), np.array([spread, spread])
            ),
            "tail": fit_tail(scores, 0.02),
            "crowd": Crowd(sizes, np.array([1.0, 9.0, 80.0])),
            "looks": 1.2,
            "basis": Basis(people, people * (people - 1) // 2, 40_000, "made up"),
            **more,
        }
    )
