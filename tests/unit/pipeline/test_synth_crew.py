"""Processes that make parts: order, errors, deaths."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

import pytest

from pipeline.cli.synthesis.crew import Crew, Worker
from pipeline.errors import GaitError, InputError, ResourceError

PARTS = list(range(10, 20))
FRAMES = 3


def engage(trouble: str) -> Worker:
    """Called in each process; number 15 brings the trouble."""

    def work(number: int, tell: Callable[[int], None]) -> None:
        tell(FRAMES)
        if number != 15:
            return
        if trouble == "ours":
            raise InputError("a body is missing", hint="Install it.")
        if trouble == "bug":
            raise KeyError("left_knee")
        if trouble == "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/sils.npy")
        if trouble == "death":
            os.kill(os.getpid(), signal.SIGKILL)

    return work


def crew(trouble: str, count: int) -> Crew:
    return Crew(engage, (trouble,), count, lambda number: f"person-{number}")


def test_smoke_all_parts_in_order_and_every_frame_counted() -> None:
    told: list[int] = []
    with crew("none", 3) as workers:
        assert list(workers.made(PARTS, told.append)) == PARTS
    assert told[-1] == len(PARTS) * FRAMES and told == sorted(told)


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        ("ours", GaitError, ("making person-15 failed: a body is missing", "Install")),
        ("bug", ResourceError, ("making person-15 failed", "Traceback", "KeyError: 'left_knee'")),
        ("disk", GaitError, ("person-15", "sils.npy: No space left", "is kept")),
        ("death", ResourceError, ("that made person-15 died: signal SIGKILL", "is kept")),
    ],
)
def test_exception_troubles_name_the_part(
    trouble: str, kind: type[Exception], words: tuple[str, ...]
) -> None:
    made = []
    with crew(trouble, 1) as workers, pytest.raises(kind) as caught:
        for number in workers.made(PARTS):
            made.append(number)
    assert made == [10, 11, 12, 13, 14]
    assert all(word in str(caught.value) for word in words)
