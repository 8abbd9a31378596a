"""An OpenTelemetry endpoint of the tests' own: HTTP on loopback, protobuf decoded."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HOST = "127.0.0.1"


class Endpoint(HTTPServer):
    """Takes what is sent, as a collector would, but for some paths. Use as a context.

    Attributes:
        got: path and decoded request, in the order in which they came.
    """

    def __init__(self, refuses: Sequence[str] = ()) -> None:
        super().__init__((HOST, 0), _Handler)
        self.refuses = refuses
        self.got: list[tuple[str, Any]] = []
        self.url = f"http://{HOST}:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def metrics(self) -> list[Any]:
        """The requests with metrics, decoded."""
        return [each for path, each in self.got if path == "/v1/metrics"]

    def spans(self) -> list[Any]:
        """All spans."""
        return [
            span
            for path, request in self.got
            if path == "/v1/traces"
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        metrics = self.path == "/v1/metrics"
        message = ExportMetricsServiceRequest() if metrics else ExportTraceServiceRequest()
        message.ParseFromString(body)
        self.server.got.append((self.path, message))
        self.send_response(401 if self.path in self.server.refuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def attributes(of: Any) -> dict[str, Any]:
    """Attributes as plain data."""
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "") for one in of.attributes
    }
