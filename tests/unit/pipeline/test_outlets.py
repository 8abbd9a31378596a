"""What a command's options and the environment open for other programs, before stages start."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
from rich.console import Console

from pipeline.cli.outlets import outlets
from pipeline.config import PipelineConfig, load_config
from pipeline.errors import ConfigError, ResourceError
from pipeline.run_state import RunState


def config(**run: Any) -> PipelineConfig:
    return load_config(None, {f"run.{key}": value for key, value in run.items()})


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)


def test_smoke_nothing_asked_nothing_said(capsys: pytest.CaptureFixture[str]) -> None:
    with outlets(config(), Console()) as tell:
        tell(RunState())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("quiet", [False, True])
def test_a_port_that_was_chosen_is_told(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    with outlets(config(metrics_port=0), Console(), quiet=quiet) as tell:
        tell(RunState())
        told = capsys.readouterr().out
        assert told.startswith("metrics at http://127.0.0.1:")
        port = int(told.strip().rpartition(":")[2].partition("/")[0])
        socket.create_connection(("127.0.0.1", port)).close()


def test_exception_port_taken_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ResourceError, match=f"cannot serve metrics on 127.0.0.1:{port}"),
            outlets(config(metrics_port=port), Console()),
        ):
            pytest.fail("the run would have begun")


@pytest.mark.parametrize("value", [-1, 65_536, "http"])
def test_exception_no_port(value: object) -> None:
    with pytest.raises(ConfigError, match=r"run\.metrics_port"):
        config(metrics_port=value)


@pytest.mark.parametrize("value", ["localhost:4318", "http://me:secret@there:4318", "http://"])
def test_exception_an_endpoint_is_a_web_address_without_keys(value: str) -> None:
    with pytest.raises(ConfigError, match=r"run\.otlp_endpoint.*OTEL_EXPORTER_OTLP_HEADERS"):
        config(otlp_endpoint=value)


@pytest.mark.parametrize("value", ["http://localhost:4318", "https://there/otlp/"])
def test_an_endpoint_may_have_a_path(value: str) -> None:
    assert config(otlp_endpoint=value).run.otlp_endpoint == value


@pytest.mark.parametrize("by", ["run.otlp_endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_exception_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    address = "http://127.0.0.1:4318"
    if by.startswith("OTEL"):
        monkeypatch.setenv(by, address)
    chosen = config(otlp_endpoint=address) if by.startswith("run") else config()
    monkeypatch.setitem(sys.modules, "pipeline.telemetry.otel", None)  # as if it did not import
    with pytest.raises(ResourceError, match=by) as caught, outlets(chosen, Console()):
        pytest.fail("the run would have begun")
    assert "pip install 'gaitstream[otel]'" in caught.value.hint
    if by.startswith("OTEL"):
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        with outlets(chosen, Console()) as tell:
            tell(RunState())


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")],
)
def test_exception_a_variable_asks_for_what_there_is_not(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=value), outlets(config(), Console()):
        pytest.fail("the run would have begun")
