"""An evaluation suite: who is enrolled, who is looked for, under which condition and from where.

A suite is a set of sequences whose kind carries the condition before its "-" (nm normal, bg bag,
cl clothes changed, fr07 seven frames a second, ...) and whose view is the azimuth in degrees: 000
walks towards the camera, 090 is seen from the person's left, 180 from behind. Each subject's first
normal walk is enrolled, one window of it from every view; all other sequences are looked for. Pairs
of one view never count: a camera seldom sees twice from the same side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from stages.embed.data.folders import FolderStore, Progress
from stages.embed.data.interface import Entry, SequenceStore
from stages.embed.evaluation.joined_store import open_parts
from stages.embed.evaluation.subjects import Grouping, read_groupings
from stages.embed.sequences import natural_key

NORMAL = "nm"
SUBJECTS_FILE = "subjects.csv"
MANIFEST_FILE = "manifest.json"
# How the format of a set by `synth` begins in its manifest.
SYNTHETIC = "gaitstream synthetic set "
# Views within this of an axis belong to it, degrees.
NEAR_DEG = 30.0
MIN_PEOPLE = 2
NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The parts of a suite. n probes, m gallery sequences, v views, t people (all enrolled).

    Attributes:
        people, views: names, in order. azimuths_deg: float64 [v], nan for a view without a number.
        gallery, probes: int64 [m], [n]: places in the store; the gallery is sorted by view, then
            by person.
        gallery_person, gallery_view, probe_person, probe_view: int64 codes.
        conditions: names, normal first. probe_condition: int64 [n].
    """

    people: tuple[str, ...]
    views: tuple[str, ...]
    azimuths_deg: np.ndarray
    gallery: np.ndarray
    gallery_person: np.ndarray
    gallery_view: np.ndarray
    probes: np.ndarray
    probe_person: np.ndarray
    probe_view: np.ndarray
    conditions: tuple[str, ...]
    probe_condition: np.ndarray

    def of_condition(self, name: str) -> np.ndarray:
        """Return bool [n]: the probes of a condition."""
        return self.probe_condition == self.conditions.index(name)

    def near(self, *axes_deg: float) -> np.ndarray:
        """Return bool [v]: the views within 30 degrees of one of these azimuths."""
        return np.any([_apart(self.azimuths_deg, axis) <= NEAR_DEG for axis in axes_deg], axis=0)

    def view_angle(self) -> np.ndarray:
        """Return float64 [v,v]: degrees between two views, 0..180; nan where one has no number."""
        return _apart(self.azimuths_deg[:, None], self.azimuths_deg[None])


@dataclass(frozen=True, slots=True, eq=False)
class Suite:
    """Sequences to evaluate on.

    Attributes:
        name: the folder's or the file's. notes: what the reader of a report should know.
        groupings: of the people, by sex, age, build and the like; empty without subjects.csv.
    """

    name: str
    store: SequenceStore
    layout: Layout
    groupings: tuple[Grouping, ...]
    notes: tuple[str, ...]


def open_suite(path: Path, on_progress: Progress | None = None) -> Suite:
    """Open a packed file, a folder of packed files, or a folder of id/type/view/.

    `subjects.csv` and `*.subjects.csv` in the folder (of a file NAME.gaitpack: NAME.subjects.csv
    beside it) say who is what; see `subjects`.

    Raises:
        InputError: there is nothing there, it cannot be used, or nobody can be looked for.
    """
    store = open_parts(path, on_progress)
    layout, notes = lay_out(store.entries)
    skipped = store.skipped if isinstance(store, FolderStore) else []
    if skipped:
        named = "; ".join(f"{one.name}: {one.reason}" for one in skipped[:NAMED])
        notes += (f"{len(skipped)} sequences cannot be used and are left out, such as {named}",)
    notes += _made_how(path)
    groupings = read_groupings(_subject_tables(path), layout.people)
    return Suite(path.resolve().stem, store, layout, groupings, notes)


def lay_out(entries: Sequence[Entry]) -> tuple[Layout, tuple[str, ...]]:
    """Return who is enrolled and who is looked for, and what a reader should know of it.

    Raises:
        InputError: no normal walk, fewer than two people enrolled, one view, or no probes.
    """
    first = _first_normal(entries)
    gallery = [i for i, e in enumerate(entries) if first.get(e.subject) == e.kind]
    probes = [i for i, e in enumerate(entries) if first.get(e.subject, e.kind) != e.kind]
    people = sorted(first, key=natural_key)
    views = sorted({entries[i].view for i in (*gallery, *probes)}, key=natural_key)
    if len(people) < MIN_PEOPLE or len(views) < 2 or not probes:
        raise InputError(
            f"this is no suite: {len(people)} people with a normal walk, {len(views)} views, "
            f"{len(probes)} sequences to look for; it takes two people, two views and one sequence",
            hint="Kinds are nm-01, nm-02, bg-01, cl-01 and the like; views are azimuths, 000 to "
            "350. Write one with run_pipeline.py synth.",
        )
    alone = {e.subject for e in entries} - set(people)
    notes = (f"{len(alone)} people have no normal walk and are left out",) if alone else ()
    person_of, view_of = _codes(people), _codes(views)
    gallery.sort(key=lambda i: (view_of[entries[i].view], person_of[entries[i].subject]))
    found = {condition_of(entries[i].kind) for i in probes}
    conditions = sorted(found, key=lambda c: (c != NORMAL, natural_key(c)))
    of_condition = _codes(conditions)
    layout = Layout(
        people=tuple(people),
        views=tuple(views),
        azimuths_deg=np.array([_azimuth(view) for view in views]),
        gallery=np.array(gallery, np.int64),
        gallery_person=np.array([person_of[entries[i].subject] for i in gallery], np.int64),
        gallery_view=np.array([view_of[entries[i].view] for i in gallery], np.int64),
        probes=np.array(probes, np.int64),
        probe_person=np.array([person_of[entries[i].subject] for i in probes], np.int64),
        probe_view=np.array([view_of[entries[i].view] for i in probes], np.int64),
        conditions=tuple(conditions),
        probe_condition=np.array([of_condition[condition_of(entries[i].kind)] for i in probes]),
    )
    return layout, notes


def condition_of(kind: str) -> str:
    """Return what stands before the "-" of a kind."""
    return kind.partition("-")[0]


def _subject_tables(path: Path) -> list[Path]:
    if path.is_dir():
        found = [path / SUBJECTS_FILE, *sorted(path.glob(f"*.{SUBJECTS_FILE}"))]
    else:
        found = [path.with_name(f"{path.stem}.{SUBJECTS_FILE}")]
    return [table for table in found if table.is_file()]


def _made_how(path: Path) -> tuple[str, ...]:
    """Return what a synthetic suite was made with, so that a reader can make it anew."""
    beside = path / MANIFEST_FILE if path.is_dir() else path.with_suffix(f".{MANIFEST_FILE}")
    try:
        made = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()  # not one of ours, or its manifest was left behind
    if not isinstance(made, dict) or not str(made.get("format")).startswith(SYNTHETIC):
        return ()
    return (f"the suite was made by `run_pipeline.py synth` with {settings_text(made['config'])}",)


def settings_text(config: Mapping[str, Any]) -> str:
    """Return the settings of a synthetic set, from its manifest, as text; none that is unset."""
    told = {key: value for key, value in config.items() if value is not None}
    return ", ".join(f"{key} {_plain(value)}" for key, value in told.items())


def _plain(value: Any) -> str:
    """A setting as the command line has it."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{each}" for key, each in value.items())
    if isinstance(value, list):
        ends = [f"{each:g}" for each in value]
        return ends[0] if len(set(ends)) == 1 else "-".join(ends)
    return str(value)


def _first_normal(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the first normal kind of each subject that has one."""
    first: dict[str, str] = {}
    for entry in entries:
        if condition_of(entry.kind) == NORMAL:
            known = first.get(entry.subject, entry.kind)
            first[entry.subject] = min(known, entry.kind, key=natural_key)
    return first


def _codes(names: Sequence[str]) -> Mapping[str, int]:
    return {name: code for code, name in enumerate(names)}


def _azimuth(view: str) -> float:
    return float(view) % 360.0 if view.isdecimal() else float("nan")


def _apart(a: np.ndarray, b: np.ndarray | float) -> np.ndarray:
    """Return the angle between azimuths, 0..180 degrees."""
    turn = np.abs(a - b) % 360.0
    return np.minimum(turn, 360.0 - turn)
