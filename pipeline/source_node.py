"""Runs a source: pixels into the frame store, handles to the readers."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.clock import monotonic_ns
from pipeline.control import Context, ControlLogHandler
from pipeline.messages import EndOfStream, Frame, Span, Stamp, StreamStart
from pipeline.node import Node
from pipeline.plans import (
    NodePlan,
    Opened,
    StageStats,
)
from pipeline.stage import EndOfSource, RawFrame, SourceStage
from pipeline.transport import FrameStore
from pipeline.transport.link import Encoded, pack

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
                self.await_something()
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

    def _send_frame(self, source_id: str, raw: RawFrame) -> None:
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
