"""Files that grow: a text file that always ends with a whole line, a .npy that gains rows."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from stages.sink.outdir import write_failed

_NPY_HEADER_BYTES = 128


class LineFile:
    """A text file that is written through at once, so that `tail -f` follows it.

    When a write fails, the part of the line that got through is cut off again: what stays is whole
    lines. `size` is their length in bytes.
    """

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        """Open `path` anew, or go on after its first `keep_bytes`.

        Raises:
            InputError, ResourceError: it cannot be opened.
        """
        self.path = path
        self.size = keep_bytes
        try:
            if keep_bytes:
                os.truncate(path, keep_bytes)
            self._file = path.open("ab" if keep_bytes else "wb", buffering=0)
        except OSError as error:
            raise write_failed(path, error) from error

    def write(self, text: str) -> None:
        """Append `text`, one or more whole lines.

        Raises:
            ResourceError, InputError: the disk did not take it.
        """
        data = memoryview(text.encode("utf-8", "replace"))
        whole = self.size + len(data)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self._cut_back()
            raise write_failed(self.path, error) from error
        self.size = whole

    def _cut_back(self) -> None:
        # A disk that fails may fail here too; the error to tell is the first one.
        with suppress(OSError):
            self._file.truncate(self.size)
            self._file.seek(self.size)

    def sync(self) -> None:
        """Wait until the disk has everything."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise write_failed(self.path, error) from error

    def close(self) -> None:
        """Sync and close; a second call does nothing."""
        if self._file.closed:
            return
        try:
            self.sync()
        finally:
            self._file.close()


def append_npy(path: Path, row: np.ndarray) -> None:
    """Append `row` (float32, any shape) to the .npy array at `path`, made if it is not there.

    The header is renewed with each row, so the file can be read at any time, also after a crash,
    and nothing is kept in memory. No file stays open: there may be hundreds of tracks.

    Raises:
        OSError: the disk did not take the row; the file holds the rows before it.
    """
    row = np.ascontiguousarray(row, dtype="<f4")
    with path.open("r+b" if path.exists() else "x+b") as file:
        size = file.seek(0, os.SEEK_END)
        rows = max(0, size - _NPY_HEADER_BYTES) // row.nbytes
        end = _NPY_HEADER_BYTES + rows * row.nbytes
        try:
            if size == 0:
                file.write(npy_header((0, *row.shape)))
            file.seek(end)
            file.write(row.tobytes())
            file.flush()
        except OSError:
            file.truncate(end)
            raise
        file.seek(0)
        file.write(npy_header((rows + 1, *row.shape)))


def cut_npy(path: Path, rows: int, shape: tuple[int, ...]) -> None:
    """Leave the first `rows`, float32 [shape] each, of what `append_npy` has written.

    By the file's size, not by its header: who died in `append_npy` may have written a row that the
    header does not count. A file without a row, or without a whole header, is removed.

    Raises:
        OSError: the disk did not take it.
    """
    if not path.exists():
        return
    if not rows or path.stat().st_size < _NPY_HEADER_BYTES:
        path.unlink()
        return
    with path.open("r+b") as file:
        file.truncate(_NPY_HEADER_BYTES + rows * 4 * int(np.prod(shape)))
        file.write(npy_header((rows, *shape)))


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the 128 bytes that begin a .npy (version 1.0) of little-endian float32 [shape]."""
    facts = repr({"descr": "<f4", "fortran_order": False, "shape": shape})
    length = _NPY_HEADER_BYTES - 10  # after 6 bytes of magic, 2 of version, 2 of length
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + f"{facts:<{length - 1}}\n".encode()
