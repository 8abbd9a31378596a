"""CURVE for links that leave the host: who may come in, and how the two ends are set up.

A server with keys is not enough: without an authenticator ZeroMQ lets in every client that knows
the server's public key, and that key is no secret. So a `Door` answers ZeroMQ's questions (ZAP, RFC
27) for all sockets of a context: a client comes in if its key is on the list at that moment, and
nobody does if the list cannot be read. Sockets of ours refuse everybody while no door is there.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from types import TracebackType

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from pipeline.errors import ConfigError, GaitError
from pipeline.transport.keys import AllowList, KeyPair

ZAP_ADDRESS = "inproc://zeromq.zap.01"
ZAP_VERSION = b"1.0"
ZAP_DOMAIN = b"gaitstream"
# ZAP's answers. Who hears `NEVER` gives up, who hears `LATER` tries again.
WELCOME, LATER, NEVER = b"200", b"300", b"400"
# A client that is refused tries again, ten times a second: not each try is a line in the log.
LOUD_REFUSALS = 10
QUIET_EVERY = 1000

_FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL

_Context = zmq.Context[zmq.Socket[bytes]]

log = logging.getLogger("door")


class Door:
    """Lets in the clients of an allow-list, for all servers of a context. One a context; its own
    thread answers. Use as a context manager, or `close` it.

    Attributes:
        refused: connections that were turned away because their key is not on the list, or the
            list could not be read. Who has no keys at all is counted by the `Sender`.
    """

    def __init__(self, context: _Context, allowed: AllowList) -> None:
        self.refused = 0
        self._context = context
        self._allowed = allowed
        self._zap = context.socket(zmq.REP)
        self._zap.linger = 0
        try:
            self._zap.bind(ZAP_ADDRESS)
        except zmq.ZMQError as error:
            self._zap.close()
            raise ConfigError(f"this context has a door already: {error}") from error
        self._line, self._inside = (context.socket(zmq.PAIR) for _ in range(2))
        self._line.bind(f"inproc://door-{id(self)}")
        self._inside.connect(f"inproc://door-{id(self)}")
        self._thread = threading.Thread(target=self._work, name="door", daemon=True)
        self._thread.start()

    def __enter__(self) -> Door:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def serves(self, context: _Context) -> bool:
        """Whether this is the open door of `context`."""
        return context is self._context and self._thread.is_alive()

    def close(self) -> None:
        """Close: from now on nobody new is let in."""
        if self._thread.is_alive():
            self._line.send(b"")
            self._thread.join()
        self._line.close(0)

    def _work(self) -> None:
        poller = zmq.Poller()
        for socket in (self._zap, self._inside):
            poller.register(socket, zmq.POLLIN)
        while True:
            try:
                ready = dict(poller.poll())
            except zmq.ZMQError as error:
                if error.errno in (zmq.ETERM, zmq.ENOTSOCK):
                    break  # the context ends, and with it every server
                raise
            if self._inside in ready:
                break
            self._zap.send_multipart(self._answer(self._zap.recv_multipart()))
        for socket in (self._zap, self._inside):
            socket.close(0)

    def _answer(self, question: list[bytes]) -> list[bytes]:
        """The answer to a ZAP question: version, request, domain, address, id, mechanism, key."""
        assert len(question) == 7 and question[0] == ZAP_VERSION, "only libzmq asks, for CURVE"
        request, where, key = question[1], question[3], z85.encode(question[6])
        try:
            clients = self._allowed.clients()
        except GaitError as error:
            self._refuse(where, f"since the list cannot be used: {error}")
            return [ZAP_VERSION, request, LATER, b"", b"", b""]
        for name, allowed in clients.items():
            if allowed == key:
                log.info("%s connected from %s", name, where.decode("ascii", "replace"))
                return [ZAP_VERSION, request, WELCOME, b"", name.encode(), b""]
        self._refuse(where, f"with the key {key.decode()}, which is not on the list")
        return [ZAP_VERSION, request, NEVER, b"", b"", b""]

    def _refuse(self, where: bytes, why: str) -> None:
        self.refused += 1
        _tell_of_refusal(self.refused, where, why)


class Watch:
    """Counts who fails to come in at a server's socket before the door can be asked: without keys,
    or with a wrong one for the server. To be closed before the socket.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.count = 0
        self._socket = socket
        address = f"inproc://watch-{id(self)}"
        socket.monitor(address, _FAILED)
        self._events = socket.context.socket(zmq.PAIR)
        # ZeroMQ's own thread would wait for room here, and with it all messages.
        self._events.setsockopt(zmq.RCVHWM, 0)
        self._events.connect(address)

    def look(self) -> None:
        """Count those since the last look."""
        while self._events.poll(0):
            event = recv_monitor_message(self._events)
            self.count += 1
            _tell_of_refusal(self.count, event["endpoint"], "whose handshake failed")

    def close(self) -> None:
        """Watch no more."""
        self._socket.monitor(None, 0)
        self._events.close(0)


def _tell_of_refusal(count: int, where: bytes, why: str) -> None:
    if count <= LOUD_REFUSALS or count % QUIET_EVERY == 0:
        place = where.decode("ascii", "replace")
        log.warning("refused a client at %s %s (%d so far)", place, why, count)


@dataclass(frozen=True, slots=True)
class ServerSecurity:
    """For a `Sender`: its keys, and the door through which its clients come."""

    pair: KeyPair
    door: Door

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Set up a socket that is not bound yet.

        Raises:
            ConfigError: the door is closed, or is one of another context.
        """
        if not self.door.serves(socket.context):
            raise ConfigError(
                "a server with keys needs an open door of its own context, else nobody can come in"
            )
        socket.curve_server = True
        socket.curve_secretkey = self.pair.secret
        socket.curve_publickey = self.pair.public
        socket.zap_domain = ZAP_DOMAIN
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


@dataclass(frozen=True, slots=True)
class ClientSecurity:
    """For a `Receiver`: its keys, and the public key by which it knows its server."""

    pair: KeyPair
    server: bytes

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Set up a socket that is not connected yet."""
        socket.curve_serverkey = self.server
        socket.curve_secretkey = self.pair.secret
        socket.curve_publickey = self.pair.public
