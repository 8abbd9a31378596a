"""Stored sequences in one file that is mapped into memory: the fast way to train.

    0       magic GAITPACK, version, height, width: little-endian, 24 bytes, padded to 64
    64      a block a sequence: silhouettes uint8 [s,h,w], theta float32 [s,85] if there are any,
            keypoints float32 [s,17,3] likewise; each array begins at a multiple of 64
    ...     the index: JSON, `Index`
    end-32  footer: offset and length of the index, its CRC-32, padding, magic PACKTIAG

Only the frames that are asked for are read. A block's CRC-32 is in the index; `verify` checks all
of them, reading does not, since that would read whole sequences for thirty frames.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipeline.errors import InputError
from stages.embed.data.folders import Progress
from stages.embed.data.interface import Entry, StoredClip

MAGIC, END_MAGIC = b"GAITPACK", b"PACKTIAG"
VERSION = 1
HEADER = struct.Struct("<8sIII4x")
FOOTER = struct.Struct("<QQI4x8s")
ALIGNMENT = 64
MAX_INDEX_BYTES = 1 << 30
MAX_FRAMES = 1_000_000
WIDTHS = {64: 44, 128: 88}
ROWS = {"theta": (85,), "keypoints": (17, 3)}
HINT = "Pack the data anew: run_pipeline.py pack --data DIR --out FILE"


class Block(msgspec.Struct, frozen=True, array_like=True):
    """One sequence of the index. `crc` is the CRC-32 of its block."""

    subject: str
    kind: str
    view: str
    frames: int
    offset: int
    crc: int


class Index(msgspec.Struct, frozen=True):
    """The index of a packed file. `has`: theta, keypoints."""

    has: tuple[str, ...]
    blocks: tuple[Block, ...]


def aligned(offset: int) -> int:
    """Return the next multiple of the alignment."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def array_places(
    frames: int, height: int, has: Sequence[str]
) -> tuple[dict[str, tuple[int, str, tuple[int, ...]]], int]:
    """Return offset within its block, dtype and shape of each array, and the block's size."""
    places: dict[str, tuple[int, str, tuple[int, ...]]] = {}
    places["silhouettes"] = (0, "uint8", (frames, height, WIDTHS[height]))
    end = frames * height * WIDTHS[height]
    for name, row in ROWS.items():
        if name in has:
            start = aligned(end)
            places[name] = (start, "<f4", (frames, *row))
            end = start + 4 * frames * int(np.prod(row))
    return places, aligned(end)


def header_bytes(height: int) -> bytes:
    """Return the beginning of a file."""
    return HEADER.pack(MAGIC, VERSION, height, WIDTHS[height]).ljust(ALIGNMENT, b"\0")


def block_bytes(clip: StoredClip, height: int, has: Sequence[str]) -> tuple[bytes, int]:
    """Return a sequence's block and its CRC-32."""
    places, size = array_places(len(clip.silhouettes), height, has)
    arrays = {
        "silhouettes": clip.silhouettes,
        "theta": clip.theta,
        "keypoints": clip.keypoints_px,
    }
    block = bytearray(size)
    for name, (start, dtype, shape) in places.items():
        array = np.ascontiguousarray(arrays[name], dtype)
        assert array.shape == shape, f"{name}: {array.shape} is not {shape}"
        block[start : start + array.nbytes] = array.tobytes()
    return bytes(block), zlib.crc32(block)


def index_bytes(index: Index, offset: int) -> bytes:
    """Return the index and the footer of a file whose blocks end at `offset`."""
    data = msgspec.json.encode(index)
    return data + FOOTER.pack(offset, len(data), zlib.crc32(data), END_MAGIC)


class PackedStore:
    """A `SequenceStore` over a packed file. Threads may share one."""

    def __init__(self, path: Path, subjects: Collection[str] | None = None) -> None:
        """Map the file and check that its index fits it.

        Raises:
            InputError: it is missing, damaged, cut off or of another version, or holds nobody of
                `subjects`.
        """
        self._path = path
        try:
            size = path.stat().st_size
            self.height, index = self._open(size)
            self._data = np.memmap(path, np.uint8, "r")
        except OSError as error:
            raise InputError(f"packed data {path} cannot be read: {error.strerror}") from error
        self._has = index.has
        self.has = frozenset(("silhouettes", *index.has))
        self._blocks = [b for b in index.blocks if subjects is None or b.subject in subjects]
        self.entries: Sequence[Entry] = [
            Entry(block.subject, block.kind, block.view, block.frames) for block in self._blocks
        ]
        if not self.entries:
            raise InputError(f"packed data {path} hold no sequence of the wanted subjects")

    def read(
        self, index: int, frames: np.ndarray | None = None, wanted: frozenset[str] | None = None
    ) -> StoredClip:
        """See `SequenceStore.read`. The arrays are copies; the file may be closed after."""
        block = self._blocks[index]
        wanted = self.has if wanted is None else wanted
        places, _ = array_places(block.frames, self.height, self._has)
        rows = slice(None) if frames is None else frames
        found: dict[str, np.ndarray] = {
            "silhouettes": np.zeros((0, self.height, WIDTHS[self.height]), np.uint8),
            "theta": np.zeros((0, *ROWS["theta"]), np.float32),
            "keypoints": np.zeros((0, *ROWS["keypoints"]), np.float32),
        }
        for name, (within, dtype, shape) in places.items():
            if name in wanted:
                start = block.offset + within
                nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
                array = self._data[start : start + nbytes].view(dtype).reshape(shape)
                found[name] = np.array(array[rows])
        return StoredClip(found["silhouettes"], found["theta"], found["keypoints"])

    def block(self, index: int) -> tuple[bytes, int]:
        """Return a sequence's block as it lies in the file, and the CRC-32 it should have."""
        block = self._blocks[index]
        _, size = array_places(block.frames, self.height, self._has)
        return self._data[block.offset : block.offset + size].tobytes(), block.crc

    def stamp(self, index: int) -> str:
        """See `SequenceStore.stamp`: the content's checksum."""
        return f"{self._blocks[index].crc:08x}"

    def verify(self, on_progress: Progress | None = None) -> list[str]:
        """Read everything and return the names of sequences whose content is damaged."""
        damaged = []
        for place in range(len(self._blocks)):
            block, crc = self.block(place)
            if zlib.crc32(block) != crc:
                damaged.append(self.entries[place].name)
            if on_progress is not None:
                on_progress(place + 1, len(self._blocks))
        return damaged

    def _open(self, size: int) -> tuple[int, Index]:
        """Return the height and the index, checked against the file's size."""
        with self._path.open("rb") as file:
            height = self._height_of(file.read(HEADER.size))
            if size < ALIGNMENT + FOOTER.size:
                raise self._damaged("it is cut off")
            file.seek(size - FOOTER.size)
            offset, length, crc, magic = FOOTER.unpack(file.read(FOOTER.size))
            if magic != END_MAGIC or offset + length + FOOTER.size != size:
                raise self._damaged("it is cut off, or was never finished")
            if length > MAX_INDEX_BYTES:
                raise self._damaged(f"its index takes {length} bytes")
            file.seek(offset)
            data = file.read(length)
        if zlib.crc32(data) != crc:
            raise self._damaged("its index does not match its checksum")
        try:
            index = msgspec.json.decode(data, type=Index)
        except msgspec.MsgspecError as error:
            raise self._damaged(f"its index does not read: {error}") from error
        self._check(index, height, offset)
        return height, index

    def _height_of(self, header: bytes) -> int:
        if len(header) < HEADER.size or not header.startswith(MAGIC):
            raise InputError(f"{self._path} is no packed data", hint=HINT)
        _, version, height, width = HEADER.unpack(header)
        if version != VERSION:
            raise InputError(
                f"packed data {self._path} have version {version}, this program reads {VERSION}",
                hint=HINT,
            )
        if WIDTHS.get(height) != width:
            raise self._damaged(f"silhouettes of {width}x{height} pixels")
        return int(height)

    def _check(self, index: Index, height: int, end: int) -> None:
        if not set(index.has) <= set(ROWS):
            raise self._damaged(f"its index names {index.has}")
        for block in index.blocks:
            fits = 0 < block.frames <= MAX_FRAMES and block.offset >= ALIGNMENT
            if not fits or block.offset % ALIGNMENT:
                raise self._damaged(f"{block.subject}/{block.kind}/{block.view} lies nowhere")
            if block.offset + array_places(block.frames, height, index.has)[1] > end:
                raise self._damaged(f"{block.subject}/{block.kind}/{block.view} ends beyond it")

    def _damaged(self, why: str) -> InputError:
        return InputError(f"packed data {self._path} are damaged: {why}", hint=HINT)


def sync(file: Any) -> None:
    """Make sure that what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())
