"""Writes H.264 that every browser plays."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from stages.sink.outdir import write_failed

TICKS_PER_S = 90_000
_NS_PER_S = 1_000_000_000
_SMPTE_170M = 6  # the colour matrix that OpenCV's BGR to YUV follows
_LIMITED_RANGE = 1
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
_INDEX_IN_FRONT = {"movflags": "faststart"}


class VideoWriter:
    """An MP4 of one source; each frame is shown from its own time to the next one's.

    It is written in fragments, so what is there plays at any time, also after the process was
    killed (up to two seconds are lost then). `finish` makes it an ordinary file with its index in
    front, which more players know how to seek in.
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
    ) -> None:
        """Open `path`. `size_wh` must be even; `rate_hz` 0 when unknown.

        Raises:
            InputError, ResourceError: it cannot be opened.
        """
        self.path = path
        self.frames = 0
        self._last_pts = -1
        rate = rate_hz if 0.01 <= rate_hz <= 1000 else 25.0
        self._frame_ticks = max(1, round(TICKS_PER_S / rate))
        try:
            self._container = av.open(_url(path), "w", format="mp4", options=_FRAGMENTS)
        except (OSError, av.error.FFmpegError) as error:
            raise write_failed(path, error) from error
        self._stream = self._container.add_stream(
            "libx264",
            rate=Fraction(rate).limit_denominator(1001),
            options={"crf": str(crf), "preset": preset},
        )
        codec = self._stream.codec_context
        codec.width, codec.height = size_wh
        codec.pix_fmt = "yuv420p"
        codec.time_base = self._stream.time_base = Fraction(1, TICKS_PER_S)
        # Without B-frames the order of packets is the order of frames: exact times to the last one.
        codec.max_b_frames = 0
        codec.gop_size = max(1, round(rate * 2))
        codec.color_range, codec.colorspace = _LIMITED_RANGE, _SMPTE_170M
        codec.thread_count = threads
        self._open = True

    def write(self, picture: np.ndarray, time_ns: int) -> None:
        """Append uint8 [h,w,3] BGR, shown from `time_ns` on; times that do not grow are pushed on.

        Raises:
            ResourceError, InputError: the disk did not take it.
        """
        yuv = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
        frame = av.VideoFrame.from_ndarray(np.asarray(yuv, np.uint8), format="yuv420p")
        frame.pts = max(self._last_pts + 1, time_ns * TICKS_PER_S // _NS_PER_S)
        frame.time_base = Fraction(1, TICKS_PER_S)
        if self._last_pts >= 0:
            self._frame_ticks = frame.pts - self._last_pts
        self._last_pts = frame.pts
        self._send(frame)
        self.frames += 1

    def finish(self) -> None:
        """Close the file, then rewrite it with its index in front; needs as much space again.

        Raises:
            ResourceError, InputError: there is no room for that; the file plays as it is.
        """
        self.close()
        if not self.frames:
            return
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            _copy_packets(self.path, part)
            part.replace(self.path)
        except (OSError, av.error.FFmpegError) as error:
            part.unlink(missing_ok=True)
            raise write_failed(part, error) from error

    def close(self) -> None:
        """Close the file as it is; a second call does nothing.

        Raises:
            ResourceError, InputError: its last fragment could not be written.
        """
        if not self._open:
            return
        self._open = False
        try:
            if self.frames:
                self._send(None)
        finally:
            try:
                self._container.close()
            except (OSError, av.error.FFmpegError) as error:
                failure = write_failed(self.path, error)
                failure.hint += " The end of this video is missing."
                raise failure from error

    def _send(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                # The last packet's counts: it is how long the last picture stays.
                packet.duration = self._frame_ticks
                self._container.mux(packet)
        except (OSError, av.error.FFmpegError) as error:
            raise write_failed(self.path, error) from error


def _url(path: Path) -> str:
    """Return `path` so that FFmpeg takes no part of it for a protocol."""
    return f"file:{path.absolute()}"


def _copy_packets(source: Path, target: Path) -> None:
    """Copy the video of `source` into an MP4 with its index in front, without encoding again."""
    with (
        av.open(_url(source)) as given,
        av.open(_url(target), "w", format="mp4", options=_INDEX_IN_FRONT) as made,
    ):
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:  # the last, empty packet has none
                packet.stream = stream
                made.mux(packet)
