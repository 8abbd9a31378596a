"""Runs one stage: moves messages between its links and its `process`, keeps time and count.

As a process it is started as `python -m pipeline.runner PLAN.json LIFELINE_FD`; in a run with
`placement: threads` the supervisor calls `run_node` in a thread. Nothing here knows what the stage
does.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq
from pydantic import TypeAdapter

from pipeline.control import Aborted, Context, ControlLine, ControlLogHandler
from pipeline.errors import GaitError
from pipeline.graph import stage_spec
from pipeline.plans import (
    Failed,
    Finished,
    NodePlan,
    Ready,
    decode_plan,
)
from pipeline.priority import set_session_nice
from pipeline.source_node import SourceNode
from pipeline.stage_node import StageNode

PR_SET_PDEATHSIG = 1
# `ps` shows a stage's process as this and its name.
PROCESS_NAME = "gait-"


def build_stage(name: str, config: dict[str, Any]) -> Any:
    """Return the stage `name` made from its block of the configuration."""
    module = importlib.import_module(stage_spec(name).module)
    return module.build(build_config(name, config))


def build_config(name: str, config: dict[str, Any]) -> Any:
    """Return a stage's checked configuration, of its own kind."""
    module = importlib.import_module(stage_spec(name).module)
    return TypeAdapter(module.Config).validate_python(config)


def child_environment() -> dict[str, str]:
    """One thread per library and process: the stages themselves are the parallelism."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return threads | dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths)}


def run_node(
    plan: NodePlan, context: Context, log_handler: ControlLogHandler | None = None
) -> bool:
    """Run a stage from loading to closing. Every outcome is told to the supervisor.

    Returns:
        True if the stage ended as it should, aborts included.
    """
    try:
        worker = build_stage(plan.stage, plan.config)
    except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor must hear of it
        line = ControlLine(context, plan.control, plan.stage)
        line.tell(_failure(plan.stage, "while it was made", error))
        line.close()
        return False
    node: SourceNode | StageNode
    if plan.inputs:
        node = StageNode(plan, worker, context, log_handler)
    else:
        node = SourceNode(plan, worker, context, log_handler)
    good = True
    try:
        _live(node, worker)
    except Aborted:
        good = _finish(node, worker)
    except Exception as error:  # noqa: BLE001 - as above
        node.line.tell(_failure(plan.stage, node.where, error))
        good = False
        _finish(node, worker, tell=False)
    else:
        good = _finish(node, worker)
    node.close()
    return good


def _live(node: SourceNode | StageNode, worker: Any) -> None:
    """Set up, wait for everyone, work."""
    node.where = "start"
    if isinstance(node, SourceNode):
        node.take_up()
        node.open()
    else:
        worker.resumed = node.left is not None or node.plan.again
        worker.setup()
        node.take_up()
    node.line.tell(Ready(node.plan.stage))
    node.line.wait_for_go()
    if node.plan.nice and isinstance(node, StageNode):
        node.make_way()
    node.run()


def _finish(node: SourceNode | StageNode, worker: Any, *, tell: bool = True) -> bool:
    """Close the stage and say goodbye; a failure to close is a failure of the stage."""
    try:
        worker.close()
    except Exception as error:  # noqa: BLE001 - as above
        if tell:
            node.line.tell(_failure(node.plan.stage, "while it was closed", error))
        return False
    if tell:
        node.line.tell(Finished(node.plan.stage, node.current_stats(), node.ended))
    return True


def _failure(stage: str, where: str, error: Exception) -> Failed:
    if isinstance(error, GaitError):
        return Failed(stage, error.message, error.hint, where, "", error.exit_code)
    trace = "".join(traceback.format_exception(error))
    return Failed(stage, f"{type(error).__name__}: {error}", "", where, trace, 1)


def die_with(lifeline_fd: int) -> None:
    """End this process when the supervisor's end of the lifeline closes, however it died.

    A process that is stuck in a library sees no lifeline: the kernel ends it with its parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        os.read(lifeline_fd, 1)
        os._exit(3)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def run_process(plan: NodePlan) -> bool:
    """Be a stage's process: run it with a context and a log of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    name_process(f"{PROCESS_NAME}{plan.stage}")
    set_session_nice(os.nice(0))
    handler = ControlLogHandler()
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(message)s", force=True)
    context: Context = zmq.Context()
    good = run_node(plan, context, handler)
    context.term()
    return good


def name_process(name: str) -> None:
    """Let `ps` and `top` tell the stages apart; where that cannot be done, they do without."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name[:15], encoding="ascii")


def main() -> None:
    """Entry point of a stage's process."""
    plan_path, lifeline_fd = sys.argv[1], int(sys.argv[2])
    die_with(lifeline_fd)
    plan = decode_plan(Path(plan_path).read_bytes())
    Path(plan_path).unlink()  # it may hold the password of a camera
    good = run_process(plan)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
