"""A replay in which a stage dies or hangs ends as if nothing had happened."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from pipeline.graph import STAGES
from tests.system.conftest import CLIP_A, CLIP_B, Program, summary_of, wait_until_gone

# Of the clip: two people walk through and are named.
END_S = 6.0


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gt-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def gallery(place: Path) -> Path:
    program = Program(place)
    path = place / "people.db"
    learn = ("enroll", "--source", CLIP_A, "--gallery", path, "--name", "Ann", "--end", 4.1)
    assert program.run(*learn) == 0, program.output
    return path


@pytest.fixture(scope="module")
def unbroken(place: Path, gallery: Path) -> Path:
    program = Program(place)
    out = place / "unbroken"
    assert program.run(*replay(out, gallery)) == 0, program.output
    assert not (out / "incidents.jsonl").exists()
    return out


def replay(out: Path, gallery: Path, *more: object) -> tuple[object, ...]:
    said = ("replay", "--source", CLIP_B, "--out", out, "--gallery", gallery, "--end", END_S)
    return (*said, "--save-silhouettes", *more)


def rows(out: Path) -> int:
    table = out / "tracks.csv"
    return table.read_bytes().count(b"\n") if table.exists() else 0


def pictures(path: Path) -> np.ndarray:
    """Return a grey thumbnail of each frame of a video, float64 [frames,20,30]."""
    with av.open(str(path)) as video:
        return np.array(
            [
                frame.reformat(30, 20, "gray").to_ndarray().astype(float)
                for frame in video.decode(video=0)
            ]
        )


def assert_same_run(out: Path, unbroken: Path) -> None:
    """Every file as an unbroken run leaves it; the video nearly so: its strip tells times."""
    for name in ("events.jsonl", "tracks.csv"):
        assert (out / name).read_bytes() == (unbroken / name).read_bytes(), name
    ours, theirs = (
        {path.relative_to(each): path.read_bytes() for path in each.rglob("silhouettes/*/*")}
        for each in (out, unbroken)
    )
    assert ours == theirs and ours
    a, b = pictures(out / "annotated.mp4"), pictures(unbroken / "annotated.mp4")
    assert a.shape == b.shape
    assert np.abs(a - b).mean(axis=(1, 2)).max() < 4.0
    assert not list(out.glob("annotated.*.mp4"))
    counts = [{key: summary_of(each)[key] for key in COUNTED} for each in (out, unbroken)]
    assert counts[0] == counts[1]


COUNTED = ("frames_read", "frames_processed", "frames_dropped", "tracks", "windows", "identities")


def assert_killing_costs_nothing(
    program: Program, out: Path, gallery: Path, unbroken: Path, *killed: str
) -> None:
    program.start(*replay(out, gallery))
    program.wait_for(lambda: rows(out) > 60)
    stages = program.stages()
    assert set(stages) == {spec.name for spec in STAGES}
    for stage in killed:
        stages[stage].kill()
    assert program.wait() == 0, program.output
    assert_same_run(out, unbroken)
    assert summary_of(out)["restarts"] == dict.fromkeys(killed, 1)
    lines = (out / "incidents.jsonl").read_text("utf-8").splitlines()
    for stage in killed:
        assert f"stage {stage} failed at about frame" in program.output
        assert [
            (told["kind"], told["count"])
            for told in map(json.loads, lines)
            if told["stage"] == stage
        ] == [("restart", 1)]
    assert "killed by SIGKILL; it is started again" in program.output
    assert not program.run_dirs()
    wait_until_gone(list(stages.values()))


# Several at once, neighbours and strangers, for time's sake; one by one below.
@pytest.mark.parametrize(
    "killed", [("source", "embed", "sink"), ("body", "sequence", "identify")], ids="-".join
)
def test_killed_stages_cost_nothing(
    program: Program, tmp_path: Path, gallery: Path, unbroken: Path, killed: tuple[str, str]
) -> None:
    assert_killing_costs_nothing(program, tmp_path / "out", gallery, unbroken, *killed)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["source", "body", "sequence", "embed", "identify", "sink"])
def test_a_killed_stage_costs_nothing(
    program: Program, tmp_path: Path, gallery: Path, unbroken: Path, stage: str
) -> None:
    assert_killing_costs_nothing(program, tmp_path / "out", gallery, unbroken, stage)


def test_a_killed_detect_finds_the_same_people_again(
    program: Program, tmp_path: Path, gallery: Path, unbroken: Path
) -> None:
    out = tmp_path / "out"
    program.start(*replay(out, gallery))
    program.wait_for(lambda: rows(out) > 60)
    program.stages()["detect"].kill()
    assert program.wait() == 0, program.output
    ours, theirs = (
        list(csv.DictReader((each / "tracks.csv").read_text("utf-8").splitlines()))
        for each in (out, unbroken)
    )
    once = Counter((row["frame_id"], row["track_id"]) for row in ours)
    assert max(once.values()) == 1, "nobody twice in a frame"
    assert summary_of(out)["frames_processed"] == summary_of(unbroken)["frames_processed"]
    assert len(pictures(out / "annotated.mp4")) == len(pictures(unbroken / "annotated.mp4"))
    # The background is learnt anew, so a box here and there differs; the people do not.
    assert {row["track_id"] for row in ours} == {row["track_id"] for row in theirs}
    assert abs(len(ours) - len(theirs)) <= 0.02 * len(theirs)
    names = [{(row["track_id"], row["name"]) for row in each} for each in (ours, theirs)]
    assert names[0] == names[1]


@pytest.mark.slow
def test_two_stages_killed_at_once_and_one_of_them_again(
    program: Program, tmp_path: Path, gallery: Path, unbroken: Path
) -> None:
    out = tmp_path / "out"
    program.start(*replay(out, gallery))
    program.wait_for(lambda: rows(out) > 30)
    first = program.stages()
    first["identify"].kill()
    first["sink"].kill()
    program.wait_for(
        lambda: program.stages().get("sink", first["sink"]) != first["sink"] and rows(out) > 120
    )
    program.stages()["sink"].kill()
    assert program.wait() == 0, program.output
    assert_same_run(out, unbroken)
    assert summary_of(out)["restarts"] == {"identify": 1, "sink": 2}


def test_a_stage_that_hangs_is_replaced(
    program: Program, tmp_path: Path, gallery: Path, unbroken: Path
) -> None:
    out = tmp_path / "out"
    program.start(*replay(out, gallery, "--set", "run.hang_s=5"))
    program.wait_for(lambda: rows(out) > 60)
    program.stages()["sequence"].send_signal(signal.SIGSTOP)
    assert program.wait() == 0, program.output
    assert "sequence has not been heard of for" in program.output
    assert_same_run(out, unbroken)


def test_a_spare_process_takes_the_place_at_once_and_leaves_with_the_run(
    program: Program, tmp_path: Path, gallery: Path
) -> None:
    out = tmp_path / "out"
    said = ("live", "--source", CLIP_B, "--realtime", "--loop", "--out", out, "--no-video")
    program.start(*said, "--gallery", gallery)
    program.wait_for(program.has_spare)
    before = program.stages()
    before["embed"].kill()
    program.wait_for(lambda: program.stages().get("embed", before["embed"]) != before["embed"])
    assert program.process is not None
    spare = [
        child
        for child in psutil.Process(program.process.pid).children()
        if child.name() == "gait spare"
    ]
    embed = program.stages()["embed"]
    assert embed.ppid() == spare[0].pid, "it is a copy of the spare"
    seen = rows(out)
    program.wait_for(lambda: rows(out) > seen + 100)
    program.process.send_signal(signal.SIGINT)
    assert program.wait(60) == 0, program.output
    wait_until_gone([*before.values(), embed, *spare])
    events = [json.loads(line) for line in (out / "events.jsonl").read_text("utf-8").splitlines()]
    told = [event for event in events if event["type"] == "incident"]
    assert [event["stage"] for event in told if event["kind"] == "restart"] == ["embed"]
    assert not program.run_dirs()


def test_a_frame_that_kills_whoever_touches_it_is_passed_over(
    program: Program, tmp_path: Path
) -> None:
    """The stage's process dies at frame 40 each time; a real one would do so in a library."""
    out = tmp_path / "out"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(DEADLY_FRAME)
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    os.environ["PYTHONPATH"], former = paths, os.environ.get("PYTHONPATH")
    try:
        said = ("replay", "--source", CLIP_B, "--out", out, "--end", 3)
        assert program.run(*said, "--set", "run.spare=false") == 0, program.output
    finally:
        if former is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = former
    summary = summary_of(out)
    assert summary["restarts"] == {"body": 3}
    assert summary["bad_frames"] == 1
    assert summary["frames_processed"] == 75
    (told,) = [each for each in summary["incidents"] if each["kind"] == "passed_over"]
    assert told["frame_id"] == 40
    shutil.rmtree(out)


DEADLY_FRAME = """
import os, sys
if "pipeline.runner" in sys.orig_argv:
    import stages.body.stage as body
    process = body.BodyStage.process
    def deadly(self, message):
        if message.stamp.frame_id == 40:
            os.kill(os.getpid(), 9)
        return process(self, message)
    body.BodyStage.process = deadly
"""
