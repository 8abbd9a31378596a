"""Sockets of links, and what is looked at before one is opened: who could reach it."""

from __future__ import annotations

import zmq

from pipeline.errors import ConfigError
from pipeline.transport.addresses import check_private_folder, is_ipv6, reach
from pipeline.transport.door import ClientSecurity, ServerSecurity

LINGER_MS = 1000
RECONNECT_MS = 20
# A greeting that is not answered, because nobody stands at the door, is tried again after this.
HANDSHAKE_MS = 3000
# What may wait unread of the other side's. An honest one stays far below, by its credits.
WAITING_MESSAGES = 8192


def make_socket(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    address: str,
    largest: int,
    security: ServerSecurity | ClientSecurity | None,
) -> zmq.Socket[bytes]:
    """Return a socket for one end of a link, neither bound nor connected.

    Args:
        kind: zmq.ROUTER for the end that binds, zmq.DEALER for the other.
        largest: bytes of one part of a message; who sends a larger one is cut off.

    Raises:
        ConfigError: others could reach the address, and there are no keys for it.
    """
    where = reach(address)
    if where == "public" and security is None:
        raise ConfigError(
            f"the address {address} can be reached from outside, and there are no keys for it",
            hint="make keys with `run_pipeline.py keys`, or use tcp://127.0.0.1:PORT, ipc:// or "
            "inproc://",
        )
    if where == "folder" and kind == zmq.ROUTER:
        check_private_folder(address)
    socket = context.socket(kind)
    try:
        # Credits bound what is under way, so ZeroMQ itself must never drop or block.
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, WAITING_MESSAGES)
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        # A sender that was replaced is found again at once.
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.MAXMSGSIZE, largest)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.IPV6, is_ipv6(address))
        # Within a process nothing is encrypted: it does not leave it.
        if security is not None and where != "process":
            security.apply(socket)
    except BaseException:
        socket.close(0)
        raise
    return socket


def bind(socket: zmq.Socket[bytes], address: str) -> None:
    """Bind a socket, or close it and say why not; raises `ConfigError`."""
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(0)
        raise ConfigError(f"cannot bind {address}: {error.strerror}") from error
