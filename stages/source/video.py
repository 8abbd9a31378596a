"""Video files and network streams through FFmpeg (PyAV).

PyAV rather than OpenCV's reader because it gives each frame's own time, names what is wrong with a
damaged file, and tells a file that ended from one that broke off.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import numpy as np

from pipeline.clock import NS_PER_S
from pipeline.errors import SourceError
from pipeline.messages import MAX_SIDE_PX
from pipeline.stage import EndOfSource
from stages.source.config import is_network, public_label
from stages.source.reader import Facts, Picture

DECODER_THREADS = 2
MAX_DAMAGED_IN_A_ROW = 250
COMPLETE_SHARE = 0.98
ROTATION_STEPS = {90: 1, 180: 2, 270: 3}


class VideoReader:
    """Reads a video file or address frame by frame, upright, with the recording's own times.

    Args:
        uri: path or address.
        start_s, end_s: part of the recording to read, seconds from its first frame.
        timeout_s: time an address has to answer.

    Raises:
        SourceError: missing, empty, no video in it, damaged beyond opening, or too large.
    """

    def __init__(
        self, uri: str, *, start_s: float = 0.0, end_s: float | None = None, timeout_s: float = 10.0
    ) -> None:
        self._label = public_label(uri) if is_network(uri) else uri
        self._start_ns = int(start_s * NS_PER_S)
        self._end_ns = None if end_s is None else int(end_s * NS_PER_S)
        self._container = _open(uri, self._label, timeout_s)
        try:
            self._stream = self._pick_stream()
            self._rate_hz = float(self._stream.average_rate or self._stream.guessed_rate or 0)
            self._total = self._count_frames()
            self.damaged = 0
            self._decoded = 0
            self._last_ns = -1
            self._zero_s: float | None = None
            self._pictures = self._decode()
            self._seek()
            self._first: Picture | None = self._read_first()
        except BaseException:
            self._container.close()
            raise
        height, width = self._first.pixels.shape[:2]
        self.facts = Facts((width, height), self._rate_hz, self._frames_expected())

    def read(self) -> Picture:
        """Return the next picture.

        Raises:
            EndOfSource: with a reason if the recording broke off before its end.
        """
        if self._first is not None:
            picture, self._first = self._first, None
            return picture
        try:
            return next(self._pictures)
        except StopIteration:
            raise EndOfSource(self._why_ended()) from None

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _pick_stream(self) -> av.VideoStream:
        if not self._container.streams.video:
            kinds = ", ".join(sorted({str(stream.type) for stream in self._container.streams}))
            raise SourceError(
                f"no video in {self._label}: it holds {kinds or 'nothing'}",
                hint="give a file with a video track",
            )
        stream = self._container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if max(width, height) > MAX_SIDE_PX:
            raise SourceError(
                f"{self._label} is {width}x{height} pixels; up to {MAX_SIDE_PX} a side are handled",
                hint="scale it down first",
            )
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = DECODER_THREADS
        return stream

    def _count_frames(self) -> int:
        """Frames of the whole recording as its header tells them, 0 when it does not."""
        if self._stream.frames:
            return int(self._stream.frames)
        if self._stream.duration and self._stream.time_base and self._rate_hz:
            return round(float(self._stream.duration * self._stream.time_base) * self._rate_hz)
        return 0

    def _frames_expected(self) -> int:
        if not self._total or not self._rate_hz:
            return self._total
        last_ns = self._total / self._rate_hz * NS_PER_S
        if self._end_ns is not None:
            last_ns = min(last_ns, self._end_ns)
        return max(1, round((last_ns - self._start_ns) / NS_PER_S * self._rate_hz))

    def _seek(self) -> None:
        if self._start_ns and self._stream.time_base:
            begin = self._stream.start_time or 0
            ticks = begin + int(self._start_ns / NS_PER_S / float(self._stream.time_base))
            try:
                self._container.seek(ticks, stream=self._stream, backward=True)
            except av.error.FFmpegError:
                return  # cannot seek: frames before the start are decoded and passed over

    def _read_first(self) -> Picture:
        try:
            return next(self._pictures)
        except StopIteration:
            if self._decoded:
                raise SourceError(
                    f"{self._label} ends before second {self._start_ns / NS_PER_S:g}",
                    hint="choose an earlier source.start_s",
                ) from None
            raise SourceError(
                f"not one frame of {self._label} can be decoded",
                hint="the file is damaged or cut off; copy it again, or repair it with ffmpeg",
            ) from None

    def _decode(self) -> Iterator[Picture]:
        for frame in self._frames():
            time_ns = self._time_ns(frame)
            if time_ns < self._start_ns:
                continue
            if self._end_ns is not None and time_ns >= self._end_ns:
                return
            yield Picture(_upright(frame), time_ns)

    def _frames(self) -> Iterator[av.VideoFrame]:
        """Every frame that decodes. A piece that does not is counted and passed over."""
        damaged_in_a_row = 0
        packets = self._container.demux(self._stream)
        while damaged_in_a_row < MAX_DAMAGED_IN_A_ROW:
            try:
                packet = next(packets)
                frames = packet.decode()
            except (StopIteration, av.error.EOFError):
                return
            except av.error.FFmpegError:
                self.damaged += 1
                damaged_in_a_row += 1
                continue
            damaged_in_a_row = 0
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                else:
                    self._decoded += 1
                    yield frame

    def _time_ns(self, frame: av.VideoFrame) -> int:
        """The frame's time since the recording's first; always later than the one before."""
        if frame.time is None:
            step = NS_PER_S / (self._rate_hz or 25.0)
            time_ns = int(self._last_ns + step) if self._last_ns >= 0 else 0
        else:
            if self._zero_s is None:
                start, unit = self._stream.start_time, self._stream.time_base
                known = start is not None and unit is not None
                self._zero_s = float(start * unit) if known else frame.time  # type: ignore[operator]
            time_ns = round((frame.time - self._zero_s) * NS_PER_S)
        self._last_ns = max(time_ns, self._last_ns + 1, 0)
        return self._last_ns

    def _why_ended(self) -> str:
        problems = []
        cut = self._start_ns or self._end_ns is not None
        if not cut and self._decoded < self._total * COMPLETE_SHARE:
            problems.append(
                f"{self._label} broke off: {self._decoded} of {self._total} frames could be read"
            )
        elif self.damaged:
            problems.append(f"{self.damaged} damaged pieces of {self._label} were left out")
        return "; ".join(problems)


def _open(uri: str, label: str, timeout_s: float) -> av.container.InputContainer:
    if not is_network(uri):
        path = Path(uri.removeprefix("file://"))
        if not path.exists():
            raise SourceError(f"there is no file {path}", hint="check the path")
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty: 0 bytes", hint="copy or record it again")
    options = {"rtsp_transport": "tcp"} if uri.lower().startswith("rtsp") else {}
    try:
        return av.open(uri, timeout=timeout_s if is_network(uri) else None, options=options)
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(
            f"cannot open {label}: {reason}",
            hint="is the address right and the camera on?"
            if is_network(uri)
            else "it is not a video, or it is damaged or cut off at its start",
        ) from error


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """Return the frame as BGR, turned as its rotation metadata asks for."""
    pixels = frame.to_ndarray(format="bgr24")
    steps = ROTATION_STEPS.get(round(frame.rotation) % 360, 0)
    return np.ascontiguousarray(np.rot90(pixels, steps)) if steps else pixels
