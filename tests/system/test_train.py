"""`train` as a user runs it: killed and gone on with, stopped in order, on several processes."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import psutil
import pytest
import yaml

from stages.embed.weights import load
from tests.system.conftest import Program, wait_until_gone
from tests.walkers import write_dataset

STEPS = 24
# Narrow, few and short: a step takes some hundredths of a second on one core.
RECIPE = {
    "network": {"name": "smplgait", "config": {"channels": [4, 8, 8], "out_channels": 8}},
    "phases": [
        {
            "name": "first",
            "steps": 10,
            "optimiser": {"kind": "sgd", "lr": 0.05},
            "losses": {"triplet": {}},
        },
        {
            "name": "second",
            "steps": STEPS - 10,
            "optimiser": {"kind": "adam", "lr": 0.005},
            "schedule": {"milestones": [8], "warmup_steps": 3},
            "losses": {"triplet": {}, "softmax": {"label_smoothing": 0.1}},
        },
    ],
    "sampler": {"subjects": 2, "sequences": 2, "frames": 6, "order": "unordered"},
    "augmentation": {"flip": 0.5, "noise": 0.5},
    "evaluation": {"every": 8, "share": 1.0},
    "checkpoints": {"every": 4, "keep": 2},
    "average_decay": 0.9,
    "log_every": 3,
    "threads": 1,
    "seed": 5,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("walkers")
    return write_dataset(root, subjects=5, kinds=("nm-01", "bg-01"), frames=10, test_share=0.4)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    told = RECIPE | {"data": {"partition": str(data / "partition.json")}}
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return path


def begin(program: Program, recipe: Path, data: Path, out: Path, *more: object) -> None:
    program.start("train", "--config", recipe, "--data", data, "--out", out, *more)


def rows(path: Path) -> list[dict[str, str]]:
    """A course, without what the machine's speed decides."""
    with path.open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    for row in found:
        row.pop("frames_per_s", None)
    return found


def steps_done(out: Path) -> int:
    """The newest whole checkpoint's step."""
    found = [int(path.stem[5:]) for path in (out / "checkpoints").glob("step-*.json")]
    return max(found, default=0)


@pytest.fixture(scope="module")
def unbroken(
    tmp_path_factory: pytest.TempPathFactory, data: Path, recipe: Path
) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("unbroken") / "out"
    program = Program(tmp_path_factory.mktemp("private"))
    begin(program, recipe, data, out)
    code = program.wait()
    assert code == 0, program.output
    return out, program.output


def assert_same_run(out: Path, other: Path) -> None:
    for name in ("curve.csv", "evaluation.csv"):
        assert rows(out / name) == rows(other / name)
    for name in ("smplgait.safetensors", "smplgait.full.safetensors", "smplgait.md"):
        assert (out / name).read_bytes() == (other / name).read_bytes(), name


def test_smoke_what_a_run_leaves(unbroken: tuple[Path, str], data: Path) -> None:
    out, printed = unbroken
    assert f"{STEPS} steps done; rank1" in printed
    course = rows(out / "curve.csv")
    assert [int(row["step"]) for row in course] == [3, 6, 9, 10, 12, 15, 18, 21, 24]
    assert [row["phase"] for row in course] == ["first"] * 4 + ["second"] * 5
    assert all(row["softmax_loss"] == "" for row in course[:4])
    assert all(float(row["softmax_loss"]) > 0 for row in course[4:])
    assert [int(row["step"]) for row in rows(out / "evaluation.csv")] == [8, 16, 24]
    assert steps_done(out) == STEPS
    assert len(list((out / "checkpoints").iterdir())) == 4, "two checkpoints of two files"
    assert (out / "training.png").read_bytes().startswith(b"\x89PNG")
    assert list((out / "tensorboard").glob("events.*"))
    weights = load(out / "smplgait.safetensors", "smplgait")
    assert weights.config["class_num"] == 0 and weights.config["channels"] == [4, 8, 8]
    assert load(out / "smplgait.full.safetensors", "smplgait").config["class_num"] == 3
    card = (out / "smplgait.md").read_text(encoding="utf-8")
    assert weights.hash in card and "3 subjects, 12 sequences" in card
    assert str(data.parent) not in card, "a page to publish names no path of the machine"


def test_replay_killed_and_resumed_is_the_unbroken_run(
    program: Program, tmp_path: Path, data: Path, recipe: Path, unbroken: tuple[Path, str]
) -> None:
    out = tmp_path / "out"
    begin(program, recipe, data, out)
    program.wait_for(lambda: steps_done(out) >= 8)
    assert program.process is not None
    program.process.send_signal(signal.SIGKILL)
    program.wait()
    assert not (out / "smplgait.safetensors").exists(), "it was killed before the end"
    again = Program(program.private)
    begin(again, recipe, data, out, "--resume")
    assert again.wait() == 0, again.output
    assert "going on after step" in again.output
    assert_same_run(out, unbroken[0])


@pytest.mark.slow
def test_replay_stopped_in_order_and_resumed_by_its_own_config(
    program: Program, tmp_path: Path, data: Path, recipe: Path, unbroken: tuple[Path, str]
) -> None:
    out = tmp_path / "out"
    # No checkpoint falls due: the one that is there in the end was written because of the signal.
    begin(program, recipe, data, out, "--set", "checkpoints.every=1000")
    curve = out / "curve.csv"
    program.wait_for(lambda: curve.exists() and bool(rows(curve)))
    assert program.process is not None
    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 130, program.output
    done = steps_done(out)
    assert f"stopped after step {done}; go on with --resume" in program.output
    assert 3 <= done < STEPS
    again = Program(program.private)
    assert again.run("train", "--resume", "--out", out) == 0, again.output
    assert_same_run(out, unbroken[0])


def test_exception_a_run_is_not_overwritten_unasked(
    program: Program, data: Path, recipe: Path, unbroken: tuple[Path, str]
) -> None:
    begin(program, recipe, data, unbroken[0])
    assert program.wait() == 2
    assert "already holds a training" in program.output and "--resume" in program.output


@pytest.mark.slow
def test_smoke_two_processes(program: Program, tmp_path: Path, data: Path, recipe: Path) -> None:
    out = tmp_path / "out"
    begin(program, recipe, data, out, "--processes", 2)
    assert program.wait() == 0, program.output
    assert f"{STEPS} steps done" in program.output
    head = json.loads((out / "checkpoints" / f"step-{STEPS:08d}.json").read_text("utf-8"))
    assert head["facts"]["processes"] == 2
    assert "2 processes" in (out / "smplgait.md").read_text("utf-8")


def test_exception_a_killed_process_ends_all_and_is_named(
    program: Program, tmp_path: Path, data: Path, recipe: Path
) -> None:
    out = tmp_path / "out"
    begin(program, recipe, data, out, "--processes", 2, "--set", "phases.1.steps=100000")
    program.wait_for(lambda: steps_done(out) > 0)
    assert program.process is not None
    workers = psutil.Process(program.process.pid).children(recursive=True)
    ranks = [worker for worker in workers if "spawn_main" in " ".join(worker.cmdline())]
    assert len(ranks) == 2
    ranks[1].kill()
    assert program.wait(60) == 1, program.output
    assert "training process 1 died: signal SIGKILL" in program.output
    wait_until_gone(workers)
