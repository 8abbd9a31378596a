"""`evaluate`: how well a network tells people apart, as tables and plots."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.cli import evaluate_suite
from pipeline.cli.evaluation_output import Bars, print_table, say
from pipeline.cli.options import start_logging
from pipeline.errors import InputError, UsageError
from stages.embed.config import NETWORKS, RUNTIMES, Config
from stages.embed.evaluation.protocols import PROTOCOLS

if TYPE_CHECKING:
    from stages.embed.data.interface import SequenceStore
    from stages.embed.evaluation.evaluate import Evaluation, EvaluationOptions

HELP = "measure how well a network tells people apart"

METRICS = ("euclidean", "cosine")
LENGTHS = "7,16,30,60,all"
WHOLE = "all"
MAX_LENGTH = 1_000_000
NAMED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        f"{HELP}. With --data one network on a data set: Rank-1/5/10, mAP and mINP, Rank-1 by "
        "views, open set, and accuracy against window length, with gait energy images (gei), the "
        "untrained baseline, beside it; writes report.md, tables as CSV, plots as PNG and "
        "metrics.json. With --suite several networks on a set of views and conditions that synth "
        "has written; writes one page with its pictures, and all figures as JSON."
    )
    _add_data_options(parser)
    _add_network_options(parser)
    _add_measure_options(parser)
    evaluate_suite.add_options(parser)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    chosen = group.add_mutually_exclusive_group(required=True)
    chosen.add_argument(
        "--data",
        type=Path,
        metavar="DIR|FILE",
        help="folder of id/type/view/, or a packed file",
    )
    chosen.add_argument(
        "--suite",
        type=Path,
        metavar="DIR|FILE",
        help="evaluation suite: a folder of packed files or of id/type/view/, or one packed file",
    )
    group.add_argument(
        "--partition",
        type=Path,
        metavar="JSON",
        help="whose TEST_SET is evaluated, and PROBE_SET for gait3d; without it everybody is",
    )
    group.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="auto",
        help="who is enrolled and who is looked for; auto: by PROBE_SET and the kinds there are; "
        "generic: each subject's first kind is enrolled, the others are looked for",
    )
    group.add_argument(
        "--max-frames",
        type=int,
        default=720,
        metavar="N",
        help="frames of a sequence that are used, the first ones",
    )
    group.add_argument("--out", type=Path, metavar="DIR", help="with --data: folder of the report")
    group.add_argument(
        "--overwrite", action="store_true", help="replace a former report in the same folder"
    )


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument(
        "--network",
        choices=NETWORKS,
        default="gei",
        help="what is evaluated; with --suite the weights say it, but for a .pt",
    )
    group.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="the network's weights: .safetensors, or OpenGait's .pt; several with --suite",
    )
    group.add_argument(
        "--runtime", choices=RUNTIMES, default="auto", help="what runs the network; auto: the best"
    )
    group.add_argument(
        "--height",
        type=int,
        choices=(64, 128),
        help="silhouettes' height, pixels, for a .pt that does not tell it",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    group.add_argument(
        "--no-smpl",
        action="store_true",
        help="let networks that read silhouettes too do without SMPL rows",
    )


def _add_measure_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("measures")
    group.add_argument(
        "--metric",
        choices=METRICS,
        default="euclidean",
        help="distance: mean over the parts of L2, or of 1 - cosine",
    )
    group.add_argument(
        "--lengths",
        default=LENGTHS,
        metavar="N,…",
        help="window lengths of probes to try, frames; whole sequences (all) always are",
    )
    group.add_argument(
        "--windows",
        choices=("random", "central"),
        default="random",
        help="where in a sequence a window lies",
    )
    group.add_argument(
        "--open-set-splits",
        type=int,
        default=50,
        metavar="N",
        help="random splits of the people into enrolled and strangers, 0 for none",
    )
    group.add_argument("--seed", type=int, default=0, help="of splits and windows")
    group.add_argument(
        "--scratch",
        type=Path,
        metavar="DIR",
        help="where vectors beyond 2 GB are kept meanwhile; default: the folder of the report or "
        "page",
    )
    group.add_argument("--quiet", action="store_true", help="warnings, errors and the result only")


def run(args: argparse.Namespace) -> int:
    """Evaluate and write the report; returns 0.

    Raises:
        UsageError: options that do not go together, or a folder that holds a report.
        InputError, WeightsError: data or weights cannot be used.
        ResourceError: memory or disk ran out.
    """
    lengths = parse_lengths(args.lengths)
    if args.scratch is not None and not args.scratch.is_dir():
        raise UsageError(f"--scratch {args.scratch}: there is no such folder")
    if args.suite is not None:
        return evaluate_suite.run(args, lengths)
    _check_single(args)
    console = start_logging(args.quiet)
    from stages.embed.evaluation.evaluate import evaluate
    from stages.embed.evaluation.protocols import choose_protocol
    from stages.embed.evaluation.report import prepare_report_dir, write_report
    from stages.embed.evaluation.tables import ranks_table
    from stages.embed.loading import load_embedder

    config = _config(args)
    options = _options(args, lengths)
    prepare_report_dir(args.out, args.overwrite)
    embedder = load_embedder(config)
    with Bars(console, args.quiet) as bars:
        store = _open(args.data, bars)
        indices, probes, subjects = _test_part(store, args.partition)
        entries = [store.entries[i] for i in indices]
        protocol = choose_protocol(args.protocol, entries, probes)
        evaluation = evaluate(
            embedder,
            store,
            protocol,
            options,
            indices=indices,
            unreadable=_unreadable(store, subjects),
            on_progress=bars.show,
        )
        write_report(evaluation, args.out, lambda done, of: bars.show("report", done, of))
    _name_broken(evaluation, console)
    for note in evaluation.notes:
        say(console, f"note: {note}")
    print_table(ranks_table(evaluation))
    say(console, f"protocol {evaluation.protocol}; report in {args.out}")
    return 0


def parse_lengths(text: str) -> tuple[int, ...]:
    """Return the window lengths of `7,16,all`, ascending, without `all`.

    Raises:
        UsageError: something in it is no length.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word != WHOLE and not (word.isdecimal() and 1 <= int(word) <= MAX_LENGTH):
            raise UsageError(
                f"--lengths: {word!r} is no number of frames",
                hint=f"Give numbers with commas between them, as in --lengths {LENGTHS}.",
            )
    return tuple(sorted({int(word) for word in words if word != WHOLE}))


def _check_single(args: argparse.Namespace) -> None:
    """Check what goes with --data; UsageError."""
    if args.out is None:
        raise UsageError("--data needs --out DIR, the folder of the report")
    if len(args.weights) > 1:
        raise UsageError(
            f"--data evaluates one network, and --weights names {len(args.weights)} files",
            hint="Several are compared on a suite: --suite DIR --weights A B --accuracy FILE.md",
        )
    if args.network == "gei" and args.weights:
        raise UsageError("--network gei takes no weights", hint="Give --network NAME too.")
    evaluate_suite.check_unused(args)


def _options(args: argparse.Namespace, lengths: tuple[int, ...]) -> EvaluationOptions:
    from pydantic import ValidationError

    from stages.embed.devices import choose_device
    from stages.embed.evaluation.evaluate import EvaluationOptions

    given = {
        "metric": args.metric,
        "lengths": lengths,
        "windows": args.windows,
        "open_set_splits": args.open_set_splits,
        "seed": args.seed,
        "max_frames": args.max_frames,
        "device": str(choose_device(args.device)),
        "scratch": args.scratch or args.out,
    }
    try:
        return EvaluationOptions.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{option}: {first['msg']}, got {first['input']!r}") from error


def _config(args: argparse.Namespace) -> Config:
    from pydantic import ValidationError

    options = {
        "network": args.network,
        "weights": args.weights[0] if args.weights else None,
        "height": args.height,
        "runtime": args.runtime,
        "device": args.device,
        "use_smpl": not args.no_smpl,
    }
    try:
        return Config.model_validate(options)
    except ValidationError as error:
        raise UsageError(f"--device {args.device}: {error.errors()[0]['msg']}") from error


def _open(path: Path, bars: Bars) -> SequenceStore:
    from stages.embed.data.opening import open_store

    return open_store(
        path, on_progress=lambda done, of: bars.show("looking at sequences", done, of)
    )


def _test_part(
    store: SequenceStore, partition: Path | None
) -> tuple[list[int], tuple[str, ...], frozenset[str] | None]:
    """Return which sequences are evaluated, the listed probes, and whose broken ones count.

    The last is None for everybody's.
    """
    if partition is None:
        return list(range(len(store.entries))), (), None
    from stages.embed.data.partition import load_partition

    found = load_partition(partition, store, ("TEST_SET",))
    if not found.test:
        raise InputError(f"partition {partition} has an empty TEST_SET: nobody is evaluated")
    testing = set(found.test)
    chosen = [i for i, entry in enumerate(store.entries) if entry.subject in testing]
    # A subject whose every sequence is broken is missing from the store.
    return chosen, found.probe, frozenset(testing | set(found.missing))


def _unreadable(store: SequenceStore, subjects: frozenset[str] | None) -> list[tuple[str, str]]:
    """Return the broken sequences of these subjects; a packed file has none."""
    from stages.embed.data.folders import FolderStore

    if not isinstance(store, FolderStore):
        return []
    skipped = [(each.name, each.reason) for each in store.skipped]
    return [each for each in skipped if subjects is None or each[0].split("/")[0] in subjects]


def _name_broken(evaluation: Evaluation, console: Console) -> None:
    """Name the broken sequences; the report names all of them."""
    found = list(evaluation.unreadable)
    for method in evaluation.methods:
        found += [(f"{name} ({method.name})", reason) for name, reason in method.broken]
    for name, reason in found[:NAMED]:
        say(console, f"skipped {name}: {reason}")
    if len(found) > NAMED:
        say(console, f"and {len(found) - NAMED} more skipped, see skipped.csv")
