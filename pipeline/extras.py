"""How an optional part of this program is installed, for the errors that find it missing."""

from __future__ import annotations

import shlex
import sys


def install_command(*names: str) -> str:
    """What installs these extras of pyproject.toml where this program runs.

    It names the running Python: a `pip` on the PATH is often another one's, and that of a checkout
    is in its `.venv`. Pip takes the extra's list from the program as installed, a checkout too.
    """
    return f"{shlex.quote(sys.executable)} -m pip install 'gaitstream[{','.join(names)}]'"
