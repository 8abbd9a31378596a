"""Writes constraints.txt from pyproject.toml: `.venv/bin/python scripts/pin_dependencies.py`.

Versions that are pinned already stay unless they no longer fit; to renew one, delete its line.
uv solves for each place of `tool.uv.environments`; a marker that only repeats those places is
dropped, so that the file reads as what differs between Python versions.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PINS = ROOT / "constraints.txt"
SOLVE = (
    *("-m", "uv", "pip", "compile", "pyproject.toml", "--all-extras", "--universal", "--quiet"),
    *("--python-version", "3.10", "--no-annotate", "--no-header", "--no-emit-index-url"),
    *("--constraint", PINS.name),
)
PLACES = (
    "platform_machine == 'x86_64' and sys_platform == 'linux'",
    "sys_platform == 'darwin'",
    "sys_platform == 'win32'",
)


def shortened(line: str) -> str:
    """Return a pin without the parts of its marker that say nothing."""
    pin, _, marker = line.partition(" ; ")
    marker = re.sub(r" and platform_python_implementation != 'PyPy'", "", marker)
    cases = [case.strip("()") for case in marker.split(" or ")]
    everywhere = len(cases) == len(PLACES)
    if everywhere:
        cases = [case.replace(place, "") for case, place in zip(cases, PLACES, strict=True)]
        cases = sorted({case.removesuffix(" and ") for case in cases})
    cases = [re.sub(r"(^| and )python_full_version < '3.13'", "", case) for case in cases]
    cases = [case.removeprefix(" and ") for case in cases]
    if everywhere and len(cases) > 1:
        raise SystemExit(f"cannot shorten: {line}")
    return f"{pin} ; {' or '.join(cases)}" if all(cases) else pin


def main() -> None:
    """Solve, shorten, write."""
    solved = subprocess.run(
        [sys.executable, *SOLVE], cwd=ROOT, check=True, capture_output=True, text=True
    )
    PINS.write_text("".join(f"{shortened(line)}\n" for line in solved.stdout.splitlines()))


if __name__ == "__main__":
    main()
