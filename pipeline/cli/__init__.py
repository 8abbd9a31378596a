"""The command line: one file per command, each with HELP, `add_arguments` and `run`.

This package and nothing else of `pipeline` may import stages: commands bring machinery and work
together.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from pipeline import __version__
from pipeline.credentials import without_credentials
from pipeline.errors import GaitError

COMMANDS = (
    "demo",
    "replay",
    "live",
    "profile",
    "enroll",
    "gallery",
    "embed",
    "train",
    "project",
    "join",
    "cohort",
    "evaluate",
    "calibrate",
    "pack",
    "synth",
    "export",
    "keys",
)

SYSTEM_LIBRARIES = ("libGL", "libgthread", "libglib")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns 0 done, 1 failure, 2 bad use or configuration, 130 stopped."""
    # Threads of torch's that wait do so asleep. By default they spin, which takes the cores from
    # the other stages and, with more threads than free cores, makes a network ten times slower.
    # It is read when torch loads, here and in every process that is started from here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return _main(argv)
    except GaitError as error:
        from pipeline.supervisor import describe_failure

        print(describe_failure(error), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except ImportError as error:
        if not any(name in str(error) for name in SYSTEM_LIBRARIES):
            raise
        print(
            f"error: OpenCV cannot load: {error}\n"
            "  on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0",
            file=sys.stderr,
        )
        return 1


class _HelpWithDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Tells the defaults that say something: not None, and not that a switch is off."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default in ([], ""):
            return action.help
        return super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Quotes no credentials when it says what is wrong with a command line."""

    def error(self, message: str) -> NoReturn:
        super().error(without_credentials(message))


def _main(argv: Sequence[str] | None) -> int:
    parser = _Parser(
        prog="run_pipeline.py",
        description="Says who is walking in front of a camera, by gait.",
        epilog="Each command has its own --help. Exit code 0: done, 1: failure, 2: bad use, 130: "
        "stopped.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    modules = {name: importlib.import_module(f"pipeline.cli.{name}") for name in COMMANDS}
    for name, module in modules.items():
        command = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            formatter_class=_HelpWithDefaults,
        )
        module.add_arguments(command)
    args = parser.parse_args(argv)
    return int(modules[args.command].run(args))


__all__ = ["main"]
