"""The checked-in table of accuracy: what the shipped networks reached on the fixture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accuracy_fixture import FixtureStore

from stages.embed.config import Config
from stages.embed.evaluation.accuracy import AccuracyOptions, evaluate_suite
from stages.embed.evaluation.contestants import Contestant, contestants_of
from stages.embed.evaluation.suite import NORMAL, Suite, lay_out
from stages.embed.gei import GaitEnergyImage

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
FIXTURE = HERE / "accuracy_suite.npz"
TABLE = HERE / "accuracy_table.json"
# Folders that may hold shipped weights.
SHIPPED = ("stages", "weights")
# By how much a figure may be worse than the table's: other versions of the libraries round
# otherwise, and a tie may fall the other way.
TOLERANCE = 0.01
BASELINE = "gei"


def shipped_weights() -> list[str]:
    """Return the shipped weights files, by their paths in the repository."""
    found = [path for folder in SHIPPED for path in (ROOT / folder).rglob("*.safetensors")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def figures_on(fixture: Path, weights: str) -> dict[str, Any]:
    """Return hash, Rank-1 and equal error rate of weights, or of the baseline, on a fixture."""
    store = FixtureStore(fixture)
    layout, notes = lay_out(store.entries)
    if weights == BASELINE:
        contestant = Contestant(BASELINE, "baseline", lambda run: GaitEnergyImage())
    else:
        options = Config(device="cpu", runtime="torch")
        *_, contestant = contestants_of([ROOT / weights], options, seeds=0, without_smpl=False)
    options = AccuracyOptions(
        window=store.entries[0].frames, lengths=(), open_set_splits=0, draws=0
    )
    suite = Suite(fixture.stem, store, layout, (), notes)
    (result,) = evaluate_suite(suite, [contestant], options).results
    found = result.runs[0].of(NORMAL)
    assert found is not None and result.facts is not None and not result.broken
    return {
        "weights_hash": result.facts["weights_hash"],
        "rank1": round(found.rank1.value, 4),
        "front_side": round(found.front_side.value, 4),
        "eer": round(found.eer.value, 4),
    }


def worse(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return what is worse than the table says, one line for each figure."""
    lines = []
    for name, sign in (("rank1", 1), ("front_side", 1), ("eer", -1)):
        if sign * (expected[name] - found[name]) > TOLERANCE:
            lines.append(f"{name} is {found[name]:.4f}, the table says {expected[name]:.4f}")
    return lines


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_table(path: Path, fixture: Path, weights: list[str]) -> None:
    """Measure and write the table."""
    figures = {name: figures_on(fixture, name) for name in (BASELINE, *weights)}
    table = {"fixture_sha256": sha256_of(fixture), "figures": figures}
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
