"""Video files and network streams through FFmpeg (PyAV).

PyAV rather than OpenCV's reader because it gives each frame's own time, names what is wrong with a
damaged file, and tells a file that ended from one that broke off.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from pathlib import Path

import av
import av.error
import numpy as np

from pipeline.clock import NS_PER_S
from pipeline.errors import SourceError
from pipeline.messages import MAX_SIDE_PX
from pipeline.stage import EndOfSource
from stages.source.config import is_always_live, is_network, public_label
from stages.source.reader import Facts, Lost, Picture, Position, checksum

DECODER_THREADS = 2
# What one core decodes in time. Decoding frames side by side does more, a frame late.
ONE_CORE_PX = 1920 * 1088
# No counting of frames to learn their rate: what piles up meanwhile would be shown late.
RTSP_OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "fpsprobesize": "0",
}
MAX_DAMAGED_IN_A_ROW = 250
COMPLETE_SHARE = 0.98
# Their decoders begin anywhere, with pictures made up of nothing; others wait for a key frame.
BEGIN_ANYWHERE = frozenset({"mpeg4"})
ROTATION_STEPS = {90: 1, 180: 2, 270: 3}


class VideoReader:
    """Reads a video file or address frame by frame, upright, with the recording's own times.

    Args:
        uri: path or address.
        start_s, end_s: part of the recording to read, seconds from its first frame.
        timeout_s: time an address has to answer.
        after: go on with the picture after this one. The place is sought, and the picture there
            compared; where it is another one (files whose times are not to be trusted), everything
            before is decoded.

    Raises:
        SourceError: missing, empty, no video in it, damaged beyond opening, or too large.
    """

    def __init__(
        self,
        uri: str,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        timeout_s: float = 10.0,
        after: Position | None = None,
    ) -> None:
        self._network = is_network(uri)
        self._label = public_label(uri) if self._network else uri
        self._always_live = is_always_live(uri)
        self._timeout_s = timeout_s
        self._start_ns = int(start_s * NS_PER_S)
        self._end_ns = None if end_s is None else int(end_s * NS_PER_S)
        self._uri = uri
        self._first: Picture | None = None
        self._open()
        try:
            self._total = self._count_frames()
            if after is None:
                self._seek(self._start_ns)
                self._first = self._read_first()
            else:
                self._go_on_after(after)
        except BaseException:
            self._container.close()
            raise
        size_wh = (1, 1)  # at its end already: who goes on from there knows the size
        if self._first is not None:
            size_wh = (self._first.pixels.shape[1], self._first.pixels.shape[0])
        self.facts = Facts(size_wh, self._rate_hz, self._frames_expected())

    def read(self) -> Picture:
        """Return the next picture.

        Raises:
            EndOfSource: with a reason if the recording broke off before its end.
            Lost: the network or what is behind it gives no more.
        """
        if self._first is not None:
            picture, self._first = self._first, None
            return picture
        try:
            return next(self._pictures)
        except StopIteration:
            pass
        if self._network and not self._complete():
            raise Lost(f"{self._label}: {self._why_lost or 'the stream ended'}")
        raise EndOfSource(self._why_ended())

    def close(self) -> None:
        """Close the file, and let go of its pictures."""
        self._pictures.close()
        self._first = None
        self._container.close()

    def _open(self) -> None:
        """Open the file, at its beginning."""
        self._container = _open(self._uri, self._label, self._timeout_s)
        try:
            self._stream = self._pick_stream()
        except BaseException:
            self._container.close()
            raise
        self._rate_hz = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.decoded = self.damaged = 0
        self._why_lost = ""
        self._end_reached = False
        self._last_ns = -1
        self._zero_s: float | None = None
        self._pictures = self._decode()

    def _go_on_after(self, after: Position) -> None:
        """Come to the picture after a position, by seeking if that leads to the same place."""
        if self._stream.start_time is None or not self._seek(after.time_ns):
            self._reopen()
        if not self._find(after):
            self._reopen()
            if not self._find(after):
                raise SourceError(
                    f"{self._label} has changed: its picture at {after.time_ns / NS_PER_S:.3f} s "
                    "is not the one that was there",
                    hint="start the run again",
                )
        self.decoded, self.damaged = after.decoded, after.damaged
        self._first = next(self._pictures, None)

    def _reopen(self) -> None:
        self._container.close()
        self._open()

    def _find(self, after: Position) -> bool:
        """Read up to the picture of a position; say whether it is there."""
        for picture in self._pictures:
            assert picture.time_ns is not None
            if picture.time_ns >= after.time_ns:
                same = after.checksum in (None, checksum(picture.pixels))
                return picture.time_ns == after.time_ns and same
        return False

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
        one_core = self._always_live and width * height <= ONE_CORE_PX
        stream.thread_type = "SLICE" if one_core else "AUTO"
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

    def _seek(self, time_ns: int) -> bool:
        """Go to the last key frame before a time; say whether that could be done."""
        if not time_ns or not self._stream.time_base:
            return not time_ns
        begin = self._stream.start_time or 0
        ticks = begin + int(time_ns / NS_PER_S / float(self._stream.time_base))
        try:
            self._container.seek(ticks, stream=self._stream, backward=True)
        except av.error.FFmpegError:
            return False  # frames before the start are then decoded and passed over
        return True

    def _read_first(self) -> Picture:
        try:
            return next(self._pictures)
        except StopIteration:
            if self.decoded:
                raise SourceError(
                    f"{self._label} ends before second {self._start_ns / NS_PER_S:g}",
                    hint="choose an earlier source.start_s",
                ) from None
            if self._network:
                raise SourceError(
                    f"no picture from {self._label}: {self._why_lost or 'the stream ended'}",
                    hint="is the camera on, and does another player show it?",
                ) from None
            raise SourceError(
                f"not one frame of {self._label} can be decoded",
                hint="the file is damaged or cut off; copy it again, or repair it with ffmpeg",
            ) from None

    def _decode(self) -> Generator[Picture, None, None]:
        for frame in self._frames():
            time_ns = self._time_ns(frame)
            if time_ns < self._start_ns:
                continue
            if self._end_ns is not None and time_ns >= self._end_ns:
                self._end_reached = True
                return
            yield Picture(_upright(frame), time_ns)

    def _frames(self) -> Iterator[av.VideoFrame]:
        """Every frame that decodes. A piece that does not is counted and passed over."""
        damaged_in_a_row = 0
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self.damaged += 1
                damaged_in_a_row += 1
                if damaged_in_a_row == MAX_DAMAGED_IN_A_ROW:
                    self._why_lost = f"{damaged_in_a_row} damaged pieces in a row"
                    return
                continue
            damaged_in_a_row = 0
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                else:
                    self.decoded += 1
                    yield frame

    def _packets(self) -> Iterator[av.Packet]:
        """The video's packets. From a network all others are looked at too: a camera whose sound
        goes on while its picture has stopped must not keep us waiting for ever. And what comes
        only after the time-out is what FFmpeg itself had kept back.
        """
        streams = () if self._network else (self._stream,)
        begun = self._stream.codec_context.name not in BEGIN_ANYWHERE
        last_at = time.monotonic()
        try:
            for packet in self._container.demux(*streams):
                if self._network and time.monotonic() - last_at > self._timeout_s:
                    self._why_lost = f"no picture for {self._timeout_s:g} s"
                    return
                if packet.stream.index == self._stream.index:
                    begun = begun or packet.is_keyframe
                    if begun:
                        yield packet
                    else:
                        self.damaged += 1
                    last_at = time.monotonic()
        except av.error.ExitError:
            self._why_lost = f"no answer for {self._timeout_s:g} s"
        except av.error.FFmpegError as error:
            self.damaged += 1
            self._why_lost = error.strerror or str(error)

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

    def _complete(self) -> bool:
        """Whether a recording behind an address has come to its end. What can only be watched as
        it happens has none.
        """
        if self._end_reached:
            return True
        whole = self._total and self.decoded >= self._total * COMPLETE_SHARE
        return bool(whole or (self._total and self._start_ns)) and not self._always_live

    def _why_ended(self) -> str:
        problems = []
        cut = self._start_ns or self._end_ns is not None
        if not cut and self.decoded < self._total * COMPLETE_SHARE:
            problems.append(
                f"{self._label} broke off: {self.decoded} of {self._total} frames could be read"
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
    options = RTSP_OPTIONS if uri.lower().startswith("rtsp") else {}
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
