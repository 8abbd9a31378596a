"""Packs stored sequences into one file; goes on where it was interrupted.

While it runs there are `FILE.partial`, which grows into the result, and `FILE.partial.jsonl`, a
line for each block that is whole and on the disk. Whatever kills it, a second run cuts the first
file to what the second one vouches for and goes on, and the result is the same, byte for byte.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from pipeline.errors import InputError, ResourceError
from stages.embed.data.folders import Progress, Skipped
from stages.embed.data.interface import SequenceStore
from stages.embed.data.packed import (
    ALIGNMENT,
    ROWS,
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
    """A block that is whole. `place` is the sequence's in the store."""

    place: int
    block: Block
    end: int


class _Broken(msgspec.Struct, frozen=True, tag="broken"):
    """A sequence that could not be read."""

    place: int
    name: str
    reason: str


_LINE = msgspec.json.Decoder(_Begin | _Done | _Broken)


@dataclass(frozen=True, slots=True)
class Packed:
    """What packing did. `resumed`: sequences that an earlier run had packed already."""

    sequences: int
    frames: int
    resumed: int
    skipped: tuple[Skipped, ...]


def pack(
    store: SequenceStore, indices: Sequence[int], path: Path, on_progress: Progress | None = None
) -> Packed:
    """Write sequences of a store to a packed file.

    Args:
        indices: which, in this order.

    Raises:
        InputError: none of them can be read.
        ResourceError: the disk is full or the folder cannot be written.
    """
    has = tuple(name for name in ROWS if name in store.has)
    partial = path.with_name(path.name + ".partial")
    journal = partial.with_name(partial.name + ".jsonl")
    try:
        with journal.open("ab") as lock:
            _lock(lock, path)
            return _pack(store, indices, path, partial, journal, has, on_progress)
    except OSError as error:
        raise ResourceError(
            f"cannot write {error.filename or path}: {error.strerror}",
            hint="What is packed already is kept: make room and run the same command again.",
        ) from error


def _pack(
    store: SequenceStore,
    indices: Sequence[int],
    path: Path,
    partial: Path,
    journal: Path,
    has: tuple[str, ...],
    on_progress: Progress | None,
) -> Packed:
    source = _fingerprint(store, indices, has)
    lines = _whole_lines(journal, source)
    done = [line for line in lines if isinstance(line, _Done)]
    skipped = [line for line in lines if isinstance(line, _Broken)]
    end = done[-1].end if done else ALIGNMENT
    if partial.exists() and partial.stat().st_size >= end and lines:
        first = lines[-1].place + 1
    else:
        done, skipped, end, first = [], [], ALIGNMENT, 0
        partial.write_bytes(header_bytes(store.height))
        journal.write_bytes(b"")
    resumed = first
    with partial.open("r+b") as data, journal.open("r+b") as notes:
        data.truncate(end)
        data.seek(end)
        notes.write(_line(_Begin(source)))
        for line in lines if first else ():
            notes.write(_line(line))
        notes.truncate()
        synced = time.monotonic()
        waiting: list[bytes] = []
        for place in range(first, len(indices)):
            result = _packed(store, indices[place], place, has, data, end)
            if isinstance(result, _Done):
                done.append(result)
                end = result.end
            else:
                skipped.append(result)
            waiting.append(_line(result))
            # The blocks first, then the lines that vouch for them.
            if time.monotonic() - synced > SYNC_EVERY_S or place == len(indices) - 1:
                sync(data)
                notes.write(b"".join(waiting))
                sync(notes)
                synced, waiting = time.monotonic(), []
            if on_progress is not None:
                on_progress(place + 1, len(indices))
        if not done:
            reasons = "".join(f"\n  {line.name}: {line.reason}" for line in skipped[:3])
            raise InputError(f"none of {len(indices)} sequences can be packed{reasons}")
        data.write(index_bytes(Index(has, tuple(line.block for line in done)), end))
        sync(data)
    partial.replace(path)
    journal.unlink()
    frames = sum(line.block.frames for line in done)
    broken = tuple(Skipped(line.name, line.reason) for line in skipped)
    return Packed(len(done), frames, resumed, broken)


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep others from packing to the same file; the lock ends with this process."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"another process is packing to {path}", hint="Wait for it, or choose another file."
        ) from None


def _packed(
    store: SequenceStore, index: int, place: int, has: tuple[str, ...], data: BinaryIO, end: int
) -> _Done | _Broken:
    entry = store.entries[index]
    try:
        clip = store.read(index)
    except InputError as error:
        return _Broken(place, entry.name, error.message)
    except OSError as error:
        return _Broken(place, entry.name, f"cannot be read: {error.strerror}")
    block, crc = block_bytes(clip, store.height, has)
    data.write(block)
    made = Block(entry.subject, entry.kind, entry.view, entry.frames, end, crc)
    return _Done(place, made, end + len(block))


def _whole_lines(journal: Path, source: str) -> list[_Done | _Broken]:
    """Return what an earlier run of the same job vouches for, [] if there is none."""
    if not journal.exists():
        return []
    lines = []
    for text in journal.read_bytes().split(b"\n")[:-1]:  # a last line without its end is not whole
        try:
            lines.append(_LINE.decode(text))
        except msgspec.MsgspecError:
            break
    if not lines or lines[0] != _Begin(source):
        return []
    return [line for line in lines[1:] if not isinstance(line, _Begin)]


def _fingerprint(store: SequenceStore, indices: Sequence[int], has: tuple[str, ...]) -> str:
    """Return a text that another selection of sequences would not have."""
    digest = hashlib.sha256(f"{store.height} {has}".encode())
    for index in indices:
        entry = store.entries[index]
        digest.update(f"{entry.name} {entry.frames} {_stamp(store, index)}\n".encode())
    return digest.hexdigest()


def _stamp(store: SequenceStore, index: int) -> str:
    try:
        return store.stamp(index)
    except OSError as error:  # it is gone: reading it will say so
        return str(error.strerror)


def _line(line: _Begin | _Done | _Broken) -> bytes:
    return msgspec.json.encode(line) + b"\n"
