"""Live sources: a thread reads as fast as the camera gives, and only the newest frame is kept.

So the pipeline never works on a backlog: what it could not take in time is dropped here, at the
very front, and counted. A lost camera is opened again with growing pauses.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from pipeline.clock import NS_PER_S, monotonic_ns, unix_ns
from pipeline.errors import SourceError
from pipeline.stage import EndOfSource, RawFrame
from stages.source.reader import Picture, Reader

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
JOIN_S = 1.0

log = logging.getLogger("source")


class NewestFrame:
    """Keeps the newest frame of a reader.

    Args:
        reader: open.
        reopen: opens the source again after it was lost; None if it cannot be (a recording).
        realtime: hold each picture back until its time, as a camera would.
        loop: with `realtime`, `reopen` at the end and go on.
        reconnect_s: how long a lost source is tried again.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        reopen: Callable[[], Reader] | None,
        realtime: bool,
        loop: bool,
        reconnect_s: float,
    ) -> None:
        self._reader = reader
        self._reopen = reopen
        self._realtime = realtime
        self._loop = loop
        self._reconnect_s = reconnect_s
        self._condition = threading.Condition()
        self._newest: RawFrame | None = None
        self._end: EndOfSource | None = None
        self._closing = threading.Event()
        self._begin_ns = 0
        self._offset_ns = 0
        self.dropped = 0
        self.reconnects = 0
        self._thread = threading.Thread(target=self._work, name="newest-frame", daemon=True)

    def read(self, timeout_s: float) -> RawFrame | None:
        """Return the newest frame not yet taken, or None if none came in time.

        The first call starts the clock: what a camera shows while other stages load is no drop.
        """
        if not self._begin_ns:
            self._begin_ns = monotonic_ns()
            self._thread.start()
        with self._condition:
            if self._newest is None and self._end is None:
                self._condition.wait(timeout_s)
            if self._newest is not None:
                frame, self._newest = self._newest, None
                return frame
            if self._end is not None:
                raise self._end
            return None

    def close(self) -> None:
        """Stop reading. A thread stuck inside the camera's driver is left to itself."""
        self._closing.set()
        if self._begin_ns:
            self._thread.join(JOIN_S)
        if not self._thread.is_alive():
            self._reader.close()

    @property
    def damaged(self) -> int:
        """Pieces that could not be decoded."""
        return self._reader.damaged

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                picture = self._reader.read()
            except EndOfSource as end:
                if not self._go_on_after(end):
                    return
                continue
            except Exception as error:  # noqa: BLE001 - a thread's error must reach its reader
                self._finish(EndOfSource(f"{type(error).__name__}: {error}"))
                return
            frame = self._stamp(picture)
            with self._condition:
                self.dropped += self._newest is not None
                self._newest = frame
                self._condition.notify()

    def _stamp(self, picture: Picture) -> RawFrame:
        if picture.time_ns is None or not self._realtime:
            now = monotonic_ns()
            return RawFrame(picture.pixels, now - self._begin_ns, now, unix_ns())
        time_ns = self._offset_ns + picture.time_ns
        self._closing.wait(max(0, self._begin_ns + time_ns - monotonic_ns()) / NS_PER_S)
        return RawFrame(picture.pixels, time_ns, monotonic_ns(), unix_ns())

    def _go_on_after(self, end: EndOfSource) -> bool:
        if self._loop and self._reopen is not None:
            self._offset_ns = monotonic_ns() - self._begin_ns
            self._reader.close()
            self._reader = self._reopen()
            return True
        if self._reopen is None:
            self._finish(end)
            return False
        return self._reconnect(end)

    def _reconnect(self, end: EndOfSource) -> bool:
        """Try to open a lost source again, with growing pauses and some jitter."""
        assert self._reopen is not None
        lost_at = time.monotonic()
        pause_s = FIRST_PAUSE_S
        log.warning("source lost (%s); trying to reach it again", end.reason or "no more frames")
        while time.monotonic() - lost_at < self._reconnect_s:
            if self._closing.wait(pause_s * random.uniform(0.8, 1.2)):
                return False
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            try:
                reader = self._reopen()
            except SourceError as error:
                log.info("still lost: %s", error.message)
                continue
            self._reader.close()
            self._reader = reader
            self.reconnects += 1
            log.warning("source found again after %.1f s", time.monotonic() - lost_at)
            return True
        self._finish(EndOfSource(f"lost, and not back within {self._reconnect_s:g} s"))
        return False

    def _finish(self, end: EndOfSource) -> None:
        with self._condition:
            self._end = end
            self._condition.notify()
