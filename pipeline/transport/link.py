"""A link: one sender, one receiver, ordered, bounded by explicit credits.

ZeroMQ's high-water mark counts messages inside its own pipes, so it can neither protect pixels in
shared memory nor tell what the other side has really handled. Here every message has a number, and
the receiver acknowledges it once it has done with it. A sender has as many credits as its `window`;
a message holds one until it is acknowledged. What hangs on a message (a slot in the frame store) is
freed by that same acknowledgement.

On the wire a message is three parts: envelope (magic, version, kind, number), header, blob; an
acknowledgement is an envelope alone. Both sockets are DEALERs, so a link works over inproc, ipc and
tcp alike. Start and end of a stream have reserved room: they may pass the window.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import zmq

from pipeline.codec import MAX_BLOB_BYTES, Decoder, encode
from pipeline.errors import MessageError
from pipeline.messages import EndOfStream, StreamStart

MAGIC = b"GAIT"
WIRE_VERSION = 1
ENVELOPE = struct.Struct("!4sBBxxQ")
LINGER_MS = 1000


class Kind(IntEnum):
    """What a wire message is."""

    START = 1
    DATA = 2
    END = 3
    ACK = 4


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message ready for the wire, so that one encoding serves several links."""

    kind: Kind
    header: bytes
    blob: bytearray


def pack(message: Any) -> Encoded:
    """Encode a message for any number of links."""
    kinds = {StreamStart: Kind.START, EndOfStream: Kind.END}
    return Encoded(kinds.get(type(message), Kind.DATA), *encode(message))


def _socket(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    # Credits bound what is under way, so ZeroMQ itself must never drop or block.
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_BLOB_BYTES)
    return socket


class Sender:
    """The sending end. Binds `address`."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, topic: str, window: int
    ) -> None:
        self.topic = topic
        self.window = window
        self.socket = _socket(context)
        self.socket.bind(address)
        self._next = 1
        self._unacknowledged: dict[int, Callable[[], None] | None] = {}

    @property
    def credits(self) -> int:
        """How many more data messages may be sent now."""
        return self.window - len(self._unacknowledged)

    @property
    def in_flight(self) -> int:
        """Messages sent and not yet acknowledged."""
        return len(self._unacknowledged)

    def send(self, message: Encoded, on_acknowledged: Callable[[], None] | None = None) -> None:
        """Send. The caller has looked at `credits` first; start and end need none."""
        assert message.kind != Kind.DATA or self.credits > 0, f"no credit left on {self.topic}"
        number = self._next
        self._next += 1
        self._unacknowledged[number] = on_acknowledged
        envelope = ENVELOPE.pack(MAGIC, WIRE_VERSION, message.kind, number)
        self.socket.send_multipart((envelope, message.header, message.blob), copy=True)

    def take_acknowledgements(self) -> int:
        """Read what the receiver has acknowledged; return how many."""
        count = 0
        while True:
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return count
            try:
                kind, number = _open_envelope(parts[0])
            except MessageError:
                continue  # whoever sent this is not our receiver, and no credit hangs on it
            if kind != Kind.ACK or number not in self._unacknowledged:
                continue
            on_acknowledged = self._unacknowledged.pop(number)
            if on_acknowledged is not None:
                on_acknowledged()
            count += 1

    def close(self) -> None:
        """Close; what is unsent has a second to leave."""
        self.socket.close()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A received message and the number to acknowledge it by."""

    number: int
    message: Any


class Receiver:
    """The receiving end. Connects to `address`."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        topic: str,
        message_type: type[Any],
    ) -> None:
        self.topic = topic
        self.socket = _socket(context)
        self.socket.connect(address)
        self._decoders = {
            Kind.START: Decoder(StreamStart),
            Kind.DATA: Decoder(message_type),
            Kind.END: Decoder(EndOfStream),
        }

    def receive(self) -> Delivery | None:
        """Return the next message, or None if none is waiting.

        Raises:
            MessageError: the message is malformed. It has been acknowledged and dropped.
        """
        try:
            parts = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        kind, number = _open_envelope(parts[0].buffer)
        try:
            if kind not in self._decoders or len(parts) != 3:
                raise MessageError(f"unexpected wire message: kind {kind}, {len(parts)} parts")
            message = self._decoders[Kind(kind)].decode(parts[1].buffer, parts[2].buffer)
        except MessageError as error:
            self.acknowledge(number)
            raise MessageError(f"on topic {self.topic}: {error}") from error
        return Delivery(number, message)

    def acknowledge(self, number: int) -> None:
        """Tell the sender that message `number` is done with."""
        self.socket.send(ENVELOPE.pack(MAGIC, WIRE_VERSION, Kind.ACK, number))

    def close(self) -> None:
        """Close; acknowledgements have a second to leave."""
        self.socket.close()


def _open_envelope(part: bytes | memoryview) -> tuple[int, int]:
    if len(part) != ENVELOPE.size:
        raise MessageError(f"envelope must be {ENVELOPE.size} bytes, got {len(part)}")
    magic, version, kind, number = ENVELOPE.unpack(part)
    if magic != MAGIC or version != WIRE_VERSION:
        raise MessageError(f"not our wire format: {bytes(magic)!r} version {version}")
    return kind, number
