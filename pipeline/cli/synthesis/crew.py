"""Processes that make one part after another, and what becomes of them when something goes wrong.

Each process is handed a number, makes that part of the set (a person, a scene), and says how far it
is. So what is in memory is a sequence a process, and whoever dies is known by the number.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

from pipeline.errors import GaitError, ResourceError

GRACE_S = 5.0
TELL_EVERY_S = 0.5
KEPT = "What is finished is kept: see to it and run the same command again."
NO_ROOM = "Make room there, or choose another disk; what is finished is kept: run it again then."
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Parts made ahead of the one that is to be collected next, per process.
AHEAD = 4
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Worker(Protocol):
    """What a process does: make a part by its number, and tell its frames as they are made."""

    def __call__(self, number: int, tell: Callable[[int], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Frames:
    """How many frames of its part a process has made."""

    frames: int


@dataclass(frozen=True, slots=True)
class _Made:
    number: int
    frames: int


@dataclass(frozen=True, slots=True)
class _Failed:
    """An error on purpose (message, hint, exit_code) or another one (trace)."""

    number: int
    message: str
    hint: str
    exit_code: int
    trace: str = ""


@dataclass(slots=True)
class _Hand:
    process: SpawnProcess
    line: Connection
    number: int | None = None
    frames: int = 0


class Crew:
    """Processes at work. Use as a context; leaving it ends them."""

    def __init__(
        self,
        engage: Callable[..., Worker],
        arguments: Sequence[Any],
        count: int,
        name_of: Callable[[int], str],
    ) -> None:
        """Say what they do.

        Args:
            engage: a function of a module that returns the worker, called in each process.
            arguments: of `engage`.
            count: how many processes.
            name_of: what to call a number in errors.
        """
        self._engage = engage
        self._arguments = tuple(arguments)
        self._count = count
        self._name_of = name_of
        self._hands: list[_Hand] = []
        self._frames = 0  # of parts that are made

    def __enter__(self) -> Crew:
        """Start the processes."""
        # Ctrl-C in a terminal reaches them too: only this process shall heed it. They inherit that
        # it is ignored.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with _environment(dict.fromkeys(ONE_THREAD, "1")):
                for _ in range(self._count):
                    self._hands.append(self._start())
        except BaseException:
            self._end()
            raise
        finally:
            signal.signal(signal.SIGINT, before)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def made(
        self, numbers: Sequence[int], on_frames: Callable[[int], None] = lambda _: None
    ) -> Iterator[int]:
        """Yield the number of each part that is made, in the order of `numbers`.

        Args:
            on_frames: called with how many frames all of them have made, now and then.

        Raises:
            GaitError: what one of them raised, or that one died.
        """
        ready: set[int] = set()
        given = 0
        for place, number in enumerate(numbers):
            while number not in ready:
                limit = min(len(numbers), place + AHEAD * self._count)
                for hand in self._hands:
                    if hand.number is None and given < limit:
                        self._give(hand, numbers[given])
                        given += 1
                ready |= self._heard()
                on_frames(self._frames + sum(hand.frames for hand in self._hands))
            ready.remove(number)
            yield number

    def _start(self) -> _Hand:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, self._engage, self._arguments), daemon=True
        )
        process.start()
        theirs.close()
        return _Hand(process, ours)

    def _give(self, hand: _Hand, number: int) -> None:
        hand.number = number
        # One that died is found by its line, which then ends.
        with contextlib.suppress(BrokenPipeError):
            hand.line.send(number)

    def _heard(self) -> set[int]:
        """Wait until some say something; return the numbers of what they have made."""
        busy = {hand.line: hand for hand in self._hands if hand.number is not None}
        made = set()
        for line in wait(list(busy)):
            hand = busy[line]  # type: ignore[index]
            try:
                told = hand.line.recv()
            except (EOFError, ConnectionResetError):
                raise self._death_of(hand) from None
            if isinstance(told, _Failed):
                raise self._failure(told)
            hand.frames = told.frames
            if isinstance(told, _Made):
                made.add(told.number)
                self._frames += told.frames
                hand.number, hand.frames = None, 0
        return made

    def _death_of(self, hand: _Hand) -> ResourceError:
        hand.process.join(GRACE_S)
        code = hand.process.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        assert hand.number is not None
        return ResourceError(
            f"the process that made {self._name_of(hand.number)} died: {how}",
            hint=f"Was the memory full? {KEPT}",
        )

    def _failure(self, told: _Failed) -> GaitError:
        name = self._name_of(told.number)
        if told.trace:
            return ResourceError(f"making {name} failed:\n{told.trace.rstrip()}")
        error = GaitError(f"making {name} failed: {told.message}", hint=told.hint)
        error.exit_code = told.exit_code
        return error

    def _end(self) -> None:
        """See that all have ended. Whatever part one is at is not finished, and made anew later."""
        for hand in self._hands:
            hand.line.close()
            hand.process.terminate()
        for hand in self._hands:
            hand.process.join(GRACE_S)
            if hand.process.exitcode is None:
                hand.process.kill()
                hand.process.join()
        self._hands = []


def hint_for(error: OSError) -> str:
    """What to do about a file that could not be written."""
    return NO_ROOM if error.errno in FULL else KEPT


def _work(line: Connection, engage: Callable[..., Worker], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    worker: Worker | None = None
    while True:
        try:
            number = line.recv()
        except EOFError:
            return
        try:
            # At the first number, so that what goes wrong here is told like the rest.
            worker = engage(*arguments) if worker is None else worker
            teller = _Teller(line)
            worker(number, teller)
            told: _Made | _Failed = _Made(number, teller.frames)
        except GaitError as error:
            told = _Failed(number, error.message, error.hint, error.exit_code)
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            told = _Failed(number, f"{what}{error.strerror or error}", hint_for(error), 1)
        except Exception as error:  # noqa: BLE001 - told by the parent
            told = _Failed(number, str(error), "", 1, traceback.format_exc())
        line.send(told)


class _Teller:
    """Passes on how many frames are made, now and then."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._told_at = time.monotonic()
        self.frames = 0

    def __call__(self, frames: int) -> None:
        self.frames = frames
        if time.monotonic() - self._told_at > TELL_EVERY_S:
            self._told_at = time.monotonic()
            self._line.send(_Frames(frames))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    # At once: a run that is started again in the same folder must be alone there.
    os._exit(1)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables that the processes inherit and this one does not keep."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
