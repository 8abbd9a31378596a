"""Opens stored sequences, whichever way they are stored."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pipeline.errors import InputError
from stages.embed.data.folders import FolderStore, Progress
from stages.embed.data.interface import SequenceStore
from stages.embed.data.packed import PackedStore


def open_store(
    path: Path, subjects: Collection[str] | None = None, on_progress: Progress | None = None
) -> SequenceStore:
    """Return a store of a folder in the public layout, or of a packed file.

    Args:
        subjects: whom to take; None takes all.
        on_progress: called with how many sequences have been looked at, and of how many.

    Raises:
        InputError: there is nothing there, or it cannot be used.
    """
    if path.is_dir():
        return FolderStore(path, subjects, on_progress=on_progress)
    if path.is_file():
        return PackedStore(path, subjects)
    raise InputError(f"{path}: there is no such folder or file")
