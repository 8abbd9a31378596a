"""Packs stored sequences into one file; goes on where it was interrupted (packed_writer.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError, ResourceError
from stages.embed.data.folders import Progress, Skipped
from stages.embed.data.interface import SequenceStore, StoredClip
from stages.embed.data.packed import ROWS
from stages.embed.data.packed_writer import PackedWriter


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
    source = _fingerprint(store, indices, has)
    try:
        with PackedWriter(path, store.height, has, source) as writer:
            return _pack(store, indices, writer, on_progress)
    except OSError as error:
        raise ResourceError(
            f"cannot write {error.filename or path}: {error.strerror}",
            hint="What is packed already is kept: make room and run the same command again.",
        ) from error


def _pack(
    store: SequenceStore,
    indices: Sequence[int],
    writer: PackedWriter,
    on_progress: Progress | None,
) -> Packed:
    resumed = writer.next_place
    for place in range(resumed, len(indices)):
        entry = store.entries[indices[place]]
        clip = _read(store, indices[place])
        if isinstance(clip, str):
            writer.pass_over(place, entry.name, clip)
        else:
            writer.add(place, entry, clip)
        if on_progress is not None:
            on_progress(place + 1, len(indices))
    skipped = tuple(Skipped(one.name, one.reason) for one in writer.passed_over)
    blocks = writer.blocks
    if not blocks:
        reasons = "".join(f"\n  {one.name}: {one.reason}" for one in skipped[:3])
        raise InputError(f"none of {len(indices)} sequences can be packed{reasons}")
    writer.finish()
    return Packed(len(blocks), sum(block.frames for block in blocks), resumed, skipped)


def _read(store: SequenceStore, index: int) -> StoredClip | str:
    """Return a sequence, or why it cannot be read."""
    try:
        return store.read(index)
    except InputError as error:
        return error.message
    except OSError as error:
        return f"cannot be read: {error.strerror}"


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
