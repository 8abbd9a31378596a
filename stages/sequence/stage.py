"""The sequence stage: from bodies, frame by frame, to windows, track by track."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.messages import MAX_PEOPLE, Bodies, Body, Stamp, StreamStart, Window, Windows
from pipeline.stage import StageBase
from stages.sequence.window import (
    Config,
    FitFrame,
    Track,
    aligned,
    break_reason,
    measure,
    size_break_reason,
    unfit_reason,
)

MAX_TRACKS = 512  # a source; the one longest unseen goes first. About 100 kB each at 30 frames


@dataclass(slots=True, eq=False)
class _Source:
    tracks: OrderedDict[int, Track] = field(default_factory=OrderedDict)
    stamp: Stamp | None = None
    visible: tuple[int, ...] = ()


class SequenceStage(StageBase):
    """Cuts tracks into windows.

    In: `Bodies`. Out: exactly one `Windows` each, with the same stamp, the tracks seen in the frame
    and the tracks that ended.
    Keeps: for each source and track the newest `length` silhouettes, bodies and keypoints, with
    their times; freed when the track or the source ends.
    Costs: about 0.2 ms for each person in a frame.
    Every decision follows from the messages and their `time_ns` alone.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sources: dict[str, _Source] = {}
        self._windows: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._restarts: Counter[str] = Counter()

    def start(self, stream: StreamStart) -> None:
        """Begin a source; whatever an earlier one of this name left behind is dropped."""
        self._sources[stream.source_id] = _Source()

    def process(self, message: Bodies) -> Iterable[Windows]:
        """Return the windows that became complete with this frame."""
        source = self._source_of(message)
        windows: list[Window] = []
        visible: dict[int, None] = {}
        for body in message.bodies:
            track_id = body.person.track_id
            if track_id in visible:
                self._left_out["track_twice_in_a_frame"] += 1
                continue
            visible[track_id] = None
            window = self._see(self._track(source, track_id), body, message.stamp)
            if window is not None:
                windows.append(window)
        return (self._answer(message, tuple(visible), windows),)

    def skip(self, message: Bodies) -> Iterable[Windows]:
        """Answer a frame that could not be handled: nothing from it joins a window."""
        self._left_out["skipped_message"] += len(message.bodies)
        visible = tuple(dict.fromkeys(body.person.track_id for body in message.bodies))
        return (self._answer(message, visible, []),)

    def end(self, source_id: str) -> Iterable[Windows]:
        """Free a source; at most one message with the short windows of its open tracks."""
        source = self._sources.pop(source_id, None)
        if source is None or source.stamp is None:
            return ()
        short = [self._last_window(track_id, track) for track_id, track in source.tracks.items()]
        windows = self._within_limit([window for window in short if window is not None])
        if not windows:
            return ()
        return (Windows(source.stamp, windows, visible_tracks=source.visible),)

    def report(self) -> Mapping[str, Any]:
        """Return windows by kind, frames left out by reason and restarts by reason."""
        return {
            "windows": self._windows["full"] + self._windows["short"],
            "short_windows": self._windows["short"],
            "withheld_windows": self._windows["withheld"],
            "windows_over_limit": self._windows["over_limit"],
            "evicted_tracks": self._windows["evicted_track"],
            "left_out": dict(sorted(self._left_out.items())),
            "restarts": dict(sorted(self._restarts.items())),
        }

    def snapshot(self) -> Any:
        """The tracks' newest frames, and the counts."""
        return self._sources, self._windows, self._left_out, self._restarts

    def restore(self, state: Any) -> None:
        """Go on with the tracks of a snapshot."""
        self._sources, self._windows, self._left_out, self._restarts = state

    def close(self) -> None:
        """Free every source."""
        self._sources.clear()

    def _source_of(self, message: Bodies) -> _Source:
        return self._sources.setdefault(message.stamp.source_id, _Source())

    def _track(self, source: _Source, track_id: int) -> Track:
        track = source.tracks.setdefault(track_id, Track(self._config.length))
        source.tracks.move_to_end(track_id)
        if len(source.tracks) > MAX_TRACKS:
            source.tracks.popitem(last=False)
            self._windows["evicted_track"] += 1
        return track

    def _see(self, track: Track, body: Body, stamp: Stamp) -> Window | None:
        """Take one person of one frame; return a window if one became complete."""
        config = self._config
        inside = body.person.mask.unpack()
        extent = measure(body, inside)
        self._restart(track, break_reason(track, stamp, extent, config))
        track.seen_ns, track.seen = stamp.time_ns, extent

        reason = unfit_reason(body, inside, extent, config)
        silhouette = None if reason else aligned(inside)
        if silhouette is None:
            self._left_out[reason or "too_faint"] += 1
            track.unfit += 1
            return None
        self._restart(track, size_break_reason(track, stamp.time_ns, extent, config))
        # Copies: the message's arrays are views of its buffer, which would stay alive with them.
        frame = FitFrame(
            silhouette=silhouette,
            theta=np.array(body.theta),
            keypoints_px=np.array(body.person.keypoints_px),
            time_ns=stamp.time_ns,
            frame_id=stamp.frame_id,
            quality=body.quality,
            unfit_before=track.unfit,
        )
        track.add(frame, extent)
        return self._due_window(track, body.person.track_id)

    def _restart(self, track: Track, reason: str) -> None:
        if reason:
            if track.fit:
                self._restarts[reason] += 1
            track.restart()

    def _due_window(self, track: Track, track_id: int) -> Window | None:
        if not track.is_due(self._config.stride):
            return None
        window = track.window(track_id)
        if window is not None:
            self._windows["full"] += 1
        elif not track.withheld:
            track.withheld = True
            self._windows["withheld"] += 1
        return window

    def _last_window(self, track_id: int, track: Track) -> Window | None:
        """Return the short window of a track that ends without having given any."""
        if track.emitted or len(track.fit) < self._config.min_length:
            return None
        window = track.window(track_id)
        self._windows["withheld" if window is None else "short"] += 1
        return window

    def _answer(self, message: Bodies, visible: tuple[int, ...], windows: list[Window]) -> Windows:
        source = self._source_of(message)
        source.stamp, source.visible = message.stamp, visible
        for track_id in message.ended_tracks:
            track = source.tracks.pop(track_id, None)
            window = self._last_window(track_id, track) if track is not None else None
            if window is not None:
                windows.append(window)
        return Windows(
            stamp=message.stamp,
            windows=self._within_limit(windows),
            visible_tracks=visible,
            ended_tracks=message.ended_tracks,
        )

    def _within_limit(self, windows: list[Window]) -> tuple[Window, ...]:
        self._windows["over_limit"] += max(0, len(windows) - MAX_PEOPLE)
        return tuple(windows[:MAX_PEOPLE])


def build(config: Config) -> SequenceStage:
    """Return the stage."""
    return SequenceStage(config)
