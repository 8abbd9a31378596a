"""Options that several commands share."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

from pipeline.cli.calibration_choice import check_calibration, settings_beside
from pipeline.config import PipelineConfig, load_config
from pipeline.credentials import hide_credentials


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add --config, --set, --check-config and the log level."""
    group = parser.add_argument_group("configuration")
    group.add_argument("--config", type=Path, metavar="FILE", help="YAML file (see configs/)")
    add_setting_options(group, "sequence.stride=4", " (docs/configuration.md lists all keys)")


def add_setting_options(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, example: str, more: str = ""
) -> None:
    """Add --set, --check-config and the log level, with an example of a key and its value."""
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"set one key, as in --set {example}; may be repeated{more}",
    )
    parser.add_argument(
        "--check-config",
        action="store_true",
        help="check the configuration, print it in full, and stop",
    )
    parser.add_argument("--quiet", action="store_true", help="warnings and errors only")


def add_metrics_option(parser: argparse.ArgumentParser) -> None:
    """Add --metrics."""
    parser.add_argument(
        "--metrics",
        type=int,
        metavar="PORT",
        help="serve metrics for Prometheus at http://127.0.0.1:PORT/metrics, and /live and /ready, "
        "while it runs; 0 takes any free port and says which",
    )


def add_source_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --source and the part of a recording to take."""
    parser.add_argument("--source", metavar="SOURCE", help=what)
    parser.add_argument(
        "--start", type=float, metavar="S", help="skip the first S seconds of a recording"
    )
    parser.add_argument("--end", type=float, metavar="S", help="stop at second S of a recording")


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add what is written where."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a former run in the same folder"
    )
    parser.add_argument("--gallery", type=Path, metavar="FILE", help="the people who are known")
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE",
        help="what scores are worth, as `calibrate` has written it (default: the weights' own)",
    )
    parser.add_argument("--display", action="store_true", help="show the picture in a window too")
    parser.add_argument("--no-video", action="store_true", help="write no annotated.mp4")
    parser.add_argument(
        "--save-silhouettes",
        action="store_true",
        help="write each person's mask in each frame as PNG",
    )


def common_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration keys that the shared options set."""
    given = {
        "run.metrics_port": getattr(args, "metrics", None),
        "source.uri": getattr(args, "source", None),
        "source.start_s": getattr(args, "start", None),
        "source.end_s": getattr(args, "end", None),
        "identify.gallery": getattr(args, "gallery", None),
        "identify.calibration": getattr(args, "calibration", None),
        "sink.out_dir": getattr(args, "out", None),
        "sink.overwrite": getattr(args, "overwrite", False) or None,
        "sink.display": getattr(args, "display", False) or None,
        "sink.video": False if getattr(args, "no_video", False) else None,
        "sink.save_silhouettes": getattr(args, "save_silhouettes", False) or None,
    }
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in given.items()
        if value is not None
    }


def read_config(args: argparse.Namespace, settings: dict[str, Any]) -> PipelineConfig | None:
    """Return the checked configuration, or None when --check-config has printed it.

    Raises:
        ConfigError: see `load_config`.
        CalibrationError: the calibration is not of the weights.
    """
    config = load_config(args.config, settings, args.settings)
    found = settings_beside(config)
    if found:
        config = load_config(args.config, settings | found, args.settings)
    check_calibration(config)
    if args.check_config:
        print(json.dumps(config.to_dict(), indent=2))
        return None
    return config


def start_logging(quiet: bool) -> Console:
    """Log to stderr in a form for people; return the console that progress shares."""
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_path=False, show_time=False, markup=False)
    handler.addFilter(hide_credentials)
    logging.basicConfig(
        level=logging.WARNING if quiet else logging.INFO,
        format="%(name)s: %(message)s",
        handlers=[handler],
        force=True,
    )
    return console


def printable(text: str) -> str:
    """Return text in which names of files occur: what cannot be shown is shown as an escape."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
