"""One stage in its runner, with the test in place of its neighbours and of the supervisor."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from pipeline import plans, runner
from pipeline.errors import FrameError, InputError
from pipeline.messages import Bodies, EndOfStream, Frame, Output, People, Stamp, StreamStart
from pipeline.stage import StageBase
from pipeline.transport import FrameStore, Receiver, Sender, create_store_fd
from pipeline.transport.snapshots import SnapshotFile
from pipeline.transport.wire import Encoded, Kind, pack

START = StreamStart("cam0", "a film", (4, 3), 25.0, 2, False, 0)


class Fake(StageBase):
    """A body stage that fails where it is told to."""

    def __init__(
        self, *, bad: int = -1, dead: int = -1, setup_error: Exception | None = None
    ) -> None:
        self._bad, self._dead, self._setup_error = bad, dead, setup_error
        self.closed = False

    def setup(self) -> None:
        if self._setup_error is not None:
            raise self._setup_error

    def process(self, message: People) -> Iterable[Output]:
        if message.stamp.frame_id == self._bad:
            raise FrameError("this one is bad")
        if message.stamp.frame_id == self._dead:
            raise ZeroDivisionError("our own mistake")
        return [Bodies(message.stamp)]

    def skip(self, message: People) -> Iterable[Output]:
        return [Bodies(message.stamp, ended_tracks=(99,))]

    def close(self) -> None:
        self.closed = True


class Bench:
    """Neighbours and supervisor of a body stage."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.control = self.context.socket(zmq.ROUTER)
        self.control.bind("inproc://control")
        self.before = Sender(self.context, "inproc://people", "people", 4)
        link = plans.LinkPlan
        self.plan = plans.NodePlan(
            "body",
            {},
            (link("people", "detect", "body", "inproc://people", 4),),
            (link("bodies", "body", "sequence", "inproc://bodies", 2),),
            "inproc://control",
            {},
            0,
            0,
        )
        self.after = Receiver(self.context, "inproc://bodies", "bodies", Bodies)
        self.thread: threading.Thread | None = None

    def start(self, stage: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runner, "build_stage", lambda _name, _config: stage)
        self.thread = threading.Thread(target=runner.run_node, args=(self.plan, self.context))
        self.thread.start()

    def event(self, kind: type[Any]) -> Any:
        """Return the next event of a kind."""
        while True:
            assert self.control.poll(5000), f"no {kind.__name__} within 5 s"
            event = plans.decode_event(self.control.recv_multipart()[1])
            if isinstance(event, kind):
                return event

    def order(self, order: plans.Order) -> None:
        self.control.send_multipart((b"body", plans.encode(order)))

    def send(self, *messages: Any) -> None:
        for message in messages:
            self.before.send(pack(message))

    def answers(self, count: int) -> list[Any]:
        """Take and acknowledge messages of the stage."""
        got = []
        while len(got) < count:
            assert self.after.socket.poll(5000), f"only {len(got)} of {count} answers came"
            delivery = self.after.receive()
            assert delivery is not None
            self.after.acknowledge(delivery.number)
            got.append(delivery.message)
        return got

    def close(self) -> None:
        if self.thread is not None:
            self.thread.join(5)
            assert not self.thread.is_alive()
        self.before.close()
        self.after.close()
        self.control.close(linger=0)
        self.context.term()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def people(number: int) -> People:
    return People(Stamp("cam0", number, number, 0, 0))


class Batching(Fake):
    """Takes up to three at once, once the test has sent all of them."""

    batch_limit = 3
    batch_wait_s = 5.0

    def __init__(self, *, bad: int = -1) -> None:
        super().__init__(bad=bad)
        self.all_sent = threading.Event()
        self.batches: list[list[int]] = []

    def start(self, stream: StreamStart) -> None:
        assert self.all_sent.wait(5)

    def process_batch(self, messages: Sequence[People]) -> Iterable[Iterable[Output]]:
        self.batches.append([message.stamp.frame_id for message in messages])
        return [self.process(message) for message in messages]


@pytest.mark.parametrize("bad", [-1, 1])
def test_live_messages_that_wait_are_handled_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    stage = Batching(bad=bad)
    bench.start(stage, monkeypatch)
    bench.event(plans.Ready)
    bench.order(plans.Go())
    live = replace(START, live=True)
    bench.send(live, *(people(number) for number in range(2)), EndOfStream("cam0", 1))
    stage.all_sent.set()
    answers = bench.answers(4)
    assert [answer.stamp.frame_id for answer in answers[1:3]] == [0, 1]
    assert [answer.ended_tracks for answer in answers[1:3]] == [(), (99,) if bad == 1 else ()]
    assert answers[3] == EndOfStream("cam0", 1)
    assert stage.batches == [[0, 1]]
    stats = bench.event(plans.Finished).stats
    assert (stats.frames, stats.bad_frames) == (2, int(bad == 1))


def test_after_a_death_messages_are_handled_one_by_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark names the first of a batch, and any of it may be the one that kills."""
    snapshots = create_store_fd("body-snapshot")
    SnapshotFile(snapshots).mark(0, 1, 0)
    bench.plan = msgspec.structs.replace(bench.plan, snapshots=snapshots)
    stage = Batching()
    bench.start(stage, monkeypatch)
    bench.event(plans.Ready)
    bench.order(plans.Go())
    live = replace(START, live=True)
    bench.send(live, people(0), people(1), EndOfStream("cam0", 1))
    stage.all_sent.set()
    bench.answers(4)
    bench.event(plans.Finished)
    os.close(snapshots)
    assert stage.batches == []


def test_recorded_messages_are_handled_one_by_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Batching()
    bench.start(stage, monkeypatch)
    bench.event(plans.Ready)
    bench.order(plans.Go())
    bench.send(START, people(0), people(1), EndOfStream("cam0", 1))
    stage.all_sent.set()
    bench.answers(4)
    assert stage.batches == []


def test_messages_pass_in_order_with_their_spans(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Fake()
    bench.start(stage, monkeypatch)
    bench.event(plans.Ready)
    bench.order(plans.Go())
    bench.send(START, people(0), people(1), EndOfStream("cam0", 1))
    start, first, second, end = bench.answers(4)
    assert start == START and end == EndOfStream("cam0", 1)
    assert [message.stamp.frame_id for message in (first, second)] == [0, 1]
    assert first.spans[-1].stage == "body"
    assert first.spans[-1].enter_ns <= first.spans[-1].leave_ns
    finished = bench.event(plans.Finished)
    assert finished.stats.frames == 2 and finished.ended == {"cam0": ""}
    assert stage.closed


@pytest.mark.parametrize("again", [False, True])
def test_who_takes_a_place_knows_it_although_nothing_was_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """A sink must not mistake the folder of its own run for that of another."""
    bench.plan = msgspec.structs.replace(bench.plan, again=again)
    stage = Fake()
    bench.start(stage, monkeypatch)
    bench.event(plans.Ready)
    assert stage.resumed is again
    bench.order(plans.Abort())


def test_a_bad_frame_is_counted_and_passed_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start(Fake(bad=0), monkeypatch)
    bench.event(plans.Ready)
    bench.order(plans.Go())
    bench.send(START, people(0), people(1), EndOfStream("cam0", 1))
    _, first, second, _ = bench.answers(4)
    assert first.ended_tracks == (99,) and second.ended_tracks == ()
    assert bench.event(plans.Finished).stats.bad_frames == 1


def test_a_mistake_tells_frame_and_traceback(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Fake(dead=1)
    bench.start(stage, monkeypatch)
    bench.event(plans.Ready)
    bench.order(plans.Go())
    bench.send(START, people(0), people(1))
    failed = bench.event(plans.Failed)
    assert failed.where == "source cam0, frame 1 (0.000 s)"
    assert "ZeroDivisionError: our own mistake" in failed.reason
    assert "in process" in failed.trace
    assert bench.thread is not None
    bench.thread.join(5)
    assert stage.closed


def test_a_stage_that_cannot_load_says_why_without_traceback(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = InputError("the weights are missing", hint="give --weights")
    bench.start(Fake(setup_error=error), monkeypatch)
    failed = bench.event(plans.Failed)
    assert (failed.reason, failed.hint, failed.trace) == (
        "the weights are missing",
        "give --weights",
        "",
    )


def test_a_stage_without_credit_waits_and_an_abort_ends_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Fake()
    bench.start(stage, monkeypatch)
    bench.event(plans.Ready)
    bench.order(plans.Go())
    bench.send(START, people(0), people(1), people(2))
    assert bench.event(plans.Progress)
    bench.order(plans.Abort())
    finished = bench.event(plans.Finished)
    assert finished.ended == {} and stage.closed


def test_a_malformed_message_is_dropped_and_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.start(Fake(), monkeypatch)
    bench.event(plans.Ready)
    bench.order(plans.Go())
    bench.send(START)
    bench.before.send(Encoded(Kind.DATA, b"rubbish", b""))
    bench.send(people(0), EndOfStream("cam0", 0))
    assert len(bench.answers(3)) == 3
    assert bench.event(plans.Finished).stats.bad_messages == 1


@pytest.mark.parametrize(
    "messages",
    [
        [replace(START, source_id="cam0")],
        [People(Stamp("stranger", 0, 0, 0, 0))],
        [EndOfStream("stranger", 0)],
        [People(Stamp("stranger", number, 0, 0, 0)) for number in range(20)],
    ],
    ids=["begins twice", "never began", "ends what never began", "a flood"],
)
def test_what_comes_at_the_wrong_time_is_dropped_and_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, messages: list[Any]
) -> None:
    bench.start(Fake(), monkeypatch)
    bench.event(plans.Ready)
    bench.order(plans.Go())
    bench.send(START)
    for message in messages:
        while bench.before.credits <= 0:
            bench.before.socket.poll(50)
            bench.before.take_answers()
        bench.send(message)
    while bench.before.credits <= 0:
        bench.before.socket.poll(50)
        bench.before.take_answers()
    bench.send(people(0), EndOfStream("cam0", 0))
    start, answer, end = bench.answers(3)
    assert (start, end) == (START, EndOfStream("cam0", 0)) and answer.stamp.frame_id == 0
    assert bench.event(plans.Finished).stats.bad_messages == len(messages)


class Watcher(Fake):
    """A detect stage that tells what it saw of a frame."""

    def process(self, message: Any) -> Iterable[Output]:
        return [People(message.stamp, ended_tracks=(int(message.pixels[0, 0, 0]),))]

    def skip(self, message: Any) -> Iterable[Output]:
        return [People(message.stamp, ended_tracks=(99,))]


def test_exception_frames_that_cannot_be_or_come_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = create_store_fd("test")
    store = FrameStore("source", fd, 1)
    slot = store.allocate(4, 4)
    assert slot is not None
    handle, pixels = slot
    pixels[...] = 7
    link = plans.LinkPlan
    bench.plan = plans.NodePlan(
        "detect",
        {},
        (link("frames", "source", "detect", "inproc://people", 4),),
        (link("people", "detect", "body", "inproc://bodies", 2),),
        "inproc://control",
        {"source": fd},
        0,
        0,
    )
    bench.after.close()
    bench.after = Receiver(bench.context, "inproc://bodies", "people", People)
    bench.start(Watcher(), monkeypatch)
    bench.event(plans.Ready)
    bench.control.send_multipart((b"detect", plans.encode(plans.Go())))
    whole = np.full((4, 4, 3), 5, np.uint8)
    frames = [
        Frame(Stamp("cam0", 0, 0, 0, 0), handle=handle),
        Frame(Stamp("cam0", 1, 0, 0, 0), handle=replace(handle, offset=2**40)),
        Frame(Stamp("cam0", 2, 0, 0, 0), handle=replace(handle, store="another")),
        Frame(Stamp("cam0", 2, 0, 0, 0), handle=handle),
        Frame(Stamp("cam0", 3, 0, 0, 0), pixels=whole),
    ]
    bench.send(START)
    for frame in frames:
        while bench.before.credits <= 0:
            bench.before.socket.poll(50)
            bench.before.take_answers()
        bench.send(frame)
    bench.send(EndOfStream("cam0", 3))
    _, *seen, _ = bench.answers(6)
    assert [people.ended_tracks for people in seen] == [(7,), (99,), (99,), (5,)]
    stats = bench.event(plans.Finished).stats
    assert (stats.bad_frames, stats.bad_messages) == (2, 1)
    os.close(fd)
