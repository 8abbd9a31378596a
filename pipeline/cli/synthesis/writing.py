"""Writes one person's part of a set, whole or not at all, in the process that made it.

`silhouettes`: a folder a person in the public layout, id/kind/view/, renamed into its place when it
is whole. `packed`: a packed file a person, which the command then appends to the set's in order.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.making import Maker
from pipeline.cli.synthesis.places import PACKED_SUFFIX, Places
from pipeline.cli.synthesis.plan import planned_of, subject_of
from pipeline.errors import InputError
from stages.embed.data.interface import Entry, StoredClip
from stages.embed.data.packed import PackedStore
from stages.embed.data.packed_writer import PackedWriter
from stages.embed.sequences import SIDES
from stages.human.walkers.sequences import WalkSequence

PICKLE_PROTOCOL = 4  # what OpenGait's own files have


def rows_of(config: SynthConfig) -> tuple[str, ...]:
    """Return what a packed set has beside silhouettes."""
    return ("theta", "keypoints") if config.theta else ("keypoints",)


class FolderWriter:
    """Makes people into folders: a `crew.Worker`."""

    def __init__(self, config: SynthConfig, places: Places, gaits: Path | None) -> None:
        self._config = config
        self._places = places
        self._maker = Maker(config, gaits)

    def __call__(self, number: int, tell: Callable[[int], None]) -> None:
        subject = subject_of(self._config, number)
        half = self._places.halves / subject
        frames = 0
        for planned, sequence in self._maker.sequences(number):
            folder = half / planned.kind / planned.view
            folder.mkdir(parents=True)
            write_sequence(folder, sequence, self._config.form)
            frames += len(sequence.silhouettes)
            tell(frames)
        half.rename(self._places.out / subject)


class PartPacker:
    """Makes people into packed files of their own: a `crew.Worker`."""

    def __init__(self, config: SynthConfig, places: Places, gaits: Path | None) -> None:
        self._config = config
        self._places = places
        self._maker = Maker(config, gaits)

    def __call__(self, number: int, tell: Callable[[int], None]) -> None:
        path = part_file(self._places, self._config, number)
        half = self._places.halves / path.name
        frames = 0
        with PackedWriter(half, self._config.size, rows_of(self._config), "") as writer:
            for place, (planned, sequence) in enumerate(self._maker.sequences(number)):
                subject = subject_of(self._config, number)
                entry = Entry(subject, planned.kind, planned.view, len(sequence.silhouettes))
                clip = StoredClip(sequence.silhouettes, sequence.theta, sequence.keypoints_px)
                writer.add(place, entry, clip)
                frames += len(sequence.silhouettes)
                tell(frames)
            writer.finish()
        half.replace(path)


def part_file(places: Places, config: SynthConfig, number: int) -> Path:
    """Return where a person's packed part lies until it is appended."""
    return places.parts / f"{subject_of(config, number)}{PACKED_SUFFIX}"


def write_sequence(folder: Path, sequence: WalkSequence, form: str) -> None:
    """Write one sequence's files; the silhouettes get back their empty sides.

    Raises:
        OSError: the disk is full.
    """
    squares = square(sequence.silhouettes)
    if form == "opengait":
        # Only arrays go in, so reading them needs no trust (stages/human/safe_pickle.py).
        name = folder.name
        _write(folder / f"{name}.pkl", pickle.dumps(squares, PICKLE_PROTOCOL))
        if len(sequence.theta):
            data = pickle.dumps(sequence.theta, PICKLE_PROTOCOL)
            _write(folder / f"smpls-{name}.pkl", data)
        return
    _save(folder / "sils.npy", squares)
    _save(folder / "keypoints.npy", sequence.keypoints_px)
    if len(sequence.theta):
        _save(folder / "smpls.npy", sequence.theta)


def _save(path: Path, array: np.ndarray) -> None:
    """Write a .npy file; what is wrong with the disk is told, which numpy itself does not do."""
    data = io.BytesIO()
    np.save(data, array)
    _write(path, data.getbuffer())


def _write(path: Path, data: bytes | memoryview) -> None:
    """Write a file; an error names it, which one of a full disk by itself does not."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def square(silhouettes: np.ndarray) -> np.ndarray:
    """Return uint8 [s,h,h] of [s,h,w]: zeros to either side."""
    height, width = silhouettes.shape[1:]
    assert height in SIDES, f"{height} is no silhouette's height"
    side = (height - width) // 2
    return np.pad(silhouettes, ((0, 0), (0, 0), (side, height - width - side)))


def is_whole(folder: Path, config: SynthConfig, number: int) -> bool:
    """Return whether a person's folder has all its files, none of them cut off.

    A renamed folder is whole after any kill of the program; after a power cut it may not be.
    """
    return all(
        _is_whole_sequence(folder / planned.kind / planned.view, config)
        for planned in planned_of(config, number)
    )


def _is_whole_sequence(folder: Path, config: SynthConfig) -> bool:
    if config.form == "opengait":
        names = [f"{folder.name}.pkl"] + [f"smpls-{folder.name}.pkl"] * config.theta
        # The last byte of a pickle is its STOP.
        return all(_last_byte(folder / name) == pickle.STOP for name in names)
    names = ["sils.npy", "keypoints.npy"] + ["smpls.npy"] * config.theta
    try:
        return all(len(np.load(folder / name, "r", False)) == config.frames for name in names)
    except (OSError, ValueError, EOFError):
        return False


def _last_byte(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1)
    except OSError:
        return b""


def usable_part(path: Path, sequences: int) -> PackedStore | None:
    """Return a person's packed part, None if it is not there or damaged."""
    if not path.exists():
        return None
    try:
        store = PackedStore(path)
    except InputError:
        return None
    return store if len(store.entries) == sequences and not store.verify() else None
