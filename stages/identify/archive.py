"""The file that `exchange.py` writes, and how one is read that may be hostile.

Members are stored, not compressed, so an archive never unpacks to more than its own size. Their
names are only compared with the ones that the JSON asks for; nothing is ever written to the disk.
"""

from __future__ import annotations

import contextlib
import re
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from pipeline.errors import GalleryError
from stages.identify.records import (
    MAX_INTEGER,
    MAX_THUMBNAIL_BYTES,
    MAX_VECTOR_NUMBERS,
    check_thumbnail,
    clean_name,
    name_key,
)
from stages.identify.vectors import VECTOR_DTYPE

FORMAT = "gaitstream-gallery"
VERSION = 1
MAX_JSON_BYTES = 32 << 20
MAX_FILE_BYTES = 2 << 30
MAX_MEMBERS = 100_000
NPY_HEAD_BYTES = 4096

_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_HEAD = re.compile(
    rb"\{'descr': '<f4', 'fortran_order': False, "
    rb"'shape': \(([0-9]{1,9}), ([0-9]{1,9}), ([0-9]{1,9})\), \} *\n"
)

_MEMBER = re.compile(r"gallery\.json|vectors/[0-9]{1,6}\.npy|thumbnails/[0-9]{1,6}\.jpg")
_Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
_Label = Annotated[str, Meta(max_length=256)]
_Text = Annotated[str, Meta(max_length=4096)]
_PersonId = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]


@dataclass(frozen=True)
class SetEntry:
    network: _Label
    weights_hash: _Label
    count: Annotated[int, Meta(ge=1, le=1 << 24)]
    c: Annotated[int, Meta(ge=1, le=MAX_VECTOR_NUMBERS)]
    p: Annotated[int, Meta(ge=1, le=MAX_VECTOR_NUMBERS)]

    @property
    def nbytes(self) -> int:
        return 4 * self.count * self.c * self.p


@dataclass(frozen=True)
class TemplateEntry:
    set: _Count
    row: _Count
    source_label: _Text
    frames: _Count
    quality: Annotated[float, Meta(ge=0.0, le=1.0)]
    created_unix_ns: _Count


@dataclass(frozen=True)
class PersonEntry:
    id: _PersonId
    name: _Label
    note: _Text
    consent: _Text
    created_unix_ns: _Count
    thumbnail: _Count | None
    templates: tuple[TemplateEntry, ...]


@dataclass(frozen=True)
class _Head:
    format: str
    version: int


@dataclass(frozen=True)
class Contents:
    format: str
    version: int
    sets: Annotated[tuple[SetEntry, ...], Meta(max_length=1000)]
    people: Annotated[tuple[PersonEntry, ...], Meta(max_length=MAX_MEMBERS)]


@dataclass(frozen=True, slots=True, eq=False)
class Import:
    """A file that was found fit.

    Attributes:
        source: the file.
        vectors: float32 [n,c,p] for each of `contents.sets`.
        pictures: JPEG bytes or None, by person id.
    """

    source: Path
    contents: Contents
    vectors: tuple[np.ndarray, ...]
    pictures: dict[str, bytes | None]


def read_archive(source: Path) -> Import:
    """Read an exported file whole, after every size in it was checked.

    Raises:
        GalleryError: not such a file, damaged, too large, or of a newer version.
    """
    with _readable_zip(source) as archive:
        sizes = _check_members(source, archive)
        contents = _read_contents(source, archive, sizes)
        vectors = tuple(
            _read_vectors(source, archive, sizes, number, entry)
            for number, entry in enumerate(contents.sets)
        )
        pictures = {
            person.id: _read_picture(source, archive, sizes, person) for person in contents.people
        }
    return Import(source, contents, vectors, pictures)


@contextlib.contextmanager
def _readable_zip(source: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; whatever is wrong with it becomes a `GalleryError`."""
    try:
        if not source.is_file():
            raise _unfit(source, "there is no such file")
        if source.stat().st_size > MAX_FILE_BYTES:
            raise _unfit(source, f"it has {source.stat().st_size} bytes, limit {MAX_FILE_BYTES}")
        with zipfile.ZipFile(source) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        struct.error,
        EOFError,
        OSError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OverflowError,
    ) as error:
        raise _unfit(source, str(error) or type(error).__name__) from error


def _unfit(source: Path, what: str) -> GalleryError:
    return GalleryError(
        f"{source} cannot be imported: {what}",
        hint="give a file that `gallery export` has written",
    )


def _check_members(source: Path, archive: zipfile.ZipFile) -> dict[str, int]:
    """Return the declared size of each member, after all of them were found fit."""
    members = archive.infolist()
    if len(members) > 2 * MAX_MEMBERS:
        raise _unfit(source, f"it has {len(members)} members")
    sizes: dict[str, int] = {}
    for member in members:
        if not _MEMBER.fullmatch(member.filename) or member.filename in sizes:
            raise _unfit(source, f"unexpected member {member.filename[:80]!r}")
        if member.flag_bits & 1 or member.compress_type != zipfile.ZIP_STORED:
            raise _unfit(source, f"{member.filename} is compressed or encrypted")
        sizes[member.filename] = member.file_size
    total, limit = sum(sizes.values()), source.stat().st_size
    if total > limit:
        raise _unfit(source, f"its members claim {total} bytes, the whole file has {limit}")
    if sizes.get("gallery.json", 0) > MAX_JSON_BYTES:
        raise _unfit(source, f"its gallery.json has more than {MAX_JSON_BYTES} bytes")
    if "gallery.json" not in sizes:
        raise _unfit(source, "it has no gallery.json")
    return sizes


def _read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    # One byte more than declared: a member that lies about its size is then found by its CRC.
    with archive.open(name) as member:
        return member.read(limit + 1)


def _read_contents(source: Path, archive: zipfile.ZipFile, sizes: dict[str, int]) -> Contents:
    data = _read_member(archive, "gallery.json", sizes["gallery.json"])
    try:
        # Two steps: a newer version is to be called that, not wrong. Neither keeps what it does
        # not know, so memory stays near the size of the text.
        head = msgspec.json.decode(data, type=_Head)
        if head.format != FORMAT:
            raise _unfit(source, f"its format is {head.format!r}, expected {FORMAT!r}")
        if not 1 <= head.version <= VERSION:
            raise _unfit(
                source, f"it has version {head.version}, this program knows up to {VERSION}"
            )
        contents = msgspec.json.decode(data, type=Contents)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unfit(source, f"gallery.json: {error}") from error
    _check_contents(source, contents)
    return contents


def _check_contents(source: Path, contents: Contents) -> None:
    ids = {person.id for person in contents.people}
    names = {name_key(clean_name(person.name)) for person in contents.people}
    if min(len(ids), len(names)) < len(contents.people):
        raise _unfit(source, "two people in it have the same name or id")
    if any(entry.c * entry.p > MAX_VECTOR_NUMBERS for entry in contents.sets):
        raise _unfit(source, f"a vector has more than {MAX_VECTOR_NUMBERS} numbers")
    for person in contents.people:
        for template in person.templates:
            if (
                template.set >= len(contents.sets)
                or template.row >= contents.sets[template.set].count
            ):
                raise _unfit(source, f"a template of {person.name!r} has no vector")


def _read_vectors(
    source: Path, archive: zipfile.ZipFile, sizes: dict[str, int], number: int, entry: SetEntry
) -> np.ndarray:
    """Return float32 [n,c,p] after its head said what the JSON says."""
    name = f"vectors/{number}.npy"
    size = sizes.get(name, -1)
    if not entry.nbytes < size <= entry.nbytes + NPY_HEAD_BYTES:
        raise _unfit(source, f"{name} should have {entry.nbytes} bytes and a head, it has {size}")
    wanted = (entry.count, entry.c, entry.p)
    with archive.open(name) as member:
        head = _read_head(member)
        if head is None or tuple(map(int, head.groups())) != wanted:
            raise _unfit(source, f"{name} does not start as an npy file of <f4{list(wanted)} does")
        data = member.read(entry.nbytes + 1)
    if len(data) != entry.nbytes:
        raise _unfit(source, f"{name} has {len(data)} bytes of numbers, expected {entry.nbytes}")
    return np.frombuffer(data, VECTOR_DTYPE).astype(np.float32, copy=False).reshape(wanted)


def _read_head(member: IO[bytes]) -> re.Match[bytes] | None:
    """Return the shape's three numbers from the head of an npy file.

    numpy's own reader evaluates the head as Python source; what it raises for a hostile one is
    nowhere written down. `numpy.save` writes exactly this.
    """
    if member.read(len(_NPY_MAGIC)) != _NPY_MAGIC:
        return None
    length = int.from_bytes(member.read(2), "little")
    return _NPY_HEAD.fullmatch(member.read(min(length, NPY_HEAD_BYTES)))


def _read_picture(
    source: Path, archive: zipfile.ZipFile, sizes: dict[str, int], person: PersonEntry
) -> bytes | None:
    if person.thumbnail is None:
        return None
    name = f"thumbnails/{person.thumbnail}.jpg"
    if not 0 < sizes.get(name, -1) <= MAX_THUMBNAIL_BYTES:
        raise _unfit(source, f"{name} should have 1..{MAX_THUMBNAIL_BYTES} bytes")
    return check_thumbnail(_read_member(archive, name, sizes[name]))
