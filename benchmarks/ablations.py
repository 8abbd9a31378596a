"""What is each part worth: the same short training again and again, with one part left out.

Every variant is trained for equally many steps from equally many people, and all are evaluated on
one set of people whose gaits none of them has seen. Short trainings say how parts compare, not what
long ones reach. Each variant runs through the commands that a user has (`synth`, `train`,
`evaluate --suite`); what is there already is kept, so that a run that was stopped goes on.

`python -m benchmarks.ablations --out DIR`; nearly all of its time is training.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.commands import (
    FRAMES,
    GEI,
    ROOT,
    TEST_SET,
    call,
    evaluated,
    made,
    options_of,
    percent,
)
from benchmarks.harness import machine_facts, write_results
from benchmarks.sections import print_table, table

WHOLE = "whole"
FIGURES = {"rank1": "Rank-1", "front_side": "front-side", "eer": "EER"}
WARMUP = 15  # one part in so many of a training's steps


@dataclass(frozen=True, slots=True)
class Variant:
    """One training.

    Attributes:
        name: of its files.
        title: what is otherwise than with `whole`.
        data: keys of configs/synth.yaml that its people are made with.
        settings: keys of the training.
        config: of the training, in configs/.
    """

    name: str
    title: str
    data: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    config: str = "train_smplgait_synthetic.yaml"

    @property
    def data_name(self) -> str:
        """The same for all variants that are trained on the same data."""
        return "-".join(["train", *(f"{key}-{value}" for key, value in sorted(self.data.items()))])


VARIANTS = (
    Variant(WHOLE, "SMPLGait, all of it"),
    Variant("no-3d", "without the 3D branch", settings={"network.config.use_smpl": "false"}),
    Variant("no-noise", "people without errors of segmentation and landmarks", {"noise": "0"}),
    Variant("no-jitter", "everybody walks the same way every time", {"day_spread": "0"}),
    Variant("one-outfit", "clothes stay the same within a walk", {"outfits": "walk"}),
    Variant(
        "narrow",
        "half the channels",
        settings={"network.config.channels": "[16, 32, 64]", "network.config.out_channels": "64"},
    ),
    Variant("few-people", "a tenth of the people", {"people": "0.1"}),
    # With errors as measured it learns nothing in so few steps.
    Variant(
        "skeleton",
        "ResGCN on keypoints instead, learnt from people who are seen well",
        {"noise": "0-0.8", "day_spread": "1"},
        config="train_resgcn_synthetic.yaml",
    ),
)


def main() -> None:
    """Make what is missing, evaluate, print the table, write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for data and trainings")
    parser.add_argument(
        "--people", type=int, default=1000, help="that are trained on (%(default)s)"
    )
    parser.add_argument("--test-people", type=int, default=100, help="held out (%(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="of each training (%(default)s)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="trainings at a time, with as many threads each as cores are left to it: of layers as "
        "small as these more trainings make better use of the cores than more threads "
        "(%(default)s)",
    )
    parser.add_argument(
        "--only", nargs="+", choices=[each.name for each in VARIANTS], help="these variants"
    )
    parser.add_argument("--name", default="ablations", help="of the results file (%(default)s)")
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f"--jobs must be 1 or more, got {args.jobs}")
    chosen = [each for each in VARIANTS if args.only is None or each.name in args.only]
    args.out.mkdir(parents=True, exist_ok=True)
    test = made(
        args.out / "test.gaitpack",
        "synth_test.yaml",
        {**TEST_SET, "identities": str(args.test_people)},
    )
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    data = [people_of(each, args.out, args.people) for each in chosen]
    with ThreadPoolExecutor(args.jobs) as pool:
        weights = list(
            pool.map(
                lambda each, people: trained(each, args.out, people, args.steps, threads),
                chosen,
                data,
            )
        )
    figures = evaluated(args.out / "ablations.md", test, weights)
    results = report(chosen, figures, args.people, args.test_people, args.steps)
    for shown in results["tables"]:
        print_table(Console(highlight=False), shown)
    path = write_results(args.name, {**results, "machine": machine_facts()})
    print("written to", path)


def people_of(variant: Variant, out: Path, people: int) -> Path:
    """Make whom a variant is trained on, if they are not there; return their path."""
    keys = dict(variant.data)
    count = round(people * float(keys.pop("people", 1)))
    data = out / f"{variant.data_name}.gaitpack"
    return made(data, "synth.yaml", {**keys, "identities": str(count)})


def trained(variant: Variant, out: Path, data: Path, steps: int, threads: int) -> Path:
    """Train a variant, or go on with it; return its weights, named after it."""
    weights = out / "weights" / f"{variant.name}.safetensors"
    if weights.exists():
        return weights
    run = out / variant.name
    settings = {
        "phases.0.steps": str(steps),
        "phases.0.schedule.warmup_steps": str(steps // WARMUP),
        "data.path": str(data),
        "data.test_path": str(out / "test.gaitpack"),
        "evaluation.every": "0",
        "evaluation.final": "false",
        "threads": str(threads),
        **variant.settings,
    }
    command = ["train", "--config", str(ROOT / "configs" / variant.config), "--out", str(run)]
    call(
        [*command, *(["--resume"] if (run / "checkpoints").exists() else []), *options_of(settings)]
    )
    (made_weights,) = run.glob("*.safetensors")
    weights.parent.mkdir(exist_ok=True)
    shutil.copyfile(made_weights, weights)
    return weights


def report(
    variants: Sequence[Variant],
    figures: Mapping[str, Any],
    people: int,
    test_people: int,
    steps: int,
) -> dict[str, Any]:
    """Return the table as plain data, fit for `evaluate --include`."""
    shown = {GEI: "GEI, the untrained baseline", **{each.name: each.title for each in variants}}
    rows = [
        [
            title,
            *(percent(figures[label]["conditions"]["nm"][key]) for key in FIGURES),
            percent([figures[label]["clothes_cost"]]),
        ]
        for label, title in shown.items()
    ]
    header = ("training", *(f"{name}, %" for name in FIGURES.values()), "clothes cost, %")
    return {
        "title": "What each part is worth",
        "text": f"Trainings of {steps} steps on {people} people, by `python -m "
        f"benchmarks.ablations`; evaluated on {test_people} others with the errors of segmentation "
        f"and landmarks as measured, normal walks from other views, windows of {FRAMES} "
        "frames. Equally short for all: they say how parts compare, not what is reached. "
        "`clothes cost` is the share of Rank-1 that is lost in other clothes.",
        "tables": [table("One part left out at a time", header, rows)],
        "figures": {label: figures[label]["conditions"]["nm"] for label in shown},
    }


if __name__ == "__main__":
    main()
