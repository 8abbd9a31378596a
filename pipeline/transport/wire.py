"""What goes over a link: an envelope (magic, version, kind, number), and two parts of a message.

What comes in is looked at before it is believed: see `open_envelope`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec

from pipeline.codec import encode
from pipeline.errors import MessageError
from pipeline.messages import EndOfStream, StreamStart

MAGIC = b"GAIT"
WIRE_VERSION = 1
ENVELOPE = struct.Struct("!4sBBxxQ")


class Kind(IntEnum):
    """What a wire message is."""

    START = 1
    DATA = 2
    END = 3
    ACK = 4
    HELLO = 5
    SAFE = 6


_KINDS = {StreamStart: Kind.START, EndOfStream: Kind.END}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message ready for the wire, so that one encoding serves several links."""

    kind: Kind
    header: bytes
    blob: bytearray | bytes


def pack(message: Any) -> Encoded:
    """Encode a message for any number of links."""
    return Encoded(_KINDS.get(type(message), Kind.DATA), *encode(message))


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A message that was sent and may have to be sent again."""

    number: int
    kind: int
    header: bytes
    blob: bytes


def envelope(kind: Kind, number: int) -> bytes:
    """Return the first part of a message, or all of an answer."""
    return ENVELOPE.pack(MAGIC, WIRE_VERSION, kind, number)


def open_answer(parts: list[bytes]) -> tuple[int, int]:
    """Return kind and number of what a receiver says.

    Raises:
        MessageError: it is nothing that a receiver says.
    """
    if len(parts) != 1:
        raise MessageError(f"an answer must be one part, got {len(parts)}")
    return open_envelope(parts[0])


def open_envelope(part: bytes | memoryview) -> tuple[int, int]:
    """Return kind and number; neither is checked further.

    Raises:
        MessageError: this is no envelope of ours.
    """
    if len(part) != ENVELOPE.size:
        raise MessageError(f"envelope must be {ENVELOPE.size} bytes, got {len(part)}")
    magic, version, kind, number = ENVELOPE.unpack(part)
    if magic != MAGIC or version != WIRE_VERSION:
        raise MessageError(f"not our wire format: {bytes(magic)!r} version {version}")
    return kind, number
