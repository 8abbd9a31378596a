"""Several training processes on this machine: started, ended together, and their errors told."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.errors import GaitError, ResourceError

# How long the others may take to end once one has failed.
GRACE_S = 10.0
LOOPBACK = {"linux": "lo", "darwin": "lo0"}


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the processes this is.

    Attributes:
        local: its number on this machine. meeting: where they meet, as torch says it.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    meeting: str = "env://"


def launched_by_torchrun() -> Place | None:
    """Return the place that torchrun gave this process, None if it did not start it."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "TORCHELASTIC_RUN_ID" not in os.environ or any(name not in os.environ for name in names):
        return None
    rank, world, local = (int(os.environ[name]) for name in names)
    return Place(rank, world, local)


class StopRequest:
    """Whether SIGINT or SIGTERM asked to stop. Use as a context in the main thread.

    A second Ctrl-C ends the process at once.
    """

    def __init__(
        self, on_signal: Callable[[], None] | None = None, *, interrupts: bool = True
    ) -> None:
        """Prepare.

        Args:
            on_signal: called at the first signal. interrupts: heed Ctrl-C; else it is ignored, for
                a process whose parent heeds it.
        """
        self._on_signal = on_signal
        self._interrupts = interrupts
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        return self._asked

    def __enter__(self) -> StopRequest:
        handlers = {
            signal.SIGINT: self._handle if self._interrupts else signal.SIG_IGN,
            signal.SIGTERM: self._handle,
        }
        self._before = {number: signal.signal(number, h) for number, h in handlers.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self._asked and self._on_signal is not None:
            self._on_signal()
        self._asked = True


def run_processes(work: Callable[..., int], arguments: Sequence[Any], count: int) -> int:
    """Run `work(place, *arguments)` in processes of their own; return rank 0's exit code.

    SIGINT and SIGTERM are passed on as SIGTERM. If one fails the others are ended. All end with
    this process, even where it is killed.

    Args:
        work: a function of a module, as are the arguments' types. It returns an exit code.

    Raises:
        GaitError: what one of them raised, or that one died.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="gaitstream-train-") as private:
        meeting = f"file://{Path(private) / 'meeting'}"
        reports = [Path(private) / f"rank-{rank}.json" for rank in range(count)]
        started: list[SpawnProcess] = []
        stop = StopRequest(lambda: _signal_all(started))
        # Ctrl-C in a terminal reaches the children too: only this process shall heed it. They
        # inherit that it is ignored.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for rank, report in enumerate(reports):
                place = Place(rank, count, rank, meeting)
                process = context.Process(target=_child, args=(work, place, report, *arguments))
                process.start()
                started.append(process)
        finally:
            signal.signal(signal.SIGINT, before)
        try:
            with stop:
                failed = _wait(started)
        finally:
            _end(started)
        if failed and stop():
            raise KeyboardInterrupt  # before they could stop in order
        if failed:
            raise _failure(failed, started, reports)
        return int(_code_file(reports[0]).read_text(encoding="utf-8"))


def _child(work: Callable[..., int], place: Place, report: Path, *arguments: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    name = LOOPBACK.get(sys.platform)
    if name is not None:  # all of them are here: nothing listens to the outside
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
    told: dict[str, Any]
    try:
        code = work(place, *arguments)
    except GaitError as error:
        told = {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    except Exception:  # noqa: BLE001 - told by the parent, who shows the one that matters
        told = {"trace": traceback.format_exc()}
    else:
        _code_file(report).write_text(str(code), encoding="utf-8")
        return
    report.write_text(json.dumps(told), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    # Not by the usual way out: it would wait for threads that wait for the other ranks.
    os._exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    # At once: a training that is started again in the same folder must be alone there.
    os._exit(1)


def _wait(started: Sequence[SpawnProcess]) -> list[int]:
    """Wait until all have ended or some have failed; return the ranks of those."""
    running = list(started)
    while running:
        wait([process.sentinel for process in running])
        for process in running:
            process.join(0)
        failed = [rank for rank, p in enumerate(started) if p.exitcode not in (None, 0)]
        if failed:
            return failed
        running = [process for process in running if process.exitcode is None]
    return []


def _signal_all(started: Sequence[SpawnProcess]) -> None:
    for process in started:
        if process.exitcode is None:
            process.terminate()


def _end(started: Sequence[SpawnProcess]) -> None:
    """See that all have ended."""
    _signal_all(started)
    deadline = time.monotonic() + GRACE_S
    for process in started:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()


def _failure(
    failed: Sequence[int], started: Sequence[SpawnProcess], reports: Sequence[Path]
) -> GaitError:
    """Return the error that tells most: that others lost a rank follows from why it went."""
    told = {rank: _read(reports[rank]) for rank in failed}
    rank = min(failed, key=lambda rank: (bool(told[rank]), "trace" in told[rank], rank))
    report = told[rank]
    if not report:
        code = started[rank].exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return ResourceError(
            f"training process {rank} died: {how}",
            hint="Was its memory full? Go on with --resume.",
        )
    if "trace" in report:
        return ResourceError(f"training process {rank} failed:\n{report['trace'].rstrip()}")
    error = GaitError(report["message"], hint=report["hint"])
    error.exit_code = report["exit_code"]
    return error


def _read(report: Path) -> dict[str, Any]:
    return dict(json.loads(report.read_text(encoding="utf-8"))) if report.exists() else {}


def _code_file(report: Path) -> Path:
    return report.with_suffix(".code")
