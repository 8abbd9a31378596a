"""The source stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.clock import monotonic_ns, unix_ns
from pipeline.errors import ConfigError, SourceError
from pipeline.messages import StreamStart
from pipeline.stage import RawFrame
from stages.source.camera import CameraReader
from stages.source.config import (
    Config,
    is_always_live,
    is_camera,
    is_network,
    is_synthetic,
    public_label,
)
from stages.source.images import ImageFolderReader
from stages.source.live import NewestFrame, opening_limit_s
from stages.source.reader import Facts, Picture, Position, Reader, checksum
from stages.source.reading import Reading
from stages.source.synthetic import SyntheticReader
from stages.source.video import VideoReader


class SourceStage:
    """Gives frames: from a recording every one, with the recording's own clock; from a camera the
    newest, with the host's clock. Costs the decoding (1080p H.264: about 6 ms) and one copy.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._reader: Reader | None = None
        self._newest: NewestFrame | None = None
        self._last: Picture | None = None
        self._left: Any = None  # what an earlier process's `snapshot` gave

    def open(self) -> StreamStart:
        """Open the source.

        Raises:
            SourceError: it cannot be opened.
            ConfigError: no source was given.
        """
        config = self._config
        if not config.uri:
            raise ConfigError("no source was given", hint="say --source VIDEO, or --source 0")
        live = config.live or config.realtime or is_always_live(config.uri)
        after = self._left[0] if self._left is not None else None
        if live:
            facts = self._open_live(config, after)
        else:
            self._reader = open_reader(config, after)
            facts = self._reader.facts
        return StreamStart(
            source_id=config.source_id,
            label=public_label(config.uri),
            size_wh=facts.size_wh,
            rate_hz=config.rate_hz or facts.rate_hz,
            frames_expected=0 if config.loop else facts.frames_expected,
            live=live,
            start_unix_ns=unix_ns(),
        )

    def _open_live(self, config: Config, after: Position | None) -> Facts:
        again = is_camera(config.uri) or is_network(config.uri)
        # A scene that is watched live goes on at its own speed, as a camera's would.
        realtime = config.realtime or is_synthetic(config.uri)
        watched = again and not realtime
        reading = Reading(lambda: open_reader(config, after))
        if self._left is not None and watched:
            # The camera may be away just now: then it is lost, and tried until it is back.
            facts: Facts = self._left[2]
        else:
            facts = reading.wait_until_open(opening_limit_s(config.timeout_s) if watched else None)
        try:
            speed = _speed(config.rate_hz, facts.rate_hz)
        except SourceError:
            reading.leave()
            raise
        self._newest = NewestFrame(
            reading,
            reopen=(lambda: open_reader(config)) if again or config.loop else None,
            realtime=realtime,
            loop=config.loop,
            speed=speed,
            reconnect_s=config.reconnect_s,
            facts=facts,
            timeout_s=config.timeout_s if watched else None,
            left=self._left[1] if self._left is not None else None,
        )
        return facts

    def read(self, timeout_s: float) -> RawFrame | None:
        """Return the next frame; see `pipeline.stage.SourceStage`."""
        if self._newest is not None:
            return self._newest.read(timeout_s)
        assert self._reader is not None
        begun_ns, begun_unix_ns = monotonic_ns(), unix_ns()
        picture = self._reader.read()
        assert picture.time_ns is not None, "a recording has a clock"
        self._last = picture
        return RawFrame(picture.pixels, picture.time_ns, begun_ns, begun_unix_ns)

    def take_incidents(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return what happened to a live source; see `pipeline.stage.SourceStage`."""
        return [] if self._newest is None else self._newest.take_incidents()

    def report(self) -> Mapping[str, Any]:
        """Return damaged pieces; for a live source drops, reconnects, stalls and hangs too."""
        if self._newest is not None:
            return {
                "dropped": self._newest.dropped,
                "damaged": self._newest.damaged,
                "stale": self._newest.stale,
                "lost": self._newest.lost,
                "reconnects": self._newest.reconnects,
                "stalls": self._newest.stalls,
                "hangs": self._newest.hangs,
            }
        return {"dropped": 0, "damaged": self._reader.damaged if self._reader else 0}

    def snapshot(self) -> Any:
        """Where the source is, and the clock of a live one."""
        if self._newest is not None:
            return self._newest.position(), self._newest.snapshot(), self._newest.facts
        if self._last is None or self._reader is None:
            return None
        assert self._last.time_ns is not None
        reader, pixels = self._reader, self._last.pixels
        counts = reader.decoded, reader.damaged
        return (Position(self._last.time_ns, checksum(pixels), *counts),)

    def restore(self, state: Any) -> None:
        """Let `open` go on where another process was."""
        self._left = state

    def close(self) -> None:
        """Close the source."""
        if self._newest is not None:
            self._newest.close()
        elif self._reader is not None:
            self._reader.close()


def _speed(asked_hz: float | None, own_hz: float) -> float:
    """How many times as fast as it was recorded a recording is played.

    Raises:
        SourceError: its own rate is not known.
    """
    if asked_hz is None:
        return 1.0
    if own_hz <= 0:
        raise SourceError(
            "the source does not say how many frames a second it has, so it cannot be played at "
            f"{asked_hz:g}",
            hint="leave source.rate_hz out (--rate): it then goes at its own speed",
        )
    return asked_hz / own_hz


def open_reader(config: Config, after: Position | None = None) -> Reader:
    """Return the reader for an address, with `after` at the picture after that one.

    Raises:
        SourceError: it cannot be opened.
    """
    if is_camera(config.uri):
        return CameraReader(int(config.uri))
    part: Any = {"start_s": config.start_s, "end_s": config.end_s, "after": after}
    if is_synthetic(config.uri):
        return SyntheticReader(config.uri.partition(":")[2], **part)
    if not is_network(config.uri) and Path(config.uri).is_dir():
        return ImageFolderReader(Path(config.uri), config.image_rate_hz, **part)
    return VideoReader(config.uri, timeout_s=config.timeout_s, **part)


def build(config: Config) -> SourceStage:
    """Return the stage for a checked configuration."""
    return SourceStage(config)
