"""Keeps two trainings from writing to one folder at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import InputError
from stages.embed.training.run_folder import cannot_write

NAME = ".training.lock"
MAX_BYTES = 32


@contextmanager
def only_training_in(folder: Path) -> Iterator[None]:
    """Be the only training in a folder, which is made if it is not there.

    The system holds the lock for this process and lets go of it however the process ends: what a
    kill leaves behind is a file that locks nothing.

    Raises:
        InputError: another process trains there; names it. ResourceError, InputError: the folder
            cannot be written.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _opened(path)
        while not _is_at(handle, path):  # removed by its holder while we waited for it
            os.close(handle)
            handle = _opened(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield
    finally:
        with suppress(OSError):  # one that stays locks nothing
            path.unlink()  # before it is let go of: afterwards it may be another's
        os.close(handle)


def _opened(path: Path) -> int:
    """Return a handle on the locked file; InputError if another process has locked it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, MAX_BYTES, 0).decode(errors="replace").strip()
        os.close(handle)
        raise InputError(
            f"output folder {path.parent} is in use by another training"
            + (f", process {holder}" if holder.isdecimal() else ""),
            hint="Wait for it, stop it (kill -INT and its number), or give another folder.",
        ) from None
    except OSError:
        os.close(handle)
        raise
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def _is_at(handle: int, path: Path) -> bool:
    """Tell whether the open file is still the one of this name."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)
