"""Grows a packed file sequence by sequence; goes on where it was interrupted.

While it runs there are `FILE.partial`, which grows into the result, and `FILE.partial.jsonl`, a
line for each block that is whole and on the disk. Whatever kills it, a second run cuts the first
file to what the second one vouches for and goes on, and the result is the same, byte for byte.
"""

from __future__ import annotations

import fcntl
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from pipeline.errors import InputError
from stages.embed.data.interface import Entry, StoredClip
from stages.embed.data.packed import (
    ALIGNMENT,
    Block,
    Index,
    block_bytes,
    header_bytes,
    index_bytes,
    sync,
)

SYNC_EVERY_S = 1.0


class _Begin(msgspec.Struct, frozen=True, tag="begin"):
    """The first line: what is being packed. Another `source` means another job."""

    source: str


class _Done(msgspec.Struct, frozen=True, tag="done"):
    """A block that is whole. `place` is the sequence's in the job."""

    place: int
    block: Block
    end: int


class _Broken(msgspec.Struct, frozen=True, tag="broken"):
    """A sequence that could not be had."""

    place: int
    name: str
    reason: str


_LINE = msgspec.json.Decoder(_Begin | _Done | _Broken)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A sequence that was passed over: its place in the job, its name, and why."""

    place: int
    name: str
    reason: str


class PackedWriter:
    """Writes a packed file. Use as a context; without `finish` the file stays a partial one.

    Sequences are added by their place in the job, each place once, in order.

    Attributes:
        next_place: of the sequence to add next; above zero where an earlier run had begun.
        passed_over: sequences that could not be had, of the earlier run too.
    """

    def __init__(self, path: Path, height: int, has: Sequence[str], source: str) -> None:
        """Say what is to be written; nothing is touched yet.

        Args:
            height: of the silhouettes, 64 or 128.
            has: of theta and keypoints, what every sequence has.
            source: a text that another job would not have. What an earlier run of another job
                left unfinished is removed.
        """
        self._path = path
        self._height = height
        self._has = tuple(has)
        self._source = source
        self._partial = path.with_name(path.name + ".partial")
        self._journal = path.with_name(path.name + ".partial.jsonl")
        self._lines: list[_Done | _Broken] = []
        self._waiting: list[bytes] = []
        self._end = ALIGNMENT
        self._synced = 0.0
        self._data: BinaryIO
        self._notes: BinaryIO

    @property
    def next_place(self) -> int:
        return self._lines[-1].place + 1 if self._lines else 0

    @property
    def passed_over(self) -> tuple[Unpacked, ...]:
        broken = (line for line in self._lines if isinstance(line, _Broken))
        return tuple(Unpacked(line.place, line.name, line.reason) for line in broken)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What is written already."""
        return tuple(line.block for line in self._lines if isinstance(line, _Done))

    def __enter__(self) -> PackedWriter:
        """Take the lock and find what is there already.

        Raises:
            InputError: another process writes this file.
            OSError: the folder cannot be written.
        """
        self._notes = self._journal.open("a+b")
        try:
            _lock(self._notes, self._path)
            self._take_up()
        except BaseException:
            self._notes.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._waiting:
                self.sync()
        finally:
            try:
                self._data.close()
            finally:
                if not self._lines:  # nothing was begun
                    self._partial.unlink(missing_ok=True)
                    self._journal.unlink(missing_ok=True)
                self._notes.close()

    def add(self, place: int, entry: Entry, clip: StoredClip) -> None:
        """Write a sequence.

        Raises:
            OSError: the disk is full. What was synchronised before is kept.
        """
        block, crc = block_bytes(clip, self._height, self._has)
        self._append(place, entry, block, crc)

    def add_block(self, place: int, entry: Entry, block: bytes, crc: int) -> None:
        """Write a sequence as a packed file of the same height and rows holds it.

        Raises:
            InputError: the block is damaged: its CRC-32 is not `crc`.
            OSError: as `add`.
        """
        if zlib.crc32(block) != crc:
            raise InputError(f"the packed block of {entry.name} is damaged")
        self._append(place, entry, block, crc)

    def pass_over(self, place: int, name: str, reason: str) -> None:
        """Note that a sequence cannot be had."""
        self._note(_Broken(place, name, reason))

    def sync(self) -> None:
        """Make sure that what was added survives: the blocks, then the lines that vouch for them.

        Raises:
            OSError: the disk is full.
        """
        sync(self._data)
        self._notes.write(b"".join(self._waiting))
        sync(self._notes)
        self._synced, self._waiting = time.monotonic(), []

    def finish(self) -> None:
        """Write the index and give the file its name.

        Raises:
            OSError: the disk is full.
        """
        self.sync()
        self._data.write(index_bytes(Index(self._has, self.blocks), self._end))
        sync(self._data)
        self._partial.replace(self._path)
        self._journal.unlink()

    def _append(self, place: int, entry: Entry, block: bytes, crc: int) -> None:
        self._data.write(block)
        made = Block(entry.subject, entry.kind, entry.view, entry.frames, self._end, crc)
        self._end += len(block)
        self._note(_Done(place, made, self._end))

    def _note(self, line: _Done | _Broken) -> None:
        assert line.place >= self.next_place, f"{line.place} comes after {self.next_place}"
        self._lines.append(line)
        self._waiting.append(_encoded(line))
        if time.monotonic() - self._synced > SYNC_EVERY_S:
            self.sync()

    def _take_up(self) -> None:
        """Go on after what an earlier run of the same job left, or begin."""
        self._notes.seek(0)
        self._lines, whole = _whole_lines(self._notes.read(), self._source)
        done = [line for line in self._lines if isinstance(line, _Done)]
        self._end = done[-1].end if done else ALIGNMENT
        if not (self._lines and self._partial.exists()) or self._partial.stat().st_size < self._end:
            self._lines, self._end, whole = [], ALIGNMENT, 0
            self._partial.write_bytes(header_bytes(self._height))
        self._data = self._partial.open("r+b")
        self._data.truncate(self._end)
        self._data.seek(self._end)
        self._notes.truncate(whole)
        if not whole:
            self._notes.write(_encoded(_Begin(self._source)))
            self._notes.flush()
        self._synced = time.monotonic()


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep others from packing to the same file; the lock ends with this process."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"another process is packing to {path}", hint="Wait for it, or choose another file."
        ) from None


def _whole_lines(text: bytes, source: str) -> tuple[list[_Done | _Broken], int]:
    """Return what an earlier run of the same job vouches for, and how many bytes say so."""
    lines: list[_Done | _Broken] = []
    whole = 0
    for text_line in text.split(b"\n")[:-1]:  # a last line without its end is not whole
        try:
            line = _LINE.decode(text_line)
        except msgspec.MsgspecError:
            break
        if isinstance(line, _Begin) != (whole == 0) or (whole == 0 and line != _Begin(source)):
            break
        if not isinstance(line, _Begin):
            lines.append(line)
        whole += len(text_line) + 1
    return lines, whole


def _encoded(line: _Begin | _Done | _Broken) -> bytes:
    return msgspec.json.encode(line) + b"\n"
