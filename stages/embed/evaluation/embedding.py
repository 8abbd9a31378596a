"""Embedding stored sequences: in batches of like length and bounded memory, broken ones named."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError, ResourceError
from stages.embed.allocation import keep_freed_memory
from stages.embed.data.interface import Entry, SequenceStore, StoredClip
from stages.embed.interface import Embedder
from stages.embed.sequences import MAX_FRAMES

# Says how far a long work is: what it is, steps done, steps in all.
Progress = Callable[[str, int, int], None]
# Chooses frames of a sequence: from its place in the store and its entry to int [s].
FrameChoice = Callable[[int, Entry], np.ndarray]

HALVING_HINT = "Evaluate on a dataset of that height, or choose a network that reads this one."
# Vectors moved at a time when broken sequences leave gaps.
MOVED_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedSet:
    """Vectors of stored sequences and what is known of them; broken sequences are left out.

    Attributes:
        vectors: float32 [N,c,p], finite; in memory, or mapped from a file that has no name.
        indices: int64 [N], places in the store, ascending.
        subjects, kinds, views: as in the store's entries.
        frames: int64 [N], how many were read of each.
        broken: name and reason of each sequence that could not be embedded.
    """

    vectors: np.ndarray
    indices: np.ndarray
    subjects: tuple[str, ...]
    kinds: tuple[str, ...]
    views: tuple[str, ...]
    frames: np.ndarray
    broken: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True, slots=True)
class EmbeddingLimits:
    """How much an embedding may hold.

    Attributes:
        batch_frames: frames embedded together; a longer sequence is embedded alone.
        vectors_mb: vectors beyond this are kept in a file, MB.
        scratch: folder of that file, which is gone when the program ends; None: the system's.
    """

    batch_frames: int = 2048
    vectors_mb: int = 2048
    scratch: Path | None = None


def first_frames(limit: int = MAX_FRAMES) -> FrameChoice:
    """Return the choice of a sequence's first frames, 720 as in the field."""
    return lambda index, entry: np.arange(min(entry.frames, limit))


def embed_store(
    embedder: Embedder,
    store: SequenceStore,
    indices: Sequence[int],
    choose: FrameChoice,
    limits: EmbeddingLimits,
    on_progress: Callable[[int, int], None] | None = None,
) -> EmbeddedSet:
    """Embed sequences of a store.

    A thread reads the next batch while the network works on this one.

    Args:
        indices: which, places in the store, without repeats.
        choose: of which frames.

    Raises:
        InputError: the network reads what the store lacks, or not one sequence can be embedded.
        ResourceError: no room for the vectors.
    """
    check_store(embedder, store)
    keep_freed_memory()  # a third of the time went into getting it anew for each batch
    ordered = np.unique(np.asarray(indices, np.int64))
    chosen = {int(i): choose(int(i), store.entries[i]) for i in ordered}
    vectors = room_for((len(ordered), *embedder.vector_shape), limits)
    row_of = {int(index): row for row, index in enumerate(ordered)}
    good = np.zeros(len(ordered), bool)
    broken: dict[int, str] = {}
    done = 0
    for batch, clips in _read_ahead(embedder, store, _batches(chosen, limits.batch_frames), chosen):
        for index, result in zip(batch, _embed(embedder, clips), strict=True):
            if isinstance(result, str):
                broken[index] = result
            else:
                vectors[row_of[index]] = result
                good[row_of[index]] = True
        done += len(batch)
        if on_progress is not None:
            on_progress(done, len(ordered))
    named = tuple((store.entries[i].name, broken[i]) for i in sorted(broken))
    if len(ordered) and not good.any():
        raise InputError(
            f"none of {len(ordered)} sequences could be embedded with {embedder.name}; "
            f"the first, {named[0][0]}: {named[0][1]}"
        )
    kept = ordered[good]
    entries = [store.entries[i] for i in kept]
    return EmbeddedSet(
        vectors=_close_gaps(vectors, np.flatnonzero(good)),
        indices=kept,
        subjects=tuple(entry.subject for entry in entries),
        kinds=tuple(entry.kind for entry in entries),
        views=tuple(entry.view for entry in entries),
        frames=np.array([len(chosen[int(i)]) for i in kept], np.int64),
        broken=named,
    )


def check_store(embedder: Embedder, store: SequenceStore) -> None:
    """Check that a store has what a network reads.

    Raises:
        InputError: it has not; says what to do.
    """
    missing = [name for name in embedder.reads if name not in store.has]
    if missing:
        hint = "Choose a network that reads what is there."
        if missing == ["theta"]:
            hint = "Add SMPL rows (smpls-*.pkl or smpls.npy), or let it do without: --no-smpl (of "
            "calibrate: --set embed.use_smpl=false)."
        raise InputError(
            f"{embedder.name} reads {' and '.join(missing)}, and not every sequence of this "
            f"dataset has that; all have {', '.join(sorted(store.has)) or 'nothing'}",
            hint=hint,
        )
    if embedder.silhouette_hw is not None:
        height = embedder.silhouette_hw[0]
        if store.height not in (height, 2 * height):
            raise InputError(
                f"the silhouettes are {store.height} pixels high and {embedder.name} reads "
                f"{height}; enlarging them would make up what was not seen",
                hint=HALVING_HINT,
            )


def halved(silhouettes: np.ndarray) -> np.ndarray:
    """Return uint8 [s,h/2,w/2] of uint8 [s,h,w]: the rounded mean of 2x2 pixels."""
    frames, height, width = silhouettes.shape
    cells = silhouettes.reshape(frames, height // 2, 2, width // 2, 2)
    return ((cells.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)


def _batches(chosen: dict[int, np.ndarray], batch_frames: int) -> list[list[int]]:
    """Return batches of sequences of like length, none beyond `batch_frames` if it can be."""
    batches: list[list[int]] = []
    room = 0
    for index in sorted(chosen, key=lambda i: (len(chosen[i]), i)):
        frames = len(chosen[index])
        if not batches or frames > room:
            batches.append([])
            room = batch_frames
        batches[-1].append(index)
        room -= frames
    return batches


def _read_ahead(
    embedder: Embedder,
    store: SequenceStore,
    batches: list[list[int]],
    chosen: dict[int, np.ndarray],
) -> Iterator[tuple[list[int], list[StoredClip | str]]]:
    """Yield each batch with its clips, or the reason why a clip cannot be read."""

    def read(batch: list[int]) -> list[StoredClip | str]:
        return [_read(embedder, store, index, chosen[index]) for index in batch]

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, batches[0]) if batches else None
        for place, batch in enumerate(batches):
            assert coming is not None
            clips = coming.result()
            if place + 1 < len(batches):
                coming = reader.submit(read, batches[place + 1])
            yield batch, clips


def _read(
    embedder: Embedder, store: SequenceStore, index: int, frames: np.ndarray
) -> StoredClip | str:
    if len(frames) == 0:
        return "it has no frames"
    try:
        clip = store.read(index, frames, frozenset(embedder.reads))
    except (InputError, OSError) as error:
        return str(error)
    if embedder.silhouette_hw is None:
        return clip
    silhouettes = clip.silhouettes
    if len(silhouettes) and not silhouettes.any():
        return "every silhouette is empty"
    if silhouettes.ndim == 3 and silhouettes.shape[1] == 2 * embedder.silhouette_hw[0]:
        return StoredClip(halved(silhouettes), clip.theta, clip.keypoints_px)
    return clip


def _embed(embedder: Embedder, clips: list[StoredClip | str]) -> list[np.ndarray | str]:
    """Return vectors, or the reason why there is none; one bad clip does not spoil the batch."""
    readable = [clip for clip in clips if not isinstance(clip, str)]
    try:
        found: Iterator[np.ndarray | str] = iter(embedder.embed(readable) if readable else [])
    except InputError:
        found = iter([_embed_one(embedder, clip) for clip in readable])
    results = [clip if isinstance(clip, str) else next(found) for clip in clips]
    return [
        "its vector holds numbers that are not finite"
        if not isinstance(result, str) and not np.isfinite(result).all()
        else result
        for result in results
    ]


def _embed_one(embedder: Embedder, clip: StoredClip) -> np.ndarray | str:
    try:
        return embedder.embed([clip])[0]
    except InputError as error:
        return str(error)


def room_for(shape: tuple[int, ...], limits: EmbeddingLimits) -> np.ndarray:
    """Return zeros float32 of `shape`, in memory or mapped from a file without a name.

    Raises:
        ResourceError: there is no room on the disk.
    """
    size = int(np.prod(shape)) * 4
    if size <= limits.vectors_mb << 20:
        return np.zeros(shape, np.float32)
    try:
        with tempfile.TemporaryFile(dir=limits.scratch) as file:
            # A mapped file that outgrows its disk kills the program: the room is taken now.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as error:
        raise ResourceError(
            f"no room for {size / 1e9:.1f} GB of vectors on disk: {error.strerror}",
            hint="Free some space, or choose another scratch folder (--scratch DIR).",
        ) from error


def _close_gaps(vectors: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the kept rows, moved up in place: a copy of all might not fit."""
    if len(kept) == len(vectors):
        return vectors
    for start in range(0, len(kept), MOVED_ROWS):
        moved = vectors[kept[start : start + MOVED_ROWS]]  # a copy; rows only move up
        vectors[start : start + len(moved)] = moved
    return vectors[: len(kept)]
