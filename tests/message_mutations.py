"""Damages messages, as accidents and attackers would."""

from __future__ import annotations

import copy
import random
from typing import Any

import msgspec

# Lengths and numbers at the edges of their types, texts and lists that are too long, wrong types.
NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 255, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
    *(-(2**63), float("nan"), float("inf"), -float("inf"), 1e308, -0.0, "", "\x00", "\x1b[2J"),
    *("../x", "x" * 300, "x" * 5000, b"", b"\xff" * 40, [], {}, [[]], [1] * 5000, [{}] * 300),
    *(["<f4", [4], 0], ["|O8", [1], 0], ["<f4", [0, 2**40], 0], ["<f4", [2**31, 2**31], 0]),
    *(["|u1", [1], 2**63], ["<f8", [1], 0], ["<f4", [-1], 0], ["<f4", [1, 1, 1, 1, 1], 0]),
)
# MessagePack that claims four billion items, or nests.
CLAIMS = (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\x91" * 2000)


def _places(value: Any, parent: Any = None, key: Any = None) -> list[tuple[Any, Any]]:
    """Return container and key of everything in a decoded header."""
    found = [] if parent is None else [(parent, key)]
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, each in items:
            found += _places(each, value, name)
    return found


def mutate_fields(header: bytes, chance: random.Random) -> bytes:
    """Return a header in which one thing is another, gone, or there more than once."""
    try:
        fields = msgspec.msgpack.decode(header)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return mutate_bytes(header, chance)
    places = _places(fields)
    if not places:
        return mutate_bytes(header, chance)
    parent, key = chance.choice(places)
    what = chance.randrange(6)
    if what == 0 and isinstance(parent, dict):
        del parent[key]
    elif what == 1 and isinstance(parent[key], list):
        parent[key] = parent[key] * chance.choice((2, 3, 300))
    elif what == 2:
        other, place = chance.choice(places)
        parent[key] = other.get(place) if isinstance(other, dict) else other[place]
    elif what == 3:
        parent[key] = msgspec.Raw(chance.choice(CLAIMS))
    else:
        parent[key] = copy.deepcopy(chance.choice(NASTY))
    try:
        return msgspec.msgpack.encode(fields)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return mutate_bytes(header, chance)  # it holds itself, or what there is no room for


def mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    """Return bytes of which some are others, gone, or new."""
    at, length = chance.randint(0, len(content)), chance.choice((1, 1, 2, 4, 8, 16))
    what = chance.randrange(4)
    if what == 0:
        return content[:at]
    noise = chance.choice((chance.randbytes(length), b"\xff" * length, bytes(length)))
    if what == 1:
        return content[:at] + noise + content[at:]
    if what == 2:
        return content[:at] + content[at + length :]
    return content[:at] + noise + content[at + length :]


def mutate(header: bytes, blob: bytes, chance: random.Random) -> tuple[bytes, bytes]:
    """Return header and blob of a damaged message, with one to three things wrong."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        what = chance.randrange(8)
        if what < 5:
            header = mutate_fields(header, chance)
        elif what < 7:
            header = mutate_bytes(header, chance)
        else:
            blob = mutate_bytes(blob, chance)
    return header, blob
