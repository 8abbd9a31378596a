"""Replay of rendered and real footage: nothing lost, the same again, everything written."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from tests.system.conftest import CLIP_B, Program, summary_of

PART = ("--start", 2.0, "--end", 5.0)
PART_FRAMES = 75


def replay(program: Program, out: Path, *more: object, source: Path = CLIP_B) -> None:
    code = program.run("replay", "--source", source, "--out", out, *more)
    assert code == 0, program.output


def bytes_of(out: Path, names: Sequence[str] = ("events.jsonl", "tracks.csv")) -> list[bytes]:
    return [(out / name).read_bytes() for name in names]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("first") / "out"
    program = Program(tmp_path_factory.mktemp("p"))
    replay(program, out, *PART, "--save-silhouettes")
    return out


def test_replay_loses_nothing_and_writes_everything(first: Path) -> None:
    summary = summary_of(first)
    assert summary["frames_read"] == summary["frames_processed"] == PART_FRAMES
    assert summary["frames_dropped"] == summary["bad_frames"] == summary["bad_messages"] == 0
    assert summary["outcome"] == "completed" and not summary["warnings"]
    assert set(summary["latency_ms"]) == {
        "source", "detect", "body", "sequence", "embed", "identify", "sink",
    }  # fmt: skip
    for percentiles in (*summary["latency_ms"].values(), summary["capture_to_identity_ms"]):
        assert 0 < percentiles["p50"] <= percentiles["p95"] <= percentiles["p99"]
    assert summary["config"]["source"]["uri"] == str(CLIP_B)
    with av.open(str(first / "annotated.mp4")) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert sum(1 for _ in video.decode(video=0)) == PART_FRAMES
    events = [json.loads(line) for line in (first / "events.jsonl").read_text().splitlines()]
    assert events[0]["type"] == "start" and events[-1]["type"] == "end"
    with (first / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > PART_FRAMES // 2
    masks = list((first / "silhouettes").rglob("*.png"))
    assert len(masks) == len(rows)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param([], marks=pytest.mark.slow),
        ["run.placement=threads"],
        ["detect.threads=1", "run.max_frames=4", "run.detect_queue=1"],
    ],
    ids=["again", "threads", "other-timing"],
)
def test_replay_gives_the_same_whatever_the_timing(
    program: Program, first: Path, tmp_path: Path, settings: list[str]
) -> None:
    options = [word for setting in settings for word in ("--set", setting)]
    replay(program, tmp_path / "out", *PART, *options)
    assert bytes_of(tmp_path / "out") == bytes_of(first)
    assert not program.run_dirs()


def test_replay_of_a_folder_of_images(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    with av.open(str(CLIP_B)) as video:
        for index, frame in enumerate(video.decode(video=0)):
            if index == 12:
                break
            frame.to_image().save(folder / f"{index}.png")
    replay(program, tmp_path / "out", source=folder)
    assert summary_of(tmp_path / "out")["frames_processed"] == 12


@pytest.fixture(scope="session")
def vtest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's own copy of a real crossing, fetched by its package manager, never installed."""
    folder = tmp_path_factory.mktemp("vtest")
    for command in (["apt-get", "download", "opencv-doc"], ["sh", "-c", "dpkg -x *.deb ."]):
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"cannot get vtest.avi from Debian's opencv-doc here: {error}")
    return next(folder.rglob("vtest.avi"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_replay_of_real_footage(program: Program, vtest: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "a", tmp_path / "b"):
        program.start("replay", "--source", vtest, "--out", out)
        assert program.wait(600) == 0, program.output
        summary = summary_of(out)
        assert summary["frames_read"] == summary["frames_processed"] == 795
        assert summary["frames_dropped"] == 0 and summary["peak_memory_mb"] < 3000
        assert summary["tracks"] >= 10 and summary["windows"] > 100
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
