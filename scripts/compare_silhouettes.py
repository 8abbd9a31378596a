"""Do synthetic silhouettes look like real ones? Statistics of both, beside each other.

    run_pipeline.py replay --source VIDEO --out out --save-silhouettes
    run_pipeline.py synth --kind silhouettes --identities 40 --views 8 --out S
    python scripts/compare_silhouettes.py real=out/silhouettes synthetic=S

Each argument is NAME=FOLDER; a folder's sequences are its folders of PNG masks or of sils.npy
[T,64,64]. Only how silhouettes are spread is compared, nobody is told from anybody. Give synthetic
ones the real ones' height in pixels, camera elevation and frame rate, or they differ by these.
Letters: T frames of an aligned silhouette [64,44], 0..1.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed, too

from stages.human.silhouette import align, cut_sides  # noqa: E402
from stages.sequence.window import fragment_ratio  # noqa: E402

Floats = NDArray[np.float64]

SHORTEST = 8  # frames of a sequence that counts
MOST_PIECES = 0.2  # second piece over the largest; the pipeline leaves such frames out, too
FILL = (0.15, 0.95)
SMOOTH_PX = 5
HEAD, TRUNK, LEGS = slice(2, 10), slice(12, 30), slice(44, 64)
BANDS = 8


@dataclass(frozen=True, eq=False)
class Look:
    """Statistics of one silhouette; lengths in its pixels, of which it is 64 high.

    area: share of the picture; solid: share of its convex hull; outline: length of its edge;
    bumps: share that smoothing changes; soft: share of pixels neither in nor out; holes: their
    number; legs_apart, arms_apart: share of rows in which there is a gap; head: width; neck:
    narrowest below the head over the head's width; widths: [8] mean width of an eighth.
    """

    area: float
    solid: float
    outline: float
    bumps: float
    soft: float
    holes: float
    legs_apart: float
    arms_apart: float
    head: float
    neck: float
    widths: Floats


SHOWN = (
    "area", "solid", "outline", "bumps", "soft", "holes", "legs_apart", "arms_apart", "head",
    "neck",
)  # fmt: skip


def look_of(silhouette: NDArray[np.uint8]) -> Look:
    """Statistics of one aligned silhouette uint8 [64,44]."""
    inside = silhouette > 127
    grey = inside.astype(np.uint8)
    outlines, _ = cv2.findContours(grey, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(outlines)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (SMOOTH_PX, SMOOTH_PX))
    smooth = cv2.morphologyEx(grey, cv2.MORPH_OPEN, kernel)
    smooth = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, kernel)
    around = cv2.copyMakeBorder(1 - grey, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    widths = silhouette.sum(axis=1) / 255.0
    count = max(int(inside.sum()), 1)
    return Look(
        area=float(silhouette.mean() / 255),
        solid=count / max(hull, 1.0),
        outline=sum(cv2.arcLength(one, True) for one in outlines),
        bumps=float((smooth != grey).sum() / count),
        soft=float(((silhouette > 20) & (silhouette < 235)).mean()),
        holes=float(cv2.connectedComponents(around, connectivity=4)[0] - 2),
        legs_apart=_apart(inside[44:62]),
        arms_apart=_apart(inside[20:36]),
        head=float(widths[3:8].mean()),
        neck=float(widths[8:13].min() / max(widths[3:8].max(), 1.0)),
        widths=widths.reshape(BANDS, -1).mean(axis=1),
    )


def _apart(rows: NDArray[np.bool_]) -> float:
    """Share of rows with a gap between two parts."""
    edges = np.diff(np.pad(rows.astype(int), ((0, 0), (1, 0))), axis=1)
    return float(((edges == 1).sum(axis=1) >= 2).mean())


def changes_of(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Floats:
    """Share of head, trunk and legs that changed from one frame to the next [3]."""
    apart = np.abs(before.astype(float) - after)
    return np.array(
        [apart[part].sum() / max(float(before[part].sum()), 255.0) for part in (HEAD, TRUNK, LEGS)]
    )


def sequences_of(folder: Path) -> Iterator[list[NDArray[np.uint8]]]:
    """Aligned silhouettes of every sequence below a folder."""
    for place in sorted({path.parent for path in folder.rglob("*.png")}):
        hidden = _flagged(place / "frames.csv")
        paths = [path for path in sorted(place.glob("*.png")) if path.stem not in hidden]
        masks = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
        aligned = [align(mask) for mask in masks if mask is not None and _fit(mask)]
        yield [cut_sides(one) for one in aligned if one is not None]
    for path in sorted(folder.rglob("sils.npy")):
        yield list(cut_sides(np.load(path, allow_pickle=False)))


def _flagged(table: Path) -> set[str]:
    """Names of the masks that `replay` wrote but marked as cut or occluded."""
    if not table.exists():
        return set()
    with table.open(newline="", encoding="utf-8") as file:
        return {
            f"{int(row['frame_id']):06d}"
            for row in csv.DictReader(file)
            if "1" in (row["cut_by_border"], row["occluded"])
        }


def _fit(mask: NDArray[np.uint8]) -> bool:
    """Whether the pipeline would take a mask into a window."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return False
    person = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] > 0
    return FILL[0] <= person.mean() <= FILL[1] and fragment_ratio(person) <= MOST_PIECES


def summary(sequences: Sequence[Sequence[NDArray[np.uint8]]]) -> dict[str, str]:
    """Mean and spread of every statistic, ready to print."""
    looks = [look_of(one) for sequence in sequences for one in sequence]
    out = {"silhouettes": str(len(looks)), "sequences": str(len(sequences))}
    for name in SHOWN:
        values = np.array([getattr(look, name) for look in looks])
        out[name.replace("_", " ")] = f"{values.mean():.3f} ± {values.std():.3f}"
    changed = [changes_of(a, b) for one in sequences for a, b in pairwise(one)]
    for name, value in zip(("head", "trunk", "legs"), np.mean(changed, axis=0), strict=True):
        out[f"change of the {name} between frames"] = f"{value:.3f}"
    widths = np.array([look.widths for look in looks])
    for band in range(BANDS):
        name = f"width in rows {8 * band}–{8 * band + 7}"
        out[name] = f"{widths[:, band].mean():.1f} ± {widths[:, band].std():.1f}"
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER", help="what to compare")
    args = parser.parse_args()
    columns: dict[str, dict[str, str]] = {}
    for text in args.sets:
        name, equals, folder = text.partition("=")
        if not equals or not Path(folder).is_dir():
            parser.error(f"expected NAME=FOLDER with a folder that is there, got {text}")
        found = [one for one in sequences_of(Path(folder)) if len(one) >= SHORTEST]
        if not found:
            parser.error(f"{folder}: expected sequences of at least {SHORTEST} masks, got none")
        columns[name] = summary(found)
    print(f"| | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for row in next(iter(columns.values())):
        print(f"| {row} | {' | '.join(column[row] for column in columns.values())} |")


if __name__ == "__main__":
    main()
