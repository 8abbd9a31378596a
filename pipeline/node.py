"""What the runners of sources and of other stages share."""

from __future__ import annotations

import zmq

from pipeline.control import Context, ControlLine, ControlLogHandler
from pipeline.graph import stage_spec, topic_spec
from pipeline.plans import (
    LinkPlan,
    NodePlan,
    StageStats,
)
from pipeline.recovery import decode_state
from pipeline.telemetry import LatencyHistogram
from pipeline.transport import Receiver, Sender
from pipeline.transport.snapshots import SnapshotFile

POLL_MS = 100


class Node:
    """What source and stage runners share: links, counts, the line to the supervisor."""

    def __init__(
        self, plan: NodePlan, context: Context, log_handler: ControlLogHandler | None = None
    ) -> None:
        self.plan = plan
        self.spec = stage_spec(plan.stage)
        self.stats = StageStats()
        self.service = LatencyHistogram()
        self.wait = LatencyHistogram()
        self.queue = LatencyHistogram()
        self.transport = LatencyHistogram()
        self.ended: dict[str, str] = {}
        self.where = ""
        self._log_handler = log_handler
        self.line = ControlLine(context, plan.control, plan.stage)
        self.snapshots = SnapshotFile(plan.snapshots) if plan.snapshots >= 0 else None
        found = self.snapshots.latest() if self.snapshots is not None else None
        # What the one before left, if this takes its place.
        self.left = decode_state(found) if found is not None else None
        self.senders = [self._sender(context, link) for link in plan.outputs]
        self.receivers = [self._receiver(context, link) for link in plan.inputs]

    def _sender(self, context: Context, link: LinkPlan) -> Sender:
        if self.left is None:
            return Sender(context, link.address, link.topic, link.window)
        was = self.left.outputs[link.receiver]
        return Sender(
            context,
            link.address,
            link.topic,
            link.window,
            next_number=was.next_number,
            kept=was.kept,
        )

    def _receiver(self, context: Context, link: LinkPlan) -> Receiver:
        message, durable = topic_spec(link.topic).message, self.snapshots is not None
        if self.left is None:
            return Receiver(context, link.address, link.topic, message, durable=durable)
        was = self.left.inputs[link.topic]
        return Receiver(
            context,
            link.address,
            link.topic,
            message,
            last=was.last,
            open_numbers=was.open,
            durable=durable,
        )

    def attend(self) -> None:
        """Between two messages: obey, take acknowledgements, tell how far we are."""
        self.line.obey()
        for link, sender in zip(self.plan.outputs, self.senders, strict=True):
            if link.receiver in self.line.gone:
                sender.release()
        for sender in self.senders:
            before = sender.bad_answers
            sender.take_answers()
            self.stats.bad_messages += sender.bad_answers - before
        for receiver in self.receivers:
            receiver.attend()
        if self._log_handler is not None:
            self._log_handler.forward(self.line)
        self.line.tell_progress(self.current_stats)

    def current_stats(self) -> StageStats:
        """Return the counts so far."""
        self.stats.service_ns = self.service.counts
        self.stats.wait_ns = self.wait.counts
        self.stats.queue_ns = self.queue.counts
        self.stats.transport_ns = self.transport.counts
        self.stats.queues = {
            link.receiver: sender.in_flight
            for link, sender in zip(self.plan.outputs, self.senders, strict=True)
        }
        return self.stats

    def await_something(self, *receivers: Receiver) -> list[Receiver]:
        """Wait a moment for orders, acknowledgements or input; return receivers that have some."""
        poller = zmq.Poller()
        poller.register(self.line.socket, zmq.POLLIN)
        for sender in self.senders:
            poller.register(sender.socket, zmq.POLLIN)
        for receiver in receivers:
            poller.register(receiver.socket, zmq.POLLIN)
        ready = dict(poller.poll(POLL_MS))
        return [receiver for receiver in receivers if receiver.socket in ready]

    def wait_until_safe(self) -> None:
        """Wait until nothing that was sent can be wanted again."""
        while any(sender.unsafe for sender in self.senders):
            self.await_something()
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
