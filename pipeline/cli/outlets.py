"""What a run tells other programs while it goes: metrics, health, traces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.config import PipelineConfig
from pipeline.errors import ConfigError, ResourceError
from pipeline.extras import install_command
from pipeline.run_state import RunState
from pipeline.supervisor import ProgressCallback

if TYPE_CHECKING:
    from pipeline.telemetry.metrics import RunCollector
    from pipeline.telemetry.otel import OtelExporter

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
OURS = "http/protobuf"


@contextmanager
def outlets(
    config: PipelineConfig, console: Console, *, quiet: bool = False
) -> Iterator[ProgressCallback]:
    """Serve metrics and send to OpenTelemetry as the configuration asks; give what is to be
    called with the run's state.

    Raises:
        ResourceError: the port is taken, or the extra `otel` is missing.
        ConfigError: an OTEL_… variable asks for what there is not.
    """
    port = config.run.metrics_port
    to_endpoint = _endpoint_wanted(config.run.otlp_endpoint)
    if port is None and not to_endpoint:
        yield lambda _state: None
        return
    # Only who asks for metrics pays for loading what makes them.
    from pipeline.telemetry.metrics import RunCollector

    collector = RunCollector()
    looks: list[ProgressCallback] = [collector.look]
    with ExitStack() as stack:
        if port is not None:
            from pipeline.telemetry.metrics_server import MetricsServer

            server = stack.enter_context(
                MetricsServer(collector, port, start_timeout_s=config.run.start_timeout_s)
            )
            if not quiet or port == 0:  # a port that we chose is known to nobody else
                console.print(f"metrics at {server.url}", markup=False, highlight=False)
        if to_endpoint:
            looks.append(stack.enter_context(_exporter(collector, config.run.otlp_endpoint or "")))

        def look(state: RunState) -> None:
            for each in looks:
                each(state)

        yield look


def _endpoint_wanted(configured: str | None) -> bool:
    if configured:
        return True
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or not os.environ.get(ENDPOINT):
        return False
    protocol = os.environ.get(PROTOCOL, OURS)
    if protocol != OURS:
        raise ConfigError(
            f"{PROTOCOL} is {protocol!r}; this program speaks {OURS} only",
            hint=f"set it to {OURS} and {ENDPOINT} to the port for it, usually 4318; "
            "OTEL_SDK_DISABLED=true sends nothing",
        )
    return True


def _exporter(collector: RunCollector, endpoint: str) -> OtelExporter:
    try:
        from pipeline.telemetry.otel import OtelExporter
    except ImportError as error:
        asked = "run.otlp_endpoint" if endpoint else ENDPOINT
        raise ResourceError(
            f"{asked} is set, but the extra 'otel' is not installed ({error})",
            hint=f"{install_command('otel')}, or leave {asked} out",
        ) from error
    try:
        return OtelExporter(collector, endpoint)
    except ValueError as error:
        raise ConfigError(f"an OTEL_… variable is wrong: {error}") from error
