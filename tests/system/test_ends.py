"""However a run ends, it says why, its files are whole, and nothing stays behind."""

from __future__ import annotations

import signal
from pathlib import Path

import av
import psutil
import pytest

from pipeline.graph import STAGES
from pipeline.restarts import RESTARTS
from stages.identify.gallery import Gallery
from tests.system.conftest import CLIP_B, Program, summary_of, wait_until_gone


def start_and_wait_for_frames(program: Program, out: Path, *more: object) -> None:
    program.start("replay", "--source", CLIP_B, "--out", out, *more)
    table = out / "tracks.csv"
    program.wait_for(lambda: table.exists() and table.read_bytes().count(b"\n") > 5)


def assert_playable(path: Path) -> None:
    with av.open(str(path)) as video:
        assert sum(1 for _ in video.decode(video=0)) > 0


@pytest.mark.parametrize(
    ("number", "placement"),
    [
        (signal.SIGINT, "processes"),
        (signal.SIGTERM, "threads"),
        pytest.param(signal.SIGINT, "threads", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "processes", marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_run_in_order(
    program: Program, tmp_path: Path, number: signal.Signals, placement: str
) -> None:
    out = tmp_path / "out"
    start_and_wait_for_frames(program, out, "--set", f"run.placement={placement}")
    stages = list(program.stages().values())
    assert program.process is not None
    program.process.send_signal(number)
    assert program.wait(30) == 130, program.output
    wait_until_gone(stages)
    assert summary_of(out)["outcome"] == "stopped"
    assert 0 < summary_of(out)["frames_processed"] < 330
    assert_playable(out / "annotated.mp4")
    assert not program.run_dirs()


def test_a_recording_that_was_stopped_enrols_nobody(program: Program, tmp_path: Path) -> None:
    out, gallery = tmp_path / "out", tmp_path / "people.db"
    learn = ("enroll", "--source", CLIP_B, "--out", out, "--gallery", gallery)
    program.start(*learn, "--name", "Ann", "--track", 1)
    table = out / "tracks.csv"
    # Long enough that there are windows to enrol from.
    program.wait_for(lambda: table.exists() and table.read_bytes().count(b"\n") > 300)
    assert program.process is not None
    program.process.send_signal(signal.SIGINT)
    assert program.wait(30) == 130, program.output
    assert "stopped before the recording's end, so nothing is made of it" in program.output
    assert summary_of(out)["windows"] > 1
    with Gallery.open(gallery) as people:
        assert not people.people()


def test_a_signal_while_loading(program: Program, tmp_path: Path) -> None:
    program.start("replay", "--source", CLIP_B, "--out", tmp_path / "out")
    program.wait_for(lambda: len(program.stages()) == len(STAGES))
    stages = list(program.stages().values())
    assert program.process is not None
    program.process.send_signal(signal.SIGINT)
    assert program.wait(30) == 130, program.output
    wait_until_gone(stages)
    assert not program.run_dirs()


def test_a_stage_that_dies_again_and_again_ends_the_run_and_is_named(
    program: Program, tmp_path: Path
) -> None:
    """Fewer deaths are made good: test_recovery.py."""
    stage = "sink"
    out = tmp_path / "out"
    start_and_wait_for_frames(program, out)
    killed: set[int] = set()

    def kill_it() -> bool:
        found = program.stages().get(stage)
        if found is not None and found.pid not in killed:
            killed.add(found.pid)
            found.kill()
        return len(killed) == RESTARTS + 1

    program.wait_for(kill_it)
    assert program.wait(60) == 1, program.output
    assert f"stage {stage} failed at about frame" in program.output
    assert "SIGKILL" in program.output
    assert "it was started again 5 times within 60 s" in program.output
    assert not program.run_dirs()
    assert_playable(out / "annotated.mp4")


def test_nothing_outlives_a_killed_parent(program: Program, tmp_path: Path) -> None:
    start_and_wait_for_frames(program, tmp_path / "out")
    stages = list(program.stages().values())
    assert program.process is not None and len(stages) == len(STAGES)
    program.process.kill()
    program.process.communicate()
    wait_until_gone(stages)
    assert len(program.run_dirs()) == 1, "kill -9 leaves the private directory ..."
    again = Program(program.private)
    code = again.run("replay", "--source", CLIP_B, "--out", tmp_path / "b", "--end", 0.2)
    assert code == 0, again.output
    assert not again.run_dirs(), "... and the next start clears it"


def test_no_shared_memory_has_a_name(program: Program, tmp_path: Path) -> None:
    start_and_wait_for_frames(program, tmp_path / "out")
    for process in program.stages().values():
        maps = [entry.path for entry in psutil.Process(process.pid).memory_maps()]
        assert not [path for path in maps if path.startswith("/dev/shm/gait")]
