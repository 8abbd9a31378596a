"""What a run with a password in its address leaves behind does not hold it."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.system.conftest import CLIP_B, Program, summary_of


def check_nothing_is_told(program: Program, *folders: Path) -> None:
    assert "secret" not in program.output
    for folder in folders:
        for path in folder.rglob("*"):
            assert "secret" not in path.name
            assert not path.is_file() or b"secret" not in path.read_bytes(), path


def test_exception_a_camera_that_does_not_answer(program: Program, tmp_path: Path) -> None:
    out, address = tmp_path / "o", "rtsp://user:secret@127.0.0.1:1/x"
    assert program.run("live", "--source", address, "--out", out) == 1
    assert "cannot open rtsp://127.0.0.1:1/x: Connection refused" in program.output
    check_nothing_is_told(program, tmp_path, program.private)


def test_a_run_from_an_address_with_a_password(program: Program, tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    out = tmp_path / "o"
    handler = partial(Quiet, directory=CLIP_B.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://user:secret@127.0.0.1:{server.server_port}/{CLIP_B.name}?token=secret"
        code = program.run("replay", "--source", address, "--end", 1, "--out", out)
        server.shutdown()
    assert code == 0, program.output
    shown = f"http://***@127.0.0.1:{server.server_port}/{CLIP_B.name}?***"
    assert summary_of(out)["config"]["source"]["uri"] == shown
    check_nothing_is_told(program, tmp_path, program.private)
