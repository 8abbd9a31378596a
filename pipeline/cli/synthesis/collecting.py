"""The set as it grows: what of it is there, and how a part comes into it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Protocol

from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.places import Places
from pipeline.cli.synthesis.plan import kinds_of, subject_of, views_of
from pipeline.cli.synthesis.writing import (
    is_whole,
    part_file,
    rows_of,
    usable_part,
)
from stages.embed.data.packed import PackedStore
from stages.embed.data.packed_writer import PackedWriter


class Collection(Protocol):
    """A set under way. Use as a context; `finish` makes it whole."""

    def __enter__(self) -> Collection: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...

    def missing(self) -> Sequence[int]:
        """Return the numbers of the people who are still to be made, in order."""
        ...

    def collect(self, number: int) -> None:
        """Take in a part that has just been made; they come in the order of `missing`."""
        ...

    def finish(self) -> None:
        """All parts are in."""
        ...


class FolderCollection:
    """People as folders: whoever is there whole is done."""

    def __init__(self, config: SynthConfig, places: Places) -> None:
        self._config = config
        self._places = places

    def __enter__(self) -> FolderCollection:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def missing(self) -> Sequence[int]:
        found = []
        for number in self._config.numbers:
            folder = self._places.out / subject_of(self._config, number)
            if not folder.is_dir():
                found.append(number)
            elif not is_whole(folder, self._config, number):
                shutil.rmtree(folder)
                found.append(number)
        return found

    def collect(self, number: int) -> None:
        pass

    def finish(self) -> None:
        pass


class PackedCollection:
    """One packed file; parts are appended in the order of people, so that it is always the same."""

    def __init__(self, config: SynthConfig, places: Places, source: str) -> None:
        """Prepare.

        Args:
            source: a text that another set would not have.
        """
        self._config = config
        self._places = places
        self._per_person = len(kinds_of(config)) * len(views_of(config))
        self._writer = PackedWriter(places.out, config.size, rows_of(config), source)
        # It gets its name last. That it is of the same set was looked at before.
        self._is_whole = places.out.exists()

    def __enter__(self) -> PackedCollection:
        if not self._is_whole:
            self._writer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if not self._is_whole:
            self._writer.__exit__(kind, *rest)

    def missing(self) -> Sequence[int]:
        """Append what lies ready; return who is still to be made, in order."""
        if self._is_whole:
            return []
        missing = []
        for number in self._config.numbers[self._next() :]:
            path = part_file(self._places, self._config, number)
            if usable_part(path, self._per_person) is None:
                path.unlink(missing_ok=True)
                missing.append(number)
        self._append_ready()
        return missing

    def collect(self, number: int) -> None:
        """Append the part and those after it that are ready too."""
        self._append_ready()

    def finish(self) -> None:
        if not self._is_whole:
            self._writer.finish()

    def _next(self) -> int:
        """Return the place among the people of who is not, or not wholly, in the file."""
        return self._writer.next_place // self._per_person

    def _append_ready(self) -> None:
        """Append parts for as long as the next one is there."""
        while self._next() < self._config.identities:
            person = self._next()
            path = part_file(self._places, self._config, self._config.numbers[person])
            if not path.exists():
                return
            part = PackedStore(path)
            # A kill may have come amid a person.
            first = self._writer.next_place - person * self._per_person
            for place in range(first, self._per_person):
                entry = part.entries[place]
                self._writer.add_block(person * self._per_person + place, entry, *part.block(place))
            self._writer.sync()
            path.unlink()
