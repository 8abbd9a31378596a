"""`replay`: name the people of a recording."""

from __future__ import annotations

import argparse
from pathlib import Path

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

HELP = "name the people of a recording; every frame is handled, and the same input gives the same"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_source_options(
        parser,
        "video file, folder of images, address of a recording, or synthetic:people=4,seconds=20",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results")
    add_output_options(parser)
    add_metrics_option(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    console = start_logging(args.quiet)
    config = read_config(args, common_settings(args))
    if config is None:
        return 0
    sink = config.stages["sink"]
    if sink.out_dir is not None:
        prepare_out_dir(sink.out_dir, sink.overwrite)
    summary = run_with_progress(
        config, live=False, label="replay", console=console, quiet=args.quiet
    )
    print_summary(console, summary, sink.out_dir, quiet=args.quiet)
    return exit_code_of(summary)
