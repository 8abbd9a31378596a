"""The course of a training: steps, rows of the curve, evaluations, checkpoints, and what is left
at the end.

A training that is killed at any moment goes on from its newest whole checkpoint. Batches and
dropout are functions of the step, so on a processor the curve and the weights are then those of an
unbroken run, to the last bit.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DivergedError, InputError
from stages.embed.data.batches import Batches
from stages.embed.data.interface import TrainingBatch
from stages.embed.embedder import torch_embedder
from stages.embed.networks.interface import GaitNetwork
from stages.embed.training.board import Board
from stages.embed.training.checkpoints import Checkpoint, load_newest, save_checkpoint
from stages.embed.training.config import TrainConfig
from stages.embed.training.curves import CURVE_COLUMNS, EVALUATION_COLUMNS, Course, draw
from stages.embed.training.likeness import load_means, save_means, subject_means
from stages.embed.training.meter import Meter
from stages.embed.training.precision import DTYPES
from stages.embed.training.preparation import Data, plain
from stages.embed.training.ranks import Ranks
from stages.embed.training.results import Results, write_results
from stages.embed.training.resuming import check_same_course, check_same_data
from stages.embed.training.run_folder import RunFolder
from stages.embed.training.schedule import position_of, total_steps
from stages.embed.training.steps import Stepper, StepResult
from stages.embed.training.trial import embedding_network, try_network

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Somebody who looks on."""

    def on_likeness(self, done: int, total: int) -> None:
        """While it is found out who is like whom: sequences done and in all."""
        ...

    def on_step(self, done: int, total: int, phase: str, numbers: dict[str, float]) -> None:
        """After every step: how many are done, and the step's numbers by column of the curve."""
        ...

    def on_evaluation(self, done: int, figures: dict[str, float | None]) -> None:
        """After an evaluation: rank1, mAP, eer, 0..1."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training ended.

    Attributes:
        step: how many steps are done. stopped: it was asked to stop before the last.
        results: what was written, on rank 0 at the end.
    """

    step: int
    stopped: bool
    results: Results | None = None


class _StoppedError(Exception):
    """Asked to stop while the people are looked at."""


class Trainer:
    """Trains a network from where it is to the last step, or until it is asked to stop.

    Rank 0 writes; the others compute.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Data,
        network: GaitNetwork,
        batches: Batches,
        folder: RunFolder,
        ranks: Ranks,
        observer: Observer,
        should_stop: Callable[[], bool],
    ) -> None:
        self._config = config
        self._data = data
        self._batches = batches
        self._folder = folder
        self._ranks = ranks
        self._observer = observer
        self._should_stop = should_stop
        self._total = total_steps(config.phases)
        self._stepper = Stepper(config, network, ranks)
        self._network_config = plain(network.config)
        self._meter = Meter()
        self._curve = Course(folder.curve, CURVE_COLUMNS)
        self._tried = Course(folder.evaluation, EVALUATION_COLUMNS)
        self._row_at = self._saved_at = time.monotonic()
        self._frames = 0
        self._saved_step = -1
        self._board: Board | None = None

    def run(self) -> Outcome:
        """Train.

        Raises:
            ConfigError: the run cannot go on with this configuration or these data.
            DivergedError: a loss is not finite; says at which step, and on which sequences.
            InputError, ResourceError: data, disk or memory.
        """
        step = self._restore()
        if self._ranks.leads:
            self._folder.failure.unlink(missing_ok=True)
            self._folder.write_text(self._folder.config, self._config.to_yaml())
            # For `evaluate --partition`, where the data came without one.
            sets = {"TRAIN_SET": self._data.subjects, "TEST_SET": self._data.test_subjects}
            self._folder.write_text(self._folder.partition, json.dumps(sets, indent=1) + "\n")
            self._board = Board(self._folder.board, step)
        try:
            if self._config.sampler.alike and not self._group_alike(step):
                return Outcome(step, stopped=True)
            step, stopped = self._steps(step)
            results = self._finish() if self._ranks.leads and not stopped else None
        finally:
            if self._board is not None:
                self._board.close()
        return Outcome(step, stopped, results)

    def _group_alike(self, step: int) -> bool:
        """Tell the batches who is like whom, before the first step; False: asked to stop."""
        stopped = False
        if self._ranks.leads and step == 0:
            try:
                save_means(self._folder.likeness, self._likeness())
            except _StoppedError:
                stopped = True
        if any(self._ranks.largest([stopped])):  # here the others wait for rank 0, too
            return False
        means = load_means(self._folder.likeness, len(self._data.subjects))
        self._batches.group_alike(means)
        return True

    def _likeness(self) -> NDArray[np.float32]:
        def watched(done: int, total: int) -> None:
            self._observer.on_likeness(done, total)
            if self._should_stop():
                raise _StoppedError

        device, precision = self._ranks.device, self._stepper.precision
        network = embedding_network(self._stepper.network, None)
        with torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32"):
            return subject_means(
                torch_embedder(network, "init", device),
                self._data.store,
                self._data.labels,
                self._config.sampler.alike,
                self._config.seed,
                watched,
            )

    def _steps(self, step: int) -> tuple[int, bool]:
        """Do the steps that are left; return how many are done, and whether it was stopped."""
        self._row_at = self._saved_at = time.monotonic()
        ahead = self._batches.prefetched(step, self._total, self._config.workers)
        # Closing ends the threads that read ahead, however this ends.
        with contextlib.closing(cast("Generator[TrainingBatch, None, None]", ahead)) as batches:
            for batch in batches:
                try:
                    result = self._stepper.step(step, batch)
                except DivergedError as error:
                    raise self._diverged(step, error) from error
                step += 1
                self._note(step, result)
                stop, save = self._agree(step)
                if save:
                    self._save(step)
                if stop and step < self._total:
                    return step, True
        return step, False

    def _agree(self, step: int) -> tuple[bool, bool]:
        """Return whether to stop and whether to save, the same on all ranks."""
        rules = self._config.checkpoints
        late = self._ranks.leads and time.monotonic() - self._saved_at >= rules.every_s
        stop, late_anywhere = self._ranks.largest([self._should_stop(), late])
        due = step % rules.every == 0 or step == self._total
        return bool(stop), bool(due or stop or late_anywhere)

    def _note(self, step: int, result: StepResult) -> None:
        """Take a step into the curve, and evaluate if it is time."""
        if not self._ranks.leads:
            return
        position = position_of(self._config.phases, step - 1)
        self._meter.add({key: value for key, value in result.numbers.items() if key != "lr"})
        self._frames += result.frames
        self._observer.on_step(step, self._total, position.phase.name, result.numbers)
        last_of_phase = position.step == position.phase.steps - 1
        if step % self._config.log_every == 0 or last_of_phase:
            self._write_row(step, position.phase.name, result.numbers["lr"])
        every = self._config.pictures_every
        if every and step % every == 0 and self._board is not None:
            self._board.pictures(step, result.pictures)
        rules = self._config.evaluation
        if rules.every and step % rules.every == 0 and step < self._total:
            began = time.monotonic()
            self._evaluate(step, rules.share)
            self._draw()
            self._row_at += time.monotonic() - began  # the curve tells the speed of training

    def _write_row(self, step: int, phase: str, rate: float) -> None:
        now = time.monotonic()
        row: dict[str, Any] = {
            column: self._meter.mean(column) for column in CURVE_COLUMNS if column != "skipped"
        }
        row |= {"step": step, "phase": phase, "lr": rate}
        row["skipped"] = int(self._meter.total("skipped"))
        row["frames_per_s"] = round(self._frames / max(now - self._row_at, 1e-9), 1)
        self._row_at, self._frames = now, 0
        self._meter.clear()
        self._curve.append(row)
        if self._board is not None:
            self._board.numbers(step, row)

    def _evaluate(self, step: int, share: float) -> dict[str, float | None]:
        """Try the network on a share of the test subjects; nothing if there are none."""
        indices = self._data.test_indices(share)
        if not indices:
            return {}
        store = self._data.test_store
        network = self._embedding_network()
        figures = try_network(network, store, indices, self._ranks.device, f"step-{step}")
        entries = [store.entries[index] for index in indices]
        self._tried.append(
            {
                "step": step,
                "phase": position_of(self._config.phases, step - 1).phase.name,
                "subjects": len({entry.subject for entry in entries}),
                "sequences": len(entries),
                **figures,
            }
        )
        if self._board is not None:
            known = {name: value for name, value in figures.items() if value is not None}
            self._board.evaluation(step, known)
        self._observer.on_evaluation(step, figures)
        return figures

    def _embedding_network(self) -> GaitNetwork:
        average = self._stepper.average
        return embedding_network(
            self._stepper.network, None if average is None else average.weights()
        )

    def _draw(self) -> None:
        draw(self._folder.picture, self._curve.read(), self._tried.read())

    def _save(self, step: int) -> None:
        self._saved_at, self._saved_step = time.monotonic(), step
        if not self._ranks.leads:
            return
        self._curve.sync()
        self._tried.sync()
        facts = {
            "config": self._config.to_dict(),
            "data": self._data.facts(),
            "precision": self._stepper.precision,
            "memory_format": self._stepper.memory_format,
            "processes": self._ranks.world,
            "rows": {"curve": self._curve.rows, "evaluation": self._tried.rows},
            "torch": torch.__version__,
        }
        state = {**self._stepper.state(), "meter": self._meter.state()}
        save_checkpoint(
            self._folder.checkpoints, Checkpoint(step, facts, state), self._config.checkpoints.keep
        )

    def _restore(self) -> int:
        """Go on from the newest checkpoint if there is one; return how many steps are done."""
        found = load_newest(self._folder.checkpoints)
        step = 0 if found is None else found.step
        if self._ranks.largest([step, -step]) != [step, -step]:
            raise InputError(
                f"rank {self._ranks.rank} sees a checkpoint of step {step}, another rank another",
                hint="All processes must see the same output folder.",
            )
        rows: dict[str, int] = {}
        if found is not None:
            self._check_facts(found)
            rows = dict(found.facts["rows"])
            try:
                self._stepper.restore(dict(found.state))
                self._meter.restore(found.state["meter"])
            except (KeyError, ValueError, TypeError, RuntimeError) as error:
                raise InputError(
                    f"the checkpoint of step {step} does not fit this network: {error}"
                ) from error
            log.info("going on after step %d of %d", step, self._total)
        if self._ranks.leads:
            self._curve.open_at(step, rows.get("curve"))
            self._tried.open_at(step, rows.get("evaluation"))
        self._saved_step = step
        return step

    def _check_facts(self, found: Checkpoint) -> None:
        facts = found.facts
        check_same_course(facts["config"], self._config, found.step)
        check_same_data(facts["data"], self._data.facts())
        if facts["precision"] != self._stepper.precision:
            raise ConfigError(
                f"the run computed in {facts['precision']} until now, on {self._ranks.device} it "
                f"would go on in {self._stepper.precision}",
                hint=f"Say --set precision={facts['precision']}, or begin in another folder.",
            )
        laid = facts.get("memory_format", "contiguous")  # older ones knew nothing else
        if laid != self._stepper.memory_format:
            raise ConfigError(
                f"the run kept its pictures {laid} until now, on {self._ranks.device} it would go "
                f"on {self._stepper.memory_format}, which changes the last digits",
                hint=f"Say --set memory_format={laid}, or begin in another folder.",
            )
        if facts["processes"] != self._ranks.world:
            log.warning(
                "the run had %d processes until now and goes on with %d: batch norms and dropout "
                "will differ from an unbroken run's",
                facts["processes"],
                self._ranks.world,
            )
        if facts["torch"] != torch.__version__:
            log.warning(
                "the run began with torch %s and goes on with %s: the last digits may differ",
                facts["torch"],
                torch.__version__,
            )

    def _finish(self) -> Results:
        """Evaluate, and write weights, model card and picture."""
        figures: dict[str, float | None] = {}
        if self._config.evaluation.final:
            figures = self._figures_of_last_step()
        results = write_results(
            self._folder,
            self._config,
            self._data,
            self._stepper,
            self._network_config,
            self._embedding_network(),
            figures,
        )
        self._draw()
        return results

    def _figures_of_last_step(self) -> dict[str, float | None]:
        """Evaluate, unless a run that was killed after its last step has done so."""
        for row in self._tried.read():
            if int(row["step"]) == self._total:
                names = EVALUATION_COLUMNS[4:]
                return {name: float(row[name]) if row[name] else None for name in names}
        return self._evaluate(self._total, 1.0)

    def _diverged(self, step: int, error: DivergedError) -> DivergedError:
        """Write what is known of the step to failure.json, and return the error that says it."""
        names = self._batches.names_at(step)
        if self._ranks.leads:
            report = {
                "step": step + 1,
                "reason": error.message,
                "sequences": names,
                "checkpoint": self._saved_step,
                "rank": self._ranks.rank,
            }
            text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
            self._folder.write_text(self._folder.failure, text)
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        return DivergedError(
            f"the training diverged at step {step + 1}: {error.message}; its batch holds {shown}",
            hint=f"{self._folder.failure} names all of them. The checkpoints are from before: put "
            "the data right and go on with --resume, or begin anew with a lower learning rate, a "
            "warm-up, clip_norm or precision=bfloat16.",
        )
