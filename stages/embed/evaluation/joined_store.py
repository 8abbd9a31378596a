"""Several stores as one: an evaluation set may come as one packed file for each of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from stages.embed.data.folders import Progress
from stages.embed.data.interface import Entry, SequenceStore, StoredClip
from stages.embed.data.opening import open_store
from stages.embed.data.packed import MAGIC, PackedStore
from stages.embed.sequences import natural_key

SUFFIX = ".gaitpack"


class JoinedStore:
    """A `SequenceStore` over several; `has` is what all of them have. Threads may share one."""

    def __init__(self, stores: Sequence[SequenceStore]) -> None:
        """Join stores.

        Raises:
            InputError: they differ in height, or two hold a sequence of one name.
        """
        heights = sorted({store.height for store in stores})
        if len(heights) != 1:
            raise InputError(
                f"the parts of the set have silhouettes {heights} pixels high",
                hint="Evaluate parts of one height together.",
            )
        self.height = heights[0]
        self.has = frozenset.intersection(*(store.has for store in stores))
        places = [(s, i) for s, store in enumerate(stores) for i in range(len(store.entries))]
        places.sort(key=lambda place: natural_key(stores[place[0]].entries[place[1]].name))
        self._stores, self._places = list(stores), places
        self.entries: Sequence[Entry] = [stores[s].entries[i] for s, i in places]
        names = [entry.name for entry in self.entries]
        twice = sorted({a for a, b in pairwise(names) if a == b})
        if twice:
            raise InputError(
                f"{len(twice)} sequences are in two parts of the set, such as {twice[0]}",
                hint="Remove one of the two files.",
            )

    def read(
        self, index: int, frames: np.ndarray | None = None, wanted: frozenset[str] | None = None
    ) -> StoredClip:
        """See `SequenceStore.read`."""
        store, place = self._places[index]
        wanted = self.has if wanted is None else wanted
        return self._stores[store].read(place, frames, wanted)

    def stamp(self, index: int) -> str:
        """See `SequenceStore.stamp`."""
        store, place = self._places[index]
        return self._stores[store].stamp(place)


def open_parts(path: Path, on_progress: Progress | None = None) -> SequenceStore:
    """Return a store of a packed file, of a folder of them, or of a folder of id/type/view/.

    Raises:
        InputError: there is nothing there, or it cannot be used.
    """
    packed = sorted(p for p in path.iterdir() if _is_packed(p)) if path.is_dir() else []
    if len(packed) > 1:
        return JoinedStore([PackedStore(part) for part in packed])
    return open_store(packed[0] if packed else path, on_progress=on_progress)


def _is_packed(path: Path) -> bool:
    """Whether it is packed data, by its beginning, or calls itself so: what is broken is told."""
    if not path.is_file():
        return False
    if path.suffix == SUFFIX:
        return True
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
