"""A stage at work: in a process of its own, or in a thread of ours."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import ResourceError
from pipeline.plans import NodePlan, encode_plan
from pipeline.runner import child_environment, run_node
from pipeline.spare import Spare

STDERR_TAIL_LINES = 20
JOIN_STEP_S = 0.01


class ProcessWorker:
    """A stage in a process of its own.

    Args:
        directory: private, for its plan and what it writes to stdout and stderr.
        spare: makes the process, if it is warm; else a new Python does.
    """

    def __init__(
        self, plan: NodePlan, _context: Any, directory: Path, spare: Spare | None = None
    ) -> None:
        self.stage = plan.stage
        self._errors = directory / f"{plan.stage}.stderr"
        self._spare: Spare | None = None
        self._process: subprocess.Popen[bytes] | None = None
        lifeline_read, self._lifeline = os.pipe()
        try:
            with self._errors.open("wb") as errors:
                pid = None
                if spare is not None and spare.warm:
                    pid = spare.start(plan, lifeline_read, errors.fileno())
                if pid is not None:
                    self._spare, self.pid = spare, pid
                else:
                    self._process = _new_python(plan, directory, lifeline_read, errors.fileno())
                    self.pid = self._process.pid
        except OSError as error:
            os.close(self._lifeline)
            raise ResourceError(f"cannot start the {plan.stage} stage: {error}") from error
        finally:
            os.close(lifeline_read)
        self._known: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have died already
            self._known = psutil.Process(self.pid)

    def alive(self) -> bool:
        """Whether it runs."""
        if self._process is not None:
            return self._process.poll() is None
        if self._code() is not None or self._known is None:
            return False
        try:  # who is dead and not yet fetched by its parent counts as dead
            return self._known.is_running() and self._known.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def kill(self) -> None:
        """End it at once."""
        if self._known is not None:
            with contextlib.suppress(psutil.Error):
                self._known.kill()  # not another process of the same number

    def memory_bytes(self) -> int:
        """Its resident memory."""
        try:
            return int(self._known.memory_info().rss) if self._known is not None else 0
        except psutil.Error:
            return 0

    def last_words(self) -> str:
        """How it ended."""
        code = self._code()
        if code is not None and code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process ended with code {'unknown' if code is None else code}"

    def error_output(self) -> str:
        """The last lines that it wrote to stderr."""
        text = self._errors.read_text(errors="replace")
        return "\n".join(text.splitlines()[-STDERR_TAIL_LINES:])

    def join(self, timeout_s: float) -> None:
        """Wait for its end, and bring it about if it does not come."""
        deadline = time.monotonic() + timeout_s
        while self.alive() and time.monotonic() < deadline:
            time.sleep(JOIN_STEP_S)
        while self.alive():
            self.kill()
            time.sleep(JOIN_STEP_S)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _code(self) -> int | None:
        if self._process is not None:
            return self._process.returncode
        assert self._spare is not None
        return self._spare.exit_code(self.pid)


def _new_python(
    plan: NodePlan, directory: Path, lifeline: int, errors: int
) -> subprocess.Popen[bytes]:
    plan_path = directory / f"{plan.stage}.json"
    plan_path.write_bytes(encode_plan(plan))
    kept = (plan.snapshots,) if plan.snapshots >= 0 else ()
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.runner", str(plan_path), str(lifeline)],
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        pass_fds=(lifeline, *kept, *plan.stores.values()),
        env=child_environment(),
        # A terminal's Ctrl-C is for the supervisor alone, who ends things in order.
        start_new_session=True,
    )


class ThreadWorker:
    """A stage in a thread of this process."""

    def __init__(self, plan: NodePlan, context: Any, _directory: Path) -> None:
        self.pid = os.getpid()
        self._thread = threading.Thread(
            target=run_node, args=(plan, context), name=plan.stage, daemon=True
        )
        self._thread.start()

    def alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def kill(self) -> None:
        """A thread cannot be killed: it ends with the program."""

    def memory_bytes(self) -> int:
        """Nothing: it is part of this process."""
        return 0

    def last_words(self) -> str:
        """How it ended."""
        return "its thread ended without a word"

    def error_output(self) -> str:
        """Nothing: it has no output of its own."""
        return ""

    def join(self, timeout_s: float) -> None:
        """Wait for its end."""
        self._thread.join(timeout_s)


Worker = ProcessWorker | ThreadWorker
