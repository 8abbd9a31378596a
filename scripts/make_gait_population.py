"""Make stages/human/walkers/data/gaits.npz: two populations of gaits from walking mocap clips.

    python scripts/make_gait_population.py --mocap DIR

DIR holds walking clips as BVH in CMU's naming (subject_trial.bvh, 120 frames/s, frame 0 a T pose).
Clips that turn, stop or do not repeat are left out and named. Some subjects make the population
`test`, which no training may see; all others make `train`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed, too

from stages.human.bvh import BvhError, read_bvh  # noqa: E402
from stages.human.skeleton import load_skeleton  # noqa: E402
from stages.human.walkers.closing import RetargetError  # noqa: E402
from stages.human.walkers.cycles import Stride, cut_stride  # noqa: E402
from stages.human.walkers.gaits import GAITS_FILE, population_of, save_populations  # noqa: E402

# Slow and fast, long and short strides, one clip and many: as mixed as the others.
TEST_SUBJECTS = ("05", "08", "12", "38", "43", "49", "55")
STRETCHES = ((0.0, 0.6), (0.4, 1.0))  # two strides of a clip where it is long enough
SOURCE = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created "
    "with funding from NSF EIA-0196217."
)


def strides_of(path: Path) -> Iterator[Stride]:
    """The usable strides of a clip, at most two."""
    rest = load_skeleton().joint_template
    clip = read_bvh(path)
    for stretch in STRETCHES:
        try:
            yield cut_stride(clip, rest, stretch)
        except RetargetError as error:
            print(f"{path.name} {stretch[0]:.0%} to {stretch[1]:.0%} is left out: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mocap", type=Path, required=True, help="folder of walking clips (BVH)")
    parser.add_argument("--out", type=Path, default=GAITS_FILE, help="file to write (%(default)s)")
    args = parser.parse_args()
    found: dict[str, list[tuple[str, Stride]]] = {"train": [], "test": []}
    paths = sorted(args.mocap.glob("*.bvh"))
    if not paths:
        parser.error(f"no .bvh file in {args.mocap}")
    for path in paths:
        subject = path.stem.split("_")[0]
        split = "test" if subject in TEST_SUBJECTS else "train"
        try:
            found[split] += [(subject, stride) for stride in strides_of(path)]
        except BvhError as error:
            print(f"{path.name} is left out: {error}")
    for split, strides in found.items():
        people = len({subject for subject, _ in strides})
        print(f"{split}: {people} subjects, {len(strides)} strides")
    populations = {split: population_of(strides) for split, strides in found.items()}
    save_populations(args.out, populations, SOURCE)
    print(f"wrote {args.out}, {args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
