"""Keeps the memory of a step or a batch for the next one.

A step of training on a processor takes and gives back dozens of blocks of many megabytes, the same
ones each time. The C library gives such blocks back to the system at once, and the system hands
them out anew page by page, all set to zero: that was over a third of a step. Told to keep them, it
does not.
"""

from __future__ import annotations

import ctypes
import logging
import platform

log = logging.getLogger(__name__)

# glibc's mallopt(3).
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER = -1


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, up to the most it ever held; return whether it does.

    With glibc only: other C libraries have no such call, and some need none.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # No block of its own from the system for large requests, and nothing back from the top.
    kept = bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, NEVER))
    log.debug("freed memory is %s", "kept for the next step" if kept else "given back")
    return kept
