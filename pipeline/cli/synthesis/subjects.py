"""Who is in a set: `subjects.csv` and `partition.json`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable

from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.plan import subject_of
from stages.human.walkers.builds import third_of
from stages.human.walkers.people import Person

COLUMNS = ("subject", "group", "sex", "age_group", "height_m", "bmi", "build", "split")
SEX = {"woman": "female", "girl": "female", "man": "male", "boy": "male"}


def subjects_table(config: SynthConfig, people: Iterable[Person]) -> str:
    """Return `subjects.csv`: a row a person."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for who in people:
        age = "child" if who.group in ("girl", "boy") else "adult"
        build = third_of(who.group, who.mass_index)
        numbers = (f"{who.height_m:.3f}", f"{who.mass_index:.1f}")
        name = subject_of(config, who.number)
        table.writerow((name, who.group, SEX[who.group], age, *numbers, build, config.split))
    return text.getvalue()


def partition_text(config: SynthConfig) -> str:
    """Return `partition.json`: everybody in the set of the split."""
    names = [subject_of(config, number) for number in config.numbers]
    sets = {
        f"{split.upper()}_SET": names if split == config.split else []
        for split in ("train", "test")
    }
    return json.dumps(sets, indent=1) + "\n"
