"""Serves a run's metrics and health over HTTP, to programs of this machine.

`/metrics` is for Prometheus; `/live` answers 200 while the supervisor's loop turns; `/ready`
answers 200 while, besides, every stage has loaded and is at work. All else of the two is 503.
The port is on the loopback interface: who wants it elsewhere puts a proxy with keys before it.
"""

from __future__ import annotations

import logging
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from pipeline.errors import ResourceError
from pipeline.telemetry.metrics import RunCollector

HOST = "127.0.0.1"
# The supervisor looks ten times a second; who has not for so long is stuck.
LIVE_WITHIN_S = 10.0
CLIENT_TIMEOUT_S = 10.0
SHUTDOWN_POLL_S = 0.2
TEXT = "text/plain; charset=utf-8"

log = logging.getLogger("metrics")


class MetricsServer:
    """Answers in threads of its own while the context lasts; the run never waits for it.

    Args:
        collector: what is told.
        port: of this machine; 0 takes any free one.
        start_timeout_s: how long the stages may load, and the supervisor may so have nothing to
            look at.
        live_within_s: how long ago the supervisor may last have looked.

    Raises:
        ResourceError: the port is taken, or not to be had.
    """

    def __init__(
        self,
        collector: RunCollector,
        port: int,
        *,
        start_timeout_s: float = 0.0,
        live_within_s: float = LIVE_WITHIN_S,
    ) -> None:
        self._collector = collector
        self._start_timeout_s = start_timeout_s
        self._live_within_s = live_within_s
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        try:
            self._server = _Server((HOST, port), _Handler)
        except OSError as error:
            raise ResourceError(
                f"cannot serve metrics on {HOST}:{port}: {error.strerror}",
                hint="choose another port with --metrics PORT (0 takes any free one)",
            ) from error
        self._server.owner = self
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(SHUTDOWN_POLL_S,), name="metrics", daemon=True
        )

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{HOST}:{self.port}/metrics"

    def __enter__(self) -> MetricsServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Return status, content type and body.

        Args:
            accept: the header by which Prometheus says which of its formats it reads.
        """
        if path == "/metrics":
            encode, kind = choose_encoder(accept)
            return 200, kind, encode(self._registry)
        if path in ("/live", "/ready"):
            trouble = self._stuck() or (self._not_ready() if path == "/ready" else "")
            text = f"not {path[1:]}: {trouble}" if trouble else path[1:]
            return 503 if trouble else 200, TEXT, f"{text}\n".encode()
        return 404, TEXT, b"there are /metrics, /live and /ready\n"

    def _stuck(self) -> str:
        """Why the supervisor's loop does not turn, "" if it does."""
        age_s = self._collector.age_s()
        if age_s is None:
            waited_s = self._collector.waited_s()
            late = waited_s > self._start_timeout_s + self._live_within_s
            return f"no stage has loaded in {waited_s:.0f} s" if late else ""
        late = age_s > self._live_within_s
        return f"the supervisor was last seen {age_s:.0f} s ago" if late else ""

    def _not_ready(self) -> str:
        missing = self._collector.missing()
        return f"waiting for {', '.join(missing)}" if missing else ""


class _Server(socketserver.ThreadingTCPServer):
    # Not http.server's: that one asks the name service for our own name, which may take seconds.
    allow_reuse_address = True
    daemon_threads = True
    owner: MetricsServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell our own trouble in the log; that a client hangs up is its own affair."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            log.warning("a request to the metrics' port failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "gaitstream"
    timeout = CLIENT_TIMEOUT_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        status, kind, body = self.server.owner.answer(path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: Prometheus asks every few seconds."""
