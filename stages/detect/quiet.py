"""Keeps the start-up chatter of MediaPipe and TFLite off the terminal, and nothing else.

They write straight to file descriptor 2, before their own log levels are read. So the descriptor
is turned into a file while they start, and what is not known chatter is written out afterwards.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# Each says what a healthy start looks like; none names a failure.
CHATTER = (
    "Created TensorFlow Lite XNNPACK delegate",
    "All log messages before absl::InitializeLog() is called are written to STDERR",
    "Disabling support for feedback tensors",
    "Using NORM_RECT without IMAGE_DIMENSIONS is only supported for the square ROI",
)


def without_chatter(text: str) -> str:
    """Return `text` without the lines that only say that a network was loaded."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not any(known in line for known in CHATTER))


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hold back what native code writes to stderr, then pass on everything but the chatter."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    try:
        terminal = os.dup(2)
    except OSError:  # no stderr at all, as under some service managers
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            rest = without_chatter(held.read().decode("utf-8", "replace"))
            if rest:
                os.write(2, rest.encode())
