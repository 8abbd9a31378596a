"""The main job, end to end: enrol from one camera, name in another, with the truth beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.conftest import CLIP_A, CLIP_B, Program, summary_of


def test_demo_names_all_four(program: Program, tmp_path: Path) -> None:
    assert program.run("demo", "--out", tmp_path / "demo") == 0, program.output
    verdicts = json.loads((tmp_path / "demo" / "verdicts.json").read_text())
    assert {verdict["truth"] for verdict in verdicts} == {"Ada", "Bo", "Cleo", "Dan"}
    assert all(verdict["right"] for verdict in verdicts), verdicts
    assert "4 of 4 tracks named right" in program.output
    for part in ("enrol", "identify"):
        summary = summary_of(tmp_path / "demo" / part)
        assert summary["frames_read"] == summary["frames_processed"] == 345
        assert (tmp_path / "demo" / part / "annotated.mp4").stat().st_size > 100_000
    assert program.run("demo", "--out", tmp_path / "demo") == 2, "a former demo is not overwritten"


@pytest.mark.slow
def test_enrol_name_rename_forget(program: Program, tmp_path: Path) -> None:
    """What a user does by hand: learn from A, find in B, rename, delete for good."""
    gallery = tmp_path / "people.db"
    learn = ("enroll", "--source", CLIP_A, "--gallery", gallery, "--name", "Zoë")
    assert program.run(*learn, "--end", 4.1, "--consent", "drawn figure") == 0, program.output
    assert program.run(*learn, "--end", 4.1) == 1, "the name is taken"
    assert "--add" in program.output
    found = ("replay", "--source", CLIP_B, "--gallery", gallery, "--out", tmp_path / "o")
    assert program.run(*found, "--end", 6) == 0, program.output
    events = [json.loads(line) for line in (tmp_path / "o/events.jsonl").read_text().splitlines()]
    named = {event["track_id"] for event in events if event.get("name") == "Zoë"}
    assert named, "somebody of camera B is the one from camera A"
    assert program.run("gallery", "rename", "zoë", "Max", "--gallery", gallery) == 0
    assert program.run("gallery", "list", "--json", "--gallery", gallery) == 0
    assert "Max" in program.output and "Zoë" not in program.output
    assert program.run("gallery", "remove", "Max", "--yes", "--gallery", gallery) == 0
    assert b"Max" not in gallery.read_bytes()


@pytest.mark.slow
def test_several_people_need_a_choice(program: Program, tmp_path: Path) -> None:
    gallery = tmp_path / "people.db"
    learn = ("enroll", "--gallery", gallery, "--name", "Ann")
    assert program.run(*learn, "--source", CLIP_A, "--out", tmp_path / "o") == 2, program.output
    assert "people could be meant" in program.output and "track 2" in program.output
    assert program.run(*learn, "--track", 2) == 0, program.output
    assert program.run("gallery", "show", "Ann", "--gallery", gallery) == 0
    assert "picture: yes" in program.output


@pytest.mark.slow
def test_embed_reads_what_replay_saved(program: Program, tmp_path: Path) -> None:
    run = ("replay", "--source", CLIP_B, "--start", 2, "--end", 5, "--out", tmp_path / "o")
    assert program.run(*run, "--save-silhouettes") == 0, program.output
    out = tmp_path / "e.npz"
    saved = tmp_path / "o" / "silhouettes"
    assert program.run("embed", "--silhouettes", saved, "--out", out) == 0, program.output
    import numpy as np

    with np.load(out, allow_pickle=False) as file:
        assert len(file["names"]) == len(list(saved.iterdir()))
        assert file["embeddings"].shape[1:] == (44, 64)
    shipped = ("--network", "joined")
    assert program.run("embed", "--silhouettes", saved, "--out", out, *shipped) == 0
    with np.load(out, allow_pickle=False) as file:
        assert file["embeddings"].shape[1:] == (400, 1)
    missing = ("--weights", tmp_path / "none.safetensors")
    assert program.run("embed", "--silhouettes", saved, "--out", out, *shipped, *missing) == 1
    assert "weights" in program.output
