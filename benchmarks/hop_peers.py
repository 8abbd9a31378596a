"""Others' ways from one process into another: as a user of each library would write it.

None of them can tell its user when the other side has looked at a picture, so the benchmark bounds
what is under way with a semaphore: nothing is dropped, and no queue grows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq

from benchmarks.hop_ours import WAIT_S, WINDOW, Setting, set_mark
from benchmarks.hop_pictures import as_windows
from pipeline.messages import Windows

WAIT_MS = int(WAIT_S * 1000)


@dataclass(frozen=True, slots=True)
class PeerOutlet:
    """The sending end of a peer.

    Attributes:
        put: hands a picture to the library.
        close: lets go of the library's sockets.
    """

    room: Any
    put: Callable[[np.ndarray], object]
    close: Callable[[], object]

    def send(self, picture: np.ndarray, number: int, phase: int, pattern: int) -> None:
        """Wait for room, mark the picture and send it."""
        self._take_place()
        set_mark(picture.reshape(-1), number, phase, pattern)
        self.put(picture)

    def drain(self) -> None:
        """Wait until the other side has looked at everything."""
        for _ in range(WINDOW):
            self._take_place()
        for _ in range(WINDOW):
            self.room.release()

    def _take_place(self) -> None:
        if not self.room.acquire(timeout=WAIT_S):
            raise TimeoutError(f"nobody has taken anything for {WAIT_S:.0f} s")


@dataclass(frozen=True, slots=True)
class PeerInlet:
    """The receiving end of a peer.

    Attributes:
        take: waits for the library's next picture.
        answer: what the library wants to be called after a picture, if anything.
    """

    room: Any
    take: Callable[[], Any]
    close: Callable[[], object]
    answer: Callable[[], object] | None = None

    def receive(self) -> np.ndarray:
        """Wait for the next picture and return it as uint8 [n]."""
        taken = self.take()
        if isinstance(taken, np.ndarray):
            return taken.reshape(-1)
        return np.frombuffer(taken, np.uint8)

    def done(self) -> None:
        """The picture has been looked at."""
        if self.answer is not None:
            self.answer()
        self.room.release()


def _bound(kind: int, address: str) -> tuple[Any, Callable[[], None]]:
    """Return a ZeroMQ socket, the pushing one bound and the other connected, and its end."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(kind)
    socket.setsockopt(zmq.RCVTIMEO, WAIT_MS)
    socket.setsockopt(zmq.SNDTIMEO, WAIT_MS)
    if kind == zmq.PUSH:
        socket.bind(address)
    else:
        socket.connect(address)

    def close() -> None:
        socket.close()
        context.term()

    return socket, close


def pyzmq_outlet(setting: Setting, *, copy: bool) -> PeerOutlet:
    """PUSH, the picture's buffer as it is."""
    socket, close = _bound(zmq.PUSH, setting.address)
    return PeerOutlet(setting.room, lambda picture: socket.send(picture, copy=copy), close)


def pyzmq_inlet(setting: Setting, *, copy: bool) -> PeerInlet:
    """PULL, the bytes as they come."""
    socket, close = _bound(zmq.PULL, setting.address)
    if copy:
        return PeerInlet(setting.room, socket.recv, close)
    return PeerInlet(setting.room, lambda: socket.recv(copy=False).buffer, close)


def pyobj_outlet(setting: Setting) -> PeerOutlet:
    """PUSH of a pickled array, or of a pickled message with one window."""
    socket, close = _bound(zmq.PUSH, setting.address)
    if setting.payload.is_frame:
        return PeerOutlet(setting.room, socket.send_pyobj, close)
    windows: dict[int, Windows] = {}  # by the picture that they are views of

    def put(picture: np.ndarray) -> None:
        if id(picture) not in windows:
            windows[id(picture)] = as_windows(picture)
        socket.send_pyobj(windows[id(picture)])

    return PeerOutlet(setting.room, put, close)


def pyobj_inlet(setting: Setting) -> PeerInlet:
    """PULL of what was pickled."""
    socket, close = _bound(zmq.PULL, setting.address)
    if setting.payload.is_frame:
        return PeerInlet(setting.room, socket.recv_pyobj, close)
    return PeerInlet(setting.room, lambda: socket.recv_pyobj().windows[0].silhouettes, close)


def imagezmq_outlet(setting: Setting, *, wait_for_reply: bool) -> PeerOutlet:
    """REQ, or PUB."""
    import imagezmq

    sender = imagezmq.ImageSender(setting.address, REQ_REP=wait_for_reply)
    sender.zmq_socket.setsockopt(zmq.RCVTIMEO, WAIT_MS)
    return PeerOutlet(setting.room, lambda picture: sender.send_image("", picture), sender.close)


def imagezmq_inlet(setting: Setting, *, wait_for_reply: bool) -> PeerInlet:
    """REP, or SUB."""
    import imagezmq

    hub = imagezmq.ImageHub(setting.address, REQ_REP=wait_for_reply)
    hub.zmq_socket.setsockopt(zmq.RCVTIMEO, WAIT_MS)
    answer = hub.send_reply if wait_for_reply else None
    return PeerInlet(setting.room, lambda: hub.recv_image()[1], hub.close, answer)


def _netgear(setting: Setting, *, receive_mode: bool) -> Any:
    """Its own default pattern (PAIR), over ipc, without JPEG: pictures come as they were sent."""
    from vidgear.gears import NetGear

    return NetGear(
        address=setting.address.removeprefix("ipc://"),
        port="1",
        protocol="ipc",
        receive_mode=receive_mode,
        jpeg_compression=False,
    )


def netgear_outlet(setting: Setting) -> PeerOutlet:
    """The server of VidGear's NetGear."""
    gear = _netgear(setting, receive_mode=False)
    return PeerOutlet(setting.room, gear.send, gear.close)


def netgear_inlet(setting: Setting) -> PeerInlet:
    """The client of VidGear's NetGear."""
    gear = _netgear(setting, receive_mode=True)

    def close() -> None:
        gear.recv()  # returns nothing as soon as the server has said that it ends
        gear.close()

    return PeerInlet(setting.room, gear.recv, close)
