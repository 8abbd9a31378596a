"""What reaches an OpenTelemetry endpoint, and that one that is down disturbs nobody."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from itertools import pairwise

import msgspec
import pytest
from made_up_runs import STAGES as MADE_UP_STAGES
from made_up_runs import records
from made_up_states import SERVICE_MS, state_in_the_midst

from pipeline.run_state import RunState
from pipeline.telemetry import otel
from pipeline.telemetry.metric_table import METRICS
from pipeline.telemetry.metrics import BOUNDS_S, RunCollector
from pipeline.telemetry.otel import MAX_WAYS, OtelExporter
from tests.otlp_endpoint import HOST, Endpoint, attributes


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as made:
        yield made


def send(url: str, *states: RunState) -> None:
    """A run in which the supervisor sees these states, from begin to end."""
    collector = RunCollector()
    with OtelExporter(collector, url) as exporter:
        for state in states:
            collector.look(state)
            exporter(state)


def test_smoke_every_metric_with_series_arrives_with_its_unit(endpoint: Endpoint) -> None:
    send(endpoint.url, state_in_the_midst())
    (request,) = endpoint.metrics()
    (resource,) = request.resource_metrics
    assert attributes(resource.resource)["service.name"] == "gaitstream"
    found = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    assert list(found) == [spec.name for spec in METRICS]
    frames = found["gaitstream_frames"].sum
    assert frames.is_monotonic and frames.aggregation_temporality == 2  # cumulative
    by_stage = {attributes(point)["stage"]: point for point in frames.data_points}
    assert by_stage["source"].as_double == 40
    assert by_stage["source"].time_unix_nano - by_stage["source"].start_time_unix_nano > 59e9
    memory = found["gaitstream_process_resident_memory_bytes"]
    assert memory.unit == "By" and memory.gauge.data_points[0].as_double == 1e8
    assert found["gaitstream_stage_busy_seconds"].unit == "s"


def test_a_histogram_arrives_with_counts_of_each_bucket_alone(endpoint: Endpoint) -> None:
    send(endpoint.url, state_in_the_midst())
    (request,) = endpoint.metrics()
    (histogram,) = (
        metric.histogram
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "gaitstream_stage_service_seconds"
    )
    points = {attributes(point)["stage"]: point for point in histogram.data_points}
    point = points["detect"]
    assert tuple(point.explicit_bounds) == BOUNDS_S
    assert len(point.bucket_counts) == len(BOUNDS_S) + 1
    assert sum(point.bucket_counts) == point.count == len(SERVICE_MS)
    at = dict(zip(BOUNDS_S, point.bucket_counts, strict=False))
    assert (at[0.00025], at[0.005], at[0.1], point.bucket_counts[-1]) == (1, 2, 1, 1)
    assert not point.HasField("min") and not point.HasField("max")


def test_golden_a_frames_way_is_a_trace_with_a_span_a_stage(endpoint: Endpoint) -> None:
    states = []
    ways = records(3)
    flushed = msgspec.structs.replace(ways[-1], spans=ways[-1].spans[1:])
    for way in (*ways, flushed):
        state = state_in_the_midst()
        state.stats["sink"].newest_way = way
        states += [state, state]  # the supervisor sees the same way many times
    send(endpoint.url, *states)
    spans = endpoint.spans()
    roots = [span for span in spans if span.name == "frame"]
    assert [attributes(span)["gaitstream.frame"] for span in roots] == [0, 1, 2]
    assert len({span.trace_id for span in spans}) == 3
    for root, way in zip(roots, ways, strict=True):
        children = [span for span in spans if span.parent_span_id == root.span_id]
        assert [span.name for span in children] == list(MADE_UP_STAGES)
        assert all(span.trace_id == root.trace_id for span in children)
        assert root.start_time_unix_nano == children[0].start_time_unix_nano
        assert root.end_time_unix_nano == children[-1].end_time_unix_nano
        assert all(a.end_time_unix_nano <= b.start_time_unix_nano for a, b in pairwise(children))
        for span, (_, enter_ns, leave_ns, _) in zip(children, way.spans, strict=True):
            assert span.end_time_unix_nano - span.start_time_unix_nano == leave_ns - enter_ns
        found = [attributes(span) for span in children]
        for (before, after), facts in zip(pairwise(way.spans), found[1:], strict=True):
            told_s = facts["gaitstream.queue_seconds"] + facts["gaitstream.transport_seconds"]
            assert told_s == pytest.approx((after[1] - before[2]) / 1e9)


def test_the_environment_names_service_headers_and_compression(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "the-gate")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "site=north")
    send("", state_in_the_midst())
    facts = attributes(endpoint.metrics()[0].resource_metrics[0].resource)
    assert (facts["service.name"], facts["site"]) == ("the-gate", "north")


def test_exception_nobody_listens_is_told_once_and_the_rest_is_let_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server((HOST, 0)) as closed:
        url = f"http://{HOST}:{closed.getsockname()[1]}"
    collector = RunCollector()
    exporter = OtelExporter(collector, url)
    with caplog.at_level(logging.INFO):
        for way in records(MAX_WAYS + 50):
            state = state_in_the_midst()
            state.stats["sink"].newest_way = way
            collector.look(state)
            exporter(state)
        for _ in range(3):
            exporter._send()
        assert len(exporter._ways) == MAX_WAYS
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "ConnectionError" in record.message and "the run goes on" in record.message


def test_exception_an_endpoint_that_refuses_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Endpoint(refuses=("/v1/metrics", "/v1/traces")) as refusing, caplog.at_level(logging.INFO):
        send(refusing.url, state_in_the_midst())
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "refused" in record.message


def test_a_backend_for_traces_alone_gets_them(caplog: pytest.LogCaptureFixture) -> None:
    with Endpoint(refuses=("/v1/metrics",)) as traces_only:
        send(traces_only.url, state_in_the_midst())
    assert len(traces_only.spans()) == 1 + len(MADE_UP_STAGES)


def test_an_endpoint_that_never_answers_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(otel, "CLOSE_WITHIN_S", 0.2)
    with socket.create_server((HOST, 0)) as silent:
        send(f"http://{HOST}:{silent.getsockname()[1]}", state_in_the_midst())
        # It did ask: what it sent is there, and no answer has gone out.
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(17) == b"POST /v1/metrics "
