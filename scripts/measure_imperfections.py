"""Measure what segmentation and pose do to rendered people, and write what imitates it.

    python scripts/measure_imperfections.py watch --out rows --scenes 40
    python scripts/measure_imperfections.py fit rows/*.npz
    python scripts/measure_imperfections.py compare rows/*.npz

`watch` renders walks and sends them through the real detect and body stages (20 s of a core
a scene of six walks; several may run side by side with different --first). `fit` writes
stages/human/walkers/data/imperfections.json. `compare` prints the same statistics of what was
measured and of its imitation on the same true masks and landmarks.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]  # runs from a checkout that is not installed, too

from imperfection_tables import (  # noqa: E402
    bag_table,
    by_height,
    imitated_masks,
    imitated_rows,
    landmark_table,
    mask_table,
    measured_masks,
    missed_table,
    rows_of,
)
from landmark_errors import closer as closer_landmarks  # noqa: E402
from landmark_errors import fit_landmarks  # noqa: E402
from landmark_observations import observe  # noqa: E402
from mask_errors import MaskSummary, closer, evened  # noqa: E402
from missed_people import missed  # noqa: E402
from seen_people import Row, load_rows, save_rows, watch  # noqa: E402

from stages.detect import MediapipeConfig, build  # noqa: E402
from stages.human.walkers.measured import (  # noqa: E402
    FIGURES_FILE,
    Figures,
    LandmarkFigures,
    MaskFigures,
    load_figures,
    save_figures,
)

ROUNDS = 5  # of making the imitation alike


def watch_scenes(out: Path, first: int, count: int, seed: int) -> None:
    """Watch scenes one by one; one whose file is there already is left out."""
    out.mkdir(parents=True, exist_ok=True)
    detect = build(MediapipeConfig(threads=1))
    detect.setup()
    try:
        for number in range(first, first + count):
            path = out / f"walks_{seed}_{number:04d}.npz"
            if path.exists():
                continue
            began = time.process_time()
            rows = list(watch(detect, number, seed))
            if not rows:
                print(f"scene {number}: nobody came into the picture", flush=True)
                continue
            save_rows(path, rows)
            found = sum(row.found for row in rows)
            heights = sorted({round(row.height_px) for row in rows})
            print(
                f"scene {number}: {heights[0]} to {heights[-1]} px, seen in {found} of {len(rows)} "
                f"frames, {time.process_time() - began:.0f} s of one core",
                flush=True,
            )
    finally:
        detect.close()


def read(paths: list[Path]) -> list[Row]:
    """The rows of several files."""
    return [row for path in sorted(paths) for row in load_rows(path)]


def fit_masks(rows: list[Row], start: MaskFigures) -> MaskFigures:
    """Move mask figures until their imitation has the measured statistics."""
    walks = by_height(rows)
    lost = missed(rows)
    figures = replace(
        start,
        missed=lost.logit,
        missed_spread=lost.spread,
        missed_s=np.array(max(lost.lasts_s, 1e-3)),
    )
    measured = [measured_masks(one) for one in walks]
    for turn in range(ROUNDS):
        ours = [imitated_masks(one, figures, seed=turn) for one in walks]
        for place, (real, got) in enumerate(zip(measured, ours, strict=True)):
            figures = closer(figures, place, real, got)
        # One number for all heights, with what the fit has not explained yet.
        extra = np.mean([a.uneven - b.uneven for a, b in zip(measured, ours, strict=True)])
        uneven = np.clip(figures.uneven + 0.7 * extra, 0.0, 1.0)
        figures = replace(evened(figures), uneven=uneven)
    return figures


def fit_figures(rows: list[Row]) -> LandmarkFigures:
    """Fit landmarks, then even out what their imitation does differently."""
    o = observe(rows)
    figures = fit_landmarks(o)
    chosen = rows_of(o, rows)
    for turn in range(ROUNDS):
        seen = imitated_rows(o, chosen, figures, seed=turn).world[..., :3]
        figures = closer_landmarks(figures, o, seen)
    return figures


def summaries(
    walks: list[list[list[Row]]], figures: MaskFigures
) -> tuple[list[MaskSummary], list[MaskSummary]]:
    """Measured and imitated, by height."""
    return [measured_masks(one) for one in walks], [imitated_masks(one, figures) for one in walks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    watching = commands.add_parser("watch", help="render walks and send them through the stages")
    watching.add_argument("--out", type=Path, required=True, help="folder of rows to write to")
    watching.add_argument("--first", type=int, default=0, help="number of the first scene")
    watching.add_argument("--scenes", type=int, default=40, help="how many (%(default)s)")
    watching.add_argument("--seed", type=int, default=1, help="of views and qualities")
    fitting = commands.add_parser("fit", help="write the figures that imitate what was seen")
    fitting.add_argument("rows", type=Path, nargs="+", help="files that watch wrote")
    fitting.add_argument("--out", type=Path, default=FIGURES_FILE, help="(%(default)s)")
    comparing = commands.add_parser("compare", help="print measured and imitated statistics")
    comparing.add_argument("rows", type=Path, nargs="+", help="files that watch wrote")
    comparing.add_argument("--figures", type=Path, default=FIGURES_FILE, help="(%(default)s)")
    args = parser.parse_args()
    if args.command == "watch":
        watch_scenes(args.out, args.first, args.scenes, args.seed)
    elif args.command == "fit":
        rows = read(args.rows)
        masks = fit_masks(rows, load_figures().masks)
        save_figures(args.out, Figures(masks, fit_figures(rows)))
    else:
        rows, figures = read(args.rows), load_figures(args.figures)
        print("\n".join(missed_table(rows)) + "\n")
        print("\n".join(mask_table(*summaries(by_height(rows), figures.masks))))
        print("\n" + "\n".join(bag_table(rows)))
        print("\n" + "\n".join(landmark_table(rows, figures.landmarks)))


if __name__ == "__main__":
    main()
