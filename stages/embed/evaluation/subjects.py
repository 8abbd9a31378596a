"""Who is what in an evaluation set: `subjects.csv`, and the groups that its columns make.

The table has a column `subject` and any others. A column of words makes a group of each word. A
column of numbers is cut: years of age (`age`) at 13, 18, 40 and 60, everything else into a lower,
a middle and an upper third of the people. Groups show whom a network knows worse than others.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipeline.errors import InputError

KEY = "subject"
AGE = "age"
AGE_CUTS = (13.0, 18.0, 40.0, 60.0)
# A column of more words than this describes single people, not groups.
MAX_WORDS = 8
MAX_BYTES = 16 << 20
NOBODY = -1


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """One way to group people.

    Attributes:
        name: of the column. groups: names, in order.
        member: int64 [t], each person's group, -1 for a person without an entry.
    """

    name: str
    groups: tuple[str, ...]
    member: np.ndarray


def read_groupings(paths: Sequence[Path], people: Sequence[str]) -> tuple[Grouping, ...]:
    """Return the groupings of these people by what the tables say together; none without a table.

    Raises:
        InputError: a table cannot be read, has no `subject` column, or they name nobody of them.
    """
    if not paths:
        return ()
    rows: dict[str, dict[str, str]] = {}
    for path in paths:
        for name, row in _read(path).items():
            rows[name] = {**rows.get(name, {}), **row}
    known = [rows.get(name, {}) for name in people]
    if not any(known):
        raise InputError(
            f"{', '.join(map(str, paths))} say nothing of the {len(people)} people of the set, "
            f"such as {people[0]}",
            hint=f"Its column {KEY!r} must hold the subjects' ids.",
        )
    columns = dict.fromkeys(name for row in known for name in row)
    found = (_grouping(name, [row.get(name, "") for row in known]) for name in columns)
    return tuple(grouping for grouping in found if grouping is not None)


def _grouping(name: str, cells: list[str]) -> Grouping | None:
    """Return the groups of a column; None if it makes fewer than two, or too many."""
    numbers = [_number(cell) for cell in cells]
    words = sorted({cell for cell in cells if cell})
    numeric = all(math.isnan(n) == (not cell) for n, cell in zip(numbers, cells, strict=True))
    if numeric and len(words) > 2:
        return _by_number(name, np.array(numbers))
    if not 2 <= len(words) <= MAX_WORDS:
        return None
    place = {word: code for code, word in enumerate(words)}
    member = np.array([place.get(cell, NOBODY) for cell in cells], np.int64)
    return Grouping(name, tuple(words), member)


def _by_number(name: str, numbers: np.ndarray) -> Grouping | None:
    known = ~np.isnan(numbers)
    thirds = (float(cut) for cut in np.quantile(numbers[known], (1 / 3, 2 / 3)))
    cuts = np.array(AGE_CUTS if name == AGE else sorted(set(thirds)))
    code = np.where(known, np.searchsorted(cuts, np.nan_to_num(numbers), side="right"), NOBODY)
    edges = [f"{cut:.4g}" for cut in cuts]
    names = [f"under {edges[0]}", *(f"{a} to {b}" for a, b in pairwise(edges))]
    names.append(f"{edges[-1]} and over")
    used = sorted(set(code[known].tolist()))
    if len(used) < 2:
        return None
    renumbered = np.array([used.index(c) if c in used else NOBODY for c in code], np.int64)
    return Grouping(name, tuple(names[c] for c in used), renumbered)


def _number(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _read(path: Path) -> dict[str, dict[str, str]]:
    """Return the other columns of each subject."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    reader = csv.DictReader(text.splitlines())
    if KEY not in (reader.fieldnames or ()):
        raise InputError(
            f"{path} has no column {KEY!r}; it has {', '.join(reader.fieldnames or ('nothing',))}"
        )
    rows: dict[str, dict[str, str]] = {}
    for row in reader:
        subject = (row.pop(KEY) or "").strip()
        rows[subject] = {k: (v or "").strip() for k, v in row.items() if k is not None}
    return rows
