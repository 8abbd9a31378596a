"""A recording played as a camera: the newest frame counts, drops are counted and shown."""

from __future__ import annotations

import json
from pathlib import Path

from tests.system.conftest import CLIP_B, Program, summary_of


def test_live_counts_what_it_drops(program: Program, tmp_path: Path) -> None:
    out = tmp_path / "o"
    code = program.run("live", "--source", CLIP_B, "--realtime", "--end", 6, "--out", out)
    assert code == 0, program.output
    summary = summary_of(out)
    assert summary["sources"]["cam0"]["live"]
    assert summary["frames_read"] == 150
    assert summary["frames_read"] == summary["frames_processed"] + summary["frames_dropped"]
    assert summary["frames_processed"] > 20
    start = json.loads((out / "events.jsonl").read_text().splitlines()[0])
    assert start["live"]


def test_a_track_of_a_live_run_can_be_enrolled_afterwards(program: Program, tmp_path: Path) -> None:
    gallery = tmp_path / "people.db"
    code = program.run(
        "live", "--source", CLIP_B, "--realtime", "--end", 7, "--out", tmp_path / "o",
            "--set", "source.rate_hz=10",  # a busy machine keeps up with that
        "--gallery", gallery, "--keep-sightings", "--set", "sequence.min_length=8",
        "--set", "sequence.length=12", "--set", "sequence.stride=4",
    )  # fmt: skip
    assert code == 0, program.output
    assert program.run("enroll", "--gallery", gallery, "--name", "Eve", "--track", 1) == 0, (
        program.output
    )
    assert program.run("gallery", "list", "--gallery", gallery) == 0
    assert "Eve" in program.output
