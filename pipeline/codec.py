"""Messages to bytes and back. Data only: nothing that is read here can run.

A message is two buffers: a header in MessagePack and one blob with the raw bytes of all arrays,
each at a 16-byte boundary. In the header an array stands as `[dtype, shape, offset]`. Decoding
checks lengths, dtypes and sizes before it touches the blob, and makes views of it, never copies.
The arrays must lie one after another, as they were written: so no array can stand for more memory
than came, however often a header names it. What comes in may take up to 64 times the header (of
`MAX_HEADER_BYTES`) while it is read, and after that no more than the blob.
Unknown fields are passed over and missing ones take their defaults, so that neighbouring versions
understand each other.
"""

from __future__ import annotations

import math
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from pipeline.errors import MessageError

MAX_HEADER_BYTES = 1 << 20
MAX_BLOB_BYTES = 1 << 28
MAX_DIMENSIONS = 4
# Bytes that no array of ours lies in: arrays in fields that this version does not know.
MAX_UNREAD_BYTES = 1 << 20
MAX_REASON_LENGTH = 300
ALIGNMENT = 16
DTYPES = frozenset({"|u1", "<f4", "<i8"})

Buffer = bytes | bytearray | memoryview
T = TypeVar("T")


class _ArrayWriter:
    """Collects arrays while the header is being written."""

    def __init__(self) -> None:
        self.arrays: list[tuple[int, np.ndarray]] = []
        self.size = 0

    def __call__(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            if value.dtype.str not in DTYPES:
                raise MessageError(
                    f"cannot send an array of {value.dtype}; allowed: {sorted(DTYPES)}"
                )
            offset = -(-self.size // ALIGNMENT) * ALIGNMENT
            self.arrays.append((offset, value))
            self.size = offset + value.nbytes
            return [value.dtype.str, value.shape, offset]
        if isinstance(value, np.generic):
            return value.item()
        raise MessageError(f"cannot send a value of type {type(value).__name__}")


def encode(message: Any) -> tuple[bytes, bytearray]:
    """Return header and blob of a message dataclass.

    Raises:
        MessageError: for a field that is neither plain data nor an array of an allowed dtype.
    """
    writer = _ArrayWriter()
    header = msgspec.msgpack.encode(message, enc_hook=writer)
    if len(header) > MAX_HEADER_BYTES or writer.size > MAX_BLOB_BYTES:
        raise MessageError(
            f"{type(message).__name__} is too large to send: header {len(header)} bytes "
            f"(limit {MAX_HEADER_BYTES}), arrays {writer.size} bytes (limit {MAX_BLOB_BYTES})"
        )
    blob = bytearray(writer.size)
    for offset, array in writer.arrays:
        view = np.frombuffer(blob, array.dtype, array.size, offset).reshape(array.shape)
        view[...] = array
    return header, blob


class Decoder(Generic[T]):
    """Decodes messages of one kind. One per link: it is not shared between threads."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._arrays = _ArrayReader()
        self._decoder = msgspec.msgpack.Decoder(kind, dec_hook=self._arrays)

    def decode(self, header: Buffer, blob: Buffer) -> T:
        """Return a message whose arrays are read-only views of `blob`.

        Raises:
            MessageError: for anything that is not a well-formed message within the limits.
        """
        name = self._kind.__name__
        if len(header) > MAX_HEADER_BYTES or len(blob) > MAX_BLOB_BYTES:
            raise MessageError(
                f"{name} exceeds the limits: header {len(header)} bytes, arrays {len(blob)} bytes"
            )
        self._arrays.begin(blob)
        try:
            message = self._decoder.decode(header)
            self._arrays.check_unread()
            return message
        except MessageError as error:
            raise MessageError(f"{name}: {_brief(error)}") from None
        except (
            msgspec.ValidationError,
            msgspec.DecodeError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
            MemoryError,
        ) as error:
            raise MessageError(f"not a {name}: {_brief(error)}") from None
        finally:
            self._arrays.begin(b"")


def decode(kind: type[T], header: Buffer, blob: Buffer) -> T:
    """Decode a single message; see `Decoder.decode`."""
    return Decoder(kind).decode(header, blob)


def _brief(error: Exception) -> str:
    """Return what is wrong, fit for a log: what came is quoted in it, and may be long or worse."""
    text = str(error)
    shown = text if len(text) <= MAX_REASON_LENGTH else f"{text[:MAX_REASON_LENGTH]}..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


class _ArrayReader:
    """The decoder's hook: turns `[dtype, shape, offset]` into a view of the current blob."""

    def __init__(self) -> None:
        self._blob = memoryview(b"")
        self._end = 0  # of the last array
        self._read = 0  # bytes in arrays

    def begin(self, blob: Buffer) -> None:
        """Take up another message's blob."""
        self._blob = memoryview(blob).toreadonly()
        self._end = self._read = 0

    def check_unread(self) -> None:
        """Refuse a blob of which little is used: its arrays would keep the rest in memory."""
        unread = len(self._blob) - self._read
        if unread > MAX_UNREAD_BYTES + self._read:
            raise MessageError(f"{unread} of {len(self._blob)} bytes belong to no array")

    def __call__(self, kind: type, value: Any) -> Any:
        if kind is not np.ndarray:
            raise MessageError(f"cannot read a value of type {kind.__name__}")
        if not (isinstance(value, list) and len(value) == 3):
            raise MessageError("an array must stand as [dtype, shape, offset]")
        dtype, shape, offset = value
        if dtype not in DTYPES:
            raise MessageError(f"array dtype {dtype!r} is not allowed; allowed: {sorted(DTYPES)}")
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
            raise MessageError(f"array shape must be a list of up to {MAX_DIMENSIONS} lengths")
        for side in (*shape, offset):
            if not isinstance(side, int) or isinstance(side, bool) or not side >= 0:
                raise MessageError(f"array shape and offset must be 0 or more, got {value[1:]}")
            if side > MAX_BLOB_BYTES:  # an empty array, too, may have a side of any length
                raise MessageError(f"array shape and offset are too large: {value[1:]}")
        count = math.prod(shape)
        size = count * np.dtype(dtype).itemsize
        if offset < self._end:
            raise MessageError(f"array at {offset} begins before byte {self._end}, in another one")
        if offset + size > len(self._blob):
            raise MessageError(
                f"array {dtype}{shape} at {offset} ends beyond the message's {len(self._blob)} "
                "bytes"
            )
        self._end = offset + size
        self._read += size
        return np.frombuffer(self._blob, dtype, count, offset).reshape(shape)
