"""The port: what Prometheus reads, and when a run is live and ready."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from made_up_states import state_in_the_midst
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from pipeline.errors import ResourceError
from pipeline.telemetry.metric_table import METRICS
from pipeline.telemetry.metrics import RunCollector
from pipeline.telemetry.metrics_server import HOST, MetricsServer

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@contextmanager
def asking(server: MetricsServer) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=20)
    try:
        yield connection
    finally:
        connection.close()


def ask(
    server: MetricsServer, path: str, accept: str = "", method: str = "GET"
) -> tuple[int, str, str]:
    with asking(server) as connection:
        connection.request(method, path, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()


@pytest.fixture
def collector() -> RunCollector:
    return RunCollector()


def test_smoke_prometheus_reads_every_metric_in_both_of_its_formats(
    collector: RunCollector,
) -> None:
    collector.look(state_in_the_midst())
    with MetricsServer(collector, 0) as server:
        status, kind, text = ask(server, "/metrics")
        assert status == 200 and kind.startswith("text/plain")
        found = {family.name: family for family in text_string_to_metric_families(text)}
        assert list(found) == [spec.name for spec in METRICS]
        frames = {one.labels["stage"]: one.value for one in found["gaitstream_frames"].samples}
        assert frames["source"] == 40
        status, kind, text = ask(server, "/metrics?debug=1", OPENMETRICS)
        assert status == 200 and kind.startswith("application/openmetrics-text")
        assert [family.name for family in openmetrics_families(text)] == list(found)


def test_ready_follows_the_stages(collector: RunCollector) -> None:
    with MetricsServer(collector, 0, start_timeout_s=600) as server:
        assert ask(server, "/live")[0] == 200
        assert ask(server, "/ready")[0] == 503
        state = state_in_the_midst()
        state.missing = {"embed", "detect"}
        collector.look(state)
        assert ask(server, "/ready")[::2] == (503, "not ready: waiting for detect, embed\n")
        assert ask(server, "/live")[::2] == (200, "live\n")
        state.missing.clear()
        collector.look(state)
        assert ask(server, "/ready")[::2] == (200, "ready\n")
        state.missing.add("body")  # it died, and is being started again
        collector.look(state)
        assert ask(server, "/ready")[::2] == (503, "not ready: waiting for body\n")


def test_a_stuck_supervisor_is_neither_live_nor_ready(collector: RunCollector) -> None:
    collector.look(state_in_the_midst())
    with MetricsServer(collector, 0, live_within_s=0) as server:
        for path in ("/live", "/ready"):
            status, _, text = ask(server, path)
            assert status == 503 and "the supervisor was last seen" in text


def test_a_run_that_never_begins_is_not_live(collector: RunCollector) -> None:
    with MetricsServer(collector, 0, live_within_s=0) as server:
        status, _, text = ask(server, "/live")
        assert status == 503 and "no stage has loaded" in text


def test_a_question_without_a_body_and_one_for_nothing(collector: RunCollector) -> None:
    with MetricsServer(collector, 0, start_timeout_s=600) as server:
        assert ask(server, "/live", method="HEAD")[::2] == (200, "")
        status, _, text = ask(server, "/")
        assert status == 404 and "/metrics" in text


def test_a_client_that_hangs_up_or_says_nothing_keeps_nobody_waiting(
    collector: RunCollector,
) -> None:
    with MetricsServer(collector, 0, start_timeout_s=600) as server:
        with socket.create_connection((HOST, server.port)):  # says nothing
            assert ask(server, "/live")[0] == 200
        assert ask(server, "/live")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, server.port))


def test_exception_port_taken(collector: RunCollector) -> None:
    with (
        MetricsServer(collector, 0) as first,
        pytest.raises(ResourceError, match=f"{HOST}:{first.port}.*in use") as caught,
    ):
        MetricsServer(collector, first.port)
    assert "--metrics" in caught.value.hint
