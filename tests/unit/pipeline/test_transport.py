"""Links and the frame store, in one process."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.transport.link as link_module
from pipeline.errors import MessageError, ResourceError
from pipeline.messages import EndOfStream, FrameHandle, People, Stamp, StreamStart
from pipeline.transport import FrameReader, FrameStore, Receiver, Sender, create_store_fd
from pipeline.transport.wire import pack

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
    meet(sender)
    yield sender, receiver
    sender.close()
    receiver.close()


def meet(sender: Sender) -> None:
    deadline = time.monotonic() + 5
    while not sender.met:
        assert time.monotonic() < deadline, "no receiver said hello within 5 s"
        sender.socket.poll(50)
        sender.take_answers()


def settle(sender: Sender, in_flight: int) -> None:
    """Take what the receiver has said until so many messages are left."""
    deadline = time.monotonic() + 5
    while sender.in_flight != in_flight:
        assert time.monotonic() < deadline, f"{sender.in_flight} messages are in flight"
        sender.socket.poll(50)
        sender.take_answers()


def people(number: int) -> People:
    return People(Stamp("cam0", number, number, 0, 0))


def receive(receiver: Receiver) -> tuple[int, object]:
    delivery = None
    while delivery is None:  # questions of the sender's come too, and are answered on the way
        assert receiver.socket.poll(2000), "nothing came within 2 s"
        delivery = receiver.receive()
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
    settle(sender, 1)
    assert freed == [] and sender.credits == 1, "safe is only what all before it is safe with"
    receiver.acknowledge(first)
    settle(sender, 0)
    deadline = time.monotonic() + 5
    while sender.unsafe and time.monotonic() < deadline:
        sender.socket.poll(50)
        sender.take_answers()
    assert freed == [0, 1] and sender.unsafe == 0


def test_what_is_handled_is_kept_until_it_is_safe(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    address = f"ipc://{tmp_path}/x"
    sender = Sender(context, address, "people", 4)
    first = Receiver(context, address, "people", People, durable=True)
    meet(sender)
    freed: list[int] = []
    for number in range(3):
        sender.send(pack(people(number)), lambda n=number: freed.append(n))
    for _ in range(3):
        first.acknowledge(receive(first)[0])
    first.tell_safe(1)
    settle(sender, 0)
    assert sender.unsafe == 2 and freed == [0] and sender.credits == 4
    first.close()
    # Another takes its place, which knows what was made safe.
    second = Receiver(context, address, "people", People, last=1, durable=True)
    settle(sender, 2)
    again = [receive(second) for _ in range(2)]
    assert [(number, found.stamp.frame_id) for number, found in again] == [(2, 1), (3, 2)]
    second.close()
    sender.close()


def test_a_receiver_that_is_busy_is_not_sent_everything_again(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    address = f"ipc://{tmp_path}/x"
    sender = Sender(context, address, "people", 4)
    receiver = Receiver(context, address, "people", People)
    meet(sender)
    for number in range(4):
        sender.send(pack(people(number)))
    assert receiver.socket.poll(2000)
    for _ in range(6):  # its own output is held up, so it takes nothing
        time.sleep(0.11)
        receiver.attend()
        sender.take_answers()
    assert [receive(receiver)[0] for _ in range(4)] == [1, 2, 3, 4]
    assert not receiver.socket.poll(200) and receiver.doubles == 0
    sender.close()
    receiver.close()


def test_what_was_sent_to_one_that_has_finished_is_safe(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    """Who takes a sender's place after its receiver has left must not wait for it for ever."""
    kept = Sender(context, f"ipc://{tmp_path}/a", "people", 4)
    for number in range(2):
        kept.send(pack(people(number)))
    sender = Sender(context, f"ipc://{tmp_path}/b", "people", 4, next_number=3, kept=kept.kept())
    freed: list[int] = []
    for number in (1, 2):
        sender.when_safe(number, lambda n=number: freed.append(n))
    assert sender.unsafe == 2
    sender.release()
    assert sender.unsafe == 0 and freed == [1, 2] and sender.credits == 4
    sender.send(pack(people(2)), lambda: freed.append(3))
    assert sender.unsafe == 0 and freed == [1, 2, 3]
    sender.close()
    kept.close()


def test_a_receiver_of_another_clock_is_heard_once_the_one_before_is_silent(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host's monotonic clock, or this one's after a boot, may be far behind."""
    monkeypatch.setattr(link_module, "SILENT_NS", 300_000_000)
    address = f"ipc://{tmp_path}/x"
    sender = Sender(context, address, "people", 4)
    before = Receiver(context, address, "people", People)
    meet(sender)
    with monkeypatch.context() as clock:
        clock.setattr(link_module, "_identity", lambda: b"r" + (1).to_bytes(8, "big"))
        after = Receiver(context, address, "people", People)
    sender.send(pack(people(0)))
    before.close()
    deadline = time.monotonic() + 5
    while not after.socket.poll(50):
        assert time.monotonic() < deadline, "it is never heard"
        after.attend()
        sender.take_answers()
    assert receive(after)[0] == 1
    sender.close()
    after.close()


def test_a_sender_that_takes_anothers_place_doubles_nothing(
    context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    address = f"ipc://{tmp_path}/x"
    first = Sender(context, address, "people", 4)
    receiver = Receiver(context, address, "people", People, durable=True)
    meet(first)
    for number in range(3):
        first.send(pack(people(number)))
    # The snapshot was taken after the second one, of which the first is not safe yet.
    kept, next_number = first.kept()[:2], 3
    got = [receive(receiver)[0] for _ in range(3)]
    receiver.acknowledge(got[0])
    first.socket.close(linger=0)
    second = Sender(context, address, "people", 4, next_number=next_number, kept=kept)
    assert second.in_flight == 2
    second.send(pack(people(2)))  # made anew
    second.send(pack(people(3)))
    deadline = time.monotonic() + 5
    delivery = None
    while delivery is None and time.monotonic() < deadline:
        second.socket.poll(20)
        second.take_answers()
        receiver.attend()
        delivery = receiver.receive()
    assert delivery is not None and delivery.message.stamp.frame_id == 3
    assert delivery.number == 4 and receiver.receive() is None
    for number in (2, 3, 4):
        receiver.acknowledge(number)
    settle(second, 0)
    receiver.tell_safe(4)
    receiver.close()
    second.close()


@given(st.lists(st.sampled_from(["send", "take", "safe", "receiver dies", "sender dies"])))
@settings(max_examples=40, deadline=None)
def test_property_each_message_arrives_once_and_in_order(steps: list[str]) -> None:
    """Whoever dies when: with what was made safe, another goes on, and nothing is lost or doubled.

    The receiver's own memory stands for what it makes safe: what it took since is forgotten.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with tempfile.TemporaryDirectory() as folder:
        address = f"ipc://{folder}/x"
        sender = Sender(context, address, "people", 1000)
        receiver = Receiver(context, address, "people", People, durable=True)
        taken: list[int] = []
        safe = sent = 0

        def take() -> None:
            sender.take_answers()
            receiver.attend()
            while (delivery := receiver.receive()) is not None:
                taken.append(delivery.message.stamp.frame_id)
                receiver.acknowledge(delivery.number)

        for step in [*steps, "send"]:
            if step == "send":
                sender.send(pack(people(sent)))
                sent += 1
            elif step == "take":
                receiver.socket.poll(5)
                take()
            elif step == "safe":
                safe = len(taken)
                receiver.tell_safe(receiver.handled)
            elif step == "receiver dies":
                receiver.socket.close(linger=0)
                del taken[safe:]
                receiver = Receiver(context, address, "people", People, last=safe, durable=True)
            else:
                kept, number = sender.kept(), sender.next_number
                sender.socket.close(linger=0)
                sender = Sender(context, address, "people", 1000, next_number=number, kept=kept)
        deadline = time.monotonic() + 10
        while len(taken) < sent and time.monotonic() < deadline:
            sender.socket.poll(5)
            take()
        assert taken == list(range(sent))
        sender.close()
        receiver.close()
    context.destroy(linger=0)


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
        [b"GAIT\x01\x02\x00\x00" + bytes(7) + b"\x01", b"not msgpack", b""],
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
    following = (receiver.last + 1).to_bytes(8, "big")
    stranger.send_multipart([b"GAIT\x01\x02\x00\x00" + following, *_parts(people(3))])
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


def test_only_what_frames_took_is_reserved_of_a_store(fd: int) -> None:
    store, reader = FrameStore("s", fd, 10_000_000), FrameReader({"s": fd})
    first, second = store.allocate(100, 100), store.allocate(100, 100)
    assert first is not None and second is not None
    second[1][...] = 7
    assert os.fstat(fd).st_blocks * 512 == 2 * 32_768, "8 pages of 4096 bytes a frame"
    # Larger frames than the budget was made for: the store grows, and older views stay right.
    large = store.allocate(1500, 1500)
    assert large is not None
    large[1][...] = 9
    assert (second[1] == 7).all() and (reader.view(second[0]) == 7).all()
    assert (reader.view(large[0]) == 9).all()
    again = FrameStore("s", fd, 10_000)  # of a source that takes the place of one that died
    assert again.allocate(100, 100) is not None
    assert (reader.view(large[0]) == 9).all(), "a store never shrinks under its readers"


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
