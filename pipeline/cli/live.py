"""`live`: name the people in front of a camera."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli.enroll import new_run_id, sighting_settings
from pipeline.cli.options import (
    add_config_options,
    add_metrics_option,
    add_output_options,
    add_source_options,
    common_settings,
    read_config,
    start_logging,
)
from pipeline.cli.running import exit_code_of, print_summary, run_with_progress
from stages.sink import prepare_out_dir

HELP = "name the people in front of a camera; the newest frame counts, what is too much is dropped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_source_options(
        parser, "camera's number, rtsp:// or http:// address, a file, or synthetic:people=4"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--realtime", action="store_true", help="play a file at its own speed, as a camera would"
    )
    parser.add_argument(
        "--loop", action="store_true", help="with --realtime: start over at the end"
    )
    parser.add_argument(
        "--keep-sightings",
        action="store_true",
        help="keep the vectors of the tracks seen, for an hour, so that `enroll --track ID` can "
        "name one of them while this runs (needs --gallery)",
    )
    add_output_options(parser)
    add_metrics_option(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    console = start_logging(args.quiet)
    settings = common_settings(args) | {"source.live": True}
    settings |= {"source.realtime": True} if args.realtime else {}
    settings |= {"source.loop": True} if args.loop else {}
    if args.keep_sightings:
        settings |= sighting_settings(new_run_id("live"), args.out)
    config = read_config(args, settings)
    if config is None:
        return 0
    sink = config.stages["sink"]
    if sink.out_dir is not None:
        prepare_out_dir(sink.out_dir, sink.overwrite)
    summary = run_with_progress(config, live=True, label="live", console=console, quiet=args.quiet)
    print_summary(console, summary, sink.out_dir, quiet=args.quiet)
    return exit_code_of(summary)
