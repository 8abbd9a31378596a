"""Runs one stage: moves messages between its links and its `process`, keeps time and count.

As a process it is started as `python -m pipeline.runner PLAN.json LIFELINE_FD`; in a run with
`placement: threads` the supervisor calls `run_node` in a thread. Nothing here knows what the stage
does.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import zmq
from pydantic import TypeAdapter

from pipeline.clock import monotonic_ns
from pipeline.errors import FrameError, GaitError, MessageError
from pipeline.graph import stage_spec, topic_spec
from pipeline.messages import EndOfStream, Frame, Output, Release, Span, Stamp, StreamStart
from pipeline.nodes import (
    Abort,
    Event,
    Failed,
    Finished,
    Go,
    Log,
    NodePlan,
    Opened,
    Progress,
    Ready,
    StageStats,
    Stop,
    StopWanted,
    decode_order,
    decode_plan,
    encode,
)
from pipeline.stage import EndOfSource, RawFrame, SourceStage, Stage
from pipeline.telemetry import LatencyHistogram
from pipeline.transport import Delivery, FrameReader, FrameStore, Receiver, Sender
from pipeline.transport.link import Encoded, pack

PROGRESS_EVERY_S = 0.5
POLL_MS = 100
SOURCE_READ_S = 0.1
CONTROL_LINGER_MS = 500

Context = zmq.Context[zmq.Socket[bytes]]


class Aborted(Exception):
    """The supervisor said to close now."""


def build_stage(name: str, config: dict[str, Any]) -> Any:
    """Return the stage `name` made from its block of the configuration."""
    module = importlib.import_module(stage_spec(name).module)
    return module.build(TypeAdapter(module.Config).validate_python(config))


class ControlLine:
    """The stage's line to the supervisor."""

    def __init__(self, context: Context, address: str, stage: str) -> None:
        self.stage = stage
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, CONTROL_LINGER_MS)
        self.socket.setsockopt(zmq.IDENTITY, stage.encode())
        self.socket.connect(address)
        self.stopping = False
        self._told_at = 0.0

    def tell(self, event: Event) -> None:
        """Send an event."""
        self.socket.send(encode(event))

    def tell_progress(self, stats: Callable[[], StageStats]) -> None:
        """Send the counts if it is time to."""
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_EVERY_S:
            self._told_at = now
            self.tell(Progress(self.stage, stats()))

    def wait_for_go(self) -> None:
        """Wait until all stages are ready; raises `Aborted` if the run is given up instead."""
        while True:
            order = decode_order(self.socket.recv())
            if isinstance(order, Abort):
                raise Aborted
            if isinstance(order, Stop):
                self.stopping = True
            if isinstance(order, Go):
                return

    def obey(self) -> None:
        """Read what the supervisor wants; raises `Aborted` on an abort."""
        while self.socket.poll(0):
            order = decode_order(self.socket.recv())
            if isinstance(order, Abort):
                raise Aborted
            if isinstance(order, Stop):
                self.stopping = True

    def close(self) -> None:
        """Close; the last words have half a second to leave."""
        self.socket.close()


class _ControlLogHandler(logging.Handler):
    """Sends a process's log lines to the supervisor. Sockets are not thread-safe, so lines wait in
    a queue that the stage's own thread empties."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: deque[tuple[int, str]] = deque(maxlen=1000)

    def emit(self, record: logging.LogRecord) -> None:
        self.waiting.append((record.levelno, self.format(record)))

    def forward(self, line: ControlLine) -> None:
        """Send what has gathered."""
        while self.waiting:
            level, text = self.waiting.popleft()
            line.tell(Log(line.stage, level, text))


class Node:
    """What source and stage runners share: links, counts, the line to the supervisor."""

    def __init__(
        self, plan: NodePlan, context: Context, log_handler: _ControlLogHandler | None = None
    ) -> None:
        self.plan = plan
        self.spec = stage_spec(plan.stage)
        self.stats = StageStats()
        self.service = LatencyHistogram()
        self.wait = LatencyHistogram()
        self.ended: dict[str, str] = {}
        self.where = ""
        self._log_handler = log_handler
        self.line = ControlLine(context, plan.control, plan.stage)
        self.senders = [
            Sender(context, link.address, link.topic, link.window) for link in plan.outputs
        ]
        self.receivers = [
            Receiver(context, link.address, link.topic, topic_spec(link.topic).message)
            for link in plan.inputs
        ]

    def attend(self) -> None:
        """Between two messages: obey, take acknowledgements, tell how far we are."""
        self.line.obey()
        for sender in self.senders:
            sender.take_acknowledgements()
        if self._log_handler is not None:
            self._log_handler.forward(self.line)
        self.line.tell_progress(self.current_stats)

    def current_stats(self) -> StageStats:
        """Return the counts so far."""
        self.stats.service_ns = self.service.counts
        self.stats.wait_ns = self.wait.counts
        return self.stats

    def wait_until_acknowledged(self) -> None:
        """Wait until every message that was sent has been handled."""
        poller = zmq.Poller()
        poller.register(self.line.socket, zmq.POLLIN)
        for sender in self.senders:
            poller.register(sender.socket, zmq.POLLIN)
        while any(sender.in_flight for sender in self.senders):
            poller.poll(POLL_MS)
            self.attend()

    def close(self) -> None:
        """Close all sockets."""
        if self._log_handler is not None:
            self._log_handler.forward(self.line)
        for sender in self.senders:
            sender.close()
        for receiver in self.receivers:
            receiver.close()
        self.line.close()


class StageNode(Node):
    """Runs an inner stage or a sink."""

    def __init__(
        self,
        plan: NodePlan,
        stage: Stage,
        context: Context,
        log_handler: _ControlLogHandler | None = None,
    ) -> None:
        super().__init__(plan, context, log_handler)
        self.stage = stage
        self.frames = FrameReader(plan.stores)
        self._outgoing: deque[Callable[[], bool]] = deque()
        self._held: dict[tuple[str, int], tuple[Receiver, int]] = {}
        self._starts: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self.ages: dict[str, LatencyHistogram] = {}

    def run(self) -> None:
        """Handle messages until every stream has ended and all output is acknowledged."""
        while not self.ended or self._outgoing:
            self.attend()
            self._flush()
            for receiver in self._await_input():
                self._take(receiver)
        self.wait_until_acknowledged()

    def current_stats(self) -> StageStats:
        """Return the counts so far, with the stage's own."""
        stats = super().current_stats()
        stats.items = self.items
        stats.age_ns = {topic: ages.counts for topic, ages in self.ages.items()}
        stats.report = dict(self.stage.report())
        return stats

    def _await_input(self) -> list[Receiver]:
        """Return receivers that have something. While output waits for credits, none has."""
        poller = zmq.Poller()
        poller.register(self.line.socket, zmq.POLLIN)
        for sender in self.senders:
            poller.register(sender.socket, zmq.POLLIN)
        if not self._outgoing:
            for receiver in self.receivers:
                poller.register(receiver.socket, zmq.POLLIN)
        ready = dict(poller.poll(POLL_MS))
        return [receiver for receiver in self.receivers if receiver.socket in ready]

    def _take(self, receiver: Receiver) -> None:
        try:
            delivery = receiver.receive()
        except MessageError as error:
            self.stats.bad_messages += 1
            logging.getLogger(self.plan.stage).warning("dropped a bad message %s", error)
            return
        if delivery is None:
            return
        message = delivery.message
        if isinstance(message, StreamStart):
            self._start(message)
            self._later(lambda: self._acknowledge(receiver, delivery.number))
        elif isinstance(message, EndOfStream):
            self._end(message)
            self._later(lambda: self._acknowledge(receiver, delivery.number))
        else:
            self._handle(receiver, delivery)
        self._flush()

    def _start(self, stream: StreamStart) -> None:
        seen = self._starts[stream.source_id] = self._starts.get(stream.source_id, 0) + 1
        if seen == 1:
            self.stage.start(stream)
            self._send(pack(stream))

    def _end(self, end: EndOfStream) -> None:
        seen = self._ends[end.source_id] = self._ends.get(end.source_id, 0) + 1
        if seen < len(self.receivers):
            return
        self.where = f"end of source {end.source_id}"
        self._answer(self.stage.end(end.source_id), ())
        self._send(pack(end))
        self._later(lambda: self._mark_ended(end))

    def _mark_ended(self, end: EndOfStream) -> bool:
        self.ended[end.source_id] = end.reason
        return True

    def _handle(self, receiver: Receiver, delivery: Delivery) -> None:
        enter_ns = monotonic_ns()
        message = delivery.message
        self.where = str(message.stamp)
        self._measure(receiver.topic, message, enter_ns)
        holds = self.spec.holds_frames and isinstance(message, Frame)
        if holds:
            self._held[message.stamp.source_id, message.stamp.frame_id] = (
                receiver,
                delivery.number,
            )
        outputs = self._process(message)
        span = Span(self.plan.stage, enter_ns, monotonic_ns())
        self.service.add(span.leave_ns - enter_ns)
        self._answer(outputs, (*message.spans, span))
        self.stats.frames += 1
        self.stats.newest_frame = max(self.stats.newest_frame, message.stamp.frame_id)
        if not holds:
            self._later(lambda: self._acknowledge(receiver, delivery.number))
        if self.stage.stop_wanted and not self.line.stopping:
            self.line.stopping = True
            self.line.tell(StopWanted(self.plan.stage, self.stage.stop_wanted))

    def _process(self, message: Any) -> list[Output]:
        try:
            if isinstance(message, Frame):
                assert message.handle is not None
                message = replace(message, pixels=self.frames.view(message.handle))
            return list(self.stage.process(message))
        except (FrameError, MessageError) as error:
            self.stats.bad_frames += 1
            logging.getLogger(self.plan.stage).warning("passed over %s: %s", self.where, error)
            return list(self.stage.skip(message))

    def _measure(self, topic: str, message: Any, enter_ns: int) -> None:
        if message.spans:
            self.wait.add(enter_ns - message.spans[-1].leave_ns)
        carries = topic_spec(topic).carries
        if carries and (count := len(getattr(message, carries))):
            self.items[topic] = self.items.get(topic, 0) + count
            ages = self.ages.setdefault(topic, LatencyHistogram())
            ages.add(enter_ns - message.stamp.capture_ns)

    def _answer(self, outputs: Iterable[Output], spans: tuple[Span, ...]) -> None:
        for output in outputs:
            if isinstance(output, Release):
                receiver, number = self._held.pop((output.source_id, output.frame_id))
                self._later(lambda r=receiver, n=number: self._acknowledge(r, n))  # type: ignore[misc]
            else:
                self._send(pack(replace(output, spans=spans)))

    def _send(self, encoded: Encoded) -> None:
        for sender in self.senders:
            self._later(lambda s=sender: self._try_send(s, encoded))  # type: ignore[misc]

    def _try_send(self, sender: Sender, encoded: Encoded) -> bool:
        if sender.credits <= 0:
            sender.take_acknowledgements()
        if sender.credits <= 0:
            return False
        sender.send(encoded)
        return True

    @staticmethod
    def _acknowledge(receiver: Receiver, number: int) -> bool:
        receiver.acknowledge(number)
        return True

    def _later(self, step: Callable[[], bool]) -> None:
        """Queue a step; steps happen in order, each as soon as it can."""
        self._outgoing.append(step)

    def _flush(self) -> None:
        while self._outgoing and self._outgoing[0]():
            self._outgoing.popleft()


class SourceNode(Node):
    """Runs a source: waits for room, reads, writes the pixels into the store, sends handles."""

    def __init__(
        self,
        plan: NodePlan,
        source: SourceStage,
        context: Context,
        log_handler: _ControlLogHandler | None = None,
    ) -> None:
        super().__init__(plan, context, log_handler)
        self.source = source
        ((name, fd),) = plan.stores.items()
        self.store = FrameStore(name, fd, plan.frame_store_bytes)
        self._stream: StreamStart | None = None

    def open(self) -> None:
        """Open the source and tell its facts."""
        stream = self._stream = self.source.open()
        width, height = stream.size_wh
        self.line.tell(
            Opened(
                self.plan.stage,
                stream.source_id,
                stream.label,
                width,
                height,
                stream.rate_hz,
                stream.frames_expected,
                stream.live,
            )
        )

    def run(self) -> None:
        """Send frames until the source ends or the run is stopped."""
        assert self._stream is not None
        source_id = self._stream.source_id
        self._send_to_all(pack(self._stream))
        reason = self._pump(source_id)
        self.ended[source_id] = reason
        self._send_to_all(pack(EndOfStream(source_id, self.stats.newest_frame, reason)))
        self.wait_until_acknowledged()

    def current_stats(self) -> StageStats:
        """Return the counts so far, with the source's own."""
        stats = super().current_stats()
        stats.in_flight = self.store.frames_in_flight
        stats.report = dict(self.source.report())
        stats.dropped = int(stats.report.get("dropped", 0))
        return stats

    def _pump(self, source_id: str) -> str:
        while True:
            self.attend()
            if self.line.stopping:
                return "stopped"
            if not self._room():
                self._await_acknowledgements()
                continue
            self.where = f"source {source_id}, frame {self.stats.newest_frame + 1}"
            try:
                raw = self.source.read(SOURCE_READ_S)
            except EndOfSource as end:
                return end.reason
            if raw is not None:
                self._send_frame(source_id, raw)

    def _room(self) -> bool:
        return self.store.frames_in_flight < self.plan.max_frames and all(
            sender.credits > 0 for sender in self.senders
        )

    def _await_acknowledgements(self) -> None:
        poller = zmq.Poller()
        poller.register(self.line.socket, zmq.POLLIN)
        for sender in self.senders:
            poller.register(sender.socket, zmq.POLLIN)
        poller.poll(POLL_MS)

    def _send_frame(self, source_id: str, raw: RawFrame) -> None:
        height, width = raw.pixels.shape[:2]
        while (slot := self.store.allocate(height, width)) is None:
            self._await_acknowledgements()
            self.attend()
        handle, pixels = slot
        pixels[...] = raw.pixels
        self.stats.newest_frame += 1
        frame = Frame(
            stamp=self._stamp(source_id, raw),
            handle=handle,
            spans=(Span(self.plan.stage, raw.capture_ns, monotonic_ns()),),
        )
        self.service.add(frame.spans[0].leave_ns - raw.capture_ns)
        self.stats.frames += 1
        encoded = pack(frame)
        readers = _Countdown(len(self.senders), lambda: self.store.free(handle))
        for sender in self.senders:
            sender.send(encoded, readers.one_less)

    def _stamp(self, source_id: str, raw: RawFrame) -> Stamp:
        return Stamp(
            source_id,
            self.stats.newest_frame,
            raw.time_ns,
            raw.capture_ns,
            raw.capture_unix_ns,
            int(self.source.report().get("dropped", 0)),
        )

    def _send_to_all(self, encoded: Encoded) -> None:
        for sender in self.senders:
            sender.send(encoded)


class _Countdown:
    """Calls `done` when everyone has let go."""

    def __init__(self, count: int, done: Callable[[], None]) -> None:
        self._left = count
        self._done = done

    def one_less(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._done()


def run_node(
    plan: NodePlan, context: Context, log_handler: _ControlLogHandler | None = None
) -> bool:
    """Run a stage from loading to closing. Every outcome is told to the supervisor.

    Returns:
        True if the stage ended as it should, aborts included.
    """
    try:
        worker = build_stage(plan.stage, plan.config)
    except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor must hear of it
        line = ControlLine(context, plan.control, plan.stage)
        line.tell(_failure(plan.stage, "while it was made", error))
        line.close()
        return False
    node: SourceNode | StageNode
    if plan.inputs:
        node = StageNode(plan, worker, context, log_handler)
    else:
        node = SourceNode(plan, worker, context, log_handler)
    good = True
    try:
        _live(node, worker)
    except Aborted:
        good = _finish(node, worker)
    except Exception as error:  # noqa: BLE001 - as above
        node.line.tell(_failure(plan.stage, node.where, error))
        good = False
        _finish(node, worker, tell=False)
    else:
        good = _finish(node, worker)
    node.close()
    return good


def _live(node: SourceNode | StageNode, worker: Any) -> None:
    """Set up, wait for everyone, work."""
    node.where = "start"
    if isinstance(node, SourceNode):
        node.open()
    else:
        worker.setup()
    node.line.tell(Ready(node.plan.stage))
    node.line.wait_for_go()
    node.run()


def _finish(node: SourceNode | StageNode, worker: Any, *, tell: bool = True) -> bool:
    """Close the stage and say goodbye; a failure to close is a failure of the stage."""
    try:
        worker.close()
    except Exception as error:  # noqa: BLE001 - as above
        if tell:
            node.line.tell(_failure(node.plan.stage, "while it was closed", error))
        return False
    if tell:
        node.line.tell(Finished(node.plan.stage, node.current_stats(), node.ended))
    return True


def _failure(stage: str, where: str, error: Exception) -> Failed:
    if isinstance(error, GaitError):
        return Failed(stage, error.message, error.hint, where, "", error.exit_code)
    trace = "".join(traceback.format_exception(error))
    return Failed(stage, f"{type(error).__name__}: {error}", "", where, trace, 1)


def _die_with(lifeline_fd: int) -> None:
    """End this process when the supervisor's end of the lifeline closes, however it died."""

    def watch() -> None:
        os.read(lifeline_fd, 1)
        os._exit(3)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def main() -> None:
    """Entry point of a stage's process."""
    plan_path, lifeline_fd = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with(lifeline_fd)
    plan = decode_plan(Path(plan_path).read_bytes())
    handler = _ControlLogHandler()
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(message)s")
    context: Context = zmq.Context()
    good = run_node(plan, context, handler)
    context.term()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
