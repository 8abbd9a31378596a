"""Starts the stages of a run, watches them, ends them, and leaves nothing behind.

A run goes through: make private directory, frame store and links; start every stage; wait until
all are ready; go; end of stream wanders through the graph and is acknowledged; every stage says
goodbye.
Ctrl-C and SIGTERM end it early: sources stop, what is under way drains for `run.stop_timeout_s`,
then the rest is cut short and sinks close their files with what they have. A stage that dies ends
the run with its reason, its frame and its traceback.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal

import psutil
import zmq

from pipeline.config import PipelineConfig
from pipeline.errors import GaitError, ResourceError, StageFailedError
from pipeline.graph import STAGES, StageSpec, readers_of, topic_spec
from pipeline.plans import (
    Abort,
    Event,
    Failed,
    Finished,
    Go,
    LinkPlan,
    Log,
    NodePlan,
    Opened,
    Order,
    Progress,
    Ready,
    StageStats,
    Stop,
    StopWanted,
    decode_event,
    encode,
)
from pipeline.transport import create_store_fd
from pipeline.workers import ProcessWorker, ThreadWorker, Worker

RUN_DIR_PREFIX = "gaitstream-"
POLL_MS = 100
MEMORY_EVERY_S = 0.5
CLOSE_TIMEOUT_S = 0.5
SINK_CLOSE_TIMEOUT_S = 10.0
LIVE_DETECT_QUEUE = 2
HANDLE_QUEUE = 1024

log = logging.getLogger("supervisor")

Outcome = Literal["completed", "stopped"]


@dataclass(slots=True)
class RunState:
    """What is known of a run, for the progress display and the summary.

    Attributes:
        opened: the sources' facts.
        stats: each stage's newest counts.
        reasons: why each source ended, "" for a plain end.
        first_frame_s: from the start until the first frame had gone through detection.
        peak_memory_bytes: highest sum of the resident memory of all processes.
    """

    opened: dict[str, Opened] = field(default_factory=dict)
    stats: dict[str, StageStats] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    outcome: Outcome = "completed"
    started_at: float = 0.0
    load_s: float = 0.0
    first_frame_s: float | None = None
    wall_s: float = 0.0
    peak_memory_bytes: int = 0


ProgressCallback = Callable[[RunState], None]


def run_pipeline(
    config: PipelineConfig, *, live: bool, on_progress: ProgressCallback | None = None
) -> RunState:
    """Run the pipeline from start to end and return what came of it.

    Args:
        config: checked configuration.
        live: sources keep only the newest frame, queues are short.
        on_progress: called some ten times a second.

    Raises:
        StageFailedError: a stage died or could not start; its own error is the cause.
        ResourceError: no memory, descriptors or private directory to be had.
    """
    clear_dead_runs()
    with _run_dir() as directory, _store_fd() as fd:
        plans = _plan(config, directory, fd, live)
        return _Run(config, plans, directory, on_progress).run()


def clear_dead_runs() -> None:
    """Remove private directories whose run is gone (kill -9 leaves its directory behind)."""
    for path in Path(tempfile.gettempdir()).glob(f"{RUN_DIR_PREFIX}*"):
        pid = path.name.removeprefix(RUN_DIR_PREFIX).partition("-")[0]
        try:
            mine = path.stat().st_uid == os.getuid()
        except OSError:
            continue
        if mine and pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _run_dir() -> Iterator[Path]:
    """A directory only we can enter (0700), for ipc sockets and plans."""
    try:
        path = Path(tempfile.mkdtemp(prefix=f"{RUN_DIR_PREFIX}{os.getpid()}-"))
    except OSError as error:
        raise ResourceError(
            f"cannot make a private directory in {tempfile.gettempdir()}: {error.strerror}",
            hint="free space there, or set TMPDIR to a writable directory",
        ) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _store_fd() -> Iterator[int]:
    fd = create_store_fd("source")
    try:
        yield fd
    finally:
        os.close(fd)


def _plan(config: PipelineConfig, directory: Path, fd: int, live: bool) -> list[NodePlan]:
    threads = config.run.placement == "threads"
    base = f"inproc://{directory.name}/" if threads else f"ipc://{directory}/"
    links = [
        LinkPlan(
            spec.writes,
            spec.name,
            reader,
            f"{base}{spec.writes}.{reader}",
            _window(config, spec.writes, reader, live),
        )
        for spec in STAGES
        if spec.writes is not None
        for reader in readers_of(spec.writes)
    ]
    return [
        NodePlan(
            stage=spec.name,
            config=config.stages[spec.name].model_dump(mode="json"),
            inputs=tuple(link for link in links if link.receiver == spec.name),
            outputs=tuple(link for link in links if link.sender == spec.name),
            control=f"{base}control",
            stores={"source": fd} if _touches_frames(spec) else {},
            frame_store_bytes=config.run.frame_store_mb * 1_000_000,
            max_frames=config.run.max_frames,
        )
        for spec in STAGES
    ]


def _touches_frames(spec: StageSpec) -> bool:
    return spec.writes == "frames" or "frames" in spec.reads


def _window(config: PipelineConfig, topic: str, reader: str, live: bool) -> int:
    """Messages that may be under way on a link, the one being worked on included."""
    queue = topic_spec(topic).queue
    if queue is not None:
        return queue
    if reader == "sink":
        return HANDLE_QUEUE  # the frame store bounds these
    return LIVE_DETECT_QUEUE if live else config.run.detect_queue


class _Run:
    """One run, from the first process to the last."""

    def __init__(
        self,
        config: PipelineConfig,
        plans: list[NodePlan],
        directory: Path,
        on_progress: ProgressCallback | None,
    ) -> None:
        self._config = config
        self._plans = plans
        self._directory = directory
        self._on_progress = on_progress
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control = self._context.socket(zmq.ROUTER)
        self._control.setsockopt(zmq.LINGER, 200)
        self._control.bind(plans[0].control)
        self._workers: dict[str, Worker] = {}
        self._state = RunState(started_at=time.monotonic())
        self._ready: set[str] = set()
        self._finished: set[str] = set()
        self._failure: StageFailedError | None = None
        self._signals = 0
        self._stop_at: float | None = None
        self._abort_at: float | None = None
        self._memory_at = 0.0

    def run(self) -> RunState:
        """Run to the end; see `run_pipeline`."""
        with self._signal_handlers():
            try:
                self._start()
                if self._await_ready():
                    self._watch()
            finally:
                self._clear_away()
        if self._failure is not None:
            raise self._failure
        state = self._state
        state.wall_s = time.monotonic() - state.started_at - state.load_s
        return state

    # start

    def _start(self) -> None:
        make = ThreadWorker if self._config.run.placement == "threads" else ProcessWorker
        for plan in self._plans:
            self._workers[plan.stage] = make(plan, self._context, self._directory)

    def _await_ready(self) -> bool:
        """Wait until every stage has loaded; False if one failed or we were stopped before."""
        deadline = self._state.started_at + self._config.run.start_timeout_s
        while len(self._ready) < len(self._plans) and self._failure is None:
            self._step()
            if self._stop_at is not None:
                return False
            if time.monotonic() > deadline:
                late = [plan.stage for plan in self._plans if plan.stage not in self._ready]
                self._fail(
                    StageFailedError(
                        late[0],
                        f"not ready after {self._config.run.start_timeout_s:g} s",
                    )
                )
        if self._failure is not None:
            return False
        self._state.load_s = time.monotonic() - self._state.started_at
        self._tell_all(Go())
        return True

    # watch

    def _watch(self) -> None:
        while len(self._finished) < len(self._plans):
            self._step()
            now = time.monotonic()
            if self._abort_at is not None:
                if now > self._abort_at + SINK_CLOSE_TIMEOUT_S or self._only_stuck(now):
                    return
            elif (
                self._stop_at is not None and now > self._stop_at + self._config.run.stop_timeout_s
            ):
                log.info("cut short: frames under way are left out")
                self._abort()

    def _only_stuck(self, now: float) -> bool:
        """After an abort, wait long only for sinks, which have files to close."""
        assert self._abort_at is not None
        left = {plan.stage for plan in self._plans} - self._finished
        sinks = {spec.name for spec in STAGES if spec.writes is None}
        return now > self._abort_at + CLOSE_TIMEOUT_S and not (left & sinks)

    def _step(self) -> None:
        """Take events for a moment, look after the processes, show progress."""
        if self._control.poll(POLL_MS):
            while self._control.poll(0):
                _, content = self._control.recv_multipart()
                self._take(decode_event(content))
        if self._signals and self._stop_at is None:
            log.info("stopping; once more to stop at once")
            self._stop()
        elif self._signals > 1 and self._abort_at is None:
            self._abort()
        self._look_after_workers()
        self._measure_memory()
        if self._on_progress is not None and self._ready:
            self._on_progress(self._state)

    def _take(self, event: Event) -> None:
        state = self._state
        if isinstance(event, Opened):
            state.opened[event.source_id] = event
        elif isinstance(event, Ready):
            self._ready.add(event.stage)
        elif isinstance(event, Progress):
            self._note_stats(event.stage, event.stats)
        elif isinstance(event, Log):
            logging.getLogger(event.stage).log(event.level, "%s", event.text)
        elif isinstance(event, StopWanted):
            log.info("%s: %s", event.stage, event.reason)
            self._stop()
        elif isinstance(event, Failed):
            self._finished.add(event.stage)
            failure = StageFailedError(
                event.stage,
                event.reason,
                where=event.where,
                trace=event.trace,
                exit_code=event.exit_code,
            )
            failure.hint = event.hint
            self._fail(failure)
        elif isinstance(event, Finished):
            self._finished.add(event.stage)
            self._note_stats(event.stage, event.stats)
            if event.stage == "source":
                state.reasons.update(event.ended)

    def _note_stats(self, stage: str, stats: StageStats) -> None:
        self._state.stats[stage] = stats
        if stage == "detect" and stats.frames and self._state.first_frame_s is None:
            self._state.first_frame_s = time.monotonic() - self._state.started_at

    def _look_after_workers(self) -> None:
        for stage, worker in self._workers.items():
            if stage in self._finished or worker.alive():
                continue
            while self._control.poll(0):  # its last words may still be on the way
                _, content = self._control.recv_multipart()
                self._take(decode_event(content))
            if stage not in self._finished:
                self._finished.add(stage)
                where = self._last_frame(stage)
                self._fail(
                    StageFailedError(
                        stage, worker.last_words(), where=where, trace=worker.error_output()
                    )
                )

    def _last_frame(self, stage: str) -> str:
        stats = self._state.stats.get(stage)
        return f"about frame {stats.newest_frame + 1}" if stats and stats.frames else "its start"

    def _measure_memory(self) -> None:
        now = time.monotonic()
        if now - self._memory_at < MEMORY_EVERY_S:
            return
        self._memory_at = now
        total = psutil.Process().memory_info().rss
        for worker in self._workers.values():
            total += worker.memory_bytes()
        self._state.peak_memory_bytes = max(self._state.peak_memory_bytes, total)

    # end

    def _stop(self) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic()
            self._state.outcome = "stopped"
            self._tell_all(Stop())

    def _abort(self) -> None:
        if self._abort_at is None:
            self._abort_at = time.monotonic()
            self._state.outcome = "stopped"
            self._tell_all(Abort())

    def _fail(self, failure: StageFailedError) -> None:
        if self._failure is None:
            self._failure = failure
        self._abort()

    def _tell_all(self, order: Order) -> None:
        for plan in self._plans:
            self._control.send_multipart((plan.stage.encode(), encode(order)))

    def _clear_away(self) -> None:
        if len(self._finished) < len(self._plans):
            self._abort()
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        for worker in self._workers.values():
            worker.join(max(0.0, deadline - time.monotonic()))
        self._control.close()
        if all(not worker.alive() for worker in self._workers.values()):
            self._context.term()

    @contextmanager
    def _signal_handlers(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def count(_number: int, _frame: FrameType | None) -> None:
            self._signals += 1

        former = {
            number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


def describe_failure(error: GaitError) -> str:
    """Return an error as the one block that goes to stderr."""
    lines = [f"error: {error.message}"]
    if error.hint:
        lines.append(f"  {error.hint}")
    if isinstance(error, StageFailedError) and error.trace:
        lines += ["", *(f"  {line}" for line in error.trace.rstrip().splitlines())]
    return "\n".join(lines)
