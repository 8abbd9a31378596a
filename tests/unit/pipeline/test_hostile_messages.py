"""A hundred thousand damaged messages through a real socket: each is counted, none does harm."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import zmq

from pipeline.errors import MessageError
from pipeline.messages import Bodies, EndOfStream, People, StreamStart, Windows
from pipeline.transport import Receiver
from pipeline.transport.wire import ENVELOPE, MAGIC, WIRE_VERSION, Kind, pack
from tests.message_mutations import mutate, mutate_bytes
from tests.message_samples import samples

COUNT = 102_000  # in three kinds
WARM_UP = 10_000
BATCH = 200
GROWTH_BYTES = 8_000_000
SEED = 20


class Attacker:
    """Sends what it likes to a receiver that takes it for its sender."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.address = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.chance = random.Random(SEED)
        self.messages = [pack(message) for message in samples().values()]

    def parts(self, number: int) -> tuple[list[bytes], bool]:
        """Return a damaged message, and whether its number counts."""
        chance = self.chance
        message = chance.choice(self.messages)
        envelope = ENVELOPE.pack(MAGIC, WIRE_VERSION, message.kind, number)
        header, blob = message.header, bytes(message.blob)
        what = chance.randrange(20)
        if what == 0:
            damaged = mutate_bytes(envelope, chance)
            return [damaged, header, blob], damaged == envelope
        if what == 1:
            return chance.choice(
                ([envelope], [envelope, header], [envelope, header, blob, b""])
            ), False
        if what == 2:
            kind = chance.choice((0, Kind.ACK, Kind.HELLO, Kind.SAFE, 7, 255))
            return [ENVELOPE.pack(MAGIC, WIRE_VERSION, kind, number), header, blob], False
        if what == 3:
            far = chance.choice((0, number - 1, number + 1000, 2**64 - 1))
            return [ENVELOPE.pack(MAGIC, WIRE_VERSION, message.kind, far), header, blob], False
        return [envelope, *mutate(header, blob, chance)], True


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


def take(receiver: Receiver, seen: Counter[str], until: int) -> None:
    """Read until every message that was sent has had its outcome."""
    while outcomes(receiver, seen) < until:
        assert receiver.socket.poll(5000), (
            f"{until - outcomes(receiver, seen)} messages are missing"
        )
        try:
            delivery = receiver.receive()
        except MessageError as error:
            seen["bad"] += 1
            assert len(str(error)) < 600
            continue
        if delivery is not None:
            seen["good"] += 1
            receiver.acknowledge(delivery.number)


def outcomes(receiver: Receiver, seen: Counter[str]) -> int:
    return seen["bad"] + seen["good"] + receiver.doubles + receiver.too_early


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


@pytest.mark.parametrize("kind", [People, Windows, Bodies], ids=lambda kind: kind.__name__)
def test_property_damaged_messages_are_counted_and_take_no_memory(
    context: zmq.Context[zmq.Socket[bytes]], kind: type[Any]
) -> None:
    attacker = Attacker(context)
    receiver = Receiver(context, attacker.address, "people", kind)
    seen: Counter[str] = Counter()
    begun, number, sent = 0, 1, 0
    while seen["bad"] < COUNT // 3:
        if sent == WARM_UP:
            begun = resident()
        for _ in range(BATCH):
            parts, counts = attacker.parts(number)
            attacker.socket.send_multipart(parts)
            number += counts
        sent += BATCH
        take(receiver, seen, sent)
        while attacker.socket.poll(0):
            attacker.socket.recv()
    grown = resident() - begun
    assert outcomes(receiver, seen) == sent
    assert receiver.last == number - 1 and receiver.open_numbers == ()
    assert grown < GROWTH_BYTES, f"{grown / 1e6:.1f} MB more after {sent - WARM_UP} messages"
    receiver.close()
    attacker.socket.close()


def test_a_good_message_still_comes_after_bad_ones(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    attacker = Attacker(context)
    receiver = Receiver(context, attacker.address, "people", People)
    seen: Counter[str] = Counter()
    number = 1
    for _ in range(BATCH):
        parts, counts = attacker.parts(number)
        attacker.socket.send_multipart(parts)
        number += counts
    take(receiver, seen, BATCH)
    for name in ("stream_start", "people", "end_of_stream"):
        good = pack(samples()[name])
        envelope = ENVELOPE.pack(MAGIC, WIRE_VERSION, good.kind, number)
        attacker.socket.send_multipart([envelope, good.header, bytes(good.blob)])
        number += 1
    got: list[type[Any]] = []
    while len(got) < 3:
        assert receiver.socket.poll(5000)
        delivery = receiver.receive()
        got += [type(delivery.message)] if delivery is not None else []
    assert got == [StreamStart, People, EndOfStream]
    receiver.close()
    attacker.socket.close()
