"""Where each frame was when: one record a frame, written by a sink, read by reports.

The file is a row of records, each its length (four bytes, big-endian) and that many bytes of
MessagePack. A record cut short by a crash is the last one and is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from pipeline.errors import InputError
from pipeline.messages import Span, Stamp

_LENGTH = struct.Struct("!I")
MAX_RECORD_BYTES = 1 << 16


class FrameSpans(msgspec.Struct, frozen=True, array_like=True):
    """A frame's way through the pipeline.

    Attributes:
        time_ns: the recording's clock. capture_ns: the host's monotonic clock.
        carried: things that the last message was about: identities, often none.
        spans: in the order of the stages.
    """

    source_id: str
    frame_id: int
    time_ns: int
    capture_ns: int
    carried: int
    spans: tuple[tuple[str, int, int, int], ...]


def frame_spans(stamp: Stamp, carried: int, spans: Iterable[Span]) -> FrameSpans:
    """Return a frame's record."""
    rows = tuple((s.stage, s.enter_ns, s.leave_ns, s.ready_ns) for s in spans)
    return FrameSpans(
        stamp.source_id, stamp.frame_id, stamp.time_ns, stamp.capture_ns, carried, rows
    )


class SpanWriter:
    """Writes records; the file grows as they come.

    Args:
        keep_bytes: go on with a file of an earlier writer after so many bytes; 0 begins anew.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, keep_bytes: int = 0) -> None:
        self._file = path.open("r+b" if keep_bytes else "wb")
        self._file.truncate(keep_bytes)
        self._file.seek(keep_bytes)

    def write(self, stamp: Stamp, carried: int, spans: Iterable[Span]) -> None:
        """Add a frame."""
        record = msgspec.msgpack.encode(frame_spans(stamp, carried, spans))
        self._file.write(_LENGTH.pack(len(record)) + record)

    def flush(self) -> int:
        """Hand over to the system what was written; return the size in bytes."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Write what is left and close."""
        self._file.close()


def read_spans(path: Path) -> Sequence[FrameSpans]:
    """Return the records of a file, in the order in which they were written.

    Raises:
        InputError: it cannot be read, or is no file of spans.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    decoder, found, at = msgspec.msgpack.Decoder(FrameSpans), [], 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        if length > MAX_RECORD_BYTES:
            raise InputError(f"{path} is no file of spans: a record of {length} bytes at {at}")
        at += _LENGTH.size
        if at + length > len(data):
            break
        try:
            found.append(decoder.decode(data[at : at + length]))
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise InputError(f"{path} is no file of spans: {error} at byte {at}") from error
        at += length
    return found
