"""Collects the vectors of tracks during a run and writes them to the gallery in batches.

Nothing here decides anything: a gallery that cannot be written to costs sightings, which are
counted, and never a name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import GaitError
from pipeline.messages import Embedding
from stages.identify.gallery import Gallery
from stages.identify.records import Sighting, SightingVector
from stages.identify.sightings import (
    SightingUpdate,
    add_sightings,
    last_vector_id,
    take_back_vectors,
)

# Windows overlap by about three quarters: after the first ones, every fourth says as much as all.
ALL_OF_FIRST = 24
THEN_EVERY = 4
VECTORS_PER_TRACK = 64
# A vector has up to some tens of kilobytes, so this many wait in some megabytes.
BATCH_VECTORS = 128
WAITING_VECTORS = 1024


@dataclass(slots=True)
class _Seen:
    sighting: Sighting
    kept: int
    waiting: list[SightingVector]
    changed: bool = True


class SightingLog:
    """The sightings of one run.

    Attributes:
        written, lost: vectors in the gallery, and those that did not get there.
        last_error: why, "" if nothing was lost.
    """

    def __init__(
        self, gallery: Gallery, run_id: str, run_dir: Path | None, minutes: float | None
    ) -> None:
        self._gallery = gallery
        self._run_id = run_id
        self._run_dir = "" if run_dir is None else str(run_dir.absolute())
        self._minutes = minutes
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._ended: list[_Seen] = []
        self._last_id = last_vector_id(gallery)
        self.written = 0
        self.lost = 0
        self.last_error = ""

    def note(self, source_id: str, label: str, seen: Embedding, windows: int, frames: int) -> None:
        """Note one more window of a track: `windows` and `frames` are the track's counts so far."""
        key = (source_id, seen.track_id)
        track = self._seen.get(key)
        if track is None:
            track = self._seen[key] = _Seen(self._begin(source_id, label, seen), 0, [])
        origin = (track.sighting.network, track.sighting.weights_hash)
        if origin != (seen.network, seen.weights_hash):
            return  # Vectors of two networks make no template; a run has one.
        track.sighting = replace(
            track.sighting,
            end_ns=max(track.sighting.end_ns, seen.end_ns),
            windows=windows,
            frames=frames,
        )
        track.changed = True
        due = windows <= ALL_OF_FIRST or windows % THEN_EVERY == 0
        if due and track.kept < VECTORS_PER_TRACK:
            # A copy: the message's array is a view of a buffer that would be kept alive by it.
            track.waiting.append(
                SightingVector(
                    *(seen.vector.copy(), seen.start_ns, seen.end_ns, seen.frames),
                    min(max(0.0, seen.quality), 1.0),
                )
            )
            track.kept += 1

    def _begin(self, source_id: str, label: str, seen: Embedding) -> Sighting:
        return Sighting(
            run_id=self._run_id,
            source_id=source_id,
            track_id=seen.track_id,
            source_label=label,
            run_dir=self._run_dir,
            network=seen.network,
            weights_hash=seen.weights_hash,
            start_ns=seen.start_ns,
            end_ns=seen.end_ns,
            windows=0,
            frames=0,
        )

    def end_track(self, source_id: str, track_id: int) -> None:
        """No more windows of this track will come."""
        track = self._seen.pop((source_id, track_id), None)
        if track is not None and (track.changed or track.waiting):
            self._ended.append(track)

    @property
    def waiting(self) -> int:
        """Vectors that are not yet written."""
        tracks = (*self._ended, *self._seen.values())
        return sum(len(track.waiting) for track in tracks)

    def full(self) -> bool:
        """Say whether it is time for `flush`."""
        return self.waiting >= BATCH_VECTORS

    def flush(self, *, last: bool = False) -> None:
        """Write what waits. What cannot be written waits for the next time, within bounds.

        Args:
            last: there is no next time.
        """
        tracks = [track for track in (*self._ended, *self._seen.values()) if track.changed]
        if not tracks:
            return
        try:
            add_sightings(
                self._gallery,
                [SightingUpdate(track.sighting, tuple(track.waiting)) for track in tracks],
                self._minutes,
            )
        except GaitError as error:
            self.last_error = error.message
            if last or self.waiting > WAITING_VECTORS:
                self.lost += self.waiting
                self._settle(tracks)
            return
        self.written += self.waiting
        self._last_id = last_vector_id(self._gallery)
        self._settle(tracks)

    def snapshot(self) -> Any:
        """What waits and what was written, for `restore` in another process."""
        return self._seen, self._ended, self.written, self.lost, self.last_error, self._last_id

    def restore(self, state: Any) -> None:
        """Go on after a snapshot: vectors written since are taken back, and will come again."""
        self._seen, self._ended, self.written, self.lost, self.last_error, self._last_id = state
        try:
            take_back_vectors(self._gallery, self._run_id, self._last_id)
        except GaitError as error:
            self.last_error = error.message

    def _settle(self, tracks: list[_Seen]) -> None:
        for track in tracks:
            track.waiting.clear()
            track.changed = False
        self._ended.clear()
