"""Sends a run's metrics, and the ways of some frames as traces, to an OpenTelemetry endpoint.

OTLP over HTTP, protobuf inside. Headers, certificates, time-outs and compression are taken from the
standard OTEL_EXPORTER_OTLP_… variables. Needs the extra `otel`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque

import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pipeline.clock import NS_PER_S, monotonic_ns, unix_ns
from pipeline.graph import STAGES
from pipeline.run_state import RunState
from pipeline.telemetry.metrics import RunCollector
from pipeline.telemetry.otel_data import metrics_data, record_way, resource
from pipeline.telemetry.spans import FrameSpans

EVERY_S = 10.0
# At the end of a run its last figures may take so long; then they are left out.
CLOSE_WITHIN_S = 3.0
# Two ways a second come at most: twice what one round takes.
MAX_WAYS = round(4 * EVERY_S)

log = logging.getLogger("otel")


class OtelExporter:
    """Sends from a thread of its own while the context lasts; the run never waits for it.

    An endpoint that cannot be reached is told of once. What could not be sent is left out: the
    next export of metrics has all counts anyway, and of the ways only the newest are kept.

    Args:
        collector: what the metrics are taken from; somebody else makes it look.
        endpoint: base address, as `http://localhost:4318`; "" leaves it to the environment.
    """

    def __init__(self, collector: RunCollector, endpoint: str = "") -> None:
        self._collector = collector
        base = endpoint.rstrip("/")
        self._metrics = OTLPMetricExporter(f"{base}/v1/metrics" if base else None)
        self._traces = OTLPSpanExporter(f"{base}/v1/traces" if base else None)
        self._resource = resource()
        self._spans = InMemorySpanExporter()
        self._provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self._tracer = self._provider.get_tracer("gaitstream")
        self._ways: deque[FrameSpans] = deque(maxlen=MAX_WAYS)
        self._newest: FrameSpans | None = None
        self._warned = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="otel", daemon=True)

    def __enter__(self) -> OtelExporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(CLOSE_WITHIN_S)

    def __call__(self, state: RunState) -> None:
        """Keep the newest frame's way. Called by the supervisor's thread."""
        sink = state.stats.get("sink")
        way = sink.newest_way if sink is not None else None
        if way is not None and way != self._newest and _is_whole(way):
            self._newest = way
            self._ways.append(way)

    def _work(self) -> None:
        # Its exporters tell each failure at length, every time; we tell it once.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        while not self._closing.wait(EVERY_S):
            self._send()
        self._send()

    def _send(self) -> None:
        try:
            # A place for metrics alone, or for traces alone, still gets what it takes.
            good = all([self._send_metrics(), self._send_ways()])
            trouble = "" if good else "it refused what was sent"
        except requests.RequestException as error:
            trouble = type(error).__name__
        if trouble and not self._warned:
            self._warned = True
            log.warning(
                "cannot send to the OpenTelemetry endpoint (%s); the run goes on, and this is not "
                "told again",
                trouble,
            )

    def _send_metrics(self) -> bool:
        started_ns = round(self._collector.started_at * NS_PER_S)
        if not started_ns:
            return True  # nothing is known yet
        data = metrics_data(self._collector.collect(), self._resource, started_ns, unix_ns())
        return self._metrics.export(data) is MetricExportResult.SUCCESS

    def _send_ways(self) -> bool:
        offset_ns = unix_ns() - monotonic_ns()
        while self._ways:
            record_way(self._tracer, self._ways.popleft(), offset_ns)
        spans = self._spans.get_finished_spans()
        self._spans.clear()
        return not spans or self._traces.export(spans) is SpanExportResult.SUCCESS


def _is_whole(way: FrameSpans) -> bool:
    """Whether it begins at a source; what the end of one flushes begins at the stage that did."""
    return bool(way.spans) and way.spans[0][0] == STAGES[0].name
