"""Messages as every schema version wrote them can still be read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.codec import decode
from pipeline.messages import SCHEMA_VERSION
from tests.message_samples import FOLDER, samples

STORED = sorted(FOLDER.glob("v*/*.header"))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, each.name), getattr(b, each.name)) for each in dataclasses.fields(a)
        )
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_every_version_has_a_sample_of_every_message() -> None:
    assert {path.parent.name for path in STORED} == {
        f"v{version + 1}" for version in range(SCHEMA_VERSION)
    }
    assert {path.stem for path in (FOLDER / f"v{SCHEMA_VERSION}").glob("*.header")} == set(
        samples()
    )


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}-{path.stem}")
# A later version adds fields: give `samples` none for them, so that the default is expected of what
# an earlier one has written.
def test_golden_a_stored_message_says_what_it_said(path: Path) -> None:
    expected = samples()[path.stem]
    blob = path.with_suffix(".blob").read_bytes()
    assert same(decode(type(expected), path.read_bytes(), blob), expected)
