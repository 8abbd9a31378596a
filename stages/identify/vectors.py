"""Vectors as bytes in the gallery's file and back, with a checksum: a flipped bit is found."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from stages.identify import schema
from stages.identify.records import check_vector, is_comparable

VECTOR_DTYPE = np.dtype("<f4")


def pack_vector(vector: np.ndarray) -> tuple[bytes, int, int, int]:
    """Return a float32 [c,p] as little-endian bytes, c, p and the CRC-32 of the bytes."""
    blob = check_vector(vector).astype(VECTOR_DTYPE, copy=False).tobytes()
    return blob, vector.shape[0], vector.shape[1], zlib.crc32(blob)


def read_vector(path: Path, what: str, c: int, p: int, blob: bytes, crc32: int) -> np.ndarray:
    """Return a stored vector as float32 [c,p].

    Raises:
        GalleryError: if its bytes are not those that were written.
    """
    if len(blob) != 4 * c * p or zlib.crc32(blob) != crc32:
        raise schema.damaged(path, f"the vector of {what} has changed since it was written")
    vector = np.frombuffer(blob, VECTOR_DTYPE).astype(np.float32).reshape(c, p)
    if not is_comparable(vector):
        raise schema.damaged(path, f"the vector of {what} holds impossible numbers")
    return vector
