"""Sets of silhouettes, as folders or packed: a part is a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from pipeline.cli.synthesis.collecting import Collection, FolderCollection, PackedCollection
from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.contact_sheet import MAX_PEOPLE, Read, contact_sheet
from pipeline.cli.synthesis.crew import Worker
from pipeline.cli.synthesis.making import Maker
from pipeline.cli.synthesis.places import Places
from pipeline.cli.synthesis.plan import kinds_of, subject_of, views_of
from pipeline.cli.synthesis.subjects import partition_text, subjects_table
from pipeline.cli.synthesis.writing import FolderWriter, PartPacker, rows_of
from stages.embed.data.interface import StoredClip
from stages.embed.data.packed import PackedStore, array_places
from stages.embed.runtimes.atomic_write import write_atomically
from stages.embed.sequences import SilhouetteSequence, read_sequence

# What a file system takes for a small file, at least.
FILE_BLOCK_BYTES = 4096
NPY_HEADER_BYTES = 128


@dataclass(frozen=True, slots=True)
class PeopleSet:
    """A `Product`: silhouettes, keypoints and SMPL rows of people."""

    config: SynthConfig
    places: Places

    @property
    def parts(self) -> range:
        return self.config.numbers

    @property
    def frames(self) -> int:
        return self.sequences * self.config.frames

    @property
    def sequences(self) -> int:
        """Of each person."""
        return len(kinds_of(self.config)) * len(views_of(self.config))

    def name_of(self, number: int) -> str:
        return subject_of(self.config, number)

    def needed_bytes(self, parts: int) -> int:
        config = self.config
        if config.kind == "packed":
            block = array_places(config.frames, config.size, rows_of(config))[1]
            return parts * self.sequences * block
        rows = [config.size**2, 4 * 17 * 3] + [4 * 85] * config.theta
        files = (NPY_HEADER_BYTES + config.frames * row for row in rows)
        blocks = sum(-(-size // FILE_BLOCK_BYTES) for size in files) + 1  # and the folder
        return parts * self.sequences * blocks * FILE_BLOCK_BYTES

    def collection(self, source: str) -> Collection:
        if self.config.kind == "packed":
            return PackedCollection(self.config, self.places, source)
        return FolderCollection(self.config, self.places)

    def worker(self, gaits: Path | None) -> tuple[Callable[..., Worker], Sequence[Any]]:
        engage = PartPacker if self.config.kind == "packed" else FolderWriter
        return engage, (self.config, self.places, gaits)

    def write_sides(self, gaits: Path | None) -> None:
        """Write who is in it, and a picture of some of them."""
        config, places = self.config, self.places
        maker = Maker(config, gaits)
        table = subjects_table(config, (maker.person(number) for number in config.numbers))
        write_atomically(places.side("subjects.csv"), table.encode())
        write_atomically(places.side("partition.json"), partition_text(config).encode())
        people = [maker.person(number) for number in config.numbers[:MAX_PEOPLE]]
        told = [
            (subject_of(config, who.number), f"{who.group} {who.height_m:.2f} m") for who in people
        ]
        sheet = contact_sheet(told, kinds_of(config), views_of(config), self._reader())
        written, data = cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        assert written, "a picture in memory encodes"
        write_atomically(places.side("contact_sheet.png"), data.tobytes())

    def _reader(self) -> Read:
        """Return what reads a sequence back from the set's files."""
        if self.config.kind == "packed":
            store = PackedStore(self.places.out)
            place = {entry.name: index for index, entry in enumerate(store.entries)}

            def read(*name: str) -> StoredClip | SilhouetteSequence:
                return store.read(place["/".join(name)])

        else:
            size = (self.config.size, self.config.size * 11 // 16)

            def read(*name: str) -> StoredClip | SilhouetteSequence:
                folder = self.places.out.joinpath(*name)
                return read_sequence(folder, name[-1], size, self.config.frames)

        def silhouettes_and_keypoints(*name: str) -> tuple[Any, Any]:
            found = read(*name)
            return found.silhouettes, found.keypoints_px

        return silhouettes_and_keypoints
