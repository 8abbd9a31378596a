"""Fragmented MP4 files: how much of one is whole, and several as one.

A video that is written frame by frame is a row of boxes: a head, then for each frame a `moof` (what
it is) and an `mdat` (its bytes). A process that dies may leave the last of them torn.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import av

_HEADER = struct.Struct(">I4s")
_LARGE = struct.Struct(">Q")
_INDEX_IN_FRONT = {"movflags": "faststart"}


def whole_frames(path: Path) -> int:
    """Return how many frames of a file are whole, and cut off what follows them.

    Raises:
        OSError, av.error.FFmpegError: it cannot be read or cut.
    """
    frames, end, at, in_fragments = 0, 0, 0, False
    size = path.stat().st_size
    with path.open("rb") as file:
        while at + _HEADER.size <= size:
            file.seek(at)
            length, kind = _HEADER.unpack(file.read(_HEADER.size))
            if length == 1:
                (length,) = _LARGE.unpack(file.read(_LARGE.size).ljust(_LARGE.size, b"\0"))
            if length < _HEADER.size or at + length > size:
                break
            at += length
            frames += kind == b"mdat"
            in_fragments |= kind == b"moof"
            if kind != b"moof":
                end = at
    if frames and not in_fragments:  # `join_segments` has been here
        with av.open(url(path)) as finished:
            return int(finished.streams.video[0].frames)
    if end < size:
        os.truncate(path, end)
    return frames


def is_finished(path: Path) -> bool:
    """Whether a file is one that `join_segments` has made: its index is in front of all frames."""
    with path.open("rb") as file:
        at, size = 0, path.stat().st_size
        while at + _HEADER.size <= size:
            file.seek(at)
            length, kind = _HEADER.unpack(file.read(_HEADER.size))
            if kind in (b"moof", b"mdat") or length < _HEADER.size:
                return kind == b"mdat"
            at += length
    return False


def join_segments(segments: Sequence[Path], target: Path) -> None:
    """Write the video of `segments` into one MP4 with its index in front, without encoding again.

    Raises:
        OSError, av.error.FFmpegError: one cannot be read, or there is no room.
    """
    with av.open(url(target), "w", format="mp4", options=_INDEX_IN_FRONT) as made:
        stream = None
        for segment in segments:
            with av.open(url(segment)) as given:
                video = given.streams.video[0]
                if stream is None:
                    stream = made.add_stream_from_template(video)
                for packet in given.demux(video):
                    if packet.dts is not None:  # the last, empty packet has none
                        packet.stream = stream
                        made.mux(packet)


def url(path: Path) -> str:
    """Return `path` so that FFmpeg takes no part of it for a protocol."""
    return f"file:{path.absolute()}"
