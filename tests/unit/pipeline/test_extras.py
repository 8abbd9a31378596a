"""The commands that errors name for what is not installed."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import metadata
from pathlib import Path

from pipeline.extras import install_command

ROOT = Path(__file__).parents[3]


def test_the_command_runs_the_pip_of_the_running_python() -> None:
    words = shlex.split(install_command("synth", "train"))

    assert words == [sys.executable, "-m", "pip", "install", "gaitstream[synth,train]"]


def test_every_extra_that_an_error_names_is_one_of_this_program() -> None:
    known = set(metadata("gaitstream").get_all("Provides-Extra") or ())
    files = [path for folder in ("pipeline", "stages") for path in (ROOT / folder).rglob("*.py")]
    named = {
        name
        for path in files
        for name in re.findall(r"install_command\([\"']([\w-]+)[\"']\)", path.read_text())
    }

    assert len(named) >= 5
    assert named <= known
