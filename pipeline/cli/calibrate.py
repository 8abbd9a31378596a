"""`calibrate`: what a network's scores are worth, from labelled walks or from a place's footage."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.evaluation_output import Bars, say
from pipeline.cli.options import (
    add_config_options,
    add_source_options,
    printable,
    read_config,
    start_logging,
)
from pipeline.config import PipelineConfig
from pipeline.errors import InputError, UsageError
from stages.embed.config import NETWORKS

if TYPE_CHECKING:
    from stages.identify.calibration import Calibration
    from stages.identify.search import Metric
    from stages.identify.walks import Walks

HELP = "measure what scores are worth: false-alarm levels, from labelled walks or for a place"
NAMED = 10
PLAIN_WIDTH = 240
METRICS: tuple[Literal["auto"], Metric, Metric] = ("auto", "euclidean", "cosine")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        f"{HELP}. With --data or --embeddings: a calibration of the network's weights, fitted on "
        "one half of the people and tried on the other. With --gallery and --source: the same "
        "calibration moved to a place, from footage in which nobody of the gallery appears."
    )
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help="calibration to write; in an existing folder it is named after the weights",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="write a page, tables and plots there"
    )
    _add_data_options(parser)
    _add_site_options(parser)
    add_config_options(parser)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("from labelled walks of people the network has not seen")
    group.add_argument(
        "--data", type=Path, metavar="DIR|FILE", help="folder of id/type/view/, or a packed file"
    )
    group.add_argument(
        "--embeddings", type=Path, metavar="FILE", help="vectors that `embed` has written (.npz)"
    )
    group.add_argument(
        "--partition", type=Path, metavar="JSON", help="whose TEST_SET is taken of --data"
    )
    group.add_argument(
        "--network", choices=NETWORKS, help="default: whose the weights are, or embed.network"
    )
    group.add_argument("--weights", type=Path, metavar="FILE", help="the network's weights")
    group.add_argument(
        "--metric", choices=METRICS, default="auto", help="distance; auto: which names more right"
    )
    group.add_argument(
        "--any-side",
        action="store_true",
        help="compare strangers with people enrolled from any side, not from the same one: a "
        "milder trial",
    )
    group.add_argument(
        "--no-cohort", action="store_true", help="do not try to normalise scores by a cohort"
    )
    group.add_argument(
        "--max-walks",
        type=int,
        metavar="N",
        help="sequences that are used (default: 2500, or as many as fit into 512 MB of vectors)",
    )
    group.add_argument(
        "--max-windows", type=int, default=8, metavar="N", help="windows of each that are used"
    )
    group.add_argument("--seed", type=int, default=0, help="of all that is drawn")


def _add_site_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("for a place")
    group.add_argument("--gallery", type=Path, metavar="FILE", help="the people who are known")
    add_source_options(group, "footage of strangers: a recording, or a camera until Ctrl-C")  # type: ignore[arg-type]
    group.add_argument(
        "--strangers",
        action="store_true",
        help="nobody of the gallery is in the footage (the default, said aloud)",
    )
    group.add_argument(
        "--known",
        action="append",
        default=[],
        metavar="NAME",
        help="NAME may be in the footage and is left out of the gallery; may be repeated",
    )
    group.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="what is moved to the place (default: the weights' own)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; returns 0.

    Raises:
        UsageError: options that do not go together.
        InputError: data, weights, gallery or calibration that cannot be used.
    """
    is_site = _is_site(args)
    _check_out(args)
    console = start_logging(args.quiet)
    if is_site:
        from pipeline.cli.calibration_site import calibrate_site

        return calibrate_site(args, console)
    config = read_config(args, _settings(args))
    if config is None:
        return 0
    with Bars(console, args.quiet) as bars:
        walks, left_out = _walks(args, config, bars)
        path = out_path(args, walks.network, walks.weights_hash)
        calibration = _calibrate(args, walks, path, bars)
    for line in left_out[:NAMED]:
        say(console, f"left out {line}")
    if len(left_out) > NAMED:
        say(console, f"and {len(left_out) - NAMED} more left out")
    show(console, calibration, path)
    return 0


def _is_site(args: argparse.Namespace) -> bool:
    """Say which of the two forms was asked for.

    Raises:
        UsageError: neither, or parts of both.
    """
    labelled = [name for name in ("data", "embeddings") if getattr(args, name) is not None]
    place = [name for name in ("gallery", "source") if getattr(args, name) is not None]
    hint = "Give --data or --embeddings, or --gallery and --source."
    if len(labelled) > 1 or (labelled and place):
        given = " and ".join(f"--{name}" for name in (*labelled, *place))
        raise UsageError(f"{given} do not go together", hint=hint)
    if not labelled and len(place) < 2 and not args.check_config:
        raise UsageError("there is nothing to calibrate from", hint=hint)
    of_a_place = ("calibration", "start", "end", "strangers", "known")
    if labelled and (
        stray := [name for name in of_a_place if getattr(args, name) not in (None, False, [])]
    ):
        raise UsageError(
            f"--{stray[0]} goes with --gallery and --source, not with --{labelled[0]}", hint=hint
        )
    if args.embeddings is not None and (args.weights or args.network):
        raise UsageError(
            "--embeddings say themselves whose they are", hint="Leave out --network and --weights."
        )
    if args.strangers and args.known:
        raise UsageError("--strangers and --known contradict each other", hint="Give one of them.")
    return bool(place)


def _check_out(args: argparse.Namespace) -> None:
    if not args.out.is_dir() and not args.out.absolute().parent.is_dir():
        raise UsageError(f"cannot write {args.out}: there is no such folder")
    if args.out.is_file() and not args.overwrite:
        raise UsageError(f"{args.out} is there already", hint="Give --overwrite to replace it.")
    if args.report is not None and args.report.exists() and not args.report.is_dir():
        raise UsageError(f"--report {args.report} is a file", hint="Give a folder.")
    if args.seed < 0:
        raise UsageError(f"--seed must be 0 or more, got {args.seed}")


def out_path(args: argparse.Namespace, network: str, weights_hash: str) -> Path:
    """Return the file to write.

    Raises:
        UsageError: it is there already.
    """
    from stages.identify.calibration_file import shipped_name

    path = args.out / shipped_name(network, weights_hash) if args.out.is_dir() else args.out
    if path.exists() and not args.overwrite:
        raise UsageError(f"{path} is there already", hint="Give --overwrite to replace it.")
    return Path(path)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    network = args.network
    if network is None and args.weights is not None:
        from stages.embed.weights import network_of

        if args.weights.suffix != ".safetensors":
            raise UsageError(
                f"{args.weights} does not say whose weights it holds", hint="Give --network NAME."
            )
        network = network_of(args.weights)
    settings: dict[str, Any] = {} if network is None else {"embed.network": network}
    if args.weights is not None:
        settings["embed.weights"] = str(args.weights)
    return settings


def _walks(args: argparse.Namespace, config: PipelineConfig, bars: Bars) -> tuple[Walks, list[str]]:
    from pipeline.cli.calibration_data import (
        Cutting,
        fitting_walks,
        walks_of_npz,
        walks_of_store,
    )

    sequence = config.stages["sequence"]
    cutting = Cutting(
        length=sequence.length,
        stride=sequence.stride,
        min_length=sequence.min_length,
        windows=_count(args.max_windows, "--max-windows"),
        walks=None if args.max_walks is None else _count(args.max_walks, "--max-walks"),
        seed=args.seed,
    )
    if args.embeddings is not None:
        return walks_of_npz(args.embeddings, cutting), []
    from stages.embed.data.opening import open_store
    from stages.embed.evaluation.embedding import check_store
    from stages.embed.loading import load_embedder
    from stages.embed.stage import EmbedStage
    from stages.identify.fitting import MIN_PEOPLE, check_count

    # The data first: a network takes seconds to load.
    store = open_store(
        args.data, on_progress=lambda done, of: bars.show("looking at sequences", done, of)
    )
    indices = _test_part(args, store)
    check_count(len({store.entries[i].subject for i in indices}), 2 * MIN_PEOPLE)
    embedder = load_embedder(config.stages["embed"])
    check_store(embedder, store)
    stage = EmbedStage(config.stages["embed"], lambda _: embedder)
    stage.setup()
    try:
        cutting = fitting_walks(cutting, embedder.vector_shape)
        walks, left_out = walks_of_store(stage, store, indices, cutting, bars.show)
        broken = [f"{each.name}: {each.reason}" for each in getattr(store, "skipped", ())]
        return walks, broken + left_out
    finally:
        stage.close()


def _count(number: int, option: str) -> int:
    if number < 1:
        raise UsageError(f"{option} must be 1 or more, got {number}")
    return number


def _test_part(args: argparse.Namespace, store: Any) -> list[int]:
    if args.partition is None:
        return list(range(len(store.entries)))
    from stages.embed.data.partition import load_partition

    testing = set(load_partition(args.partition, store, ("TEST_SET",)).test)
    if not testing:
        raise InputError(f"partition {args.partition} has an empty TEST_SET: nobody is taken")
    return [i for i, entry in enumerate(store.entries) if entry.subject in testing]


def _calibrate(args: argparse.Namespace, walks: Walks, path: Path, bars: Bars) -> Calibration:
    """Fit, check on halves, write; return the calibration."""
    from stages.identify.assessing import checks_of, cross_check, with_checks
    from stages.identify.calibration_file import write_calibration
    from stages.identify.calibration_report import write_report
    from stages.identify.fitting import fit_calibration
    from stages.identify.ways import FitOptions

    options = FitOptions(
        metrics=METRICS[1:] if args.metric == "auto" else (args.metric,),
        same_side=not args.any_side,
        normalise=not args.no_cohort,
        seed=args.seed,
        data=(args.data or args.embeddings).name,
    )
    tried, _ = cross_check(walks, options, bars.show)
    fitted = fit_calibration(walks, options, bars.show)
    calibration = with_checks(fitted.calibration, checks_of(tried, args.seed))
    write_calibration(path, calibration)
    if args.report is not None:
        write_report(args.report, calibration, fitted.choices, tried)
    return calibration


def show(console: Console, calibration: Calibration, path: Path) -> None:
    """Print what a calibration is worth."""
    from stages.identify.calibration_report import CHECK_HEADER, check_rows, summary_lines

    for line in summary_lines(calibration):
        say(console, line)
    if calibration.checks:
        table = Table(
            title="strangers named, asked and achieved; enrolled people named right",
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        for name in CHECK_HEADER:
            table.add_column(name, justify="right", no_wrap=True)
        for row in check_rows(calibration.checks):
            table.add_row(*(Text(printable(cell)) for cell in row))
        # Where there is no terminal, lines may be as long as they have to.
        width = None if sys.stdout.isatty() else PLAIN_WIDTH
        Console(highlight=False, width=width).print(table)
    say(console, f"written to {path}")
