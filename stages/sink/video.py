"""Writes H.264 that every browser plays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from stages.sink.outdir import write_failed
from stages.sink.segments import is_finished, join_segments, url, whole_frames

TICKS_PER_S = 90_000
_NS_PER_S = 1_000_000_000
_SMPTE_170M = 6  # the colour matrix that OpenCV's BGR to YUV follows
_LIMITED_RANGE = 1
_FRAME_BY_FRAME = {
    "movflags": "frag_every_frame+empty_moov+default_base_moof+frag_discont",
    "flush_packets": "1",
    # A segment's times are the video's, not its own.
    "avoid_negative_ts": "disabled",
}


@dataclass(frozen=True, slots=True)
class VideoState:
    """Where a writer is, for another that takes its place.

    Attributes:
        frames: that were written.
        last_pts, frame_ticks: of the last one; ticks of 1/90000 s.
        segments: files that were begun.
        last_packet: the last encoded frame, which the file gets with the next one: its bytes,
            time stamp, and whether it stands by itself.
    """

    frames: int
    last_pts: int
    frame_ticks: int
    segments: int
    last_packet: tuple[bytes, int, bool] | None


class VideoWriter:
    """An MP4 of one source; each frame is shown from its own time to the next one's.

    It is written frame by frame, so what is there plays at any time, also after the process was
    killed. `finish` makes it an ordinary file with its index in front, which more players know how
    to seek in. The encoder holds nothing back (x264's zerolatency): what it held back would be lost
    with the process.

    Who takes a dead writer's place begins another file, a segment, with the frame after the last
    one that is whole; `finish` makes one of all.
    """

    def __init__(
        self,
        path: Path,
        size_wh: tuple[int, int],
        rate_hz: float,
        *,
        crf: int,
        preset: str,
        threads: int,
        after: VideoState | None = None,
    ) -> None:
        """Open `path`. `size_wh` must be even; `rate_hz` 0 when unknown.

        Args:
            after: go on after what an earlier writer has left.

        Raises:
            InputError, ResourceError: it cannot be opened.
        """
        self.path = path
        self.frames = 0
        self.lost = 0
        self._size_wh = size_wh
        self._rate = rate_hz if 0.01 <= rate_hz <= 1000 else 25.0
        self._options = {"crf": str(crf), "preset": preset, "tune": "zerolatency"}
        self._threads = threads
        self._last_pts = -1
        self._frame_ticks = max(1, round(TICKS_PER_S / self._rate))
        self._segments = 0
        self._there = 0  # frames to come that the files already hold
        self._last_packet: tuple[bytes, int, bool] | None = None
        self._container: Any = None
        if after is None:
            self._open_segment()
        else:
            self._go_on_after(after)

    @property
    def in_segments(self) -> bool:
        """Whether the video lies in more than one file."""
        return self._segments > 1

    def state(self) -> VideoState:
        """Return what another writer needs to go on."""
        return VideoState(
            self.frames, self._last_pts, self._frame_ticks, self._segments, self._last_packet
        )

    def write(self, picture: np.ndarray, time_ns: int) -> None:
        """Append uint8 [h,w,3] BGR, shown from `time_ns` on; times that do not grow are pushed on.

        Raises:
            ResourceError, InputError: the disk did not take it.
        """
        pts = max(self._last_pts + 1, time_ns * TICKS_PER_S // _NS_PER_S)
        if self._last_pts >= 0:
            self._frame_ticks = pts - self._last_pts
        self._last_pts = pts
        self.frames += 1
        if self._there:
            self._there -= 1
            return
        if self._container is None:
            self._open_segment()
        yuv = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
        frame = av.VideoFrame.from_ndarray(np.asarray(yuv, np.uint8), format="yuv420p")
        frame.pts = pts
        frame.time_base = Fraction(1, TICKS_PER_S)
        self._send(frame)

    def finish(self) -> None:
        """Close the file, then rewrite it with its index in front; needs as much space again.

        Raises:
            ResourceError, InputError: there is no room for that; the file plays as it is.
        """
        self.close()
        if not self.frames:
            return
        part = self.path.with_name(f"{self.path.name}.part")
        segments = [path for path in map(self._segment, range(self._segments)) if path.exists()]
        try:
            join_segments(segments, part)
            part.replace(self.path)
            for path in segments[1:]:
                path.unlink()
        except (OSError, av.error.FFmpegError) as error:
            part.unlink(missing_ok=True)
            raise write_failed(part, error) from error
        self._segments = 1

    def close(self) -> None:
        """Close the file as it is; a second call does nothing.

        Raises:
            ResourceError, InputError: its last frame could not be written.
        """
        container, self._container = self._container, None
        if container is None:
            return
        try:
            if self.frames:
                self._mux(container, self._stream.encode(None))
        finally:
            try:
                container.close()
            except (OSError, av.error.FFmpegError) as error:
                failure = write_failed(self.path, error)
                failure.hint += " The end of this video is missing."
                raise failure from error

    def _segment(self, number: int) -> Path:
        """The first file is the video itself; those after it have names of their own."""
        if not number:
            return self.path
        return self.path.with_name(f"{self.path.stem}.{number + 1}{self.path.suffix}")

    def _go_on_after(self, after: VideoState) -> None:
        self.frames, self._last_pts = after.frames, after.last_pts
        self._frame_ticks, self._segments = after.frame_ticks, after.segments
        try:
            # One may have been begun since that state was kept.
            while self._segments and self._segment(self._segments).exists():
                self._segments += 1
            paths = [path for path in map(self._segment, range(self._segments)) if path.exists()]
            if len(paths) > 1 and is_finished(paths[0]):
                for path in paths[1:]:  # they are in it already
                    path.unlink()
                paths, self._segments = paths[:1], 1
            there = sum(whole_frames(path) for path in paths)
        except (OSError, av.error.FFmpegError) as error:
            raise write_failed(self.path, error) from error
        self._there = max(0, there - after.frames)
        missing = after.frames - there
        if missing > 0 and after.last_packet is not None:
            missing -= 1
            self._open_segment()
            data, pts, is_keyframe = after.last_packet
            packet = av.Packet(data)
            packet.pts = packet.dts = pts
            packet.time_base = Fraction(1, TICKS_PER_S)
            packet.is_keyframe = is_keyframe
            packet.stream = self._stream
            self._mux(self._container, [packet])
        self.lost = max(0, missing)

    def _open_segment(self) -> None:
        path = self._segment(self._segments)
        self._segments += 1
        try:
            container = av.open(url(path), "w", format="mp4", options=_FRAME_BY_FRAME)
        except (OSError, av.error.FFmpegError) as error:
            raise write_failed(path, error) from error
        rate = Fraction(self._rate).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=self._options)
        codec = stream.codec_context
        codec.width, codec.height = self._size_wh
        codec.pix_fmt = "yuv420p"
        codec.time_base = stream.time_base = Fraction(1, TICKS_PER_S)
        # Without B-frames the order of packets is the order of frames: exact times to the last one.
        codec.max_b_frames = 0
        codec.gop_size = max(1, round(self._rate * 2))
        codec.color_range, codec.colorspace = _LIMITED_RANGE, _SMPTE_170M
        codec.thread_count = self._threads
        self._container, self._stream = container, stream

    def _send(self, frame: av.VideoFrame) -> None:
        try:
            packets = self._stream.encode(frame)
        except (OSError, av.error.FFmpegError) as error:
            raise write_failed(self.path, error) from error
        self._mux(self._container, packets)

    def _mux(self, container: Any, packets: Sequence[av.Packet]) -> None:
        try:
            for packet in packets:
                # The last packet's counts: it is how long the last picture stays.
                packet.duration = self._frame_ticks
                self._last_packet = bytes(packet), packet.pts or 0, packet.is_keyframe
                container.mux(packet)
        except (OSError, av.error.FFmpegError) as error:
            raise write_failed(self.path, error) from error
