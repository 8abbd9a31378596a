"""What is known of each track: when it was seen, and who it is held to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.messages import Identity, Person

# A report names this many tracks; a camera that runs for months has more.
REPORT_LIMIT = 10_000


@dataclass(slots=True)
class Track:
    """One track of one source. Times on the recording's clock, nanoseconds."""

    track_id: int
    first_ns: int
    last_ns: int
    frames: int = 0
    identity: Identity | None = None

    @property
    def state(self) -> str:
        """`known`, `unknown` or `pending`."""
        return self.identity.state if self.identity else "pending"

    @property
    def name(self) -> str:
        """The name as tables show it: "unknown" for a stranger, "" while pending."""
        if self.identity is None or self.identity.state == "pending":
            return ""
        return self.identity.name if self.identity.state == "known" else "unknown"


class TrackBook:
    """The tracks of one source: the open ones, and the first `REPORT_LIMIT` that have ended."""

    def __init__(self) -> None:
        self._open: dict[int, Track] = {}
        self._ended: dict[int, Track] = {}
        self.count = 0

    def see(self, person: Person, time_ns: int) -> tuple[Track, bool]:
        """Take note of a person in a frame; return the track and whether it is new."""
        track, new = self._get(person.track_id, time_ns)
        track.last_ns = time_ns
        track.frames += 1
        return track, new

    def name(self, identity: Identity, time_ns: int) -> tuple[Track, bool]:
        """Take note of a decision; return the track and whether it is new.

        A decision may still come for a track that has ended.
        """
        if identity.track_id in self._ended:
            track, new = self._ended[identity.track_id], False
        else:
            track, new = self._get(identity.track_id, time_ns)
        track.identity = identity
        return track, new

    def get(self, track_id: int) -> Track | None:
        """Return the open track of this number."""
        return self._open.get(track_id)

    def end(self, track_id: int) -> Track | None:
        """Close a track and return it, None if there is no open one of this number."""
        track = self._open.pop(track_id, None)
        if track is not None and len(self._ended) < REPORT_LIMIT:
            self._ended[track_id] = track
        return track

    def open_ids(self) -> list[int]:
        """Return the numbers of the open tracks, ascending."""
        return sorted(self._open)

    def __iter__(self) -> Iterator[Track]:
        tracks = {**self._ended, **self._open}
        return (tracks[track_id] for track_id in sorted(tracks))

    def _get(self, track_id: int, time_ns: int) -> tuple[Track, bool]:
        track = self._open.get(track_id)
        if track is not None:
            return track, False
        self.count += 1
        track = self._open[track_id] = Track(track_id, time_ns, time_ns)
        return track, True


def track_facts(source_id: str, track: Track) -> dict[str, Any]:
    """Return a track as the report shows it; times in seconds."""
    return {
        "source_id": source_id,
        "track_id": track.track_id,
        "first_s": round(track.first_ns / 1e9, 3),
        "last_s": round(track.last_ns / 1e9, 3),
        "frames": track.frames,
        "state": track.state,
        "name": track.name,
        "score": round(track.identity.score, 4) if track.identity else 0.0,
        "false_alarm_rate": track.identity.false_alarm_rate if track.identity else None,
    }
