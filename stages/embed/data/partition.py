"""Who is for training and who for testing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from stages.embed.data.interface import SequenceStore
from stages.embed.sequences import natural_key

NAMED = 10
MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Partition:
    """Subjects by use.

    Attributes:
        train, test: subjects of the store, in the order of names.
        probe: names of probe sequences (Gait3D), as the file has them; empty where a data set has
            none.
        missing: subjects that the file names and the store does not hold.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    probe: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def load_partition(
    path: Path, store: SequenceStore, needed: tuple[str, ...] = ("TRAIN_SET", "TEST_SET")
) -> Partition:
    """Read a partition file: JSON with TRAIN_SET, TEST_SET and, for Gait3D, PROBE_SET.

    Args:
        needed: of whom the store must hold somebody; data that are packed by split hold one set.

    Raises:
        InputError: the file is missing or damaged, a subject is in both sets, or the store holds
            nobody of a needed set that is not empty.
    """
    lists = _read(path)
    train, test = (lists.get(key, ()) for key in ("TRAIN_SET", "TEST_SET"))
    both = sorted(set(train) & set(test), key=natural_key)
    if both:
        raise InputError(
            f"partition {path} has {len(both)} subjects both for training and for testing: "
            f"{_named(both)}"
        )
    held = {entry.subject for entry in store.entries}
    for name, subjects in (("TRAIN_SET", train), ("TEST_SET", test)):
        if name in needed and subjects and not held & set(subjects):
            raise InputError(
                f"partition {path}: the data hold nobody of its {name} ({_named(subjects)}); they "
                f"hold {_named(sorted(held, key=natural_key))}",
                hint="Is this the partition of another data set?",
            )
    missing = sorted({*train, *test} - held, key=natural_key)
    return Partition(
        train=_ordered(held & set(train)),
        test=_ordered(held & set(test)),
        probe=tuple(lists.get("PROBE_SET", ())),
        missing=tuple(missing),
    )


def split_subjects(store: SequenceStore, test_share: float, seed: int) -> Partition:
    """Draw who is for testing, for data without a partition file.

    Raises:
        InputError: there are not enough subjects for both.
    """
    subjects = _ordered({entry.subject for entry in store.entries})
    testing = round(len(subjects) * test_share)
    if not 0 <= testing < len(subjects):
        raise InputError(f"a test share of {test_share} leaves nobody of {len(subjects)} to train")
    order = np.random.default_rng(seed).permutation(len(subjects))
    chosen = {subjects[i] for i in order[:testing]}
    return Partition(
        train=tuple(s for s in subjects if s not in chosen),
        test=tuple(s for s in subjects if s in chosen),
    )


def labels_of(store: SequenceStore, subjects: Sequence[str]) -> dict[int, int]:
    """Return the label of each sequence of these subjects: a subject's place in the list."""
    place = {subject: label for label, subject in enumerate(subjects)}
    return {
        index: place[entry.subject]
        for index, entry in enumerate(store.entries)
        if entry.subject in place
    }


def _read(path: Path) -> dict[str, list[str]]:
    try:
        data = path.read_bytes()[: MAX_BYTES + 1]
        value: Any = json.loads(data)
    except OSError as error:
        raise InputError(f"partition {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"partition {path} is no JSON: {error}") from error
    lists = (
        {k: v for k, v in value.items() if k.endswith("_SET")} if isinstance(value, dict) else {}
    )
    if "TEST_SET" not in lists and "TRAIN_SET" not in lists:
        raise InputError(
            f"partition {path} has neither TRAIN_SET nor TEST_SET",
            hint='Expected {"TRAIN_SET": ["001", …], "TEST_SET": […]}.',
        )
    for name, entries in lists.items():
        if not isinstance(entries, list) or not all(isinstance(e, str) for e in entries):
            raise InputError(f"partition {path}: {name} must be a list of texts")
    return lists


def _ordered(subjects: set[str]) -> tuple[str, ...]:
    return tuple(sorted(subjects, key=natural_key))


def _named(subjects: Sequence[str]) -> str:
    more = f" and {len(subjects) - NAMED} more" if len(subjects) > NAMED else ""
    return ", ".join(subjects[:NAMED]) + more
