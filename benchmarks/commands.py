"""The program's own commands, called by benchmarks that make people, train and evaluate."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "run_pipeline.py"
GEI = "gei"
# Of the sets that benchmarks evaluate on. Views apart by 90 degrees are enough for every figure
# that they show, and half the time of eight.
VIEWS, FRAMES = 4, 30
TEST_SET = {
    "views": str(VIEWS),
    "frames": str(FRAMES),
    "conditions": "{nm: 2, bg: 1, cl: 1}",
}


def call(arguments: Sequence[str]) -> None:
    """Run the program; end with its exit code if it fails."""
    print("run_pipeline.py", *arguments, flush=True)
    code = subprocess.run([sys.executable, str(PROGRAM), *arguments], check=False).returncode
    if code:
        sys.exit(code)


def options_of(settings: Mapping[str, str]) -> list[str]:
    """Settings as the command line has them."""
    return [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]


def made(path: Path, config: str, keys: Mapping[str, str]) -> Path:
    """Make a set of people by a file of configs/ if it is not there; return its path."""
    if not path.exists():
        file = ROOT / "configs" / config
        call(["synth", "--config", str(file), "--out", str(path), *options_of(keys)])
    return path


def evaluated(page: Path, suite: Path, weights: Sequence[Path]) -> dict[str, Any]:
    """Return the figures of each network by its label, from one evaluation of a set."""
    command = ["evaluate", "--suite", str(suite), "--weights", *map(str, weights), "--overwrite"]
    options = {"--untrained-seeds": "0", "--lengths": str(FRAMES), "--accuracy": str(page)}
    call([*command, *(text for option in options.items() for text in option)])
    found: dict[str, Any] = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    return {label: each["runs"][0] for label, each in found["networks"].items()}


def percent(estimate: Sequence[float | None]) -> str:
    """A share with its 95 % interval, where there is one."""
    if estimate[0] is None:
        return "–"
    value, *interval = (100 * number for number in estimate if number is not None)
    return f"{value:.1f}" + (f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else "")
