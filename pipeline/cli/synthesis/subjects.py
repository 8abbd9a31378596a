"""Who is in a set: `subjects.csv` and `partition.json`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable

import numpy as np

from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.plan import subject_of
from stages.human.walkers.bodies import Group, load_mesh
from stages.human.walkers.people import Person

COLUMNS = ("subject", "group", "sex", "age_group", "height_m", "bmi", "build", "split")
SEX = {"woman": "female", "girl": "female", "man": "male", "boy": "male"}
# Of a living body, kg a cubic metre.
DENSITY = 1000.0
# Body mass index at which slim ends and heavy begins: thirds of each group of walkers, so that a
# build says nothing about sex or age. Measured on 2,000 people.
BUILD_CUTS = {
    "woman": (19.1, 20.5),
    "man": (22.4, 23.7),
    "girl": (17.4, 18.7),
    "boy": (19.5, 20.5),
}


def volume_m3(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Return the volume inside a surface, vertices [V,3] metres, faces [F,3] outwards.

    Small holes (mouth, eyes) change little: each face counts with the tetrahedron it spans with
    the middle of the body.
    """
    a, b, c = (vertices[faces[:, k]] - vertices.mean(axis=0) for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def body_mass_index(who: Person) -> float:
    """Return kg a square metre of the body without clothes."""
    mesh = load_mesh("full")
    volume = volume_m3(mesh.shaped(who.shape).astype(np.float64), mesh.faces)
    return volume * DENSITY / who.height_m**2


def build_of(group: Group, bmi: float) -> str:
    """Return slim, medium or heavy, among those of the same group."""
    low, high = BUILD_CUTS[group]
    return "slim" if bmi < low else "medium" if bmi < high else "heavy"


def subjects_table(config: SynthConfig, people: Iterable[Person]) -> str:
    """Return `subjects.csv`: a row a person."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for who in people:
        bmi = body_mass_index(who)
        age = "child" if who.group in ("girl", "boy") else "adult"
        build = build_of(who.group, bmi)
        numbers = (f"{who.height_m:.3f}", f"{bmi:.1f}")
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
