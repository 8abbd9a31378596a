"""Who is like whom before a training's first step, for batches of people hard to tell apart.

A trained network tells most people apart at a glance, and among a dozen drawn at random it finds
nobody left to learn from. So the weights that a training starts from say once whom they confuse.

Letters: n subjects, c numbers of an embedding, all parts together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from stages.embed.data.interface import SequenceStore
from stages.embed.evaluation.embedding import EmbeddingLimits, embed_store, first_frames
from stages.embed.interface import Embedder
from stages.embed.training.run_folder import cannot_write

FORMAT_VERSION = 1
SHORTEST = 1e-6  # embeddings shorter than this have no direction


def drawn_sequences(labels: Mapping[int, int], count: int, seed: int) -> list[int]:
    """Return places of at most `count` sequences of each subject, drawn from the seed.

    Args:
        labels: by place in the store.
    """
    by_label: dict[int, list[int]] = {}
    for index, label in sorted(labels.items()):
        by_label.setdefault(label, []).append(index)
    rng = np.random.default_rng(seed)
    return sorted(
        places[i]
        for _, places in sorted(by_label.items())
        for i in rng.permutation(len(places))[:count]
    )


def subject_means(
    embedder: Embedder,
    store: SequenceStore,
    labels: Mapping[int, int],
    count: int,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Embed `count` sequences of each subject; return their means [n,c] of length 1, by label.

    Every part counts the same. A subject of whom nothing can be embedded is like nobody: zeros.

    Raises:
        InputError: nothing can be embedded. ResourceError: no room for the vectors.
    """
    chosen = drawn_sequences(labels, count, seed)
    found = embed_store(embedder, store, chosen, first_frames(), EmbeddingLimits(), on_progress)
    means = np.zeros((1 + max(labels.values()), *found.vectors.shape[1:]), np.float32)
    for index, vector in zip(found.indices, found.vectors, strict=True):  # vector: [c',p]
        means[labels[int(index)]] += vector / _length(vector, axis=0)
    flat = means.reshape(len(means), -1)
    return np.asarray(flat / _length(flat, axis=1))


def _length(vectors: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    return np.maximum(np.linalg.norm(vectors, axis=axis, keepdims=True), SHORTEST)


def save_means(path: Path, means: NDArray[np.float32]) -> None:
    """Write means, whole or not at all; ResourceError or InputError."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, format_version=np.int64(FORMAT_VERSION), means=means)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def load_means(path: Path, subjects: int) -> NDArray[np.float32]:
    """Read what `save_means` wrote.

    Raises:
        InputError: it is gone or damaged, or of other subjects.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            version, means = int(file["format_version"]), file["means"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(
            f"{path} does not tell who is like whom: {error}",
            hint="The run cannot go on with the batches that it would have had: put the file back, "
            "or begin in another folder.",
        ) from error
    if version != FORMAT_VERSION or means.ndim != 2 or len(means) != subjects:
        raise InputError(
            f"{path}: expected version {FORMAT_VERSION} with {subjects} subjects, got version "
            f"{version} with an array of {means.shape}"
        )
    return np.asarray(means, np.float32)
