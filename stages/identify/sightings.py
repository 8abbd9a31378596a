"""Tracks that were seen in runs: kept for a while, so that one can be given a name afterwards.

They are biometric data of people who may not know of it: they expire, and nobody is named by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.clock import NS_PER_S, unix_ns
from pipeline.errors import GalleryConflictError, GalleryError
from stages.identify import schema
from stages.identify.gallery import Gallery
from stages.identify.records import Sighting, SightingVector, clean_text, is_trained
from stages.identify.vectors import pack_vector, read_vector

_COLUMNS = """
    run_id, source_id, track_id, source_label, run_dir, network, weights_hash, start_ns, end_ns,
    windows, frames, coalesce(person_id, ''), created_unix_ns, expires_unix_ns
"""
_ALIVE = "(expires_unix_ns IS NULL OR expires_unix_ns > ?)"
_KEY = "run_id = ? AND source_id = ? AND track_id = ?"


@dataclass(frozen=True, slots=True, eq=False)
class SightingUpdate:
    """A track's state so far, and its vectors that are not yet in the gallery."""

    sighting: Sighting
    vectors: tuple[SightingVector, ...]


def add_sightings(
    gallery: Gallery, updates: Sequence[SightingUpdate], minutes: float | None
) -> None:
    """Write tracks, or what is new of them, in one transaction.

    Args:
        minutes: how long they are kept from now on; None keeps them until they are removed.

    Raises:
        GalleryError: read-only, locked, disk full, or vectors of a network without weights.
    """
    now = unix_ns()
    expires = None if minutes is None else now + int(minutes * 60 * NS_PER_S)
    with gallery.change(people=False):
        for update in updates:
            _write(gallery, update, now, expires)


def _write(gallery: Gallery, update: SightingUpdate, now: int, expires: int | None) -> None:
    seen = update.sighting
    if not is_trained(seen.weights_hash):
        raise GalleryError(f"sightings of {seen.network} without trained weights are not kept")
    key = (seen.run_id, seen.source_id, seen.track_id)
    gallery.write(
        "INSERT INTO sightings (run_id, source_id, track_id, source_label, run_dir, network, "
        "weights_hash, start_ns, end_ns, windows, frames, created_unix_ns, expires_unix_ns) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) "
        "ON CONFLICT (run_id, source_id, track_id) DO UPDATE SET end_ns = excluded.end_ns, "
        "windows = excluded.windows, frames = excluded.frames, "
        "expires_unix_ns = excluded.expires_unix_ns",
        (
            *key,
            *(clean_text(seen.source_label), clean_text(seen.run_dir)),
            *(seen.network, seen.weights_hash, seen.start_ns, seen.end_ns),
            *(seen.windows, seen.frames, now, expires),
        ),
    )
    number = gallery.rows(f"SELECT id FROM sightings WHERE {_KEY}", key)[0][0]
    for vector in update.vectors:
        blob, c, p, crc32 = pack_vector(vector.vector)
        gallery.write(
            "INSERT INTO sighting_vectors (sighting_id, start_ns, end_ns, frames, quality, c, p, "
            "vector, crc32) VALUES (?,?,?,?,?,?,?,?,?)",
            (
                *(number, vector.start_ns, vector.end_ns, vector.frames, float(vector.quality)),
                *(c, p, blob, crc32),
            ),
        )


def sightings(
    gallery: Gallery, run_id: str | None = None, source_id: str | None = None
) -> list[Sighting]:
    """Return the sightings that have not expired, newest run first, then by source and track."""
    query = f"SELECT {_COLUMNS} FROM sightings AS s WHERE {_ALIVE}"
    values: list[object] = [unix_ns()]
    for column, wanted in (("run_id", run_id), ("source_id", source_id)):
        if wanted is not None:
            query += f" AND {column} = ?"
            values.append(wanted)
    query += (
        " ORDER BY (SELECT max(created_unix_ns) FROM sightings WHERE run_id = s.run_id) DESC, "
        "run_id, source_id, track_id"
    )
    return [Sighting(*row) for row in gallery.rows(query, values)]


def sighting_vectors(gallery: Gallery, sighting: Sighting) -> list[SightingVector]:
    """Return the kept windows of a track, oldest first."""
    rows = gallery.rows(
        "SELECT v.id, v.c, v.p, v.vector, v.crc32, v.start_ns, v.end_ns, v.frames, v.quality "
        f"FROM sighting_vectors AS v JOIN sightings AS s ON v.sighting_id = s.id "
        f"WHERE {' AND '.join('s.' + part for part in _KEY.split(' AND '))} ORDER BY v.id",
        (sighting.run_id, sighting.source_id, sighting.track_id),
    )
    vectors = [
        SightingVector(read_vector(gallery.path, f"sighting {row[0]}", *row[1:5]), *row[5:])
        for row in rows
    ]
    if len({vector.vector.shape for vector in vectors}) > 1:
        raise schema.damaged(gallery.path, "the vectors of a sighting differ in shape")
    return vectors


def claim(gallery: Gallery, sighting: Sighting, person_id: str) -> None:
    """Mark a sighting as promoted to a person, inside a `Gallery.change`.

    Raises:
        GalleryConflictError: it is gone, or was promoted before.
    """
    key = (sighting.run_id, sighting.source_id, sighting.track_id)
    found = gallery.rows(
        "SELECT coalesce(name, '') FROM sightings LEFT JOIN people "
        f"ON sightings.person_id = people.id WHERE {_KEY}",
        key,
    )
    if not found:
        raise GalleryConflictError(
            f"track {sighting.track_id} of run {sighting.run_id!r} is no longer in {gallery.path}",
            hint="it has expired: process the recording again",
        )
    if found[0][0]:
        raise GalleryConflictError(
            f"track {sighting.track_id} of run {sighting.run_id!r} is already enrolled as "
            f"{found[0][0]!r}"
        )
    gallery.write(f"UPDATE sightings SET person_id = ? WHERE {_KEY}", (person_id, *key))


def last_vector_id(gallery: Gallery) -> int:
    """Return the number of the newest vector of any run, 0 for none."""
    return int(gallery.rows("SELECT coalesce(max(id), 0) FROM sighting_vectors", ())[0][0])


def take_back_vectors(gallery: Gallery, run_id: str, after_id: int) -> None:
    """Delete the vectors of a run that came after one of that number.

    Raises:
        GalleryError: read-only, locked or damaged.
    """
    with gallery.change(people=False):
        gallery.write(
            "DELETE FROM sighting_vectors WHERE id > ? AND sighting_id IN "
            "(SELECT id FROM sightings WHERE run_id = ?)",
            (after_id, run_id),
        )


def remove_sightings(gallery: Gallery, run_id: str | None = None) -> int:
    """Delete the sightings of one run, or all, for good; return how many there were."""
    condition, values = ("run_id = ?", (run_id,)) if run_id is not None else ("1", ())
    with gallery.change(people=False, wipe=True):
        return gallery.write(f"DELETE FROM sightings WHERE {condition}", values).rowcount
