"""Work that several networks share: its order, its errors, and that none is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest
from test_detect_stage import run, walk

from stages.detect.config import MediapipeConfig
from stages.detect.motion import MotionModel
from stages.detect.pool import PosePool, Turns


class Lender:
    """Lends something in place of networks, which these tests do not call."""

    def lend(self, work: Any) -> Any:
        return work("networks")


@contextmanager
def turns(threads: int) -> Iterator[Turns]:
    pool = cast(PosePool, Lender())
    if not threads:
        with Turns(pool, None) as given:
            yield given
        return
    with ThreadPoolExecutor(threads) as executor, Turns(pool, executor) as given:
        yield given


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_answers_come_in_the_order_of_the_questions(threads: int) -> None:
    with turns(threads) as given:
        asked = [given.add(lambda networks, n: (networks, n * n), n) for n in range(20)]
        assert given.answers(asked) == [("networks", n * n) for n in range(20)]


def test_what_is_wanted_at_once_goes_before_what_waits() -> None:
    order: list[str] = []
    held = threading.Event()
    with turns(1) as given:
        first = given.add(lambda _, name: held.wait(20) and order.append(name), "begun")
        rest = [given.add(lambda _, name: order.append(name), "waiting")]
        rest += [given.add(lambda _, name: order.append(name), "at once", at_once=True)]
        held.set()
        given.answers([first, *rest])
    assert order[0] in ("begun", "at once") and order.index("at once") < order.index("waiting")


@pytest.mark.parametrize("threads", [0, 2])
def test_exception_the_first_that_fails_is_told(threads: int) -> None:
    def work(_: Any, number: int) -> int:
        if number in (2, 3):
            raise ValueError(f"number {number}")
        return number

    with turns(threads) as given, pytest.raises(ValueError, match="number 2"):
        given.answers([given.add(work, number) for number in range(5)])


def test_nothing_is_at_work_any_more_afterwards() -> None:
    begun, ended, go_on = threading.Event(), threading.Event(), threading.Event()

    def slow(_: Any, __: int) -> None:
        begun.set()
        assert go_on.wait(20)
        ended.set()

    with pytest.raises(KeyError), turns(2) as given:
        given.add(slow, 0)
        assert begun.wait(20)
        threading.Timer(0.05, go_on.set).start()
        raise KeyError
    assert ended.is_set()


@pytest.mark.parametrize("threads", [1, 2])
def test_exception_motion_that_fails_leaves_no_reading_waiting(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """People are read while it is found out what moved: they must hear that it failed."""
    usual, calls = MotionModel.update, iter(range(100))

    def sometimes(model: MotionModel, pixels: np.ndarray) -> Any:
        if next(calls) == 10:
            raise ArithmeticError("no motion")
        return usual(model, pixels)

    monkeypatch.setattr(MotionModel, "update", sometimes)
    with pytest.raises(ArithmeticError):
        run(walk(14), MediapipeConfig(threads=threads))
