"""What the runners of sources and of other stages share."""

from __future__ import annotations

import zmq

from pipeline.control import Context, ControlLine, ControlLogHandler
from pipeline.graph import stage_spec, topic_spec
from pipeline.plans import (
    NodePlan,
    StageStats,
)
from pipeline.telemetry import LatencyHistogram
from pipeline.transport import Receiver, Sender

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

    def wait_until_acknowledged(self) -> None:
        """Wait until every message that was sent has been handled."""
        while any(sender.in_flight for sender in self.senders):
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
