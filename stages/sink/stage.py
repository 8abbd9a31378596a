"""The stage that brings a frame's messages together and writes all that is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from pipeline.errors import ConfigError, FrameError, GaitError, MessageError
from pipeline.messages import Body, Frame, Identities, Output, Release, Stamp, StreamStart
from pipeline.stage import StageBase
from stages.sink import events
from stages.sink.annotate import Figure
from stages.sink.join import Joiner, Moment
from stages.sink.lines import LineFile
from stages.sink.meter import Meter
from stages.sink.outdir import folder_name, prepare_out_dir
from stages.sink.picture import Picture
from stages.sink.silhouettes import SilhouetteWriter
from stages.sink.strip import strip_items
from stages.sink.tables import COLUMNS, csv_lines, track_row
from stages.sink.thumbnails import ThumbnailWriter
from stages.sink.tracks import REPORT_LIMIT, Track, TrackBook, track_facts
from stages.sink.video import VideoState, VideoWriter
from stages.sink.window import Window, require_display

if TYPE_CHECKING:
    from stages.sink import Config


class _Source:
    """What the sink keeps of one source. `folder` holds its video and pictures, None for none."""

    def __init__(self, stream: StreamStart, folder: Path | None, config: Config) -> None:
        self.stream = stream
        self.folder = folder
        self.joiner = Joiner()
        self.book = TrackBook()
        self.meter = Meter()
        self.picture: Picture | None = None
        self.video: VideoWriter | None = None
        self.window = Window(f"{stream.label} ({stream.source_id})") if config.display else None
        self.thumbnails: ThumbnailWriter | None = None
        self.silhouettes: SilhouetteWriter | None = None
        if folder is not None and config.thumbnails:
            self.thumbnails = ThumbnailWriter(folder / "thumbnails", config.thumbnail_side_px)
        if folder is not None and config.save_silhouettes:
            self.silhouettes = SilhouetteWriter(folder / "silhouettes")
        self.size_wh: tuple[int, int] | None = None  # of the first frame
        self.last_stamp: Stamp | None = None
        self.frames = self.identities = self.incomplete = 0

    def state(self) -> dict[str, Any]:
        """Return what another process needs to go on; see `SinkStage.snapshot`."""
        return {
            **{name: getattr(self, name) for name in _KEPT},
            "video": self.video.state() if self.video is not None else None,
            "thumbnails": self.thumbnails.state() if self.thumbnails is not None else None,
            "silhouettes": self.silhouettes.state() if self.silhouettes is not None else None,
        }

    def go_on_after(self, state: dict[str, Any]) -> None:
        """Take up such a state. The video is opened by who knows its settings."""
        for name in _KEPT:
            setattr(self, name, state[name])
        if self.thumbnails is not None:
            self.thumbnails.go_on_after(state["thumbnails"])
        if self.silhouettes is not None:
            self.silhouettes.go_on_after(state["silhouettes"])


# The clocks of the video's strip (`meter`) begin anew: they show what is measured.
_KEPT = ("joiner", "book", "size_wh", "last_stamp", "frames", "identities", "incomplete")


class SinkStage(StageBase):
    """Writes what was found.

    In: frames, bodies, identities, one of each a frame, however they interleave. Out: `Release` for
    each frame, in frame order. A frame is handled when all three of its messages are there, or when
    all three topics are past it. Files depend on the messages alone; only the strip of the video
    shows times that were measured.

    Keeps, per source: the frames not yet complete, one canvas and a
    record of each track (ended ones up to `REPORT_LIMIT`). A 1080p frame with eight people costs
    about 8 ms, its encoding about 25 ms of one core, saved silhouettes 1 ms a person.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sources: dict[str, _Source] = {}
        self._events: LineFile | None = None
        self._table: LineFile | None = None
        self._owed: list[Release] = []
        self._event_count = 0
        self._closed = False
        # The runner ends the sources, then the run, when this says why.
        self.stop_wanted = ""

    def setup(self) -> None:
        """Make the folder ready. Files come with the first source, so that a run whose source
        cannot be opened leaves nothing that would refuse the next.

        Raises:
            OutputExistsError: the folder already holds a run.
            InputError, ResourceError: the folder cannot be made.
            ConfigError: a window is wanted where none can be opened.
        """
        if self._config.display:
            require_display()
        if self._config.out_dir is not None and not self.resumed:
            prepare_out_dir(self._config.out_dir, self._config.overwrite)

    def start(self, stream: StreamStart) -> None:
        """Begin a source.

        Raises:
            InputError, ResourceError: a file cannot be made.
            MessageError: this source has begun before.
            ConfigError: a second source, and `by_source` is off.
        """
        if stream.source_id in self._sources:
            raise MessageError(f"source {stream.source_id} began twice")
        if self._config.out_dir is not None and self._sources and not self._config.by_source:
            raise ConfigError(
                f"source {stream.source_id} is the second one, but out_dir has room for one",
                hint="Set sink.by_source: true, so that each source gets its own folder.",
            )
        if not self._sources:
            self._open_files()
        self._sources[stream.source_id] = self._new_source(stream)
        self._tell(events.start_event(stream))

    def snapshot(self) -> Any:
        """What is known of each source, and how long each file is."""
        return (
            {key: (source.stream, source.state()) for key, source in self._sources.items()},
            [None if file is None else file.size for file in (self._events, self._table)],
            (self._owed, self._event_count, self.stop_wanted),
        )

    def restore(self, state: Any) -> None:
        """Go on after a snapshot: what was written since is taken back, and will be written again.

        Raises:
            InputError, ResourceError: a file cannot be opened or cut.
        """
        sources, sizes, (self._owed, self._event_count, self.stop_wanted) = state
        if sources:
            self._open_files(*(size or 0 for size in sizes))
        for key, (stream, kept) in sources.items():
            source = self._sources[key] = self._new_source(stream)
            source.go_on_after(kept)
            if source.size_wh is not None:
                source.picture = Picture(source.size_wh, self._config.max_video_side_px)
            if kept["video"] is not None:
                self._video(source, kept["video"])

    def note(self, stage: str, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """Write what happened to a live run."""
        self._tell(events.incident_event(stage, kind, text, facts))

    def process(self, message: Any) -> Iterable[Output]:
        """Take a Frame, Bodies or Identities; return a `Release` for each frame that is done.

        Raises:
            FrameError: this frame cannot be handled; `skip` then gives its `Release`.
            ResourceError, InputError: a file cannot be written.
        """
        source = self._source(message.stamp.source_id)
        if isinstance(message, Frame) and message.pixels is None:
            raise FrameError(f"{message.stamp}: the frame has no pixels")
        return self._handle_all(source, source.joiner.add(message))

    def skip(self, message: Any) -> Iterable[Output]:
        """Pass over a message that `process` refused; return the `Release`s that are due."""
        source = self._source(message.stamp.source_id)
        settled = source.joiner.add_missing(message)
        if isinstance(message, Frame) and message.pixels is None:
            self._owed.append(Release(message.stamp.source_id, message.stamp.frame_id))
        return self._handle_all(source, settled)

    def end(self, source_id: str) -> Iterable[Output]:
        """Finish a source: its open tracks, the last event, its video."""
        source = self._source(source_id)
        released = list(self._handle_all(source, source.joiner.finish()))
        if source.last_stamp is not None:
            for track_id in source.book.open_ids():
                self._end_track(source, source.last_stamp, track_id)
        self._tell(events.end_event(source_id, source.frames, source.book.count, source.identities))
        for file in (self._events, self._table):
            if file is not None:
                file.sync()
        if source.video is not None:
            source.video.finish()
        _close_pictures(source)
        return released

    def report(self) -> Mapping[str, Any]:
        """Return counts; once closed, the facts of the first `REPORT_LIMIT` tracks too.

        The runner asks twice a second while it works, which is too often for a list.
        """
        sources = list(self._sources.values())
        total = sum(source.book.count for source in sources)
        report: dict[str, Any] = {
            "frames": sum(source.frames for source in sources),
            "frames_incomplete": sum(source.incomplete for source in sources),
            "video_frames": sum(source.video.frames for source in sources if source.video),
            "video_frames_lost": sum(source.video.lost for source in sources if source.video),
            "tracks": total,
            "identities": sum(source.identities for source in sources),
            "events": self._event_count,
        }
        if self._closed:
            facts = (
                track_facts(source.stream.source_id, track)
                for source in sources
                for track in source.book
            )
            report["per_track"] = list(islice(facts, REPORT_LIMIT))
            report["per_track_left_out"] = total - len(report["per_track"])
        return report

    def close(self) -> None:
        """Close every file, also after an abort: the videos play, the events lack their end.

        Raises:
            ResourceError, InputError: the first file that could not be finished; the others are.
        """
        self._closed = True
        failures: list[GaitError] = []
        for source in self._sources.values():
            _attempt(lambda source=source: _close_pictures(source), failures)
        for file in (self._events, self._table):
            if file is not None:
                _attempt(file.close, failures)
        if failures:
            raise failures[0]

    def _new_source(self, stream: StreamStart) -> _Source:
        folder = self._config.out_dir
        if folder is not None and self._config.by_source:
            folder = folder / "sources" / folder_name(stream.source_id)
        return _Source(stream, folder, self._config)

    def _open_files(self, events_bytes: int = 0, table_bytes: int = 0) -> None:
        out_dir = self._config.out_dir
        if out_dir is None:
            return
        if self._config.events:
            self._events = LineFile(out_dir / "events.jsonl", events_bytes)
        if self._config.tracks:
            self._table = LineFile(out_dir / "tracks.csv", table_bytes)
            if not table_bytes:
                self._table.write(csv_lines([COLUMNS]))

    def _source(self, source_id: str) -> _Source:
        if source_id not in self._sources:
            raise MessageError(f"source {source_id} sent a message before it began")
        return self._sources[source_id]

    def _handle_all(self, source: _Source, moments: Iterable[Moment]) -> list[Output]:
        for moment in moments:
            if moment.frame is not None:
                # Due even when handling fails: `skip` gives it then.
                self._owed.append(Release(source.stream.source_id, moment.stamp.frame_id))
            self._handle(source, moment)
        done: list[Output] = list(self._owed)
        self._owed.clear()
        return done

    def _handle(self, source: _Source, moment: Moment) -> None:
        if moment.frame or moment.bodies or moment.identities:
            source.frames += moment.frame is not None
            source.incomplete += not moment.whole
            source.last_stamp = moment.stamp
            self._handle_moment(source, moment)
        for message in moment.late:
            self._name_tracks(source, message)
            for track_id in message.ended_tracks:
                self._end_track(source, message.stamp, track_id)

    def _handle_moment(self, source: _Source, moment: Moment) -> None:
        stamp, identities = moment.stamp, moment.identities
        bodies = moment.bodies.bodies if moment.bodies else ()
        tracks = [self._see(source, stamp, body) for body in bodies]
        if identities is not None:
            self._name_tracks(source, identities)
        rows = [track_row(stamp, b.person, t) for b, t in zip(bodies, tracks, strict=True)]
        if self._table is not None and rows:
            self._table.write(csv_lines(rows))
        if source.silhouettes is not None:
            for body in bodies:
                source.silhouettes.add(stamp, body)
        ended = (
            *(moment.bodies.ended_tracks if moment.bodies else ()),
            *(identities.ended_tracks if identities else ()),
        )
        try:
            if moment.frame is not None:
                self._show(source, moment.frame, bodies, tracks, identities)
        except cv2.error as error:
            raise FrameError(f"{stamp}: cannot be drawn: {error}") from error
        finally:
            for track_id in ended:
                self._end_track(source, stamp, track_id)

    def _show(
        self,
        source: _Source,
        frame: Frame,
        bodies: tuple[Body, ...],
        tracks: list[Track],
        identities: Identities | None,
    ) -> None:
        """Write the frame's thumbnails and its annotated picture."""
        assert frame.pixels is not None
        if source.thumbnails is not None:
            for body in bodies:
                source.thumbnails.add(frame.pixels, body.person)
        figures = source.meter.add(frame.stamp, identities)
        in_video = self._config.video and source.folder is not None
        if not in_video and source.window is None:
            return
        if source.picture is None:
            source.size_wh = frame.size_wh
            source.picture = Picture(frame.size_wh, self._config.max_video_side_px)
        people = [_figure(b, t) for b, t in zip(bodies, tracks, strict=True)]
        items = strip_items(frame.stamp, source.stream.live, len(people), figures)
        canvas = source.picture.draw(frame.pixels, people, source.stream.label, items)
        if in_video:
            self._video(source).write(canvas, frame.stamp.time_ns)
        if source.window is not None and not self.stop_wanted:
            self.stop_wanted = source.window.show(canvas)

    def _video(self, source: _Source, after: VideoState | None = None) -> VideoWriter:
        if source.video is None:
            assert source.folder is not None and source.picture is not None
            source.folder.mkdir(parents=True, exist_ok=True)
            source.video = VideoWriter(
                source.folder / "annotated.mp4",
                source.picture.layout.canvas_wh,
                source.stream.rate_hz,
                crf=self._config.crf,
                preset=self._config.video_preset,
                threads=self._config.video_threads,
                after=after,
            )
        return source.video

    def _see(self, source: _Source, stamp: Stamp, body: Body) -> Track:
        track, new = source.book.see(body.person, stamp.time_ns)
        if new:
            live = source.stream.live
            self._tell(events.track_start_event(stamp, track.track_id, live))
        return track

    def _name_tracks(self, source: _Source, message: Identities) -> None:
        live = source.stream.live
        for identity in message.identities:
            track, new = source.book.name(identity, message.stamp.time_ns)
            if new:
                self._tell(events.track_start_event(message.stamp, track.track_id, live))
            source.identities += identity.changed
            if identity.changed or identity.track_id in message.ended_tracks:
                self._tell(events.identity_event(message, identity, live))

    def _end_track(self, source: _Source, stamp: Stamp, track_id: int) -> None:
        track = source.book.end(track_id)
        if track is None:
            return
        self._tell(events.track_end_event(stamp, track, source.stream.live))
        if source.thumbnails is not None:
            source.thumbnails.end(track_id)

    def _tell(self, event: dict[str, Any]) -> None:
        if self._events is not None:
            self._events.write(events.event_line(event))
        self._event_count += 1


def _figure(body: Body, track: Track) -> Figure:
    person, identity = body.person, track.identity
    return Figure(
        person.track_id,
        person.bbox_xyxy_px,
        person.mask,
        person.keypoints_px,
        identity.state if identity else "pending",
        identity.name if identity else "",
        identity.score if identity else None,
        identity.false_alarm_rate if identity else None,
    )


def _close_pictures(source: _Source) -> None:
    """Close a source's window and video."""
    if source.window is not None:
        source.window.close()
    if source.video is not None:
        source.video.close()
        if source.video.in_segments:
            source.video.finish()
    source.picture = None


def _attempt(action: Any, failures: list[GaitError]) -> None:
    """Call `action`; a failure is kept, so that the other files are closed too."""
    try:
        action()
    except GaitError as failure:
        failures.append(failure)
