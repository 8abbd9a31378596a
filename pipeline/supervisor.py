"""Starts the stages of a run, watches them, ends them, and leaves nothing behind.

A run goes through: make private directory, frame store and links; start every stage; wait until
all are ready; go; end of stream wanders through the graph and is acknowledged; every stage says
goodbye.
Ctrl-C and SIGTERM end it early: sources stop, what is under way drains for `run.stop_timeout_s`,
then the rest is cut short and sinks close their files with what they have.

A stage that dies, or is silent for `run.hang_s`, is started again and goes on from its snapshot
(`pipeline/recovery.py`). One that dies too often, that fails with an error that says what is wrong,
or that is a thread, ends the run with its reason, its frame and its traceback.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import msgspec
import zmq

from pipeline.clock import NS_PER_S, unix_ns
from pipeline.config import PipelineConfig
from pipeline.crew import Crew
from pipeline.errors import GaitError, StageFailedError
from pipeline.graph import STAGES
from pipeline.planning import clear_dead_runs, plan_run, run_dir, shared_memory
from pipeline.plans import (
    Abort,
    Ending,
    Event,
    Failed,
    Finished,
    Go,
    Gone,
    Incident,
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
from pipeline.restarts import RESTARTS, RESTARTS_WITHIN_S, RestartBudget
from pipeline.run_state import MAX_INCIDENTS, Outcome, RunState

POLL_MS = 100
CLOSE_TIMEOUT_S = 0.5
SINK_CLOSE_TIMEOUT_S = 10.0
# After the last frame a sink may be silent for this many times as long: it finishes large files.
END_PATIENCE = 20
# A message during which a stage hangs is passed over after some times (`recovery.DEATHS`). A stage
# that hangs more often without getting any further ends the run.
HANGS_IN_VAIN = 3
LAST_WORDS_S = 0.05

log = logging.getLogger("supervisor")

ProgressCallback = Callable[[RunState], None]


def run_pipeline(
    config: PipelineConfig,
    *,
    live: bool,
    on_progress: ProgressCallback | None = None,
    spans: Path | None = None,
    limit_s: float | None = None,
) -> RunState:
    """Run the pipeline from start to end and return what came of it.

    Args:
        config: checked configuration.
        live: sources keep only the newest frame, queues are short.
        on_progress: called some ten times a second.
        spans: file that gets each frame's way through the stages, see `telemetry.spans`.
        limit_s: after so many seconds of frames the run is over, and has come to its end.

    Raises:
        StageFailedError: a stage died or could not start; its own error is the cause.
        ResourceError: no memory, descriptors or private directory to be had.
    """
    clear_dead_runs()
    with run_dir() as directory, shared_memory(config) as memory:
        plans = plan_run(config, directory, memory, live=live, spans=spans)
        return _Run(config, plans, directory, on_progress, limit_s, live=live).run()


class _Run:
    """One run, from the first process to the last."""

    def __init__(
        self,
        config: PipelineConfig,
        plans: list[NodePlan],
        directory: Path,
        on_progress: ProgressCallback | None,
        limit_s: float | None,
        *,
        live: bool,
    ) -> None:
        self._config = config
        self._live = live
        self._plans = plans
        self._on_progress = on_progress
        self._limit_s = limit_s
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control = self._context.socket(zmq.ROUTER)
        self._control.setsockopt(zmq.LINGER, 200)
        # Who takes a dead stage's place comes under the same name.
        self._control.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._control.bind(plans[0].control)
        self._state = RunState(started_at=time.monotonic())
        self._crew = Crew(config, self._context, directory, self._state, live=live)
        self._ready: set[str] = set()
        self._finished: set[str] = set()
        self._failure: StageFailedError | None = None
        self._signals = 0
        self._stop_at: float | None = None
        self._abort_at: float | None = None
        self._go_at = 0.0
        self._gone = False  # whether everyone was told to begin
        self._budget = RestartBudget()
        self._untold: dict[str, list[Incident]] = {}  # to sinks that are being replaced
        self._told: dict[str, list[Incident]] = {}  # to sinks that have not spoken since
        self._ending: set[str] = set()  # at work on the end of a source
        self._hangs: dict[str, tuple[int, int]] = {}  # frames at the last one; how many at those
        # Failures of stages that may be started again, until their processes are gone.
        self._failures: dict[str, StageFailedError] = {}

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
        for plan in self._plans:
            self._crew.start(plan)

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
        self._go_at = time.monotonic()
        self._gone = True
        self._crew.all_heard()  # who was ready had nothing to say while it waited for the others
        self._tell_all(Go())
        return True

    # watch

    def _watch(self) -> None:
        while len(self._finished) < len(self._plans):
            self._step()
            now = time.monotonic()
            if self._limit_s is not None and now > self._go_at + self._limit_s:
                self._limit_s = None
                self._stop("completed")
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
        if self._may_replace() and self._stop_at is None:
            self._crew.warm_up_spare(time.monotonic() - self._go_at)
        self._crew.measure_memory()
        if self._on_progress is not None and self._ready:
            self._on_progress(self._state)

    def _take(self, event: Event) -> None:
        state = self._state
        if isinstance(event, Opened):
            state.opened[event.source_id] = event
            return
        self._crew.heard(event.stage)
        self._told.pop(event.stage, None)
        self._ending.discard(event.stage)
        if isinstance(event, Ready):
            self._take_ready(event.stage)
        elif isinstance(event, Progress):
            self._note_stats(event.stage, event.stats)
        elif isinstance(event, Ending):
            self._ending.add(event.stage)
        elif isinstance(event, Log):
            logging.getLogger(event.stage).log(event.level, "%s", event.text)
        elif isinstance(event, Incident):
            self._note(event, logging.getLogger(event.stage))
        elif isinstance(event, StopWanted):
            log.info("%s: %s", event.stage, event.reason)
            self._stop()
        elif isinstance(event, Failed):
            self._take_failure(event)
        elif isinstance(event, Finished):
            self._finished.add(event.stage)
            self._tell_all(Gone(event.stage))
            self._note_stats(event.stage, event.stats)
            if event.stage == "source":
                state.reasons.update(event.ended)

    def _take_ready(self, stage: str) -> None:
        self._ready.add(stage)
        self._state.missing.discard(stage)
        if self._gone:  # it takes another's place
            log.info("%s is at work again after %.2f s", stage, self._crew.away_s(stage))
            self._tell(stage, Go())
            for finished in self._finished:
                self._tell(stage, Gone(finished))
            for incident in self._untold.pop(stage, []):
                self._tell(stage, incident)
            if self._abort_at is not None:
                self._tell(stage, Abort())
            elif self._stop_at is not None:
                self._tell(stage, Stop())

    def _take_failure(self, event: Failed) -> None:
        failure = StageFailedError(
            event.stage,
            event.reason,
            where=event.where,
            trace=event.trace,
            exit_code=event.exit_code,
        )
        failure.hint = event.hint
        if event.trace and self._may_replace():
            # An error of ours, not the user's: another process may get by.
            self._failures[event.stage] = failure
            return
        self._finished.add(event.stage)
        self._fail(failure)

    def _note(self, incident: Incident, teller: logging.Logger) -> None:
        facts = {"unix_time": round(unix_ns() / NS_PER_S, 3), **incident.facts}
        incident = Incident(incident.stage, incident.kind, incident.text, facts)
        teller.warning("%s", incident.text)
        self._state.incident_counts[incident.stage, incident.kind] += 1
        if len(self._state.incidents) < MAX_INCIDENTS:
            self._state.incidents.append(incident)
        if self._live:  # a recording's events hold nothing that another run would not hold
            for spec in STAGES:
                if spec.writes is None and spec.name in self._ready:
                    self._tell(spec.name, incident)
                    self._told.setdefault(spec.name, []).append(incident)
                elif spec.writes is None:
                    self._untold.setdefault(spec.name, []).append(incident)

    def _note_stats(self, stage: str, stats: StageStats) -> None:
        known = self._state.stats.get(stage)
        if known is None or stats.frames >= known.frames or stage in self._finished:
            self._state.stats[stage] = stats  # who does work again does not count it again
        if stage == "detect" and stats.frames and self._state.first_frame_s is None:
            self._state.first_frame_s = time.monotonic() - self._state.started_at

    def _look_after_workers(self) -> None:
        self._crew.turn()
        for stage in self._crew.stages:
            if stage in self._finished:
                continue
            if self._crew.alive(stage):
                self._look_at(stage)
                continue
            deadline = time.monotonic() + LAST_WORDS_S  # its last words may still be on the way
            while stage not in self._finished and self._control.poll(_left_ms(deadline)):
                _, content = self._control.recv_multipart()
                self._take(decode_event(content))
            if stage not in self._finished:
                self._replace(stage)

    def _look_at(self, stage: str) -> None:
        """Kill a stage that has not been heard of for too long; it is then replaced."""
        if not self._may_replace():
            return
        limit_s = self._config.run.hang_s
        if stage not in self._ready:
            limit_s = self._config.run.start_timeout_s
        elif "source" in self._finished or stage in self._ending:
            limit_s *= END_PATIENCE
        silent_s = self._crew.silent_s(stage)
        if silent_s > limit_s:
            self._ready.discard(stage)  # it takes nothing in any more
            text = f"{stage} has not been heard of for {silent_s:.1f} s and is killed"
            self._note(Incident(stage, "hang", text, {"silent_s": round(silent_s, 3)}), log)
            self._crew.kill(stage)
            stats = self._state.stats.get(stage)
            frames = stats.frames if stats else 0
            before, times = self._hangs.get(stage, (-1, 0))
            self._hangs[stage] = frames, times + 1 if frames == before else 1

    def _may_replace(self) -> bool:
        """Whether a stage that ends now would be started again."""
        return (
            self._gone
            and self._abort_at is None
            and self._failure is None
            and self._config.run.placement == "processes"
        )

    def _replace(self, stage: str) -> None:
        """Start a stage again that has died, or end the run with its reason."""
        failure = self._failures.pop(stage, None) or self._crew.how_it_ended(stage)
        count = self._budget.take(stage, time.monotonic()) if self._may_replace() else None
        in_vain = self._hangs.get(stage, (0, 0))[1] > HANGS_IN_VAIN
        if count is None or in_vain:
            if in_vain:
                failure.hint = (
                    f"it hung {HANGS_IN_VAIN + 1} times at the same place; see run.hang_s"
                )
            elif self._may_replace():
                failure.hint = (
                    f"it was started again {RESTARTS} times within {RESTARTS_WITHIN_S:g} s; "
                    "what it said last is below"
                )
            self._finished.add(stage)
            self._fail(failure)
            return
        if failure.trace:
            log.warning("what %s said last:\n%s", stage, failure.trace.rstrip())
        restarts = self._state.restarts
        restarts[stage] = restarts.get(stage, 0) + 1
        self._ready.discard(stage)
        self._ending.discard(stage)
        self._untold[stage] = [*self._told.pop(stage, []), *self._untold.pop(stage, [])]
        text = (
            f"{failure.message}; it is started again and goes on from its snapshot "
            f"({count} of {RESTARTS} times within {RESTARTS_WITHIN_S:g} s)"
        )
        self._note(Incident(stage, "restart", text, {"count": count}), log)
        plan = next(plan for plan in self._plans if plan.stage == stage)
        self._crew.start(msgspec.structs.replace(plan, again=True))

    # end

    def _stop(self, outcome: Outcome = "stopped") -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic()
            self._state.outcome = outcome
            self._tell_all(Stop())

    def _abort(self) -> None:
        if self._abort_at is None:
            self._abort_at = time.monotonic()
            if self._stop_at is None:
                self._state.outcome = "stopped"
            self._tell_all(Abort())

    def _fail(self, failure: StageFailedError) -> None:
        if self._failure is None:
            self._failure = failure
        self._abort()

    def _tell_all(self, order: Order) -> None:
        for plan in self._plans:
            self._tell(plan.stage, order)

    def _tell(self, stage: str, order: Order) -> None:
        self._control.send_multipart((stage.encode(), encode(order)))

    def _clear_away(self) -> None:
        if len(self._finished) < len(self._plans):
            self._abort()
        all_gone = self._crew.end(CLOSE_TIMEOUT_S)
        self._control.close()
        if all_gone:
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


def _left_ms(deadline: float) -> int:
    return max(0, round(1000 * (deadline - time.monotonic())))


def describe_failure(error: GaitError) -> str:
    """Return an error as the one block that goes to stderr."""
    lines = [f"error: {error.message}"]
    if error.hint:
        lines.append(f"  {error.hint}")
    if isinstance(error, StageFailedError) and error.trace:
        lines += ["", *(f"  {line}" for line in error.trace.rstrip().splitlines())]
    return "\n".join(lines)
