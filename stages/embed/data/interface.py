"""What a set of stored sequences looks like to training and evaluation. Needs no torch.

Letters: n sequences in a batch, s frames, h w height and width of a silhouette.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored sequence.

    Attributes:
        subject: who walks, the dataset's id.
        kind: how, the dataset's type, such as nm-01 or camid0_videoid2.
        view: from where, the dataset's view, such as 090 or seq0.
        frames: how many.
    """

    subject: str
    kind: str
    view: str
    frames: int

    @property
    def name(self) -> str:
        """subject/kind/view."""
        return f"{self.subject}/{self.kind}/{self.view}"


@dataclass(frozen=True, slots=True, eq=False)
class StoredClip:
    """Frames of a stored sequence; a `stages.embed.interface.Clip` for any network.

    silhouettes: uint8 [s,h,w], aligned, sides cut off. theta: float32 [s,85] or [0,85].
    keypoints_px: float32 [s,17,3] or [0,17,3].
    """

    silhouettes: np.ndarray
    theta: np.ndarray
    keypoints_px: np.ndarray


class SequenceStore(Protocol):
    """A set of stored sequences.

    Attributes:
        entries: in the order of names, numbers by value.
        height: of the silhouettes, 64 or 128.
        has: of silhouettes, theta and keypoints, what every sequence has.
    """

    @property
    def entries(self) -> Sequence[Entry]: ...

    @property
    def height(self) -> int: ...

    @property
    def has(self) -> frozenset[str]: ...

    def read(
        self, index: int, frames: np.ndarray | None = None, wanted: frozenset[str] | None = None
    ) -> StoredClip:
        """Return frames of a sequence.

        Args:
            frames: int [s], any order, repeats allowed; None for all.
            wanted: of `has`, what to read (the rest comes back empty); None for all.

        Raises:
            InputError: the file changed or is damaged.
        """
        ...

    def stamp(self, index: int) -> str:
        """Return a text that changes when the stored sequence does; OSError if it is gone."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TrainingBatch:
    """What one training step reads.

    Attributes:
        inputs: by name, what the network reads: silhouettes uint8 [n,s,h,w], theta float32
            [n,s,85], keypoints float32 [n,s,17,3]. With `lengths`: [1,sum of lengths,...].
        labels: int64 [n], a subject's place in the list of training subjects.
        lengths: frames of each sequence where they differ, else None.
    """

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray
    lengths: tuple[int, ...] | None = None
