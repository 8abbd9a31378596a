"""Readers that fail in the ways that cameras do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pipeline.stage import EndOfSource, RawFrame
from stages.source.live import NewestFrame
from stages.source.reader import Facts, Lost, Picture, Reader
from stages.source.reading import Reading

LIMIT_S = 20.0


class Ticking:
    """Gives a picture each `every_s`, numbered in its pixels, then whatever `after` does."""

    def __init__(
        self,
        numbers: Iterable[int],
        *,
        after: Callable[[], Picture] | None = None,
        every_s: float = 0.005,
        times_ns: Iterable[int] = (),
        size_wh: tuple[int, int] = (4, 4),
    ) -> None:
        self.facts = Facts(size_wh, 200.0, 0)
        self.damaged = 0
        self.closed = threading.Event()
        self._left = iter(numbers)
        self._times_ns = iter(times_ns)
        self._every_s = every_s
        self._after = after or unplugged

    def read(self) -> Picture:
        time.sleep(self._every_s)
        for number in self._left:
            width, height = self.facts.size_wh
            pixels = np.full((height, width, 3), number, np.uint8)
            return Picture(pixels, next(self._times_ns, None))
        return self._after()

    def close(self) -> None:
        self.closed.set()


def unplugged() -> Picture:
    raise Lost("unplugged")


def over() -> Picture:
    raise EndOfSource


class Hanging:
    """Blocks, as a driver does, until the test lets it go; then it gives one more picture."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.free = threading.Event()

    def __call__(self) -> Picture:
        self.entered.set()
        assert self.free.wait(60), "the test forgot to free it"
        return Picture(np.full((4, 4, 3), 255, np.uint8), None)


def watch(opens: Iterable[Callable[[], Reader]], **settings: Any) -> NewestFrame:
    """Watch a source that opens as the first of `opens` says, and later as the others say."""
    following = iter(opens)
    reading = Reading(next(following))
    facts = reading.wait_until_open(LIMIT_S)

    def reopen() -> Reader:
        return next(following)()

    usual = {"realtime": False, "loop": False, "reconnect_s": None, "timeout_s": 60.0}
    return NewestFrame(reading, facts=facts, **(usual | {"reopen": reopen} | settings))


def number_of(frame: RawFrame) -> int:
    return int(frame.pixels[0, 0, 0])


class Viewer:
    """Takes frames and incidents as a run does."""

    def __init__(self, newest: NewestFrame) -> None:
        self.newest = newest
        self.frames: list[RawFrame] = []
        self.incidents: list[tuple[str, str, dict[str, Any]]] = []

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.incidents]

    @property
    def numbers(self) -> list[int]:
        return [number_of(frame) for frame in self.frames]

    def until(self, ready: Callable[[], bool]) -> None:
        """Go on until something is so."""
        deadline = time.monotonic() + LIMIT_S
        while not ready():
            assert time.monotonic() < deadline, f"never: {self.kinds}, frames {self.numbers}"
            frame = self.newest.read(0.02)
            if frame is not None:
                self.frames.append(frame)
            self.incidents += self.newest.take_incidents()

    def to_the_end(self) -> str:
        """Go on until the source ends; return why it did."""
        try:
            self.until(lambda: False)
        except EndOfSource as end:
            self.incidents += self.newest.take_incidents()
            return end.reason
        raise AssertionError
