"""A process that has loaded all libraries and does nothing, so that a stage is replaced at once.

Starting Python and importing torch or MediaPipe takes seconds; a copy of a process that has done
so takes milliseconds. The spare imports what the stages need in a thread of low priority, which
then ends, and makes no other thread, no socket and no network: so it can be copied (`fork`)
safely. It ends with the run.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import psutil

from pipeline.config import PipelineConfig
from pipeline.graph import STAGES, stage_spec
from pipeline.plans import NodePlan, decode_plan, encode_plan
from pipeline.priority import set_session_nice
from pipeline.runner import (
    build_config,
    child_environment,
    die_with,
    name_process,
    run_process,
)

MAX_MESSAGE_BYTES = 1 << 18
MAX_FDS = 64
LOOK_EVERY_S = 0.05
# A third of what a stage gets: with less it would not be ready for minutes of a camera's run.
LOADING_NICE = 5
# What `ps` shows it as, once it is of use.
SPARE_NAME = "gait spare"
ANSWER_S = 2.0

log = logging.getLogger("supervisor")


class Spare:
    """The supervisor's end.

    Args:
        config: what the stages will be made with, so that only what they need is loaded.

    Raises:
        OSError: no process or no socket is to be had.
    """

    def __init__(self, config: PipelineConfig) -> None:
        self._exits: dict[int, int] = {}
        self._warm = False
        stages = {spec.name: config.stages[spec.name].model_dump(mode="json") for spec in STAGES}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.send(json.dumps(stages).encode())  # it waits there to be read
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.spare", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=child_environment(),
                start_new_session=True,
            )
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def warm(self) -> bool:
        """Whether everything is loaded."""
        self._listen(0.0)
        return self._warm and self._process.poll() is None

    def start(self, plan: NodePlan, lifeline: int, errors: int) -> int | None:
        """Return the process of a new stage, None if the spare cannot give one."""
        fds = (lifeline, errors, plan.snapshots, *plan.stores.values())
        try:
            socket.send_fds(self._socket, [encode_plan(plan)], list(fds))
        except OSError as error:
            log.info("the spare process cannot be used: %s", error)
            return None
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            answer = self._listen(deadline - time.monotonic())
            if answer is None:
                break
            if "pid" in answer:
                return int(answer["pid"])
        # A copy that came after all would be a second one: it dies with the spare (`die_with`).
        log.info("the spare process does not answer and is given up")
        self._process.kill()
        self._process.wait()
        self._warm = False
        return None

    def exit_code(self, pid: int) -> int | None:
        """Return how a process ended, as `subprocess` counts; None while that is not known."""
        while self._listen(0.0):
            pass
        return self._exits.get(pid)

    def memory_bytes(self) -> int:
        """Its resident memory, most of it shared with the processes made from it."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def close(self) -> None:
        """End it."""
        self._socket.close()
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self, timeout_s: float) -> dict[str, Any] | None:
        """Take one report; None if none came, or none can come any more."""
        self._socket.settimeout(max(0.0, timeout_s))
        try:
            content = self._socket.recv(MAX_MESSAGE_BYTES)
        except OSError:  # nothing yet; or closed, then its processes are told by their numbers
            return None
        if not content:
            return None
        report: dict[str, Any] = json.loads(content)
        if "exited" in report:
            self._exits[int(report["exited"])] = int(report["code"])
        self._warm = self._warm or "warm" in report
        return report


def main() -> None:
    """Entry point of the spare process."""
    line = socket.socket(fileno=int(sys.argv[1]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    stages = json.loads(line.recv(MAX_MESSAGE_BYTES))
    loaded = threading.Event()
    loading = threading.Thread(target=_load, args=(stages, loaded), name="loading")
    loading.start()
    while loading.is_alive():
        loading.join(LOOK_EVERY_S)
        if _ended(line):
            os._exit(0)
    if not loaded.is_set():
        os._exit(1)  # what it was to be of use for has failed
    name_process(SPARE_NAME)
    _answer(line, {"warm": True})
    children: set[int] = set()
    line.settimeout(LOOK_EVERY_S)
    while True:
        for pid in [pid for pid in children if _report_if_ended(line, pid)]:
            children.remove(pid)
        try:
            content, fds, _, _ = socket.recv_fds(line, MAX_MESSAGE_BYTES, MAX_FDS)
        except TimeoutError:
            continue
        if not content:
            os._exit(0)  # the supervisor is gone; the stages see that themselves
        pid = os.fork()
        if pid == 0:
            line.close()
            _become_stage(content, fds)
        for fd in fds:
            os.close(fd)
        children.add(pid)
        _answer(line, {"pid": pid})


def _ended(line: socket.socket) -> bool:
    """Whether the supervisor has hung up."""
    try:
        return not line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _load(stages: dict[str, dict[str, Any]], loaded: threading.Event) -> None:
    """Import what the stages need, while the stages themselves are served first."""
    nice = min(os.nice(0) + LOADING_NICE, 19)
    # On Linux this is the thread's alone, and the session's: copies are made by the main thread,
    # each in a session of its own.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
    set_session_nice(nice)
    for name, config in stages.items():
        module = importlib.import_module(stage_spec(name).module)
        preload = getattr(module, "preload", None)
        if preload is not None:
            try:
                preload(build_config(name, config))
            except Exception as error:  # noqa: BLE001 - a stage of which this is true has failed
                log.info("%s is not loaded beforehand: %s", name, error)
    loaded.set()


def _become_stage(content: bytes, fds: Sequence[int]) -> None:
    """Be the stage of a plan, in a new process; does not return."""
    code = 1
    try:
        os.setsid()
        plan = decode_plan(content)
        lifeline, errors, snapshots, *stores = fds
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        plan = msgspec.structs.replace(
            plan, snapshots=snapshots, stores=dict(zip(plan.stores, stores, strict=True))
        )
        die_with(lifeline)
        code = 0 if run_process(plan) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _report_if_ended(line: socket.socket, pid: int) -> bool:
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        return False
    _answer(line, {"exited": pid, "code": os.waitstatus_to_exitcode(status)})
    return True


def _answer(line: socket.socket, report: dict[str, Any]) -> None:
    try:
        line.send(json.dumps(report).encode())
    except OSError:
        os._exit(0)  # nobody listens any more


if __name__ == "__main__":
    main()
