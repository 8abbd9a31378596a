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
# Every place together, as uv writes it where a pin is for all of them.
EVERYWHERE = (
    "((platform_machine == 'x86_64' and sys_platform == 'linux') "
    "or sys_platform == 'darwin' or sys_platform == 'win32')"
)
SAYS_NOTHING = (
    *("platform_python_implementation != 'PyPy'", "implementation_name != 'PyPy'"),
    "python_full_version < '3.13'",
)


def shortened(line: str) -> str:
    """Return a pin without the parts of its marker that say nothing."""
    pin, _, marker = line.partition(" ; ")
    for part in SAYS_NOTHING[:2]:
        marker = marker.replace(f"{part} and ", "").replace(f" and {part}", "")
    marker = re.sub(r"\((sys_platform == '\w+')\)", r"\1", marker)  # what stood beside it is gone
    parts = [*SAYS_NOTHING, EVERYWHERE]
    kept = [case for case in re.split(r" and (?![^(]*\))", marker) if case and case not in parts]
    if any(" or " in case for case in kept):
        raise SystemExit(f"cannot shorten: {line}")
    return f"{pin} ; {' and '.join(kept)}" if kept else pin


def main() -> None:
    """Solve, shorten, write."""
    solved = subprocess.run(
        [sys.executable, *SOLVE], cwd=ROOT, check=True, capture_output=True, text=True
    )
    PINS.write_text("".join(f"{shortened(line)}\n" for line in solved.stdout.splitlines()))


if __name__ == "__main__":
    main()
