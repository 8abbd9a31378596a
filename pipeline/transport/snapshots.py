"""What a stage would need to go on where it was, in memory that outlives its process.

Like a frame store it is a `memfd` that the supervisor makes and hands on: it has no name, costs no
disk, and is there when the stage is started again. Two halves are written in turn, each with its
number and checksum, so that a process killed while it writes leaves the half before.

Beside them lies a mark: which message is being worked on, and how many processes that message has
already cost. So one that kills whoever touches it can be passed over.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import NamedTuple

from pipeline.errors import ResourceError

# magic, number of the snapshot, length, checksum
_HEADER = struct.Struct("!4sQQI")
_MAGIC = b"SNAP"
_MARK = struct.Struct("!4sIQI")  # magic, link, number of the message, deaths
_MARK_MAGIC = b"MARK"
# Each half may grow up to this; sparse files take what is written only.
HALF_BYTES = 1 << 30


class Mark(NamedTuple):
    """The message that was being worked on: by the order of the links, 0 for none."""

    link: int
    number: int
    deaths: int


class SnapshotFile:
    """Reads and writes snapshots.

    Args:
        fd: of a memfd; stays the caller's.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        found = [self._read(half) for half in (0, 1)]
        self._newest = max(found, key=lambda each: each[0])
        self._number = self._newest[0]

    def latest(self) -> bytes | None:
        """Return the newest whole snapshot, None if there is none."""
        return self._newest[1]

    def write(self, content: bytes) -> None:
        """Keep a snapshot in place of the one before the last.

        Raises:
            ResourceError: it is too large, or there is no memory for it.
        """
        if len(content) > HALF_BYTES - _HEADER.size:
            raise ResourceError(f"a stage's state of {len(content) / 1e6:.0f} MB cannot be kept")
        number = self._number + 1
        begin = (number % 2) * HALF_BYTES
        header = _HEADER.pack(_MAGIC, number, len(content), zlib.crc32(content))
        try:
            # The header comes last: until then the half holds no valid snapshot, or an old one
            # whose checksum no longer fits.
            _write_all(self._fd, content, begin + _HEADER.size)
            _write_all(self._fd, header, begin)
        except OSError as error:
            raise ResourceError(
                f"no memory to keep a stage's state of {len(content) / 1e6:.1f} MB: "
                f"{error.strerror}"
            ) from error
        self._number, self._newest = number, (number, content)

    def mark(self, link: int, number: int, deaths: int) -> None:
        """Say what is being worked on; a number of 0 says nothing is."""
        os.pwrite(self._fd, _MARK.pack(_MARK_MAGIC, link, number, deaths), 2 * HALF_BYTES)

    def left_mark(self) -> Mark | None:
        """Return what an earlier process was working on when it died, None if nothing."""
        found = os.pread(self._fd, _MARK.size, 2 * HALF_BYTES)
        if len(found) < _MARK.size:
            return None
        magic, link, number, deaths = _MARK.unpack(found)
        return Mark(link, number, deaths) if magic == _MARK_MAGIC and number else None

    def _read(self, half: int) -> tuple[int, bytes | None]:
        begin = half * HALF_BYTES
        head = os.pread(self._fd, _HEADER.size, begin)
        if len(head) < _HEADER.size:
            return 0, None
        magic, number, length, checksum = _HEADER.unpack(head)
        if magic != _MAGIC or length > HALF_BYTES:
            return 0, None
        content = os.pread(self._fd, length, begin + _HEADER.size)
        if len(content) < length or zlib.crc32(content) != checksum:
            return 0, None
        return number, content


def _write_all(fd: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
