"""A stage's line to the supervisor: events one way, orders the other."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

import zmq

from pipeline.credentials import without_credentials
from pipeline.plans import (
    Abort,
    Event,
    Go,
    Gone,
    Incident,
    Log,
    Order,
    Progress,
    StageStats,
    Stop,
    decode_order,
    encode,
)

PROGRESS_EVERY_S = 0.5
LINGER_MS = 500
MAX_INCIDENTS = 100

Context = zmq.Context[zmq.Socket[bytes]]


class Aborted(Exception):
    """The supervisor said to close now."""


class ControlLine:
    """The stage's line to the supervisor."""

    def __init__(self, context: Context, address: str, stage: str) -> None:
        self.stage = stage
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, LINGER_MS)
        self.socket.setsockopt(zmq.IDENTITY, stage.encode())
        self.socket.connect(address)
        self.stopping = False
        self.gone: set[str] = set()
        self.incidents: deque[Incident] = deque(maxlen=MAX_INCIDENTS)
        self._told_at = 0.0

    def tell(self, event: Event) -> None:
        """Send an event."""
        self.socket.send(encode(event))

    def tell_progress(self, stats: Callable[[], StageStats]) -> None:
        """Send the counts if it is time to."""
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_EVERY_S:
            self._told_at = now
            self.tell(Progress(self.stage, stats()))

    def wait_for_go(self) -> None:
        """Wait until all stages are ready; raises `Aborted` if the run is given up instead."""
        while True:
            order = decode_order(self.socket.recv())
            if isinstance(order, Abort):
                raise Aborted
            if isinstance(order, Stop):
                self.stopping = True
            self._note(order)
            if isinstance(order, Go):
                return

    def obey(self) -> None:
        """Read what the supervisor wants; raises `Aborted` on an abort."""
        while self.socket.poll(0):
            order = decode_order(self.socket.recv())
            if isinstance(order, Abort):
                raise Aborted
            if isinstance(order, Stop):
                self.stopping = True
            self._note(order)

    def _note(self, order: Order) -> None:
        if isinstance(order, Incident):
            self.incidents.append(order)
        if isinstance(order, Gone):
            self.gone.add(order.stage)

    def close(self) -> None:
        """Close; the last words have half a second to leave."""
        self.socket.close()


class ControlLogHandler(logging.Handler):
    """Sends a process's log lines to the supervisor. Sockets are not thread-safe, so lines wait in
    a queue that the stage's own thread empties."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: deque[tuple[int, str]] = deque(maxlen=1000)

    def emit(self, record: logging.LogRecord) -> None:
        self.waiting.append((record.levelno, without_credentials(self.format(record))))

    def forward(self, line: ControlLine) -> None:
        """Send what has gathered."""
        while self.waiting:
            level, text = self.waiting.popleft()
            line.tell(Log(line.stage, level, text))
