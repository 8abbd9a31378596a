"""One measurement of the transport benchmark: two new processes, one way, one kind of picture.

First warm-up, which is left out; then as many pictures as go through (the rate); then one at a
time, the next when the one before has been looked at (how long one takes). A picture's time runs
from the moment at which the sender has it in memory of its own to the moment at which the reader
has added up a byte of each of its pages.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from benchmarks import hop_peers
from benchmarks.hop_ours import (
    WAIT_S,
    WINDOW,
    Inlet,
    OurInlet,
    OurInPlaceOutlet,
    OurOutlet,
    Outlet,
    Setting,
)
from benchmarks.hop_pictures import MARK, PAYLOADS, RING, pattern, sampled
from pipeline.clock import monotonic_ns
from pipeline.errors import GaitError
from pipeline.transport import create_store_fd

WARM_UP, STREAM, SINGLE, END = range(4)
WARM_UP_S = 0.4
# A subscriber gets nothing of what was sent before it was known.
SETTLE_S = 0.3
LIMIT_S = 60.0
# Both sides of a copy together; no machine's cache holds them.
BEYOND_CACHE_BYTES = 1_200_000_000


class HopError(GaitError):
    """A way did not bring what was sent, or did not work at all."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way from one process into another, and where it comes from."""

    name: str
    outlet: Callable[[Setting], Outlet]
    inlet: Callable[[Setting], Inlet]
    ours: bool = False
    frames_only: bool = False
    needs: str = ""


def _peer(name: str, kind: str, needs: str = "", **options: bool) -> Way:
    outlet, inlet = getattr(hop_peers, f"{kind}_outlet"), getattr(hop_peers, f"{kind}_inlet")
    return Way(
        name, functools.partial(outlet, **options), functools.partial(inlet, **options), needs=needs
    )


WAYS = {
    way.name: way
    for way in (
        Way("ours", OurOutlet, OurInlet, ours=True),
        Way("ours, written in place", OurInPlaceOutlet, OurInlet, ours=True, frames_only=True),
        _peer("pyzmq copy=True", "pyzmq", copy=True),
        _peer("pyzmq copy=False", "pyzmq", copy=False),
        _peer("pyzmq send_pyobj", "pyobj"),
        _peer("imagezmq REQ/REP", "imagezmq", "imagezmq", wait_for_reply=True),
        _peer("imagezmq PUB/SUB", "imagezmq", "imagezmq", wait_for_reply=False),
        _peer("VidGear NetGear", "netgear", "vidgear"),
    )
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one measurement.

    Attributes:
        rate_hz: pictures a second while as many were sent as went through.
        single_ms: of each picture that was sent alone, how long it took.
    """

    rate_hz: float
    single_ms: np.ndarray


def hop(way: str, payload: str, seconds: float) -> Measured:
    """Measure one way in two new processes; `seconds` go to the rate, half as many to single ones.

    Raises:
        HopError: a picture was lost, doubled, out of order or damaged, or a side failed.
    """
    spawn = multiprocessing.get_context("spawn")
    result, tell = spawn.Pipe(duplex=False)
    both_there, room = spawn.Barrier(2), spawn.Semaphore(WINDOW)
    fd = create_store_fd("bench")
    with tempfile.TemporaryDirectory() as folder:
        common = (way, payload, f"ipc://{folder}/hop", room, both_there)
        sides = [
            spawn.Process(target=_receive, args=(DupFd(fd), *common, tell), daemon=True),
            spawn.Process(target=_send, args=(DupFd(fd), *common, seconds), daemon=True),
        ]
        for side in sides:
            side.start()
        tell.close()  # the receiver's copy is the last one: its end is heard here
        try:
            if not result.poll(LIMIT_S):
                raise HopError(f"{way}, {payload}: no result within {LIMIT_S:.0f} s")
            found = result.recv()
        except EOFError as error:
            raise HopError(f"{way}, {payload}: the reading process failed, see above") from error
        finally:
            for side in sides:
                side.join(WAIT_S)
                side.kill()
                side.join()
            os.close(fd)
    if isinstance(found, str):
        raise HopError(f"{way}, {payload}: {found}")
    return Measured(*found)


def copies(payload: str, seconds: float, *, beyond_cache: bool) -> Measured:
    """Measure plain copies in a process of their own: what no way that copies once can beat."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return Measured(*pool.apply(_copy, (payload, seconds, beyond_cache)))


def _setting(fd: Any, payload: str, address: str, room: Any) -> Setting:
    logging.disable()  # NetGear warns of every thing that it does without
    return Setting(PAYLOADS[payload], address, fd.detach(), room)


def _send(
    fd: Any, way: str, payload: str, address: str, room: Any, both_there: Any, seconds: float
) -> None:
    pictures = [pattern(PAYLOADS[payload], index) for index in range(RING)]
    outlet = WAYS[way].outlet(_setting(fd, payload, address, room))
    both_there.wait(LIMIT_S)
    time.sleep(SETTLE_S)
    number = 0

    def send(phase: int) -> None:
        nonlocal number
        which = number % RING
        outlet.send(pictures[which], number, phase, which)
        number += 1

    for phase, duration_s in ((WARM_UP, WARM_UP_S), (STREAM, seconds), (SINGLE, seconds / 2)):
        end_ns = monotonic_ns() + int(duration_s * 1e9)
        least = number + 2 * RING
        while monotonic_ns() < end_ns or number < least:
            send(phase)
            if phase == SINGLE:
                outlet.drain()
        outlet.drain()
    send(END)
    outlet.drain()
    outlet.close()


def _receive(
    fd: Any, way: str, payload: str, address: str, room: Any, both_there: Any, tell: Any
) -> None:
    checked = PAYLOADS[payload].checked
    sums = [
        sampled(pattern(PAYLOADS[payload], index).reshape(-1), checked) for index in range(RING)
    ]
    inlet = WAYS[way].inlet(_setting(fd, payload, address, room))
    both_there.wait(LIMIT_S)
    log = Log(sums)
    phase = WARM_UP
    while phase != END:
        flat = inlet.receive()
        mark, total = MARK.unpack_from(flat), sampled(flat, checked)
        phase = log.add(mark, total, monotonic_ns())
        inlet.done()
    inlet.close()
    tell.send(log.problem or (log.rate_hz(), log.single_ms()))


class Log:
    """What a reader notes of the pictures that come.

    Args:
        sums: of the sampled bytes of each pattern.
    """

    def __init__(self, sums: list[int]) -> None:
        self.problem = ""
        self._sums = sums
        self._next = 0
        self._arrived_ns: list[int] = []
        self._single_ns: list[int] = []

    def add(self, mark: tuple[int, ...], total: int, now_ns: int) -> int:
        """Note a picture; return its phase. The first thing that is wrong becomes `problem`."""
        number, sent_ns, phase, which = mark
        if number != self._next:
            self.problem = self.problem or f"picture {number} came instead of {self._next}"
        elif total != self._sums[which]:
            self.problem = self.problem or f"picture {number} is damaged"
        self._next = number + 1
        if phase == STREAM:
            self._arrived_ns.append(now_ns)
        elif phase == SINGLE:
            self._single_ns.append(now_ns - sent_ns)
        return phase

    def rate_hz(self) -> float:
        """Return the pictures a second of the stream."""
        first, *_, last = self._arrived_ns
        return (len(self._arrived_ns) - 1) * 1e9 / (last - first)

    def single_ms(self) -> np.ndarray:
        """Return what each picture that was sent alone took, in milliseconds."""
        return np.array(self._single_ns) / 1e6


def _copy(payload: str, seconds: float, beyond_cache: bool) -> tuple[float, np.ndarray]:
    size = PAYLOADS[payload].size
    count = BEYOND_CACHE_BYTES // 2 // size if beyond_cache else RING
    sources = [np.full(size, index % 256, np.uint8) for index in range(count)]
    targets = [np.full(size, 1, np.uint8) for _ in range(count if beyond_cache else WINDOW)]
    took_ns: list[int] = []
    begin_ns = before_ns = monotonic_ns()
    while before_ns < begin_ns + int((WARM_UP_S + seconds) * 1e9):
        number = len(took_ns)
        np.copyto(targets[number % len(targets)], sources[number % count])
        now_ns = monotonic_ns()
        took_ns.append(now_ns - before_ns)
        before_ns = now_ns
    took = np.array(took_ns)
    took = took[np.cumsum(took) > WARM_UP_S * 1e9]
    return len(took) * 1e9 / float(took.sum()), took / 1e6
