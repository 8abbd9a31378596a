"""A small evaluation suite in one compressed file, for a test of accuracy that takes seconds.

`.npz` without pickled objects, N sequences of s frames: subjects, kinds, views [N] str;
silhouettes uint8 [N,s,64,44], grey values rounded to steps of 16; theta float16 [N,s,85];
keypoints float16 [N,s,17,3], x and y from each sequence's own middle. `scripts/
make_accuracy_fixture.py` cuts one from a suite.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.embed.data.interface import Entry, SequenceStore, StoredClip

GREY_STEP = 16
ARRAYS = ("subjects", "kinds", "views", "silhouettes", "theta", "keypoints")
# A zip holds times; this one makes equal arrays equal files.
EPOCH = (1980, 1, 1, 0, 0, 0)


class FixtureStore:
    """A `SequenceStore` over such a file."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name] for name in ARRAYS}
        self._silhouettes = data["silhouettes"]
        self._theta = data["theta"].astype(np.float32)
        self._keypoints = data["keypoints"].astype(np.float32)
        frames = self._silhouettes.shape[1]
        names = (data["subjects"], data["kinds"], data["views"])
        self.entries: Sequence[Entry] = [
            Entry(str(s), str(k), str(v), frames) for s, k, v in zip(*names, strict=True)
        ]
        self.height = self._silhouettes.shape[2]
        self.has = frozenset({"silhouettes", "theta", "keypoints"})

    def read(
        self, index: int, frames: np.ndarray | None = None, wanted: frozenset[str] | None = None
    ) -> StoredClip:
        """See `SequenceStore.read`; all of `has` comes, whatever is wanted."""
        rows = slice(None) if frames is None else frames
        return StoredClip(
            self._silhouettes[index][rows], self._theta[index][rows], self._keypoints[index][rows]
        )

    def stamp(self, index: int) -> str:
        """See `SequenceStore.stamp`."""
        return self.entries[index].name


def write_fixture(path: Path, store: SequenceStore, indices: Sequence[int], frames: int) -> None:
    """Write the first frames of some sequences of a store; equal ones make equal files."""
    entries = [store.entries[i] for i in indices]
    clips = [store.read(i, np.arange(frames)) for i in indices]
    grey = np.stack([clip.silhouettes for clip in clips]).astype(np.uint16)
    rounded = np.minimum((grey + GREY_STEP // 2) // GREY_STEP * GREY_STEP, 255)
    keypoints = np.stack([clip.keypoints_px for clip in clips])
    keypoints[..., :2] -= np.rint(keypoints[..., :2].mean(axis=(1, 2), keepdims=True))
    arrays = {
        "subjects": np.array([entry.subject for entry in entries]),
        "kinds": np.array([entry.kind for entry in entries]),
        "views": np.array([entry.view for entry in entries]),
        "silhouettes": rounded.astype(np.uint8),
        "theta": np.stack([clip.theta for clip in clips]).astype(np.float16),
        "keypoints": keypoints.astype(np.float16),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            info.compress_type = zipfile.ZIP_LZMA
            file.writestr(info, buffer.getvalue())
