"""`evaluate --suite`: several networks on one set of views and conditions, as one page."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.evaluation_output import Bars, print_table, say
from pipeline.cli.options import start_logging
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from stages.embed.config import Config
    from stages.embed.evaluation.accuracy import AccuracyOptions

# Options that mean nothing with --data; the value is what they have if they are not given.
UNUSED: dict[str, Any] = {
    "accuracy": None,
    "include": [],
    "window": 30,
    "gallery_people": 100,
    "untrained_seeds": 3,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only a suite needs."""
    group = parser.add_argument_group("with --suite")
    group.add_argument(
        "--accuracy",
        type=Path,
        metavar="FILE.md",
        help="the page; its pictures go to images/ and all figures to FILE.json beside it",
    )
    group.add_argument(
        "--include",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.json",
        help="measurements by scripts of benchmarks/ that shall stand on the page too",
    )
    group.add_argument(
        "--window",
        type=int,
        default=UNUSED["window"],
        metavar="N",
        help="frames of a window of the main figures",
    )
    group.add_argument(
        "--gallery-people",
        type=int,
        default=UNUSED["gallery_people"],
        metavar="N",
        help="people enrolled that the figures are stated for",
    )
    group.add_argument(
        "--untrained-seeds",
        type=int,
        default=UNUSED["untrained_seeds"],
        metavar="N",
        help="untrained networks of each shape that stand beside the trained ones, 0 for none",
    )


def check_unused(args: argparse.Namespace) -> None:
    """Check that no option was given that only a suite needs; UsageError."""
    given = [name for name, value in UNUSED.items() if getattr(args, name) != value]
    if given:
        option = given[0].replace("_", "-")
        raise UsageError(f"--{option} goes with --suite", hint="Give --suite DIR, or leave it out.")


def run(args: argparse.Namespace, lengths: tuple[int, ...]) -> int:
    """Evaluate on a suite and write the page; returns 0.

    Raises:
        UsageError: options that do not go together.
        InputError, WeightsError: suite, measurements or weights cannot be used.
        ResourceError: memory or disk ran out.
    """
    _check(args)
    console = start_logging(args.quiet)
    from stages.embed.evaluation.accuracy import evaluate_suite
    from stages.embed.evaluation.accuracy_page import read_section, write_page
    from stages.embed.evaluation.accuracy_tables import main_table
    from stages.embed.evaluation.contestants import contestants_of
    from stages.embed.evaluation.suite import open_suite

    options, config = _options(args, lengths), _config(args)
    sections = [read_section(path) for path in args.include]
    contestants = contestants_of(
        args.weights, config, seeds=args.untrained_seeds, without_smpl=True
    )
    with Bars(console, args.quiet) as bars:
        suite = open_suite(args.suite, lambda done, of: bars.show("looking at sequences", done, of))
        accuracy = evaluate_suite(suite, contestants, options, bars.show)
        write_page(
            accuracy,
            args.accuracy,
            command_of(args),
            sections,
            lambda done, of: bars.show("pictures", done, of),
        )
    for note in accuracy.notes:
        say(console, f"note: {note}")
    print_table(main_table(accuracy, short=True))
    say(console, f"written to {args.accuracy}")
    return 0


def command_of(args: argparse.Namespace) -> str:
    """Return the command that makes the page again; a file elsewhere is given by its name alone."""

    def shown(path: Path) -> str:
        return path.name if path.is_absolute() else str(path)

    words = ["run_pipeline.py", "evaluate", "--suite", shown(args.suite)]
    if args.weights:
        words += ["--weights", *map(shown, args.weights)]
    words += ["--accuracy", shown(args.accuracy)]
    if args.include:
        words += ["--include", *map(shown, args.include)]
    changed = {
        **{name: UNUSED[name] for name in ("window", "gallery_people", "untrained_seeds")},
        "metric": "euclidean",
        "seed": 0,
        "open_set_splits": 50,
    }
    for name, value in changed.items():
        if getattr(args, name) != value:
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    return shlex.join(words)


def _check(args: argparse.Namespace) -> None:
    if args.accuracy is None:
        raise UsageError("--suite needs --accuracy FILE.md, the page to write")
    if args.accuracy.suffix != ".md" or args.accuracy.is_dir():
        raise UsageError(f"--accuracy {args.accuracy}: the page is a file that ends with .md")
    if args.untrained_seeds < 0:
        raise UsageError(f"--untrained-seeds must be 0 or more, got {args.untrained_seeds}")
    for option in ("out", "partition"):
        if getattr(args, option) is not None:
            raise UsageError(f"--{option} goes with --data, not with --suite")
    if args.no_smpl:
        raise UsageError("--no-smpl goes with --data: on a suite networks run with and without")
    if args.protocol != "auto":
        raise UsageError("--protocol goes with --data: a suite has its own")


def _options(args: argparse.Namespace, lengths: tuple[int, ...]) -> AccuracyOptions:
    from pydantic import ValidationError

    from stages.embed.devices import choose_device
    from stages.embed.evaluation.accuracy import AccuracyOptions

    try:
        return AccuracyOptions.model_validate(
            {
                "window": args.window,
                "lengths": lengths,
                "metric": args.metric,
                "gallery_people": args.gallery_people,
                "open_set_splits": args.open_set_splits,
                "seed": args.seed,
                "device": str(choose_device(args.device)),
                "scratch": args.scratch,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{option}: {first['msg']}, got {first['input']!r}") from error


def _config(args: argparse.Namespace) -> Config:
    """Return how networks are run; which ones, their files say."""
    from pydantic import ValidationError

    from stages.embed.config import Config

    try:
        return Config.model_validate(
            {
                "network": args.network,
                "height": args.height,
                "runtime": args.runtime,
                "device": args.device,
            }
        )
    except ValidationError as error:
        raise UsageError(f"--device {args.device}: {error.errors()[0]['msg']}") from error
