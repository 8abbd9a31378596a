"""Labelled walks for `calibrate`: from stored sequences, or from vectors that `embed` has written.

Stored sequences go through the embed stage in windows, as a camera's tracks would.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import InputError
from pipeline.messages import Embedding, Stamp, Window, Windows
from stages.identify.fitting import MAX_WALKS
from stages.identify.walks import Walks, side_of

if TYPE_CHECKING:
    from stages.embed.data.interface import Entry, SequenceStore, StoredClip
    from stages.embed.stage import EmbedStage

# Stored frames have no times: a camera's usual rate.
FRAME_NS = 40_000_000
# Keypoints that quality is told from: shoulders to ankles, as the body stage does.
BODY_KEYPOINTS = slice(5, 17)
# Sequences that are embedded side by side, as the tracks of one picture.
SIDE_BY_SIDE = 16
MAX_VECTORS_BYTES = 512 << 20
MAX_NPZ_BYTES = 8 << 30
EXPECTED = "names [N] and embeddings float32 [N,c,p], network, weights_hash, as `embed` writes"


@dataclass(frozen=True, slots=True)
class Cutting:
    """How stored sequences are cut: as the pipeline's windows.

    Attributes:
        length, stride: frames. min_length: of the shortest window, frames.
        windows: at most, of a sequence. walks: sequences at most, None for as many as fit. seed: of
            those that are drawn.
    """

    length: int
    stride: int
    min_length: int
    windows: int
    walks: int | None
    seed: int


def fitting_walks(cutting: Cutting, vector_shape: tuple[int, int]) -> Cutting:
    """Return the cutting with a number of walks; asked for more than fit, that is an error.

    Raises:
        InputError: so many vectors of this shape take too much memory.
    """
    size = 4 * vector_shape[0] * vector_shape[1] * cutting.windows
    fit = max(1, MAX_VECTORS_BYTES // size)
    if cutting.walks is None:
        return replace(cutting, walks=min(fit, MAX_WALKS))
    if cutting.walks > fit:
        raise InputError(
            f"the vectors of {cutting.walks} sequences would take {size * cutting.walks >> 20} MB, "
            f"allowed are {MAX_VECTORS_BYTES >> 20}",
            hint=f"Take fewer: --max-walks {fit}, or fewer windows of each (--max-windows).",
        )
    return cutting


def walks_of_store(
    stage: EmbedStage,
    store: SequenceStore,
    indices: Sequence[int],
    cutting: Cutting,
    on_progress: Callable[[str, int, int], None],
) -> tuple[Walks, list[str]]:
    """Return the walks of stored sequences, and what was left out and why.

    Args:
        stage: set up.

    Raises:
        InputError: the store lacks what the network reads, or nothing could be embedded.
    """
    chosen = _draw(store, indices, cutting)
    made: dict[int, list[Embedding]] = {}
    left_out: list[str] = []
    wanted = _wanted(store)
    for begin in range(0, len(chosen), SIDE_BY_SIDE):
        clips = {}
        for index in chosen[begin : begin + SIDE_BY_SIDE]:
            frames = min(_frames_of(cutting), store.entries[index].frames)
            try:
                clips[index] = store.read(index, np.arange(frames), wanted)
            except (InputError, OSError) as error:
                left_out.append(f"{store.entries[index].name}: {error}")
        for index, seen in _embed(stage, clips, cutting):
            made.setdefault(index, []).append(seen)
        on_progress("embedding", min(begin + SIDE_BY_SIDE, len(chosen)), len(chosen))
    for index in chosen:
        if index not in made:
            left_out.append(f"{store.entries[index].name}: nothing could be embedded")
    if not made:
        raise InputError(
            f"none of {len(chosen)} sequences could be embedded",
            hint=left_out[0] if left_out else "",
        )
    return _walks(made, store.entries, cutting), left_out


def _frames_of(cutting: Cutting) -> int:
    return cutting.length + (cutting.windows - 1) * cutting.stride


def _wanted(store: SequenceStore) -> frozenset[str]:
    return frozenset(store.has)


def _draw(store: SequenceStore, indices: Sequence[int], cutting: Cutting) -> list[int]:
    """Return sequences that are long enough, as many of each person as of any other."""
    fit = [i for i in indices if store.entries[i].frames >= cutting.min_length]
    if not fit:
        raise InputError(
            f"none of {len(indices)} sequences has {cutting.min_length} frames",
            hint="Calibrate with longer sequences, or shorter windows (--set sequence.length=N).",
        )
    order = np.random.default_rng([cutting.seed, 0]).permutation(len(fit))
    turns: dict[str, int] = {}
    ranked = []
    for place in order:
        subject = store.entries[fit[place]].subject
        turns[subject] = turns.get(subject, 0) + 1
        ranked.append((turns[subject], int(place)))
    ranked.sort(key=lambda one: one[0])
    return sorted(fit[place] for _, place in ranked[: cutting.walks])


def _embed(
    stage: EmbedStage, clips: dict[int, StoredClip], cutting: Cutting
) -> Iterator[tuple[int, Embedding]]:
    """Yield the embeddings of clips, window by window, each clip a track of its own."""
    source = "calibrate"
    most = 0
    for clip in clips.values():
        most = max(most, 1 + max(0, _length(clip) - cutting.length) // cutting.stride)
    for number in range(most):
        windows = [
            window
            for index, clip in clips.items()
            if (window := _window(index, clip, number, cutting)) is not None
        ]
        stamp = Stamp(source, number, number * FRAME_NS, 0, 0)
        (answer,) = stage.process(Windows(stamp, tuple(windows)))
        yield from ((seen.track_id, seen) for seen in answer.embeddings)
    ended = Windows(Stamp(source, most, most * FRAME_NS, 0, 0), (), (), tuple(clips))
    list(stage.process(ended))


def _length(clip: StoredClip) -> int:
    return len(clip.silhouettes)


def _window(index: int, clip: StoredClip, number: int, cutting: Cutting) -> Window | None:
    """Return a clip's window of this number, None beyond its end."""
    from stages.embed.evaluation.embedding import halved

    start = number * cutting.stride
    stop = min(start + cutting.length, _length(clip))
    if number and stop - start < cutting.length:
        return None
    silhouettes = clip.silhouettes[start:stop]
    if silhouettes.shape[1] == 128:
        silhouettes = halved(silhouettes)
    count = stop - start
    has_theta, has_keypoints = len(clip.theta) > 0, len(clip.keypoints_px) > 0
    theta = clip.theta[start:stop] if has_theta else np.zeros((count, 85), np.float32)
    points = (
        clip.keypoints_px[start:stop] if has_keypoints else np.zeros((count, 17, 3), np.float32)
    )
    frames = np.arange(start, stop, dtype=np.int64)
    return Window(
        track_id=index,
        silhouettes=silhouettes,
        theta=theta,
        keypoints_px=points,
        times_ns=frames * FRAME_NS,
        frame_ids=frames,
        quality=float(points[:, BODY_KEYPOINTS, 2].mean()) if has_keypoints else float("nan"),
        left_out=0,
    )


def _walks(made: dict[int, list[Embedding]], entries: Sequence[Entry], cutting: Cutting) -> Walks:
    order = sorted(made)
    seen = [one for index in order for one in made[index]]
    distinct = [
        one.frames + number * cutting.stride
        for index in order
        for number, one in enumerate(made[index])
    ]
    return Walks(
        network=seen[0].network,
        weights_hash=seen[0].weights_hash,
        vectors=np.stack([one.vector for one in seen]),
        starts=np.cumsum([0, *(len(made[index]) for index in order)]),
        frames=np.array([one.frames for one in seen], np.int64),
        distinct=np.array(distinct, np.float64),
        quality=np.array([one.quality for one in seen], np.float64),
        people=tuple(entries[index].subject for index in order),
        sides=tuple(side_of(entries[index].view) for index in order),
    )


def walks_of_npz(path: Path, cutting: Cutting) -> Walks:
    """Return the walks in a file of vectors.

    names are subject/kind/view; rows of one name are the windows of one walk, in order. `frames`
    [N] and `quality` [N] may lie beside them; without the former every row counts as one window.

    Raises:
        InputError: the file cannot be used; says what is missing.
    """
    held = _load(path)
    names, vectors = held["names"], held["embeddings"]
    if (
        names.ndim != 1
        or names.dtype.kind != "U"
        or vectors.ndim != 3
        or len(vectors) != len(names)
        or not len(names)
        or vectors.dtype != np.float32
    ):
        raise InputError(
            f"{path}: expected {EXPECTED}; got names {names.dtype}{list(names.shape)}, "
            f"embeddings {vectors.dtype}{list(vectors.shape)}"
        )
    order = np.argsort(names, kind="stable")
    walks, first, place = np.unique(names[order], return_index=True, return_inverse=True)
    number = np.arange(len(order)) - first[place]
    frames = _column(path, held, "frames", len(names), float(cutting.length))[order]
    pieces = [str(name).split("/") for name in walks]
    return Walks(
        network=str(held["network"]),
        weights_hash=str(held["weights_hash"]),
        vectors=vectors[order],
        starts=np.append(first, len(order)).astype(np.int64),
        frames=frames.astype(np.int64),
        distinct=frames + number * cutting.stride,
        quality=_column(path, held, "quality", len(names), float("nan"))[order],
        people=tuple(parts[0] for parts in pieces),
        sides=tuple(side_of(parts[-1] if len(parts) > 2 else "") for parts in pieces),
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.stat().st_size > MAX_NPZ_BYTES:
            raise InputError(f"{path} has more than {MAX_NPZ_BYTES} bytes")
        if path.is_file() and not zipfile.is_zipfile(path):
            raise InputError(f"{path} is no .npz file; expected {EXPECTED}")
        # Opened here: numpy leaves a file open that it cannot read.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = {"names", "embeddings", "network", "weights_hash"} - set(file.files)
            if missing:
                raise InputError(f"{path} lacks {', '.join(sorted(missing))}; expected {EXPECTED}")
            return {name: file[name] for name in file.files}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{path} is damaged or no .npz file: {error}") from error


def _column(
    path: Path, held: dict[str, np.ndarray], name: str, count: int, default: float
) -> np.ndarray:
    column = held.get(name)
    if column is None:
        return np.full(count, default)
    is_sound = column.shape == (count,) and column.dtype.kind in "fiu"
    if not is_sound or (name == "frames" and not (column >= 1).all()):
        raise InputError(
            f"{path}: {name} must be {count} numbers, got {column.dtype}{list(column.shape)}"
        )
    return column.astype(np.float64)
