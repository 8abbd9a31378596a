"""What makes people hard to tell apart: one network on the same people under easier conditions.

The held-out people as they are, then with half and without the errors of segmentation and
landmarks, without changes from day to day, without both, and with fewer frames; then others, whose
gaits come from the population that the network was trained on. The difference is what the hardship
costs.

`python -m benchmarks.hardships --weights FILE --out DIR`; sets that are there already are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.commands import GEI, TEST_SET, evaluated, made, percent
from benchmarks.harness import machine_facts, write_results
from benchmarks.sections import print_table, table

CONDITIONS = {"nm": "normal walks", "cl": "in other clothes"}
# Numbers of people that no training has had: configs/synth.yaml takes those from 0.
FIRST_UNSEEN = 50_000


@dataclass(frozen=True, slots=True)
class Trial:
    """A set of people: its file's name, what is said of it, keys that are otherwise."""

    name: str
    title: str
    keys: Mapping[str, str] = field(default_factory=dict)


TRIALS = (
    Trial("held-out", "held-out people, errors as measured"),
    Trial("half-noise", "with half of them", {"noise": "0.5"}),
    Trial("no-noise", "without errors of segmentation and landmarks", {"noise": "0"}),
    Trial("same-day", "without changes from day to day", {"day_spread": "0"}),
    Trial("neither", "without both", {"noise": "0", "day_spread": "0"}),
    Trial("short", "half the frames", {"frames": "15"}),
    Trial(
        "trained-gaits",
        "other people, gaits of the population that was trained on",
        {"split": "train", "first": str(FIRST_UNSEEN)},
    ),
)


def main() -> None:
    """Make the sets, evaluate, print the table, write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors")
    parser.add_argument("--out", type=Path, required=True, help="folder for sets and pages")
    parser.add_argument("--people", type=int, default=100, help="of each set (%(default)s)")
    parser.add_argument("--name", help="of the results file; default: the network's")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    figures = {}
    for trial in TRIALS:
        keys = {**TEST_SET, "identities": str(args.people), **trial.keys}
        suite = made(args.out / f"{trial.name}.gaitpack", "synth_test.yaml", keys)
        figures[trial.name] = evaluated(args.out / f"{trial.name}.md", suite, [args.weights])
    results = report(args.weights.stem, figures, args.people)
    print_table(Console(highlight=False), results["tables"][0])
    name = args.name or f"hardships-{args.weights.stem}"
    print("written to", write_results(name, {**results, "machine": machine_facts()}))


def report(label: str, figures: Mapping[str, Any], people: int) -> dict[str, Any]:
    """Return the table as plain data, fit for `evaluate --include`."""
    rows: list[Sequence[str]] = []
    for trial in TRIALS:
        ours, baseline = (figures[trial.name][each]["conditions"] for each in (label, GEI))
        rows.append(
            [
                trial.title,
                *(percent(ours[kind]["rank1"]) for kind in CONDITIONS),
                percent(ours["nm"]["front_side"]),
                percent(ours["nm"]["eer"]),
                percent(ours["nm"]["tpir"]),
                percent(baseline["nm"]["rank1"][:1]),
            ]
        )
    header = (
        "people",
        *(f"Rank-1, {title}, %" for title in CONDITIONS.values()),
        "front-side, %",
        "EER, %",
        "TPIR at 1 % FPIR, %",
        "Rank-1 of GEI, %",
    )
    return {
        "title": f"What makes it hard for {label}",
        "text": f"{people} people at a time, enrolled from one view and looked for in another, by "
        "`python -m benchmarks.hardships`: the same network under easier and other conditions.",
        "tables": [table("Under easier conditions", header, rows)],
        "figures": {name: each[label]["conditions"] for name, each in figures.items()},
    }


if __name__ == "__main__":
    main()
