"""Several processes of one training: who ends whom, and whose error is told. Needs no torch."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, GaitError, ResourceError
from stages.embed.training.processes import (
    Place,
    StopRequest,
    launched_by_torchrun,
    run_processes,
)

COUNT = 2


def working(place: Place, how: str, folder: Path) -> int:
    """Rank 1 does what is asked; rank 0 waits, as it would for gradients."""
    if how == "done":
        (folder / f"{place.rank}").write_text(f"{place.world} {place.local}")
        return 130 if place.rank == 0 else 0
    if place.rank == 0:
        with StopRequest(interrupts=False):
            threading.Event().wait(60)
        return 0
    if how == "told":
        raise ConfigError("that cannot be", hint="do otherwise")
    if how == "bug":
        raise ZeroDivisionError("unforeseen")
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.embed.training.processes.GRACE_S", 0.2)


def test_smoke_rank_0_tells_the_exit_code(tmp_path: Path) -> None:
    assert run_processes(working, ("done", tmp_path), COUNT) == 130
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["2 0", "2 1"]


def test_exception_an_error_is_raised_again(tmp_path: Path) -> None:
    with pytest.raises(GaitError, match="that cannot be") as caught:
        run_processes(working, ("told", tmp_path), COUNT)
    assert caught.value.exit_code == 2 and caught.value.hint == "do otherwise"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("bug", r"(?s)process 1 failed:.*ZeroDivisionError: unforeseen"),
        ("killed", "process 1 died: signal SIGKILL"),
    ],
)
def test_exception_the_one_that_failed_is_named(tmp_path: Path, how: str, says: str) -> None:
    with pytest.raises(ResourceError, match=says):
        run_processes(working, (how, tmp_path), COUNT)


def test_smoke_a_signal_is_a_request_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    told = []
    with StopRequest(lambda: told.append(1)) as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop() and told == [1]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_smoke_a_child_leaves_ctrl_c_to_its_parent() -> None:
    with StopRequest(interrupts=False) as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop()


def test_smoke_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched_by_torchrun() is None
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert launched_by_torchrun() is None, "set by something else"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert launched_by_torchrun() == Place(3, 4, 1)
