"""The figures that segmentation and pose are imitated by: data/imperfections.json.

Written by scripts/measure_imperfections.py from renders that went through the real detect stage.
Axes are the camera's (x right, y down, z away). A function of the view is five numbers, see
`landmark_bones.view_terms`. Letters: B = 36 bones, K heights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

Floats = NDArray[np.float64]

FIGURES_FILE = Path(__file__).parent / "data" / "imperfections.json"
FORMAT_VERSION = 2  # 1 had no postures
_BONES, _AXES, _VIEW = 36, 3, 5
# Of everything else among the landmarks' figures: as many as there are heights.
_SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("length_m", "own_share", "length_spread"), (_BONES,)),
    **dict.fromkeys(("average_m", "posture", "gain"), (_BONES, _AXES)),
    **dict.fromkeys(("steady_m", "wander_m", "wander_s"), (_BONES, _AXES)),
    **dict.fromkeys(("turn_steady", "turn_wander", "turn_wander_s"), (_AXES,)),
    **dict.fromkeys(("keypoint_steady", "keypoint_wander", "keypoint_wander_s"), (17, 2)),
    **dict.fromkeys(("mix_up", "about_face"), (3,)),
    **dict.fromkeys(("ends_spread", "flicker_s", "uneven", "missed_s", "keypoint_own_share"), ()),
    "length_view": (_BONES, _VIEW),
    "bias_m": (_BONES, _AXES, _VIEW),
    "turn": (_AXES, _VIEW),
    "doubt": (33, 5),
    "keypoint_follows": (17,),
}


@dataclass(frozen=True, eq=False)
class MaskFigures:
    """Masks, by the person's height; lengths in pixels of the image.

    Attributes:
        heights_px: [K], rising.
        blur: of the network's edge. shrink, shrink_spread: how far a sequence's edges lie inwards.
        steady, flicker: spread of an edge's place, the same in all frames and anew in each.
        feet, crown: what these lose beyond that.
        ends_spread: of the logarithm of that loss between sequences.
        flicker_s: how long the flicker remembers.
        uneven: spread of the logarithm of how bad a sequence's edges are: clothes like the
            background's colours are worse in every frame.
        missed, missed_spread: logit of the share of frames in which nobody is found, and its
            spread between sequences; missed_s: how long that lasts.
    """

    heights_px: Floats
    blur: Floats
    shrink: Floats
    shrink_spread: Floats
    steady: Floats
    flicker: Floats
    feet: Floats
    crown: Floats
    ends_spread: Floats
    flicker_s: Floats
    uneven: Floats
    missed: Floats
    missed_spread: Floats
    missed_s: Floats

    def at(self, name: str, height_px: float) -> float:
        """The figure of a name at a height."""
        return float(np.interp(height_px, self.heights_px, getattr(self, name)))


@dataclass(frozen=True, eq=False)
class LandmarkFigures:
    """Landmarks; spreads are at the mean height.

    Attributes:
        length_m: [B] of the bones of an average person, as they are seen.
        own_share: [B], share of a person's deviation from it (of logarithms) that is seen.
        length_view: [B,5], logarithm of length over `length_m`, a function of the view.
        length_spread: [B], spread of that logarithm between sequences.
        average_m: [B,3] metres, of an average person's bones over time; left, down and forwards of
            where the person faces.
        posture: [B,3], share of a person's deviation from it, over time, that is seen.
        gain: [B,3], seen over true component of how a bone moves about its own average.
        bias_m: [B,3,5] metres, a function of the view.
        steady_m, wander_m: [B,3] metres, what stays for a sequence and what wanders.
        wander_s: [B,3], seconds in which the wandering forgets itself.
        turn: [3,5] radians, how trunk and arms are turned about x, y, z, a function of the view.
        turn_steady, turn_wander: [3] radians; turn_wander_s: [3] seconds.
        doubt: [33,5], logit of visibility: mean, times sine of the view (for left ones, opposite
            for right ones), times its cosine, spread between sequences, spread between frames.
        mix_up: [3], share of frames with legs swapped, seen from the side; seconds it lasts; and
            how much of it (0..1) is a matter of the sequence and not of the moment.
        about_face: [3], likewise for left and right of everything, seen from the front or behind.
        heights_px, height_factor: [K], size of the errors by the person's height.
        keypoint_own_share: share of a person's own proportions that shows in the image.
        keypoint_follows: [17], share of a landmark's error that its keypoint in the image makes.
        keypoint_steady, keypoint_wander: [17,2], its own errors, in heights;
            keypoint_wander_s: [17,2] seconds.
    """

    length_m: Floats
    own_share: Floats
    length_view: Floats
    length_spread: Floats
    average_m: Floats
    posture: Floats
    gain: Floats
    bias_m: Floats
    steady_m: Floats
    wander_m: Floats
    wander_s: Floats
    turn: Floats
    turn_steady: Floats
    turn_wander: Floats
    turn_wander_s: Floats
    doubt: Floats
    mix_up: Floats
    about_face: Floats
    heights_px: Floats
    height_factor: Floats
    keypoint_own_share: Floats
    keypoint_follows: Floats
    keypoint_steady: Floats
    keypoint_wander: Floats
    keypoint_wander_s: Floats


@dataclass(frozen=True, eq=False)
class Figures:
    """Both."""

    masks: MaskFigures
    landmarks: LandmarkFigures


FiguresT = TypeVar("FiguresT", MaskFigures, LandmarkFigures)


@cache
def load_figures(path: Path = FIGURES_FILE) -> Figures:
    """Read the figures once.

    Raises:
        InputError: the file is missing or damaged; says what is wrong with it.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
        if table["format_version"] != FORMAT_VERSION:
            raise ValueError(f"expected version {FORMAT_VERSION}, got {table['format_version']}")
        return Figures(
            _part(MaskFigures, table["masks"]), _part(LandmarkFigures, table["landmarks"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} holds no measured imperfections: {error!r}",
            hint="Install the program anew, or run scripts/measure_imperfections.py.",
        ) from error


def _part(kind: type[FiguresT], table: dict[str, Any]) -> FiguresT:
    wanted = {field.name for field in fields(kind)}
    if set(table) != wanted:
        raise ValueError(f"expected {sorted(wanted)}, got {sorted(table)}")
    arrays = {name: np.array(value, np.float64) for name, value in table.items()}
    odd = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if odd:
        raise ValueError(f"expected finite numbers, got others in {', '.join(odd)}")
    heights = arrays["heights_px"].shape
    for name, array in arrays.items():
        if array.shape != _SHAPES.get(name, heights) or array.size == 0:
            wanted_shape = list(_SHAPES.get(name, heights))
            raise ValueError(f"expected {name} {wanted_shape}, got {list(array.shape)}")
    return kind(**arrays)


def save_figures(path: Path, figures: Figures) -> None:
    """Write figures, rounded to what they are worth."""

    def rounded(part: MaskFigures | LandmarkFigures) -> dict[str, Any]:
        return {f.name: np.round(getattr(part, f.name), 4).tolist() for f in fields(part)}

    table = {
        "format_version": FORMAT_VERSION,
        "masks": rounded(figures.masks),
        "landmarks": rounded(figures.landmarks),
    }
    path.write_text(json.dumps(table) + "\n", "utf-8")
