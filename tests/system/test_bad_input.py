"""Whatever is wrong with the input: one readable message, the right exit code, nothing left."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.cli import COMMANDS, main
from tests.system.conftest import CLIP_B, Program, summary_of


def error_of(program: Program, *arguments: object, code: int) -> str:
    assert program.run(*arguments) == code, program.output
    assert "Traceback" not in program.output, program.output
    assert not program.run_dirs()
    return program.output[program.output.index("error:") :]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.mp4", "there is no file"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot open"),
        ("97", "there is no camera 97"),
        ("rtsp://u:secret@127.0.0.1:9/x", "cannot open rtsp://127.0.0.1:9/x"),
    ],
)
def test_exception_source(program: Program, tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is no film\n" * 99)
    source = name if "://" in name or name.isdigit() else tmp_path / name
    output = error_of(program, "replay", "--source", source, "--out", tmp_path / "o", code=1)
    assert says in output and "secret" not in program.output


def test_exception_no_source(program: Program) -> None:
    assert "no source was given" in error_of(program, "replay", code=2)


def test_exception_unknown_option_and_setting(program: Program) -> None:
    assert program.run("replay", "--sauce", "x") == 2
    output = error_of(program, "replay", "--source", "x", "--set", "sequence.strid=1", code=2)
    assert "did you mean 'stride'" in output


def test_nobody_ever_and_a_second_run_in_the_same_folder(program: Program, tmp_path: Path) -> None:
    arguments = ("replay", "--source", CLIP_B, "--out", tmp_path / "o", "--end", 0.6)
    assert program.run(*arguments) == 0, program.output
    summary = summary_of(tmp_path / "o")
    assert summary["frames_processed"] == 15
    assert summary["tracks"] == summary["windows"] == 0
    assert "already holds a run" in error_of(program, *arguments, code=2)
    assert program.run(*arguments, "--overwrite") == 0, program.output


def test_a_file_that_breaks_off_is_used_as_far_as_it_goes(program: Program, tmp_path: Path) -> None:
    data = CLIP_B.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 8])
    assert program.run("replay", "--source", path, "--out", tmp_path / "o") == 0, program.output
    summary = summary_of(tmp_path / "o")
    assert 5 < summary["frames_processed"] < 200
    assert "broke off" in summary["warnings"][0] and "warning:" in program.output


@pytest.mark.parametrize("size", [(1, 1), (7680, 4320)])
def test_extreme_sizes(program: Program, tmp_path: Path, size: tuple[int, int]) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(3):
        pixels = np.full((size[1], size[0], 3), 60 * index, np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), pixels)
    assert program.run("replay", "--source", folder, "--out", tmp_path / "o") == 0, program.output
    summary = summary_of(tmp_path / "o")
    assert summary["frames_processed"] == 3 and summary["tracks"] == 0


def gallery_cases(folder: Path) -> dict[str, Path]:
    whole = folder / "other.db"
    with sqlite3.connect(whole) as database:
        database.execute("create table t (x)")
    damaged = folder / "damaged.db"
    damaged.write_bytes(whole.read_bytes()[:100] + os.urandom(4000))
    (folder / "text.db").write_text("no gallery")
    return {
        "missing": folder / "missing.db",
        "other": whole,
        "damaged": damaged,
        "text": folder / "text.db",
        "folder": folder,
    }


@pytest.mark.parametrize(
    "case",
    [
        "missing",
        "text",
        *(pytest.param(case, marks=pytest.mark.slow) for case in ("other", "damaged", "folder")),
    ],
)
def test_exception_gallery(program: Program, tmp_path: Path, case: str) -> None:
    path = gallery_cases(tmp_path)[case]
    arguments = ("replay", "--source", CLIP_B, "--out", tmp_path / "o", "--gallery", path)
    assert path.name in error_of(program, *arguments, code=1)


def test_exception_network_without_weights(program: Program, tmp_path: Path) -> None:
    output = error_of(
        program, "replay", "--source", CLIP_B, "--out", tmp_path / "o",
        "--set", f"embed.weights={tmp_path / 'none.safetensors'}", code=1,
    )  # fmt: skip
    assert "none.safetensors" in output and "no such file" in output


def with_small_disk(place: Path, size: str) -> list[str]:
    """Return a prefix that runs a command with a real small disk (tmpfs) mounted for it alone."""
    script = f'mount -t tmpfs -o size={size} tmpfs {place} && exec "$@"'
    prefix = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    return prefix


def test_a_tiny_dev_shm_does_not_matter(program: Program, tmp_path: Path) -> None:
    prefix = with_small_disk(Path("/dev/shm"), "64k")
    arguments = ("replay", "--source", CLIP_B, "--end", 1, "--out", tmp_path / "o")
    assert program.run(*arguments, prefix=prefix) == 0, program.output
    assert summary_of(tmp_path / "o")["frames_processed"] == 25


def test_exception_disk_full(program: Program, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    prefix = with_small_disk(disk, "300k")
    assert program.run("replay", "--source", CLIP_B, "--out", disk / "o", prefix=prefix) == 1
    assert "Traceback" not in program.output
    assert "No space left" in program.output and "disk/o" in program.output
    assert not program.run_dirs()


def test_exception_output_is_not_writable(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments = ("replay", "--source", CLIP_B, "--out", tmp_path / "file")
    assert "is a file" in error_of(program, *arguments, code=1)


def test_exception_no_screen(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    arguments = ("replay", "--source", CLIP_B, "--out", tmp_path / "o", "--display")
    assert "no window can be opened" in error_of(program, *arguments, code=2)


def test_check_config_stops_before_running(program: Program, tmp_path: Path) -> None:
    out = tmp_path / "o"
    assert program.run("replay", "--source", "nowhere", "--out", out, "--check-config") == 0
    assert '"stride": 8' in program.output and not out.exists()


def test_help_says_defaults_and_units(
    program: Program, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # `main` sets it: here it is to end with this
    for command in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert not ended.value.code
        said = capsys.readouterr().out
        assert f"usage: run_pipeline.py {command}" in said
    assert program.run("demo", "--help") == 0 and "(default: demo-out)" in program.output
