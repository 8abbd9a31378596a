"""Several of MediaPipe's pose networks at work at once."""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import cv2
import numpy as np

from pipeline.errors import ResourceError
from stages.detect.pose import PoseNetworks, Roi
from stages.detect.quiet import quiet_start

MOST_THREADS = 8  # unless more are asked for: each costs 120 MB, and few scenes have more people

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")


def default_threads() -> int:
    """Return one thread more than there are cores, so that five crops on two cores take two and a
    half turns and not three (measured: 4 % faster); one on a single core.
    """
    cores = len(os.sched_getaffinity(0))
    return 1 if cores == 1 else min(cores + 1, MOST_THREADS)


class PosePool:
    """As many `PoseNetworks` as threads; `map` spreads calls over them and keeps their order."""

    def __init__(self, threads: int, min_detection: float) -> None:
        count = threads or default_threads()
        self._free: queue.SimpleQueue[PoseNetworks] = queue.SimpleQueue()
        self._all: list[PoseNetworks] = []
        try:
            with quiet_start():
                for _ in range(count):
                    self._all.append(PoseNetworks(min_detection))
                _warm_up(self._all)
        except (ImportError, OSError) as error:
            raise ResourceError(
                f"MediaPipe does not start: {error}",
                hint="pip install mediapipe==0.10.21; on a bare Debian also apt-get install "
                "libgl1 libglib2.0-0",
            ) from error
        for networks in self._all:
            self._free.put(networks)
        self._threads = ThreadPoolExecutor(count, "pose") if count > 1 else None
        self.threads = count

    def map(
        self, work: Callable[[PoseNetworks, ItemT], AnswerT], items: Iterable[ItemT]
    ) -> list[AnswerT]:
        """Return `work(networks, item)` of each item, in order."""
        items = list(items)
        if len(items) == 1:  # no other thread could do anything meanwhile
            return [self.lend(lambda networks: work(networks, items[0]))]
        with self.begin() as turns:
            return turns.answers([turns.add(work, item) for item in items])

    def begin(self) -> Turns:
        """Return work to which more can be added while it is done, for a `with`."""
        return Turns(self, self._threads)

    def lend(self, work: Callable[[PoseNetworks], AnswerT]) -> AnswerT:
        """Return `work(networks)` with networks that nobody else uses."""
        networks = self._free.get()
        try:
            return work(networks)
        finally:
            self._free.put(networks)

    def close(self) -> None:
        """Stop the threads and free the graphs."""
        if self._threads is not None:
            self._threads.shutdown()
        for networks in self._all:
            networks.close()
        self._all = []

    def __enter__(self) -> PosePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Turns:
    """Calls that a pool's threads take one after another; without threads, `answers` makes them.

    None is at work any more when a `with` of it is left, however that happens.
    """

    def __init__(self, pool: PosePool, threads: ThreadPoolExecutor | None) -> None:
        self._pool = pool
        self._threads = threads
        self._given: list[Future[Any]] = []
        self._waiting: deque[tuple[Future[Any], Callable[[PoseNetworks], Any]]] = deque()

    def __enter__(self) -> Turns:
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None:
            wait(self._given)

    def add(
        self,
        work: Callable[[PoseNetworks, ItemT], AnswerT],
        item: ItemT,
        *,
        at_once: bool = False,
    ) -> Future[AnswerT]:
        """Let `work(networks, item)` be called, `at_once` before all that waits already."""
        future: Future[AnswerT] = Future()
        call = future, lambda networks: work(networks, item)
        if at_once:
            self._waiting.appendleft(call)
        else:
            self._waiting.append(call)
        if self._threads is not None:
            self._given.append(future)
            self._threads.submit(self._take)
        return future

    def answers(self, futures: Iterable[Future[AnswerT]]) -> list[AnswerT]:
        """Return what these calls returned, in order, when they are over.

        Raises:
            Exception: what the first of them that failed has raised.
        """
        futures = list(futures)
        if self._threads is None:
            while self._waiting:
                self._take()
        wait(futures)
        return [future.result() for future in futures]

    def _take(self) -> None:
        future, call = self._waiting.popleft()
        try:
            future.set_result(self._pool.lend(call))
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is asked for
            future.set_exception(error)


def _warm_up(networks: list[PoseNetworks]) -> None:
    """Run everything once, so that first-use messages and memory come before the first frame."""
    blank = np.full((256, 256, 3), 127, np.uint8)
    cv2.ellipse(blank, (128, 128), (28, 70), 0, 0, 360, (40, 40, 40), -1)
    cv2.circle(blank, (128, 44), 18, (150, 170, 210), -1)
    for one in networks:
        one.find(blank, np.array([0.0, 0.0, 256.0, 256.0]))
        one.read(blank, Roi(128.0, 128.0, 240.0, 0.0))
