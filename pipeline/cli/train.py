"""`train`: make a gait network's weights from stored silhouette sequences."""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.cli.options import add_setting_options, start_logging
from pipeline.cli.running import STOPPED_EXIT_CODE
from pipeline.config import load_model
from pipeline.errors import ConfigError, UsageError
from stages.embed.training.config import TrainConfig

if TYPE_CHECKING:
    from stages.embed.training.processes import Place
    from stages.embed.training.session import Order
    from stages.embed.training.trainer import Outcome

HELP = "train a gait network on stored silhouette sequences"
CONFIG_HINT = "configs/train_smplgait.yaml explains the keys; --check-config prints all of them."
LINE_EVERY_S = 10.0
RATE_OVER_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        f"{HELP}. Writes to the output folder: weights (.safetensors) and their model card (.md), "
        "partition.json, curve.csv, evaluation.csv, training.png, TensorBoard events, checkpoints. "
        "Killed at any moment, it goes on with --resume as if nothing had been."
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file (configs/train_*)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of id/type/view/ in OpenGait's layout, or a file that `pack` made",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in DIR from its newest checkpoint, or begin if there is none; "
        "without --config by the run's own config.yaml",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the run in DIR and begin anew"
    )
    parser.add_argument(
        "--init", type=Path, metavar="FILE", help="weights to start from: .safetensors or .pt"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes on this machine that share each batch, one a CUDA device; torchrun works "
        "too, for several machines",
    )
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N")
    add_setting_options(parser, "phases.0.steps=2000")


def run(args: argparse.Namespace) -> int:
    """Train; 0 when all steps are done, 130 when it was stopped.

    Raises:
        UsageError: options that do not go together, a wrong configuration, an --out in use.
        GaitError: whatever ended the training.
    """
    if args.resume and args.overwrite:
        raise UsageError("--resume goes on with a run, --overwrite removes it: say one of them")
    if not 1 <= args.processes <= 1024:
        raise UsageError(f"--processes must lie in 1..1024, got {args.processes}")
    config = _read_config(args)
    if args.check_config:
        print(json.dumps(config.to_dict(), indent=2))
        return 0
    if args.out is None:
        raise UsageError("train needs --out DIR")
    if config.data.path is None:
        raise ConfigError("no training data were given", hint="Say --data DIR.")
    return _start(args, config)


def _read_config(args: argparse.Namespace) -> TrainConfig:
    path = args.config
    if path is None and args.resume and args.out is not None:
        own = args.out / "config.yaml"
        if not own.exists():
            raise UsageError(
                f"there is no training to go on with in {args.out}: no {own.name}",
                hint="Check --out, or give --config FILE to begin one.",
            )
        path = own
    if path is None:
        raise UsageError(
            "train needs --config FILE", hint="for example configs/train_smplgait.yaml"
        )
    given = {"data.path": args.data, "init": args.init, "device": args.device}
    options = {key: str(value) for key, value in given.items() if value is not None}
    return load_model(path, TrainConfig, options, args.settings, hint=CONFIG_HINT)


def _start(args: argparse.Namespace, config: TrainConfig) -> int:
    from stages.embed.training.processes import Place, launched_by_torchrun, run_processes
    from stages.embed.training.run_folder import RunFolder

    launched = launched_by_torchrun()
    if launched is not None and args.processes > 1:
        raise UsageError("torchrun starts the processes: leave --processes out")
    RunFolder(args.out, config.network.name).check(resume=args.resume, overwrite=args.overwrite)

    from stages.embed.training.session import Order

    order = Order(config, args.out, args.resume, args.overwrite)
    if launched is not None:
        return train_in_process(launched, order, args.quiet)
    if args.processes > 1:
        return run_processes(train_in_process, (order, args.quiet), args.processes)
    return train_in_process(Place(), order, args.quiet)


def train_in_process(place: Place, order: Order, quiet: bool) -> int:
    """Train as one of the processes of a training; the first one shows progress."""
    from stages.embed.training.processes import StopRequest
    from stages.embed.training.session import train

    leads = place.rank == 0
    console = start_logging(quiet or not leads)
    if not leads:
        logging.getLogger().setLevel(logging.ERROR)
    alone = place.meeting == "env://"
    with (
        StopRequest(interrupts=alone) as stop,
        TrainingProgress(console, quiet=quiet or not leads) as progress,
    ):
        outcome = train(order, place, progress, stop, progress.on_data)
    if leads:
        _tell(console, outcome, order.out, quiet=quiet)
    return STOPPED_EXIT_CODE if outcome.stopped else 0


def _tell(console: Console, outcome: Outcome, out: Path, *, quiet: bool) -> None:
    if outcome.stopped:
        _say(console, f"stopped after step {outcome.step}; go on with --resume --out {out}")
        return
    results = outcome.results
    if quiet or results is None:
        return
    figures = ", ".join(
        f"{name} {value:.3f}" for name, value in results.figures.items() if value is not None
    )
    _say(console, f"{outcome.step} steps done{f'; {figures}' if figures else ''}")
    _say(console, f"weights {results.weights_hash}: {results.weights}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


class TrainingProgress:
    """A bar with step, loss, rate, non-zero triplets, steps a second and time left.

    Plain lines where there is no terminal. Use as a context.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._looking = self._bar.add_task("looking at the data", total=None, facts="")
        self._training: Any = None
        self._line_at = time.monotonic()
        self._seen: list[tuple[float, int]] = []

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_data(self, done: int, total: int) -> None:
        """Show how many sequences were looked at."""
        self._bar.update(self._looking, completed=done, total=total)

    def on_likeness(self, done: int, total: int) -> None:
        """Show how many sequences were embedded to tell who is like whom."""
        told = "finding who is like whom"
        self._bar.update(self._looking, description=told, completed=done, total=total)
        self._line(f"{told}: {done}/{total} sequences")

    def on_step(self, done: int, total: int, phase: str, numbers: dict[str, float]) -> None:
        """Show how far the training is."""
        if self._training is None:
            self._bar.remove_task(self._looking)
            self._training = self._bar.add_task("training", total=total, facts="")
        facts = self._facts(done, phase, numbers)
        self._bar.update(self._training, completed=done, total=total, facts=facts)
        self._line(f"step {done}/{total}, {facts}")

    def on_evaluation(self, done: int, figures: dict[str, float | None]) -> None:
        """Say what an evaluation found."""
        if self._quiet:
            return
        shown = ", ".join(
            f"{name} {'unknown' if value is None else f'{value:.3f}'}"
            for name, value in figures.items()
        )
        _say(self._console, f"after step {done}: {shown}")

    def _line(self, text: str) -> None:
        """Say how far it is where there is no bar, now and then."""
        now = time.monotonic()
        if not self._console.is_terminal and not self._quiet and now - self._line_at > LINE_EVERY_S:
            self._line_at = now
            _say(self._console, text)

    def _facts(self, done: int, phase: str, numbers: dict[str, float]) -> str:
        now = time.monotonic()
        self._seen = [entry for entry in self._seen if now - entry[0] <= RATE_OVER_S]
        self._seen.append((now, done))
        span, steps = now - self._seen[0][0], done - self._seen[0][1]
        facts = [phase, f"loss {numbers['loss']:.4f}", f"lr {numbers['lr']:.2g}"]
        if "nonzero_share" in numbers:
            facts.append(f"{numbers['nonzero_share']:.1%} non-zero")
        if span > 0:
            facts.append(f"{steps / span:.2f} steps/s")
        return ", ".join(facts)
