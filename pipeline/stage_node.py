"""Runs an inner stage or a sink: messages in, `process`, messages out, in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from pipeline.clock import NS_PER_S, monotonic_ns
from pipeline.control import Context, ControlLogHandler
from pipeline.errors import FrameError, MessageError
from pipeline.graph import LAST_TOPIC, topic_spec
from pipeline.messages import EndOfStream, Frame, Output, Release, Span, StreamStart
from pipeline.node import Node
from pipeline.plans import (
    Ending,
    Incident,
    NodePlan,
    StageStats,
    StopWanted,
)
from pipeline.priority import MakingWay
from pipeline.recovery import (
    AT_LEAST_EVERY,
    COST_SHARE,
    DEATHS,
    EVERY,
    InputState,
    NodeState,
    OutputState,
    encode_state,
    freeze,
    thaw,
)
from pipeline.stage import BatchingStage, Stage
from pipeline.telemetry import LatencyHistogram, SpanWriter, frame_spans
from pipeline.transport import Delivery, FrameReader, Receiver, Sender
from pipeline.transport.snapshots import SnapshotFile
from pipeline.transport.wire import Encoded, pack

MAX_SOURCES = 256
# A flood of bad messages is not to become one of lines in the log.
LOUD_DROPS = 10
QUIET_EVERY = 1000


class StageNode(Node):
    """Runs an inner stage or a sink."""

    def __init__(
        self,
        plan: NodePlan,
        stage: Stage,
        context: Context,
        log_handler: ControlLogHandler | None = None,
    ) -> None:
        super().__init__(plan, context, log_handler)
        self.stage = stage
        self.frames = FrameReader(plan.stores)
        self._outgoing: deque[Callable[[], bool]] = deque()
        self._held: dict[tuple[str, int], tuple[Receiver, int]] = {}
        self._newest_frame: dict[str, int] = {}
        self._left_over: deque[tuple[Receiver, Delivery]] = deque()
        self._live: set[str] = set()
        self._starts: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._unkept = 0  # messages taken since the last snapshot
        self._kept_ns = self._keeping_ns = 0  # when that was, and what it took
        self._suspect = self.snapshots.left_mark() if self.snapshots is not None else None
        # Up to here messages are handled one by one, so that the mark names the one that kills: it
        # may be any of those that were handled with the one that was marked.
        self._alone_until = (
            {self.receivers[self._suspect.link]: self._suspect.number + stage.batch_limit}
            if self._suspect is not None
            else {}
        )
        self._free_ns = 0  # since when nothing keeps this stage from taking a message
        self._left_ns = 0  # when it was done with the message whose output is on its way out
        self._way: MakingWay | None = None
        self._waited_ns = 0
        self._spans: SpanWriter | None = None
        if plan.spans:
            keep_bytes = self.left.spans_bytes if self.left is not None else 0
            self._spans = SpanWriter(Path(plan.spans), keep_bytes)
        self._newest_way: tuple[Any, tuple[Span, ...]] | None = None
        self.items: dict[str, int] = {}
        self.ages: dict[str, LatencyHistogram] = {}

    def run(self) -> None:
        """Handle messages until every stream has ended and all output is acknowledged."""
        if self.snapshots is not None and self.left is None:
            self._snapshot(self.snapshots)  # from here on it is known that this stage has begun
        while not self.ended or self._outgoing:
            self.attend()
            self._flush()
            # While output waits for credits, no input is taken.
            begun_ns = monotonic_ns()
            ready = self.await_something(*(() if self._outgoing else self.receivers))
            self._waited_ns += (now_ns := monotonic_ns()) - begun_ns
            if self._way is not None:
                self._way.look(self._waited_ns, now_ns)
            for receiver in ready:
                self._take(receiver)
            self._keep(idle=not ready)
        self._keep(idle=True)
        self.wait_until_safe()

    def make_way(self) -> None:
        """Let other processes have the processor first from now on, as far as work allows it."""
        self._way = MakingWay(self.plan.nice)

    def attend(self) -> None:
        """As every node, and tell the stage what has happened to the run."""
        super().attend()
        while self.line.incidents:
            happened = self.line.incidents.popleft()
            self.stage.note(happened.stage, happened.kind, happened.text, happened.facts)
            self._unkept += EVERY  # it will not be told again

    def take_up(self) -> None:
        """Go on from what an earlier process left, if it left anything."""
        was = self.left
        if was is None:
            return
        self.stage.restore(thaw(was.stage, self.frames.view))
        self._starts, self._ends, self.ended = dict(was.starts), dict(was.ends), dict(was.ended)
        self._live = set(was.live)
        by_topic = {receiver.topic: receiver for receiver in self.receivers}
        self._held = {
            (source, frame): (by_topic[topic], number) for source, frame, topic, number in was.held
        }
        self.stats = was.stats
        self.items = self.stats.items
        self.ages = {topic: LatencyHistogram(each) for topic, each in was.stats.age_ns.items()}
        for name in ("service", "wait", "queue", "transport"):
            setattr(self, name, LatencyHistogram(getattr(was.stats, f"{name}_ns")))

    def _keep(self, *, idle: bool) -> None:
        """Take a snapshot if it is time to, and nothing is on its way out."""
        if self.snapshots is None or self._outgoing or not self._unkept:
            return
        if self._unkept < EVERY and not (idle or self.ended):
            return
        if self._unkept < AT_LEAST_EVERY and not self.ended:
            passed_ns = monotonic_ns() - self._kept_ns
            if passed_ns * COST_SHARE < self._keeping_ns:
                return
        self._snapshot(self.snapshots)

    def _snapshot(self, snapshots: SnapshotFile) -> None:
        begun_ns = monotonic_ns()
        self._unkept = 0
        snapshots.write(
            encode_state(
                NodeState(
                    stage=freeze(self.stage.snapshot(), frames=self.spec.holds_frames),
                    inputs={r.topic: InputState(r.last, r.open_numbers) for r in self.receivers},
                    outputs={
                        link.receiver: OutputState(sender.next_number, tuple(sender.kept()))
                        for link, sender in zip(self.plan.outputs, self.senders, strict=True)
                    },
                    starts=self._starts,
                    ends=self._ends,
                    ended=self.ended,
                    live=tuple(sorted(self._live)),
                    held=tuple((*key, r.topic, number) for key, (r, number) in self._held.items()),
                    stats=self.current_stats(),
                    spans_bytes=self._spans.flush() if self._spans is not None else 0,
                )
            )
        )
        for receiver in self.receivers:
            receiver.tell_safe(receiver.handled)
        self._kept_ns = monotonic_ns()
        self._keeping_ns = self._kept_ns - begun_ns

    def close(self) -> None:
        """Close the sockets, and the file of spans."""
        super().close()
        if self._spans is not None:
            self._spans.close()

    def current_stats(self) -> StageStats:
        """Return the counts so far, with the stage's own."""
        stats = super().current_stats()
        stats.items = self.items
        stats.age_ns = {topic: ages.counts for topic, ages in self.ages.items()}
        stats.report = dict(self.stage.report())
        if self._newest_way is not None:
            message, spans = self._newest_way
            stats.newest_way = frame_spans(message.stamp, _carried(message), spans)
        return stats

    def _take(self, receiver: Receiver) -> None:
        delivery = self._receive(receiver)
        if delivery is not None:
            self._act(receiver, delivery)
        while self._left_over:
            self._act(*self._left_over.popleft())

    def _receive(self, receiver: Receiver) -> Delivery | None:
        """Return the next message, None if none waits or it was a bad one."""
        try:
            delivery = receiver.receive()
        except MessageError as error:
            self._drop(str(error))
            return None
        problem = "" if delivery is None else self._misplaced(delivery.message)
        if delivery is None or not problem:
            return delivery
        self._drop(f"on topic {receiver.topic}: {problem}")
        receiver.acknowledge(delivery.number)
        return None

    def _drop(self, problem: str) -> None:
        self.stats.bad_messages += 1
        if self.stats.bad_messages <= LOUD_DROPS or self.stats.bad_messages % QUIET_EVERY == 0:
            logging.getLogger(self.plan.stage).warning(
                "dropped a bad message %s (%d so far)", problem, self.stats.bad_messages
            )

    def _misplaced(self, message: Any) -> str:
        """Return why a well-formed message cannot come now, "" if it can.

        Whoever sends it is wrong, or not who we think; the stage is not to suffer from it.
        """
        if isinstance(message, StreamStart):
            begun = self._starts.get(message.source_id, 0)
            if begun >= len(self.receivers):
                return f"source {message.source_id} begins once more"
            if not begun and len(self._starts) >= MAX_SOURCES:
                return f"source {message.source_id} is one more than the {MAX_SOURCES} there can be"
            return ""
        end = isinstance(message, EndOfStream)
        source_id = message.source_id if end else message.stamp.source_id
        if source_id not in self._starts:
            return f"source {source_id} has not begun"
        if self._ends.get(source_id, 0) >= len(self.receivers):
            return f"source {source_id} has ended"
        if isinstance(message, Frame):
            newest = self._newest_frame.get(source_id, -1)
            if message.stamp.frame_id <= newest:
                return f"{message.stamp}: it came twice or out of order, after frame {newest}"
            self._newest_frame[source_id] = message.stamp.frame_id
        return ""

    def _act(self, receiver: Receiver, delivery: Delivery) -> None:
        message = delivery.message
        self._unkept += 1
        if isinstance(message, StreamStart):
            self._start(message)
            self._later(lambda: self._acknowledge(receiver, delivery.number))
        elif isinstance(message, EndOfStream):
            self._end(message)
            self._later(lambda: self._acknowledge(receiver, delivery.number))
        else:
            self._handle(receiver, self._gathered(receiver, delivery))
        self._flush()

    def _start(self, stream: StreamStart) -> None:
        seen = self._starts[stream.source_id] = self._starts.get(stream.source_id, 0) + 1
        if seen == 1:
            if stream.live:
                self._live.add(stream.source_id)
            self.stage.start(stream)
            self._send(pack(stream))

    def _end(self, end: EndOfStream) -> None:
        seen = self._ends[end.source_id] = self._ends.get(end.source_id, 0) + 1
        if seen < len(self.receivers):
            return
        self.where = f"end of source {end.source_id}"
        self.line.tell(Ending(self.plan.stage))
        self._answer(self.stage.end(end.source_id), ())
        self._send(pack(end))
        self._later(lambda: self._mark_ended(end))

    def _mark_ended(self, end: EndOfStream) -> bool:
        self.ended[end.source_id] = end.reason
        return True

    def _gathered(self, receiver: Receiver, first: Delivery) -> list[Delivery]:
        """Return `first` and what the stage may handle with it; see `BatchingStage`."""
        deliveries = [first]
        if self._suspect is not None or first.number <= self._alone_until.get(receiver, 0):
            return deliveries
        carries = topic_spec(receiver.topic).carries
        deadline_ns = 0
        while (
            len(deliveries) < self.stage.batch_limit
            and deliveries[-1].message.stamp.source_id in self._live
        ):
            if not deadline_ns and carries and getattr(deliveries[-1].message, carries):
                wait_s = cast(BatchingStage, self.stage).batch_wait_s
                deadline_ns = monotonic_ns() + int(wait_s * NS_PER_S)
            delivery = self._receive(receiver)
            if delivery is None:
                left_ms = (deadline_ns - monotonic_ns()) // 1_000_000
                if left_ms <= 0 or not receiver.socket.poll(left_ms):
                    break
            elif isinstance(delivery.message, (StreamStart, EndOfStream)):
                self._left_over.append((receiver, delivery))
                break
            else:
                deliveries.append(delivery)
        return deliveries

    def _handle(self, receiver: Receiver, deliveries: list[Delivery]) -> None:
        enter_ns = monotonic_ns()
        ready_ns, self._free_ns = self._free_ns or enter_ns, 0
        messages = [delivery.message for delivery in deliveries]
        self.where = " and ".join(str(message.stamp) for message in messages)
        holds = self.spec.holds_frames and isinstance(messages[0], Frame)
        for delivery in deliveries:
            self._measure(receiver.topic, delivery.message, enter_ns, ready_ns)
            if holds:
                stamp = delivery.message.stamp
                self._held[stamp.source_id, stamp.frame_id] = (receiver, delivery.number)
        answers = self._process_marked(receiver, deliveries, messages)
        span = Span(self.plan.stage, enter_ns, monotonic_ns(), ready_ns)
        self._left_ns = span.leave_ns
        self.service.add(span.leave_ns - enter_ns)
        self.stats.busy_ns += span.leave_ns - enter_ns
        for delivery, outputs in zip(deliveries, answers, strict=True):
            message = delivery.message
            spans = (*message.spans, span)
            self._answer(outputs, spans)
            if receiver.topic == LAST_TOPIC:
                self._newest_way = (message, spans)
                if self._spans is not None:
                    self._spans.write(message.stamp, _carried(message), spans)
            self.stats.frames += 1
            self.stats.newest_frame = max(self.stats.newest_frame, message.stamp.frame_id)
            if not holds:
                self._later(lambda n=delivery.number: self._acknowledge(receiver, n))  # type: ignore[misc]
        if self.stage.stop_wanted and not self.line.stopping:
            self.line.stopping = True
            self.line.tell(StopWanted(self.plan.stage, self.stage.stop_wanted))

    def _process_marked(
        self, receiver: Receiver, deliveries: list[Delivery], messages: list[Any]
    ) -> list[list[Output]]:
        """Process, and leave a mark meanwhile: if this kills us, the next process knows of what."""
        if self.snapshots is None:
            return self._process_batch(messages)
        link, number = self.receivers.index(receiver), deliveries[0].number
        deaths, suspect = 0, self._suspect
        if suspect is not None and (suspect.link, suspect.number) == (link, number):
            deaths, self._suspect = suspect.deaths + 1, None
        if deaths >= DEATHS:
            text = f"passed over {messages[0].stamp}: {deaths} processes died while at work on it"
            facts = {"frame_id": messages[0].stamp.frame_id}
            self.line.tell(Incident(self.plan.stage, "passed_over", text, facts))
            self.stats.bad_frames += 1
            return [
                list(self.stage.skip(messages[0])),
                *([self._process(message) for message in messages[1:]]),
            ]
        self.snapshots.mark(link, number, deaths)
        answers = self._process_batch(messages)
        self.snapshots.mark(0, 0, 0)
        return answers

    def _process_batch(self, messages: list[Any]) -> list[list[Output]]:
        if len(messages) > 1:
            try:
                stage = cast(BatchingStage, self.stage)
                return [list(outputs) for outputs in stage.process_batch(messages)]
            except (FrameError, MessageError) as error:
                # One of them is bad: the others get their answers one by one.
                logging.getLogger(self.plan.stage).info("a batch is taken apart: %s", error)
        return [self._process(message) for message in messages]

    def _process(self, message: Any) -> list[Output]:
        self.where = str(message.stamp)
        try:
            if isinstance(message, Frame):
                message = replace(message, pixels=self._pixels(message))
            return list(self.stage.process(message))
        except (FrameError, MessageError) as error:
            self.stats.bad_frames += 1
            logging.getLogger(self.plan.stage).warning("passed over %s: %s", self.where, error)
            return list(self.stage.skip(message))

    def _pixels(self, frame: Frame) -> np.ndarray:
        """A frame from this host has a handle into its store, one from elsewhere its pixels."""
        if frame.handle is not None:
            return self.frames.view(frame.handle)
        assert frame.pixels is not None, "a frame has one or the other"
        return frame.pixels

    def _measure(self, topic: str, message: Any, enter_ns: int, ready_ns: int) -> None:
        if message.spans:
            left_ns = message.spans[-1].leave_ns
            self.wait.add(enter_ns - left_ns)
            self.queue.add(max(0, ready_ns - left_ns))
            self.transport.add(enter_ns - max(left_ns, ready_ns))
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
            sender.take_answers()
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
        if not self._outgoing and not self._free_ns:
            self._free_ns = monotonic_ns()
            if self._left_ns:
                self.stats.blocked_ns += self._free_ns - self._left_ns
                self._left_ns = 0


def _carried(message: Any) -> int:
    """How many things a message of the last topic is about."""
    return len(getattr(message, topic_spec(LAST_TOPIC).carries))
