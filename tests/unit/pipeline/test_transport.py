"""Links and the frame store, in one process."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import MessageError, ResourceError
from pipeline.messages import EndOfStream, FrameHandle, People, Stamp, StreamStart
from pipeline.transport import FrameReader, FrameStore, Receiver, Sender, create_store_fd
from pipeline.transport.link import pack

START = StreamStart("cam0", "a film", (4, 3), 25.0, 2, False, 0)


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture(params=["inproc", "ipc", "tcp"])
def link(
    request: pytest.FixtureRequest, context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> Iterator[tuple[Sender, Receiver]]:
    address = {"inproc": "inproc://x", "ipc": f"ipc://{tmp_path}/x", "tcp": "tcp://127.0.0.1:*"}
    sender = Sender(context, address[request.param], "people", window=2)
    endpoint = sender.socket.getsockopt_string(zmq.LAST_ENDPOINT)
    receiver = Receiver(context, endpoint, "people", People)
    yield sender, receiver
    sender.close()
    receiver.close()


def people(number: int) -> People:
    return People(Stamp("cam0", number, number, 0, 0))


def receive(receiver: Receiver) -> tuple[int, object]:
    assert receiver.socket.poll(2000), "nothing came within 2 s"
    delivery = receiver.receive()
    assert delivery is not None
    return delivery.number, delivery.message


def test_start_data_and_end_arrive_in_order(link: tuple[Sender, Receiver]) -> None:
    sender, receiver = link
    sent = [START, people(0), EndOfStream("cam0", 0)]
    for message in sent:
        sender.send(pack(message))
    got = [receive(receiver)[1] for _ in sent]
    assert [type(message) for message in got] == [StreamStart, People, EndOfStream]
    assert got[0] == START and got[2] == sent[2]


def test_credits_come_back_with_acknowledgements(link: tuple[Sender, Receiver]) -> None:
    sender, receiver = link
    freed: list[int] = []
    sender.send(pack(people(0)), lambda: freed.append(0))
    sender.send(pack(people(1)), lambda: freed.append(1))
    assert sender.credits == 0
    first, _ = receive(receiver)
    second, _ = receive(receiver)
    receiver.acknowledge(second)
    assert sender.socket.poll(2000)
    assert sender.take_acknowledgements() == 1
    assert freed == [1] and sender.credits == 1
    receiver.acknowledge(first)
    assert sender.socket.poll(2000)
    sender.take_acknowledgements()
    assert freed == [1, 0] and sender.in_flight == 0


def test_end_of_stream_has_reserved_room(link: tuple[Sender, Receiver]) -> None:
    sender, receiver = link
    for message in (people(0), people(1), EndOfStream("cam0", 1)):
        sender.send(pack(message))
    assert [type(receive(receiver)[1]) for _ in range(3)] == [People, People, EndOfStream]


def test_a_message_without_credit_is_our_own_mistake(link: tuple[Sender, Receiver]) -> None:
    sender, _ = link
    sender.send(pack(people(0)))
    sender.send(pack(people(1)))
    with pytest.raises(AssertionError, match="no credit"):
        sender.send(pack(people(2)))


@pytest.mark.parametrize(
    "parts",
    [
        [b"short"],
        [b"EVIL" + bytes(12), b"", b""],
        [b"GAIT\x01\x02\x00\x00" + bytes(8), b"not msgpack", b""],
        [b"GAIT\x01\x63\x00\x00" + bytes(8), b"", b""],
        [b"GAIT\x01\x02\x00\x00" + bytes(8)],
    ],
)
def test_exception_hostile_parts_are_refused(
    context: zmq.Context[zmq.Socket[bytes]], parts: list[bytes]
) -> None:
    stranger = context.socket(zmq.DEALER)
    stranger.bind("inproc://hostile")
    receiver = Receiver(context, "inproc://hostile", "people", People)
    stranger.send_multipart(parts)
    assert receiver.socket.poll(2000)
    with pytest.raises(MessageError):
        receiver.receive()
    stranger.send_multipart([b"GAIT\x01\x02\x00\x00" + bytes(8), *_parts(people(3))])
    assert receiver.socket.poll(2000)
    assert receiver.receive() is not None
    receiver.close()
    stranger.close(linger=0)


def _parts(message: People) -> list[bytes]:
    encoded = pack(message)
    return [encoded.header, bytes(encoded.blob)]


@pytest.fixture
def fd() -> Iterator[int]:
    made = create_store_fd("test")
    yield made
    os.close(made)


def test_pixels_written_on_one_side_are_read_on_the_other(fd: int) -> None:
    store, reader = FrameStore("s", fd, 10_000_000), FrameReader({"s": fd})
    slot = store.allocate(48, 64)
    assert slot is not None
    handle, pixels = slot
    pixels[...] = np.arange(pixels.size, dtype=np.uint8).reshape(pixels.shape)
    view = reader.view(handle)
    assert np.array_equal(view, pixels)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0, 0] = 1


def test_a_full_store_says_so_and_space_comes_back(fd: int) -> None:
    store = FrameStore("s", fd, 1)  # always room for four frames, however small the budget
    slots = [store.allocate(100, 100) for _ in range(4)]
    assert all(slots) and store.allocate(100, 100) is None
    assert slots[2] is not None
    store.free(slots[2][0])
    again = store.allocate(100, 100)
    assert again is not None and again[0] == slots[2][0]


@given(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90), st.booleans()), max_size=40))
def test_property_frames_in_flight_never_overlap(steps: list[tuple[int, int, bool]]) -> None:
    fd = create_store_fd("test")
    try:
        store, held = FrameStore("s", fd, 200_000), []
        for height, width, free_one in steps:
            if free_one and held:
                store.free(held.pop(0))
            slot = store.allocate(height, width)
            if slot is not None:
                held.append(slot[0])
        ranges = sorted((h.offset, h.offset + h.height * h.width * 3) for h in held)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges))
    finally:
        os.close(fd)


def test_exception_a_frame_larger_than_the_memory(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Little:
        available = 1_000_000

    monkeypatch.setattr("pipeline.transport.store.psutil.virtual_memory", lambda: Little)
    with pytest.raises(ResourceError, match="do not fit"):
        FrameStore("s", fd, 1).allocate(4320, 7680)


def test_exception_a_handle_of_another_run_or_beyond_the_store(fd: int) -> None:
    reader = FrameReader({"s": fd})
    with pytest.raises(MessageError, match="not this run"):
        reader.view(FrameHandle("other", 0, 1, 1))
    with pytest.raises(MessageError, match="ends at byte"):
        reader.view(FrameHandle("s", 0, 10, 10))
