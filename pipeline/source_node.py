"""Runs a source: pixels into the frame store, handles to the readers."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from pipeline.clock import monotonic_ns
from pipeline.codec import Decoder
from pipeline.control import Context, ControlLogHandler
from pipeline.messages import EndOfStream, Frame, FrameHandle, Span, Stamp, StreamStart
from pipeline.node import Node
from pipeline.plans import (
    Incident,
    NodePlan,
    Opened,
    StageStats,
)
from pipeline.recovery import NodeState, OutputState, encode_state
from pipeline.stage import EndOfSource, RawFrame, SourceStage
from pipeline.telemetry import LatencyHistogram
from pipeline.transport import FrameStore
from pipeline.transport.wire import Encoded, Kept, Kind, pack

SOURCE_READ_S = 0.1


class SourceNode(Node):
    """Runs a source: waits for room, reads, writes the pixels into the store, sends handles."""

    def __init__(
        self,
        plan: NodePlan,
        source: SourceStage,
        context: Context,
        log_handler: ControlLogHandler | None = None,
    ) -> None:
        super().__init__(plan, context, log_handler)
        self.source = source
        ((name, fd),) = plan.stores.items()
        self.store = FrameStore(name, fd, plan.frame_store_bytes)
        self._stream: StreamStart | None = None
        self._begun = False  # whether the readers know of the source

    def take_up(self) -> None:
        """Go on from what an earlier process left, if it left anything."""
        was = self.left
        if was is None:
            return
        self.stats = was.stats
        self.ended = dict(was.ended)
        self._begun = bool(was.starts)
        for name in ("service", "queue"):
            setattr(self, name, LatencyHistogram(getattr(was.stats, f"{name}_ns")))
        self.source.restore(pickle.loads(was.stage))
        decoder = Decoder(Frame)
        readers: dict[FrameHandle, _Countdown] = {}
        for sender in self.senders:
            for kept in sender.kept():
                if kept.kind == Kind.DATA:
                    handle = decoder.decode(kept.header, kept.blob).handle
                    assert handle is not None
                    waiting = readers.setdefault(handle, self._freeing(handle, 0))
                    waiting.one_more()
                    sender.when_safe(kept.number, waiting.one_less)
        self.store.take_up(readers)

    def open(self) -> None:
        """Open the source and tell its facts, unless they were told before."""
        stream = self._stream = self.source.open()
        if self._begun:
            return
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
        if not self._begun:
            self._begun = True
            self._send(pack(self._stream))
        if source_id not in self.ended:
            reason = self._pump(source_id)
            self.ended[source_id] = reason
            self._send(pack(EndOfStream(source_id, self.stats.newest_frame, reason)))
        self.wait_until_safe()

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
            incidents = self.source.take_incidents()
            for kind, text, facts in incidents:
                self.line.tell(Incident(self.plan.stage, kind, text, facts))
            if incidents:
                self._keep()  # who takes this source's place is not to tell them again
            if self.line.stopping:
                return "stopped"
            if not self._room():
                self.await_something()
                continue
            self.where = f"source {source_id}, frame {self.stats.newest_frame + 1}"
            try:
                raw = self.source.read(SOURCE_READ_S)
            except EndOfSource as end:
                return end.reason
            if raw is not None:
                self._send_frame(source_id, raw, monotonic_ns())

    def _room(self) -> bool:
        return self.store.frames_in_flight < self.plan.max_frames and all(
            sender.credits > 0 for sender in self.senders
        )

    def _send_frame(self, source_id: str, raw: RawFrame, read_ns: int) -> None:
        assert self._stream is not None
        # A recording's picture is worked on from the moment it is asked for.
        ready_ns = read_ns if self._stream.live else raw.capture_ns
        height, width = raw.pixels.shape[:2]
        while (slot := self.store.allocate(height, width)) is None:
            self.await_something()
            self.attend()
        handle, pixels = slot
        pixels[...] = raw.pixels
        self.stats.newest_frame += 1
        frame = Frame(
            stamp=self._stamp(source_id, raw),
            handle=handle,
            spans=(Span(self.plan.stage, raw.capture_ns, monotonic_ns(), ready_ns),),
        )
        taken_ns = frame.spans[0].leave_ns - ready_ns
        self.service.add(taken_ns)
        self.queue.add(ready_ns - raw.capture_ns)
        self.stats.busy_ns += taken_ns
        self.stats.frames += 1
        self._send(pack(frame), self._freeing(handle, len(self.senders)).one_less)

    def _stamp(self, source_id: str, raw: RawFrame) -> Stamp:
        return Stamp(
            source_id,
            self.stats.newest_frame,
            raw.time_ns,
            raw.capture_ns,
            raw.capture_unix_ns,
            int(self.source.report().get("dropped", 0)),
        )

    def _send(self, encoded: Encoded, on_safe: Callable[[], None] | None = None) -> None:
        """Send to all readers; who takes this source's place knows of it before they do."""
        self._keep(encoded)
        for sender in self.senders:
            sender.send(encoded, on_safe)

    def _keep(self, sent: Encoded | None = None) -> None:
        """Take a snapshot of what is to be gone on from, once a message is sent if there is one."""
        if self.snapshots is not None:
            self.snapshots.write(encode_state(self._state_with(sent)))

    def _state_with(self, encoded: Encoded | None) -> NodeState:
        source_id = self._stream.source_id if self._stream is not None else ""
        outputs = {}
        for link, sender in zip(self.plan.outputs, self.senders, strict=True):
            number, kept = sender.next_number, sender.kept()
            if encoded is not None:
                header, blob = encoded.header, bytes(encoded.blob)
                kept.append(Kept(number, int(encoded.kind), header, blob))
                number += 1
            outputs[link.receiver] = OutputState(number, tuple(kept))
        return NodeState(
            stage=pickle.dumps(self.source.snapshot(), protocol=5),
            inputs={},
            outputs=outputs,
            starts={source_id: 1},
            ends={},
            ended=self.ended,
            live=(),
            held=(),
            stats=self.current_stats(),
        )

    def _freeing(self, handle: FrameHandle, readers: int) -> _Countdown:
        return _Countdown(readers, lambda: self.store.free(handle))


class _Countdown:
    """Calls `done` when everyone has let go."""

    def __init__(self, count: int, done: Callable[[], None]) -> None:
        self._left = count
        self._done = done

    def one_more(self) -> None:
        self._left += 1

    def one_less(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._done()
