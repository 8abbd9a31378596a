"""The whole pipeline on a rendered scene: somebody is found, tracked and written down."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.system.conftest import Program, summary_of

pytest.importorskip("numba")

SCENE = "synthetic:people=2,seconds=2,size=640x360,tall=0.5,place=yard,seed=3"


def test_smoke_replay_of_a_scene(program: Program, tmp_path: Path) -> None:
    code = program.run("replay", "--source", SCENE, "--out", tmp_path / "out")
    assert code == 0, program.output
    summary = summary_of(tmp_path / "out")
    assert summary["outcome"] == "completed" and not summary["warnings"]
    assert summary["frames_read"] == summary["frames_processed"] == 50
    assert summary["frames_dropped"] == summary["bad_frames"] == 0
    assert summary["sources"]["cam0"]["label"] == SCENE
    with (tmp_path / "out" / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 25 and {row["source_id"] for row in rows} == {"cam0"}


def test_exception_unknown_key(program: Program, tmp_path: Path) -> None:
    code = program.run("replay", "--source", "synthetic:peple=2", "--out", tmp_path / "out")
    assert code == 2
    assert "peple: Extra inputs are not permitted" in program.output
    assert "keys: camera, size=WIDTHxHEIGHT, people" in program.output
    assert not (tmp_path / "out").exists(), "found before anything starts"
