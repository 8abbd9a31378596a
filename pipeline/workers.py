"""A stage at work: in a process of its own, or in a thread of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import ResourceError
from pipeline.plans import NodePlan, encode_plan
from pipeline.runner import run_node

STDERR_TAIL_LINES = 20


class ProcessWorker:
    """A stage in a process of its own."""

    def __init__(self, plan: NodePlan, _context: Any, directory: Path) -> None:
        self.stage = plan.stage
        plan_path = directory / f"{plan.stage}.json"
        plan_path.write_bytes(encode_plan(plan))
        self._errors = directory / f"{plan.stage}.stderr"
        lifeline_read, self._lifeline = os.pipe()
        try:
            with self._errors.open("wb") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "pipeline.runner", str(plan_path), str(lifeline_read)],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=(lifeline_read, *plan.stores.values()),
                    env=_child_environment(),
                    # A terminal's Ctrl-C is for the supervisor alone, who ends things in order.
                    start_new_session=True,
                )
        except OSError as error:
            os.close(self._lifeline)
            raise ResourceError(f"cannot start the {plan.stage} stage: {error.strerror}") from error
        finally:
            os.close(lifeline_read)

    def alive(self) -> bool:
        return self._process.poll() is None

    def memory_bytes(self) -> int:
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def last_words(self) -> str:
        code = self._process.returncode
        if code is not None and code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with code {code}"

    def error_output(self) -> str:
        text = self._errors.read_text(errors="replace")
        return "\n".join(text.splitlines()[-STDERR_TAIL_LINES:])

    def join(self, timeout_s: float) -> None:
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._lifeline)


class ThreadWorker:
    """A stage in a thread of this process."""

    def __init__(self, plan: NodePlan, context: Any, _directory: Path) -> None:
        self._thread = threading.Thread(
            target=run_node, args=(plan, context), name=plan.stage, daemon=True
        )
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def memory_bytes(self) -> int:
        return 0  # it is part of this process

    def last_words(self) -> str:
        return "its thread ended without a word"

    def error_output(self) -> str:
        return ""

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)


Worker = ProcessWorker | ThreadWorker


def _child_environment() -> dict[str, str]:
    """One thread per library and process: the stages themselves are the parallelism."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return threads | dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths)}
