"""`synth` as a user runs it: twice, killed, stopped, without room, with bad input."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

from pipeline.cli import main
from stages.embed.data.opening import open_store
from stages.embed.data.packed import PackedStore
from tests.system.conftest import Program, wait_until_gone

SMALL = ("--identities", 3, "--views", 2, "--conditions", "nm:1,bg:1", "--frames", 6, "--seed", 5)
# So many people that it is still at work when the test steps in.
LONG = ("--identities", 400, "--views", 4, "--conditions", "nm:1", "--frames", 20, "--seed", 5)
PEOPLE = [f"train5-{number:05d}" for number in range(3)]


def files(root: Path) -> dict[str, bytes]:
    """Content by name of all files below a folder."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def synth(*words: object) -> int:
    """Run the command in this process; its workers are processes of their own."""
    return main(["synth", *map(str, words)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "S"
    assert synth("--out", out, *SMALL, "--workers", 1) == 0
    return out


def test_replay_other_workers_give_the_same_bytes(
    program: Program, tmp_path: Path, folder: Path
) -> None:
    again = tmp_path / "again"
    assert program.run("synth", "--out", again, *SMALL, "--workers", 3) == 0, program.output
    assert "3 people, 72 frames; 72 frames now" in program.output
    assert files(again) == files(folder)
    manifest = json.loads((again / "manifest.json").read_text("utf-8"))
    assert manifest["finished"] is True and manifest["config"]["seed"] == 5
    assert str(tmp_path) not in (again / "manifest.json").read_text("utf-8")
    assert sorted(path.name for path in again.iterdir()) == [
        "contact_sheet.png", "manifest.json", "partition.json", "subjects.csv", *PEOPLE
    ]  # fmt: skip


def test_smoke_opengait_form_has_a_sheet_and_reads_back(tmp_path: Path) -> None:
    out = tmp_path / "OG"
    words = ("--identities", 1, "--views", 2, "--conditions", "nm:1", "--frames", 6)
    assert synth("--out", out, *words, "--form", "opengait", "--workers", 1) == 0
    assert (out / "contact_sheet.png").stat().st_size > 1000
    store = open_store(out)
    assert len(store.entries) == 2 and store.read(0).silhouettes.shape == (6, 64, 44)


def test_parity_packed_holds_what_the_folders_hold(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "set.gaitpack"
    assert synth("--kind", "packed", "--out", out, *SMALL) == 0
    packed, loose = PackedStore(out), open_store(folder)
    assert packed.verify() == []
    assert [entry.name for entry in packed.entries] == [
        f"{subject}/{kind}/{view}"
        for subject in PEOPLE
        for kind in ("nm-01", "bg-01")
        for view in ("000", "180")
    ]
    places = {entry.name: place for place, entry in enumerate(loose.entries)}
    for place, entry in enumerate(packed.entries):
        ours, theirs = packed.read(place), loose.read(places[entry.name])
        np.testing.assert_array_equal(ours.silhouettes, theirs.silhouettes)
        np.testing.assert_array_equal(ours.theta, theirs.theta)
        np.testing.assert_array_equal(ours.keypoints_px, theirs.keypoints_px)
    for name in ("subjects.csv", "partition.json", "contact_sheet.png"):
        assert (tmp_path / f"set.{name}").read_bytes() == (folder / name).read_bytes()
    assert len(list(tmp_path.iterdir())) == 5, "nothing unfinished is left"


def finished_people(out: Path, kind: str) -> int:
    """How many people an unfinished set holds."""
    if kind == "packed":
        journal = out.with_name(out.name + ".partial.jsonl")
        return journal.read_bytes().count(b'"done"') // 4 if journal.exists() else 0
    return len(list(out.glob("train5-*")))


@pytest.mark.parametrize("kind", ["silhouettes", pytest.param("packed", marks=pytest.mark.slow)])
def test_replay_killed_and_gone_on_with(
    program: Program, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    few = (*LONG[2:], "--identities", 12, "--frames", 150, "--no-smpl", "--kind", kind)
    suffix = ".gaitpack" if kind == "packed" else ""
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    assert synth("--out", whole, *few) == 0
    program.start("synth", "--out", out, *few, "--workers", 2)
    program.wait_for(lambda: finished_people(out, kind) >= 2)
    assert program.process is not None
    workers = psutil.Process(program.process.pid).children(recursive=True)
    program.process.send_signal(signal.SIGKILL)
    program.wait()
    wait_until_gone(workers)
    assert 2 <= finished_people(out, kind) < 12, "it was killed before the end"
    # Two workers: whoever has begun first need not be the first to be finished.
    first_files = [person / "nm-01" / "000" / "sils.npy" for person in sorted(out.glob("train5-*"))]
    if kind == "silhouettes":  # as a power cut may leave it
        cut, kept, *_ = first_files
        cut.write_bytes(cut.read_bytes()[:-100])
        made_at = kept.stat().st_mtime_ns
    assert synth("--out", out, *few, "--workers", 1) == 0
    if kind == "silhouettes":
        assert files(out) == files(whole)
        assert kept.stat().st_mtime_ns == made_at, "what was finished is not made again"
    else:
        assert out.read_bytes() == whole.read_bytes()
    capsys.readouterr()
    assert synth("--out", out, *few) == 0
    assert "all were there already" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_smoke_stopped_in_order(program: Program, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    program.start("synth", "--out", out, *LONG, "--workers", 2)
    program.wait_for(lambda: finished_people(out, "silhouettes") >= 1)
    assert program.process is not None
    workers = psutil.Process(program.process.pid).children(recursive=True)
    program.process.send_signal(number)
    assert program.wait() == 130, program.output
    assert "the same command goes on from there" in program.output
    assert "Traceback" not in program.output
    wait_until_gone(workers)
    assert list((out / ".parts" / "halves").iterdir()) == []


def test_exception_a_worker_that_dies_is_told_with_whom_it_made(
    program: Program, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    program.start("synth", "--out", out, *LONG, "--workers", 1)
    program.wait_for(lambda: finished_people(out, "silhouettes") >= 1)
    assert program.process is not None
    workers = psutil.Process(program.process.pid).children(recursive=True)
    at_work = [w for w in workers if "spawn_main" in " ".join(w.cmdline())]
    at_work[0].kill()
    assert program.wait() == 1
    assert "the process that made train5-" in program.output
    assert "died: signal SIGKILL" in program.output and "Traceback" not in program.output


def test_exception_no_room_is_one_readable_error(program: Program, tmp_path: Path) -> None:
    # A file may grow to 4 kB and no further, as on a disk that is full.
    limited = ("prlimit", "--fsize=4096")
    code = program.run(
        "synth", "--out", tmp_path / "out", *SMALL, "--workers", 1, prefix=limited
    )  # fmt: skip
    assert code == 1
    assert "File too large" in program.output and "Make room there" in program.output
    assert "what is finished is kept" in program.output
    assert "Traceback" not in program.output


def test_exception_what_is_in_the_way(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: object) -> str:
        assert synth(*words) == 2
        return capsys.readouterr().err

    before = files(folder)
    told = refused("--out", folder, *SMALL[:-1], 6, "--noise", "0.5-1")
    assert "config.seed: 5 there, 6 here" in told and "config.noise" in told
    assert "config.views" not in told
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    assert "there are other things (mine.txt)" in refused("--out", tmp_path, *SMALL)
    assert "ends in .gaitpack" in refused("--out", tmp_path / "x", *SMALL, "--kind", "packed")
    assert "there is no folder" in refused("--out", tmp_path / "no" / "x", *SMALL)
    assert files(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_property_overwrite_removes_the_set_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tiny = ("--views", 1, "--conditions", "nm", "--frames", 2, "--no-smpl", "--quiet")
    assert synth("--out", out, *tiny, "--identities", 2) == 0
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    assert synth("--out", out, *tiny, "--identities", 1, "--overwrite") == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "contact_sheet.png", "manifest.json", "notes.txt", "partition.json", "subjects.csv",
        "train0-00000",
    ]  # fmt: skip
