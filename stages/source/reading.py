"""One opening of a live source, in a thread of its own.

Only that thread touches the reader: it opens it, reads it and closes it. So a driver or a network
that blocks, in whatever call, blocks nobody else, and who waits for it can leave it behind.
"""

from __future__ import annotations

import gc
import statistics
import threading
from collections import deque
from collections.abc import Callable

from pipeline.clock import NS_PER_S, monotonic_ns
from pipeline.errors import GaitError, SourceError
from pipeline.stage import EndOfSource
from stages.source.backlog import Backlog
from stages.source.reader import Facts, Lost, Picture, Reader

INTERVALS_KEPT = 9


class Reading:
    """Opens a source and, once `begin` is called, hands over every picture until it ends.

    Attributes:
        facts: the reader's, None until it is open.
        pictures: handed over so far.
        first_ns, picture_ns: when the first and the last of them came.
        old: whether the last of them came out of a buffer.
        ended: set when no more pictures will come; `end` then says why.
    """

    def __init__(self, open_reader: Callable[[], Reader]) -> None:
        """Begin to open, in the background."""
        self._open_reader = open_reader
        self._take: Callable[[Reading, Picture], None] | None = None
        self._reader: Reader | None = None
        self._opened = threading.Event()
        self._go = threading.Event()
        self._left = threading.Event()
        self._damaged = 0
        self._failure: Exception | None = None
        # Since when it waits for the source, 0 while it does not.
        self._waiting_ns = monotonic_ns()
        self._intervals_s: deque[float] = deque(maxlen=INTERVALS_KEPT)
        self.facts: Facts | None = None
        self.end: EndOfSource | None = None
        self.ended = threading.Event()
        self.pictures = 0
        self.first_ns = self.picture_ns = 0
        self.old = False
        self._backlog = Backlog()
        self._thread = threading.Thread(target=self._work, name="reading", daemon=True)
        self._thread.start()

    def wait_until_open(self, limit_s: float | None) -> Facts:
        """Return the facts of the source.

        Args:
            limit_s: how long to wait for it; None: for ever.

        Raises:
            SourceError: it did not open in time, and is left behind.
            Exception: whatever opening it raised.
        """
        if not self._opened.wait(limit_s):
            self.leave()
            raise SourceError(
                f"the source neither opens nor fails within {limit_s:g} s",
                hint="is it free, and does its driver or network answer? source.timeout_s is how "
                "long each step may take",
            )
        if self._failure is not None:
            raise self._failure
        assert self.facts is not None
        return self.facts

    def begin(self, take: Callable[[Reading, Picture], None]) -> None:
        """Hand every picture from now on to `take`, in the reading's own thread."""
        self._take = take
        self._go.set()

    def leave(self) -> None:
        """Want nothing more of it. It closes its reader as soon as it comes back from it."""
        self._left.set()
        self._go.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, but not for ever."""
        self._thread.join(timeout_s)

    @property
    def left(self) -> bool:
        """Whether nothing more is wanted of it."""
        return self._left.is_set()

    @property
    def alive(self) -> bool:
        """Whether its thread is still there, at work or stuck."""
        return self._thread.is_alive()

    @property
    def decoded(self) -> int:
        """Pictures that its reader has given so far."""
        return self._reader.decoded if self._reader is not None else 0

    @property
    def damaged(self) -> int:
        """Pieces that could not be decoded."""
        return self._reader.damaged if self._reader is not None else self._damaged

    @property
    def waiting_s(self) -> float:
        """For how long it has been inside the source, opening or reading; 0 if it is not."""
        since_ns = self._waiting_ns
        return (monotonic_ns() - since_ns) / NS_PER_S if since_ns else 0.0

    @property
    def interval_s(self) -> float:
        """Usual time from picture to picture: as told or as seen, whichever is longer."""
        told_s = 1.0 / self.facts.rate_hz if self.facts and self.facts.rate_hz > 0 else 0.0
        seen_s = tuple(self._intervals_s)
        return max(told_s, statistics.median(seen_s) if seen_s else 0.0)

    def _work(self) -> None:
        reader = self._open()
        self._opened.set()
        if reader is None:
            self.ended.set()
            return
        self._go.wait()
        try:
            while not self._left.is_set():
                picture = self._read(reader)
                if picture is None:
                    break
                assert self._take is not None
                self._take(self, picture)
        finally:
            self.end = self.end or Lost("its pictures could not be taken")
            self.ended.set()
            reader.close()
            self._damaged, self._reader = reader.damaged, None
            del reader
            # PyAV's containers and streams refer to one another, and their decoders and threads go
            # with them only: a source that is opened again and again would gather dozens.
            gc.collect()

    def _open(self) -> Reader | None:
        try:
            self._reader = self._open_reader()
            self.facts = self._reader.facts
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            self._failure = error
            self.end = Lost(error.message if isinstance(error, GaitError) else _words(error))
        self._waiting_ns = 0
        return self._reader

    def _read(self, reader: Reader) -> Picture | None:
        self._waiting_ns = monotonic_ns()
        try:
            picture = reader.read()
        except EndOfSource as end:
            self.end = end
            return None
        except Exception as error:  # noqa: BLE001 - a broken driver is a lost camera
            self.end = Lost(_words(error))
            return None
        finally:
            self._waiting_ns = 0
        now_ns = monotonic_ns()
        if self.picture_ns:
            self._intervals_s.append((now_ns - self.picture_ns) / NS_PER_S)
        stream_s = None if picture.time_ns is None else picture.time_ns / NS_PER_S
        self.old = self._backlog.is_old(now_ns / NS_PER_S, self.interval_s, stream_s)
        self.first_ns = self.first_ns or now_ns
        self.picture_ns = now_ns
        self.pictures += 1
        return picture


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
