"""Live sources: a thread reads as fast as the camera gives, and only the newest frame is kept.

So the pipeline never works on a backlog: what it could not take in time is dropped here, at the
very front, and counted. A second thread watches the first: it tells when frames stop, leaves a
reader behind that does not come back, and opens a lost source again with growing pauses.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.clock import NS_PER_S, monotonic_ns, unix_ns
from pipeline.stage import EndOfSource, RawFrame
from stages.source.load import LoadWatch
from stages.source.pauses import Pauses
from stages.source.playback import Playback
from stages.source.reader import Facts, Lost, Picture, Position, Reader
from stages.source.reading import Reading
from stages.source.stall import StallWatch

WATCH_S = 0.1
OPENING_STEPS = 3  # reach it, learn what it sends, first picture: `timeout_s` each
GRACE_S = 1.0  # FFmpeg's own time-out, which leaves no thread behind, comes first
STEADY_S = 10.0  # after so long without a loss the pauses begin anew
MOST_STUCK = 4
JOIN_S = 0.3
MAX_INCIDENTS = 100

log = logging.getLogger("source")


Incident = tuple[str, str, dict[str, Any]]


@dataclass(slots=True)
class _Loss:
    """A source that is lost: since when, when its last picture came, how large it was."""

    at_ns: int
    last_ns: int
    size_wh: tuple[int, int]
    reason: str


def opening_limit_s(timeout_s: float) -> float:
    """Return how long a source may take to open before it is left behind."""
    return OPENING_STEPS * timeout_s + GRACE_S


class NewestFrame:
    """Keeps the newest frame of a source.

    Args:
        reading: of the source, open and not begun.
        reopen: opens the source again after it was lost, and with `loop` after its end; None if
            that makes no sense (a recording).
        realtime: hold each picture back until its time, as a camera would.
        loop: with `realtime`, `reopen` at the end and go on.
        reconnect_s: how long a lost source is tried again; None: for ever.
        facts: of the source, as it was when it was last open.
        speed: with `realtime`, how many times as fast as it was recorded.
        timeout_s: how long a read may take until the reader is left behind; None (a recording):
            as long as it likes, and stalls are not told.
        left: what an earlier process's `snapshot` gave, to go on from.
    """

    def __init__(
        self,
        reading: Reading,
        *,
        reopen: Callable[[], Reader] | None,
        realtime: bool,
        loop: bool,
        reconnect_s: float | None,
        facts: Facts,
        speed: float = 1.0,
        timeout_s: float | None = None,
        left: Any = None,
    ) -> None:
        self._reading = reading
        self._reopen = reopen
        self._realtime = realtime
        self._loop = loop
        self._reconnect_s = reconnect_s
        self._facts = facts
        self._timeout_s = timeout_s
        self._playback = Playback(speed)
        self._pauses = Pauses()
        self._load = LoadWatch()
        self._condition = threading.Condition()
        self._newest: tuple[RawFrame, int] | None = None  # with its time in the recording
        self._end: EndOfSource | None = None
        self._closing = threading.Event()
        self._begin_ns = 0
        self._clock_ns = 0  # what an earlier process began at
        self._place_ns = -1  # of the newest frame that was given out, in the recording
        self._loss: _Loss | None = None
        self._earlier: list[Reading] = []  # whose threads are still there
        self._earlier_damaged = 0
        self._given = 0
        self._overrun = 0
        self.stale = 0
        self.reconnects = 0
        self.stalls = 0
        self.hangs = 0
        self._incidents: deque[Incident] = deque(maxlen=MAX_INCIDENTS)
        if left is not None:
            self._take_up(left)
        self._keeper = threading.Thread(target=self._keep, name="newest-frame", daemon=True)
        if timeout_s is not None:
            # What a camera shows while other stages load is read and thrown away: unread, it would
            # wait in the network's buffers and come out later as if it were new.
            self._keeper.start()

    def read(self, timeout_s: float) -> RawFrame | None:
        """Return the newest frame not yet taken, or None if none came in time.

        The first call starts the clock: what a camera shows while other stages load is no drop.
        """
        if not self._begin_ns:
            self._begin_ns = self._clock_ns or monotonic_ns()
            if self._timeout_s is None:
                self._keeper.start()
        with self._condition:
            if self._newest is None and self._end is None:
                self._condition.wait(timeout_s)
            if self._newest is not None:
                (frame, self._place_ns), self._newest = self._newest, None
                return frame
            if self._end is not None:
                raise self._end
            return None

    def position(self) -> Position | None:
        """Return where in a recording it is; None of a camera."""
        if not self._realtime or self._place_ns < 0:
            return None
        counts = self._reading.decoded, self._reading.damaged
        return Position(self._place_ns, None, *counts)

    def snapshot(self) -> Any:
        """The clock, the counts, and that it is lost, for another process to go on from.

        Its clock is this host's, which both read.
        """
        # What a recording's reader counts goes with its position.
        damaged = self._earlier_damaged if self.position() is not None else self.damaged
        counts = self._overrun, self.stale, self.reconnects, self.stalls, self.hangs, damaged
        clock = self._begin_ns, self._place_ns, self._playback.state()
        return clock, counts, self._loss, tuple(self._incidents)

    def _take_up(self, left: Any) -> None:
        clock, counts, self._loss, untold = left
        self._clock_ns, self._place_ns, playback = clock
        self._playback.go_on_after(playback)
        self._overrun, self.stale, self.reconnects, self.stalls, self.hangs = counts[:5]
        self._earlier_damaged = counts[5]
        self._incidents.extend(untold)

    def take_incidents(self) -> list[Incident]:
        """Return what happened since this was last asked: kind, sentence, facts."""
        taken = []
        while self._incidents:
            taken.append(self._incidents.popleft())
        return taken

    def close(self) -> None:
        """Stop reading. A thread stuck inside the camera's driver is left to itself."""
        self._closing.set()
        if self._keeper.is_alive():
            self._keeper.join(JOIN_S)
        self._reading.leave()
        self._reading.join(JOIN_S)

    @property
    def facts(self) -> Facts:
        """Of the source, as it was when it was last open."""
        return self._facts

    @property
    def lost(self) -> bool:
        """Whether the source is lost and being tried again, or not open yet."""
        opening = self._timeout_s is not None and self._reading.facts is None
        return self._loss is not None or opening

    @property
    def dropped(self) -> int:
        """Pictures that were not given out: the next came first, or they were old (`stale`)."""
        return self._overrun + self.stale

    @property
    def damaged(self) -> int:
        """Pieces that could not be decoded."""
        return self._earlier_damaged + self._reading.damaged

    # In the thread of a reading:

    def _take(self, reading: Reading, picture: Picture) -> None:
        if not self._begin_ns:
            return
        if self._timeout_s is not None and reading.old:
            self.stale += 1
            return
        frame = self._stamp(reading, picture)
        with self._condition:
            if reading.left or self._closing.is_set():
                return  # given up meanwhile, or nobody wants more: what comes now is no drop
            self._given += 1
            self._overrun += self._newest is not None
            self._newest = frame, -1 if picture.time_ns is None else picture.time_ns
            self._condition.notify()

    def _stamp(self, reading: Reading, picture: Picture) -> RawFrame:
        now_ns = monotonic_ns()
        if picture.time_ns is None or not self._realtime:
            return RawFrame(picture.pixels, now_ns - self._begin_ns, now_ns, unix_ns())
        time_ns, due_ns = self._playback.place(reading, picture.time_ns, now_ns)
        self._closing.wait(max(0, due_ns - now_ns) / NS_PER_S)
        return RawFrame(picture.pixels, time_ns, monotonic_ns(), unix_ns())

    # In the keeper's thread:

    def _keep(self) -> None:
        while True:
            self._reading.begin(self._take)
            end = self._follow(self._reading)
            if end is None or not self._go_on_after(end):
                return

    def _follow(self, reading: Reading) -> EndOfSource | None:
        """Watch a reading until it ends or hangs, and return how; None if we are closing."""
        stall = StallWatch(reading)
        while not self._closing.is_set():
            ended = reading.ended.wait(WATCH_S)
            if self._loss is not None and reading.pictures:
                self._tell_found(self._loss, reading)
            if self._begin_ns:
                self._tell(self._load.note(monotonic_ns(), self._given, self._overrun))
            if ended:
                return reading.end
            if self._timeout_s is not None:
                self._tell(stall.note())
                if reading.waiting_s > self._patience_s(reading, self._timeout_s, stall.limit_s):
                    return self._leave_behind(reading)
        return None

    def _patience_s(self, reading: Reading, timeout_s: float, stall_s: float) -> float:
        if reading.facts is None:
            return opening_limit_s(timeout_s)
        return max(timeout_s + GRACE_S, stall_s)

    def _leave_behind(self, reading: Reading) -> Lost:
        """Give up a reading that does not come back from its source."""
        call = "opening" if reading.facts is None else "reading"
        waited_s = round(reading.waiting_s, 1)
        with self._condition:
            reading.leave()
        self.hangs += 1
        text = f"source hangs: {call} it has not come back for {waited_s:g} s, and is left behind"
        self._tell(("source_hangs", text, {"call": call, "waited_s": waited_s}))
        return Lost(f"{call} it hangs")

    def _go_on_after(self, end: EndOfSource) -> bool:
        """Open the source again if that is wanted; False if it has ended for good."""
        lost = isinstance(end, Lost)
        if self._reopen is None or not (lost or self._loop):
            return self._finish(end)
        if lost:
            over = self._note_loss(end)
            if over is not None:
                return self._finish(over)
            if self._closing.wait(self._pauses.next()):
                return False
        self._earlier_damaged += self._reading.damaged
        # Those whose thread is gone are let go, and with them all that FFmpeg had for them.
        self._earlier = [one for one in (*self._earlier, self._reading) if one.alive]
        self._reading = Reading(self._reopen)
        return True

    def _note_loss(self, end: EndOfSource) -> EndOfSource | None:
        """Tell of a loss; return the end for good if there has been enough of it."""
        reading, now_ns = self._reading, monotonic_ns()
        if self._loss is None:
            if reading.picture_ns - reading.first_ns >= STEADY_S * NS_PER_S:
                self._pauses.reset()
            last_ns = reading.picture_ns or now_ns
            self._loss = _Loss(now_ns, last_ns, self._facts.size_wh, end.reason)
            text = f"source lost ({end.reason}); trying to reach it again"
            self._tell(("source_lost", text, {"reason": end.reason}))
        elif end.reason != self._loss.reason:
            log.info("still lost: %s", end.reason)
        self._loss.reason = end.reason
        limit_s = self._reconnect_s
        if limit_s is not None and now_ns - self._loss.at_ns >= limit_s * NS_PER_S:
            return EndOfSource(f"lost, and not back within {limit_s:g} s ({end.reason})")
        self._earlier = [one for one in self._earlier if one.alive]
        if len(self._earlier) + reading.left >= MOST_STUCK:
            return EndOfSource(f"lost, and {MOST_STUCK} attempts to read it hang ({end.reason})")
        return None

    def _tell_found(self, loss: _Loss, reading: Reading) -> None:
        assert reading.facts is not None
        self._loss, self._facts = None, reading.facts
        self.reconnects += 1
        lost_s = round((reading.first_ns - loss.last_ns) / NS_PER_S, 1)
        text = f"source found again after {lost_s:g} s"
        size_wh = reading.facts.size_wh
        if size_wh != loss.size_wh:
            was_wh = loss.size_wh
            text += f", now {size_wh[0]}x{size_wh[1]} instead of {was_wh[0]}x{was_wh[1]} pixels"
        facts = {"lost_s": lost_s, "size_wh": list(size_wh), "rate_hz": reading.facts.rate_hz}
        self._tell(("source_found", text, facts))

    def _tell(self, incident: Incident | None) -> None:
        if incident is None:
            return
        kind = incident[0]
        if kind.startswith("source_"):
            self._load.forget()
        self.stalls += kind == "source_stalled"
        self._incidents.append(incident)

    def _finish(self, end: EndOfSource) -> bool:
        with self._condition:
            self._end = end
            self._condition.notify()
        return False
