"""Accuracy is a checked-in table, and a drop fails.

The table is written anew only on purpose: `python scripts/make_accuracy_fixture.py` (its --help
says how), after a change that is meant to change figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accuracy_fixture import GREY_STEP, FixtureStore, write_fixture
from accuracy_table import (
    BASELINE,
    FIXTURE,
    TABLE,
    TOLERANCE,
    figures_on,
    sha256_of,
    shipped_weights,
    worse,
    write_table,
)

from stages.embed.data.folders import FolderStore
from tests.walkers import write_dataset

REFRESH = "write it: python scripts/make_accuracy_fixture.py --suite DIR"


def table() -> dict[str, Any]:
    if not (FIXTURE.exists() and TABLE.exists()):
        pytest.skip(f"there is no table of accuracy yet; {REFRESH}")
    found: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


def test_golden_the_table_is_of_this_fixture_and_of_all_shipped_weights() -> None:
    found = table()
    assert found["fixture_sha256"] == sha256_of(FIXTURE), "the fixture changed without the table"
    assert sorted(found["figures"]) == sorted([BASELINE, *shipped_weights()]), REFRESH


@pytest.mark.parametrize("weights", [BASELINE, *shipped_weights()])
def test_golden_no_network_is_worse_than_the_table_says(weights: str) -> None:
    expected = table()["figures"].get(weights)
    assert expected is not None, f"{weights} is not in the table; {REFRESH}"
    found = figures_on(FIXTURE, weights)
    assert found["weights_hash"] == expected["weights_hash"], "other weights; " + REFRESH
    assert not worse(found, expected)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderStore, Path]:
    """A fixture of cartoon walkers."""
    folder = tmp_path_factory.mktemp("walkers")
    store = FolderStore(write_dataset(folder / "data", 5, ("nm-01", "nm-02"), frames=8))
    path = folder / "suite.npz"
    write_fixture(path, store, range(len(store.entries)), 8)
    return store, path


def test_golden_a_fixture_holds_what_it_was_cut_from(
    made: tuple[FolderStore, Path], tmp_path: Path
) -> None:
    store, path = made
    found = FixtureStore(path)
    assert list(found.entries) == list(store.entries) and found.height == 64
    for index in (0, 7, 19):
        ours, theirs = found.read(index), store.read(index)
        difference = ours.silhouettes.astype(int) - theirs.silhouettes
        assert np.abs(difference).max() <= GREY_STEP // 2
        np.testing.assert_allclose(ours.theta, theirs.theta, atol=2e-3)
        moved = ours.keypoints_px - theirs.keypoints_px
        np.testing.assert_allclose(moved - moved[:1, :1], 0, atol=0.1)
        assert np.abs(ours.keypoints_px[..., :2].mean()) < 1
    part = found.read(3, np.array([5, 1]))
    np.testing.assert_array_equal(part.theta, found.read(3).theta[[5, 1]])
    write_fixture(tmp_path / "again.npz", store, range(len(store.entries)), 8)
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_smoke_a_table_passes_and_a_drop_does_not(
    made: tuple[FolderStore, Path], tmp_path: Path
) -> None:
    _, path = made
    write_table(tmp_path / "table.json", path, [])
    written = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert written["fixture_sha256"] == sha256_of(path)
    expected = written["figures"][BASELINE]
    found = figures_on(path, BASELINE)
    assert found == expected and not worse(found, expected)
    assert 0 < found["eer"] < 0.6
    better = {**expected, "rank1": expected["rank1"] + 2 * TOLERANCE}
    assert worse(found, better) == [
        f"rank1 is {found['rank1']:.4f}, the table says {better['rank1']:.4f}"
    ]
    surer = {**expected, "eer": expected["eer"] - 2 * TOLERANCE}
    assert worse(found, surer)[0].startswith("eer is")
    assert not worse(found, {**expected, "eer": expected["eer"] + 0.2})
