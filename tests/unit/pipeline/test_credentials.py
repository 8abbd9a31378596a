"""A password in an address is shown nowhere."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.config import load_config
from pipeline.control import ControlLogHandler
from pipeline.credentials import hide_credentials, public, without_credentials
from pipeline.errors import ConfigError, SourceError, StageFailedError
from stages.source.config import public_label

ADDRESS = "rtsp://user:secret@127.0.0.1:1/x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("nothing here, not even me@example.org", "nothing here, not even me@example.org"),
        (ADDRESS, "rtsp://***@127.0.0.1:1/x"),
        ("rtsp://u:se@cret@h/x", "rtsp://***@h/x"),
        ("rtsp://u:se/c?r#et@h:554/x", "rtsp://***@h:554/x"),
        ("rtsp://u:se cret@h/x", "rtsp://***@h/x"),
        ("http://h/x?token=secret", "http://h/x?***"),
        ("rtsp://h:554/user=admin&password=secret&channel=1", "rtsp://h:554/user=***&password=***&channel=1"),
        ("rtsp://h:554/user=admin_password=secret_channel=1", "rtsp://h:554/user=***"),
        (f"Connection refused: '{ADDRESS}'", "Connection refused: 'rtsp://***@127.0.0.1:1/x'"),
        (f"one\n{ADDRESS}\nthree", "one\nrtsp://***@127.0.0.1:1/x\nthree"),
        ("ipc:///tmp/x and tcp://*:5", "ipc:///tmp/x and tcp://*:5"),
    ],
)  # fmt: skip
def test_what_is_left_of_a_text(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_configuration_keeps_its_shape() -> None:
    assert public({"a": [ADDRESS, 1, None], "b": {"c": True}}) == {
        "a": ["rtsp://***@127.0.0.1:1/x", 1, None],
        "b": {"c": True},
    }
    config = load_config(None, {"source.uri": ADDRESS})
    assert config.stages["source"].uri == ADDRESS, "the source itself needs all of it"
    assert "secret" not in str(config.to_dict())


def test_labels_take_away_a_whole_password() -> None:
    assert public_label("rtsp://me:p@ss@cam.example/1?token=x") == "rtsp://cam.example/1"
    assert public_label("rtsp://me:p/ss@cam.example/1") == "rtsp://cam.example/1"


def test_errors_and_logs() -> None:
    error = SourceError(f"cannot open {ADDRESS}", hint=f"try {ADDRESS}")
    assert "secret" not in f"{error} {error.args} {error.message} {error.hint}"
    failed = StageFailedError("source", ADDRESS, where=ADDRESS, trace=f"Traceback\n{ADDRESS}")
    assert "secret" not in f"{failed} {failed.trace}"
    record = logging.LogRecord("x", logging.INFO, "", 1, "lost %s", (ADDRESS,), None)
    handler = ControlLogHandler()
    handler.emit(record)
    assert [text for _, text in handler.waiting] == ["lost rtsp://***@127.0.0.1:1/x"]
    assert hide_credentials(record) and "secret" not in record.getMessage()


@pytest.mark.parametrize(
    "yaml",
    [
        f"source: {{uri: ['{ADDRESS}']}}",
        f"source: {{url: '{ADDRESS}'}}",
        f"source: {{uri: '{ADDRESS}', loop: true}}",
        f"source: '{ADDRESS}'",
        f"source: {{uri: '{ADDRESS}'",
        f"'{ADDRESS}': 1",
    ],
)
def test_exception_a_bad_configuration(tmp_path: Path, yaml: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--source", ADDRESS, "--check-config"],
        ["--source", ADDRESS, "--set", "source.uri"],
        ["--set", f"source.uri=[{ADDRESS}"],
        ["--set", ADDRESS],
        ["--set", f"source.uri={{a: '{ADDRESS}'}}"],
        ["--sorce", ADDRESS],
        ["--source", ADDRESS, "--start", ADDRESS],
    ],
)
def test_the_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["live", *arguments])
    except SystemExit as end:  # argparse leaves so
        code = int(end.code or 0)
    said = capsys.readouterr()
    assert code == (0 if "--check-config" in arguments else 2)
    assert said.out + said.err and "secret" not in said.out + said.err
