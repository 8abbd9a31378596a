"""Messages to bytes and back. Data only: nothing that is read here can run.

A message is two buffers: a header in MessagePack and one blob with the raw bytes of all arrays,
each at a 16-byte boundary. In the header an array stands as `[dtype, shape, offset]`. Decoding
checks lengths, dtypes and sizes before it touches the blob, and makes views of it, never copies.
Unknown fields are passed over and missing ones take their defaults, so that neighbouring versions
understand each other.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from pipeline.errors import MessageError

MAX_HEADER_BYTES = 1 << 20
MAX_BLOB_BYTES = 1 << 28
MAX_DIMENSIONS = 4
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
        self._arrays.blob = memoryview(blob).toreadonly()
        try:
            return self._decoder.decode(header)
        except MessageError:
            raise
        except (
            msgspec.ValidationError,
            msgspec.DecodeError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
        ) as error:
            raise MessageError(f"not a {name}: {error}") from error
        finally:
            self._arrays.blob = memoryview(b"")


def decode(kind: type[T], header: Buffer, blob: Buffer) -> T:
    """Decode a single message; see `Decoder.decode`."""
    return Decoder(kind).decode(header, blob)


class _ArrayReader:
    """The decoder's hook: turns `[dtype, shape, offset]` into a view of the current blob."""

    def __init__(self) -> None:
        self.blob = memoryview(b"")

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
        count = 1
        for side in (*shape, offset):
            if not isinstance(side, int) or isinstance(side, bool) or side < 0:
                raise MessageError(f"array shape and offset must be 0 or more, got {value[1:]}")
        for side in shape:
            count *= side
        size = count * np.dtype(dtype).itemsize
        if offset + size > len(self.blob):
            raise MessageError(
                f"array {dtype}{shape} at {offset} ends beyond the message's {len(self.blob)} bytes"
            )
        return np.frombuffer(self.blob, dtype, count, offset).reshape(shape)
