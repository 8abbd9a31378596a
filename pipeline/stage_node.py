"""Runs an inner stage or a sink: messages in, `process`, messages out, in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

from pipeline.clock import NS_PER_S, monotonic_ns
from pipeline.control import Context, ControlLogHandler
from pipeline.errors import FrameError, MessageError
from pipeline.graph import topic_spec
from pipeline.messages import EndOfStream, Frame, Output, Release, Span, StreamStart
from pipeline.node import Node
from pipeline.plans import (
    NodePlan,
    StageStats,
    StopWanted,
)
from pipeline.stage import BatchingStage, Stage
from pipeline.telemetry import LatencyHistogram
from pipeline.transport import Delivery, FrameReader, Receiver, Sender
from pipeline.transport.link import Encoded, pack


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
        self._left_over: deque[tuple[Receiver, Delivery]] = deque()
        self._live: set[str] = set()
        self._starts: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self.ages: dict[str, LatencyHistogram] = {}

    def run(self) -> None:
        """Handle messages until every stream has ended and all output is acknowledged."""
        while not self.ended or self._outgoing:
            self.attend()
            self._flush()
            # While output waits for credits, no input is taken.
            for receiver in self.await_something(*(() if self._outgoing else self.receivers)):
                self._take(receiver)
        self.wait_until_acknowledged()

    def current_stats(self) -> StageStats:
        """Return the counts so far, with the stage's own."""
        stats = super().current_stats()
        stats.items = self.items
        stats.age_ns = {topic: ages.counts for topic, ages in self.ages.items()}
        stats.report = dict(self.stage.report())
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
            return receiver.receive()
        except MessageError as error:
            self.stats.bad_messages += 1
            logging.getLogger(self.plan.stage).warning("dropped a bad message %s", error)
            return None

    def _act(self, receiver: Receiver, delivery: Delivery) -> None:
        message = delivery.message
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
        self._answer(self.stage.end(end.source_id), ())
        self._send(pack(end))
        self._later(lambda: self._mark_ended(end))

    def _mark_ended(self, end: EndOfStream) -> bool:
        self.ended[end.source_id] = end.reason
        return True

    def _gathered(self, receiver: Receiver, first: Delivery) -> list[Delivery]:
        """Return `first` and what the stage may handle with it; see `BatchingStage`."""
        deliveries = [first]
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
        messages = [delivery.message for delivery in deliveries]
        self.where = " and ".join(str(message.stamp) for message in messages)
        holds = self.spec.holds_frames and isinstance(messages[0], Frame)
        for delivery in deliveries:
            self._measure(receiver.topic, delivery.message, enter_ns)
            if holds:
                stamp = delivery.message.stamp
                self._held[stamp.source_id, stamp.frame_id] = (receiver, delivery.number)
        answers = self._process_batch(messages)
        span = Span(self.plan.stage, enter_ns, monotonic_ns())
        self.service.add(span.leave_ns - enter_ns)
        for delivery, outputs in zip(deliveries, answers, strict=True):
            message = delivery.message
            self._answer(outputs, (*message.spans, span))
            self.stats.frames += 1
            self.stats.newest_frame = max(self.stats.newest_frame, message.stamp.frame_id)
            if not holds:
                self._later(lambda n=delivery.number: self._acknowledge(receiver, n))  # type: ignore[misc]
        if self.stage.stop_wanted and not self.line.stopping:
            self.line.stopping = True
            self.line.tell(StopWanted(self.plan.stage, self.stage.stop_wanted))

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
