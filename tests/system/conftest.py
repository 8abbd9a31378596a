"""Runs the program as a user would: a process, files, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.runner import PROCESS_NAME
from pipeline.spare import SPARE_NAME

ROOT = Path(__file__).resolve().parents[2]
CLIP_A = ROOT / "demo" / "camera_a.mp4"
CLIP_B = ROOT / "demo" / "camera_b.mp4"
START_TIMEOUT_S = 120.0


class Program:
    """One run of run_pipeline.py in a temporary directory of its own."""

    def __init__(self, private: Path) -> None:
        self.private = private
        self.process: subprocess.Popen[str] | None = None
        self.output = ""

    def start(self, *arguments: object, prefix: Sequence[str] = ()) -> None:
        """Start without waiting."""
        command = [*prefix, sys.executable, str(ROOT / "run_pipeline.py"), *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            cwd=self.private,
            env=os.environ | {"TMPDIR": str(self.private), "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait(self, timeout_s: float = 240) -> int:
        """Wait for the end; return the exit code and keep what was printed."""
        assert self.process is not None
        try:
            self.output, _ = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.output, _ = self.process.communicate()
            raise AssertionError(f"still running after {timeout_s} s:\n{self.output}") from None
        return self.process.returncode

    def run(self, *arguments: object, prefix: Sequence[str] = ()) -> int:
        """Start and wait."""
        self.start(*arguments, prefix=prefix)
        return self.wait()

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Wait until something is so."""
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.output, _ = self.process.communicate()
                raise AssertionError(f"never got there:\n{self.output}")
            time.sleep(0.05)

    def stages(self) -> dict[str, psutil.Process]:
        """Return the processes of the stages by name."""
        assert self.process is not None
        found = {}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if child.name().startswith(PROCESS_NAME):
                    found[child.name().removeprefix(PROCESS_NAME)] = child
        return found

    def has_spare(self) -> bool:
        """Whether the process from which stages are made anew has loaded its libraries."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):
                if child.name() == SPARE_NAME:
                    return True
        return False

    def run_dirs(self) -> list[Path]:
        """Return the private directories that runs have made."""
        return sorted(self.private.glob("gaitstream-*"))

    def stop(self) -> None:
        """End whatever is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.communicate()


@pytest.fixture
def program() -> Iterator[Program]:
    """A program whose sockets' paths stay short enough (107 bytes) wherever pytest puts things."""
    with tempfile.TemporaryDirectory(prefix="gt-", ignore_cleanup_errors=True) as private:
        made = Program(Path(private))
        yield made
        made.stop()


def summary_of(out: Path) -> dict[str, Any]:
    """Read a run's summary."""
    return dict(json.loads((out / "summary.json").read_text(encoding="utf-8")))


def wait_until_gone(processes: Sequence[psutil.Process], timeout_s: float = 10) -> None:
    """Assert that processes end."""
    _, alive = psutil.wait_procs(processes, timeout_s)
    assert not alive, f"left behind: {alive}"
