"""The workers of a run: who is alive, who is silent, who takes another's place."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import psutil
import zmq

from pipeline.config import PipelineConfig
from pipeline.errors import StageFailedError
from pipeline.plans import NodePlan
from pipeline.run_state import RunState
from pipeline.spare import Spare
from pipeline.workers import ProcessWorker, ThreadWorker, Worker

MEMORY_EVERY_S = 0.5
# A supervisor that was stopped for so long has heard nothing, and blames nobody for it.
SUSPENDED_S = 2.0
# Loading libraries ahead takes some seconds of a core. A camera is watched for long; a recording
# that takes less than this is over before anything dies.
SPARE_AFTER_LIVE_S, SPARE_AFTER_S = 2.0, 30.0


log = logging.getLogger("supervisor")


class Crew:
    """Keeps a worker for each stage, and a spare process.

    Args:
        directory: private to the run.
        state: of the run; process numbers, missing stages and memory are written there.
        live: a spare process is worth having soon.
    """

    def __init__(
        self,
        config: PipelineConfig,
        context: zmq.Context[zmq.Socket[bytes]],
        directory: Path,
        state: RunState,
        *,
        live: bool,
    ) -> None:
        self._config = config
        self._context = context
        self._directory = directory
        self._state = state
        self._spare_after_s = SPARE_AFTER_LIVE_S if live else SPARE_AFTER_S
        self._workers: dict[str, Worker] = {}
        self._spare: Spare | None = None
        self._spare_wanted = config.run.spare
        self._heard_at: dict[str, float] = {}
        self._died_at: dict[str, float] = {}
        self._turned_at = time.monotonic()
        self._memory_at = 0.0

    @property
    def stages(self) -> list[str]:
        """The stages that have a worker."""
        return list(self._workers)

    def start(self, plan: NodePlan) -> None:
        """Give a stage a worker, in place of the one it had.

        Raises:
            ResourceError: no process is to be had.
        """
        before = self._workers.get(plan.stage)
        if before is not None:
            before.join(0.0)
            self._died_at[plan.stage] = self._turned_at
        worker: Worker
        if self._config.run.placement == "threads":
            worker = ThreadWorker(plan, self._context, self._directory)
        else:
            worker = ProcessWorker(plan, self._context, self._directory, self._spare)
        self._workers[plan.stage] = worker
        self._state.missing.add(plan.stage)
        self._state.pids[plan.stage] = worker.pid
        self.heard(plan.stage)

    def turn(self) -> None:
        """To be called often: notice whether we ourselves were stopped meanwhile."""
        now = time.monotonic()
        if now - self._turned_at > SUSPENDED_S:
            self.all_heard()
        self._turned_at = now

    def heard(self, stage: str) -> None:
        """Note that a stage has said something."""
        self._heard_at[stage] = time.monotonic()

    def all_heard(self) -> None:
        """From now on every stage's silence counts, and not before."""
        self._heard_at = dict.fromkeys(self._heard_at, time.monotonic())

    def silent_s(self, stage: str) -> float:
        """Return for how long nothing has been heard of a stage."""
        return self._turned_at - self._heard_at[stage]

    def alive(self, stage: str) -> bool:
        """Whether a stage's worker is there."""
        return self._workers[stage].alive()

    def kill(self, stage: str) -> None:
        """End a stage's worker. It may take a moment to die, and is not silent meanwhile."""
        self._workers[stage].kill()
        self.heard(stage)

    def away_s(self, stage: str) -> float:
        """Return for how long a stage that is at work again was missed."""
        return time.monotonic() - self._died_at.pop(stage, time.monotonic())

    def how_it_ended(self, stage: str) -> StageFailedError:
        """Return the end of a worker as an error, with what it said last."""
        worker, stats = self._workers[stage], self._state.stats.get(stage)
        where = f"about frame {stats.newest_frame + 1}" if stats and stats.frames else "its start"
        return StageFailedError(
            stage, worker.last_words(), where=where, trace=worker.error_output()
        )

    def warm_up_spare(self, working_s: float) -> None:
        """Load the libraries that a stage in place of another needs, once the run has got going."""
        if not self._spare_wanted or working_s <= self._spare_after_s:
            return
        self._spare_wanted = False
        try:
            self._spare = Spare(self._config)
            self._state.spare_pid = self._spare.pid
        except OSError as error:
            log.warning("there is no spare process, a replacement will take longer: %s", error)

    def measure_memory(self) -> None:
        """Note each process's memory, twice a second."""
        now = time.monotonic()
        if now - self._memory_at < MEMORY_EVERY_S:
            return
        self._memory_at = now
        memory = self._state.memory_bytes
        memory["supervisor"] = psutil.Process().memory_info().rss
        for stage, worker in self._workers.items():
            memory[stage] = worker.memory_bytes()
        if self._spare is not None:
            memory["spare"] = self._spare.memory_bytes()
        self._state.peak_memory_bytes = max(self._state.peak_memory_bytes, sum(memory.values()))

    def end(self, timeout_s: float) -> bool:
        """End all workers, those that do not end by themselves by force; return whether all are
        gone, which a thread may refuse.
        """
        deadline = time.monotonic() + timeout_s
        for worker in self._workers.values():
            worker.join(max(0.0, deadline - time.monotonic()))
        all_gone = all(not worker.alive() for worker in self._workers.values())
        if self._spare is not None:
            self._spare.close()
        return all_gone
