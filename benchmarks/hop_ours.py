"""Our own way from one process into another: what the runners do, with the classes that they use.

What every way has: an outlet in the sending process, an inlet in the receiving one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import zmq

from benchmarks.hop_pictures import MARK, Payload, as_windows
from pipeline.clock import monotonic_ns
from pipeline.messages import Frame, Span, Stamp, Windows
from pipeline.recovery import EVERY
from pipeline.transport import FrameReader, FrameStore, Receiver, Sender
from pipeline.transport.wire import pack

# How many messages may be under way: as many recorded frames as are read ahead of detection.
WINDOW = 6
STORE = "bench"
STORE_BYTES = 384_000_000
WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What both ends of a path are given.

    Attributes:
        address: an ipc endpoint that is nobody else's.
        store_fd: of a new frame store.
        room: a semaphore of `WINDOW` places, for paths that do not bound themselves.
    """

    payload: Payload
    address: str
    store_fd: int
    room: Any


class Outlet(Protocol):
    """The sending end."""

    def send(self, picture: np.ndarray, number: int, phase: int, pattern: int) -> None:
        """Wait for room, mark the picture and send it."""

    def drain(self) -> None:
        """Wait until the other side has handled everything."""

    def close(self) -> None:
        """Let go of everything."""


class Inlet(Protocol):
    """The receiving end."""

    def receive(self) -> np.ndarray:
        """Wait for the next picture and return it as uint8 [n]."""

    def done(self) -> None:
        """The picture has been looked at."""

    def close(self) -> None:
        """Let go of everything."""


def set_mark(flat: np.ndarray, number: int, phase: int, pattern: int) -> None:
    """Write the mark; from here on the time counts."""
    MARK.pack_into(flat, 0, number, monotonic_ns(), phase, pattern)


class OurOutlet:
    """Frames through the store, as a source's runner sends them; windows over the link alone."""

    in_place = False

    def __init__(self, setting: Setting) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        topic = "frames" if setting.payload.is_frame else "windows"
        self._sender = Sender(self._context, setting.address, topic, WINDOW)
        self._store = FrameStore(STORE, setting.store_fd, STORE_BYTES)
        self._is_frame = setting.payload.is_frame
        self._windows: dict[int, Windows] = {}  # of each pattern: views of its picture
        self._patterns: dict[int, int] = {}  # of each place in the store, for what is left there

    def send(self, picture: np.ndarray, number: int, phase: int, pattern: int) -> None:
        self._sender.take_answers()
        while self._sender.credits <= 0:
            self._wait()
        if self._is_frame:
            self._send_frame(picture, number, phase, pattern)
        else:
            if pattern not in self._windows:
                self._windows[pattern] = as_windows(picture)
            set_mark(picture, number, phase, pattern)
            self._sender.send(pack(self._windows[pattern]))

    def drain(self) -> None:
        while self._sender.in_flight or self._store.frames_in_flight:
            self._wait()

    def close(self) -> None:
        self._sender.close()
        self._context.term()

    def _send_frame(self, picture: np.ndarray, number: int, phase: int, pattern: int) -> None:
        begin_ns = monotonic_ns()
        while (slot := self._store.allocate(*picture.shape[:2])) is None:
            self._wait()
        handle, pixels = slot
        if not self.in_place:
            set_mark(picture.reshape(-1), number, phase, pattern)
            pixels[...] = picture
        else:
            if handle.offset not in self._patterns:
                self._patterns[handle.offset] = pattern
                pixels[...] = picture
            set_mark(pixels.reshape(-1), number, phase, self._patterns[handle.offset])
        spans = (Span("source", begin_ns, monotonic_ns(), begin_ns),)
        frame = Frame(Stamp(STORE, number, number, begin_ns, 0), handle=handle, spans=spans)
        self._sender.send(pack(frame), lambda: self._store.free(handle))

    def _wait(self) -> None:
        poller = zmq.Poller()  # as the runners do, which wait for several sockets
        poller.register(self._sender.socket, zmq.POLLIN)
        if not poller.poll(WAIT_S * 1000):
            raise TimeoutError(f"nobody has acknowledged anything for {WAIT_S:.0f} s")
        self._sender.take_answers()


class OurInPlaceOutlet(OurOutlet):
    """Pictures that are made where they are read: what is left of a hop is the message."""

    in_place = True


class OurInlet:
    """What a stage's runner does for each message, and a view of the pixels."""

    def __init__(self, setting: Setting) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._is_frame = setting.payload.is_frame
        topic, kind = ("frames", Frame) if self._is_frame else ("windows", Windows)
        # A stage that takes snapshots calls its inputs safe with each, every few messages.
        self._receiver = Receiver(
            self._context, setting.address, topic, kind, durable=not self._is_frame
        )
        self._reader = FrameReader({STORE: setting.store_fd})
        self._number = 0

    def receive(self) -> np.ndarray:
        deadline_ns = monotonic_ns() + int(WAIT_S * 1e9)
        while monotonic_ns() < deadline_ns:
            self._receiver.attend()
            poller = zmq.Poller()
            poller.register(self._receiver.socket, zmq.POLLIN)
            if not poller.poll(100):
                continue
            delivery = self._receiver.receive()
            if delivery is None:
                continue
            self._number = delivery.number
            if self._is_frame:
                return self._reader.view(delivery.message.handle).reshape(-1)
            silhouettes: np.ndarray = delivery.message.windows[0].silhouettes
            return silhouettes.reshape(-1)
        raise TimeoutError(f"nothing has come for {WAIT_S:.0f} s")

    def done(self) -> None:
        self._receiver.acknowledge(self._number)
        if not self._is_frame and self._number % EVERY == 0:
            self._receiver.tell_safe(self._number)

    def close(self) -> None:
        self._receiver.close()
        self._context.term()
