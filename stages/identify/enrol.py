"""Gives a name to a track that was seen in a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import GalleryError, UsageError
from stages.identify.fusion import fuse
from stages.identify.gallery import Gallery
from stages.identify.records import (
    MAX_THUMBNAIL_BYTES,
    Person,
    Sighting,
    SightingVector,
    Template,
    check_thumbnail,
    clean_name,
    weight_of,
)
from stages.identify.sightings import claim, sighting_vectors, sightings

MIN_WINDOWS = 2
MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Who was enrolled, from which track; `added` says that the person was there before."""

    person: Person
    sighting: Sighting
    added: bool


def enrol_from_sightings(
    gallery: Gallery,
    run_id: str,
    track_id: int | None,
    name: str,
    consent: str = "",
    add: bool = False,
    *,
    note: str = "",
    source_id: str | None = None,
    min_windows: int = MIN_WINDOWS,
) -> Enrolled:
    """Fuse a track's windows to a template (`pipeline.fusing`) and store it for a person.

    The track's picture comes along if `<run_dir>/thumbnails/<track_id>.jpg` is there. All in one
    transaction.

    Args:
        track_id: None for the only track with enough windows.
        consent: what the person agreed to, when and how; kept beside the name.
        add: False makes a new person, True adds to the one of this name, who must be there.
        source_id: needed if the run had several sources with a track of this number.
        min_windows: windows that a track must have.

    Raises:
        UsageError: no such track, one that was seen too shortly, or several that fit.
        GalleryConflictError: the name is taken (`add` False) or not there (`add` True), or the
            track is enrolled already.
        GalleryError: the gallery cannot be written to.
    """
    name = clean_name(name)
    chosen = choose_sighting(sightings(gallery, run_id, source_id), run_id, track_id, min_windows)
    vectors = sighting_vectors(gallery, chosen)
    if not vectors:
        raise UsageError(
            f"track {chosen.track_id} of run {run_id!r} has no vectors",
            hint="they could not be written during the run: process the recording again",
        )
    template = _template(chosen, vectors)
    picture = read_thumbnail(chosen)
    with gallery.change():
        if add:
            person_id = gallery.id_of(name)
        else:
            person_id = gallery.insert_person(name, note, consent, picture)
        gallery.insert_template(person_id, template)
        claim(gallery, chosen, person_id)
        if add:
            gallery.append_notes(person_id, note, consent, picture)
    return Enrolled(gallery.person(person_id), chosen, add)


def choose_sighting(
    seen: Sequence[Sighting], run_id: str, track_id: int | None, min_windows: int = MIN_WINDOWS
) -> Sighting:
    """Return the one track that is meant.

    Raises:
        UsageError: none or several fit; the message lists the tracks with their lengths.
    """
    if not seen:
        raise UsageError(
            f"run {run_id!r} has no tracks to enrol",
            hint="nobody was seen walking long enough, or its sightings have expired",
        )
    numbered = [one for one in seen if track_id in (None, one.track_id)]
    fit = [one for one in numbered if one.windows >= min_windows]
    if len(fit) == 1:
        return fit[0]
    if not numbered:
        what, hint = f"run {run_id!r} has no track {track_id}", "choose one with --track"
    elif not fit:
        what = f"no track has the {min_windows} windows that enrolling takes"
        hint = "let the person walk for a longer time"
    elif track_id is None:
        what, hint = f"{len(fit)} people could be meant", "choose one with --track"
    else:
        what, hint = f"several sources have a track {track_id}", "choose the source as well"
    raise UsageError(f"{what}:\n{describe(seen)}", hint=hint)


def describe(seen: Sequence[Sighting]) -> str:
    """Return a line for each track, the longest first, at most `MAX_LISTED`."""
    longest = sorted(seen, key=lambda one: (-one.windows, one.source_id, one.track_id))
    several = len({one.source_id for one in seen}) > 1
    lines = [
        f"  track {one.track_id}{f' of {one.source_id}' if several else ''}: "
        f"{one.length_s:.1f} s, {one.windows} windows, from {one.start_ns / 1e9:.1f} s on"
        for one in longest[:MAX_LISTED]
    ]
    if len(seen) > MAX_LISTED:
        lines.append(f"  and {len(seen) - MAX_LISTED} shorter ones")
    return "\n".join(lines)


def mean_vector(vectors: Sequence[SightingVector]) -> np.ndarray:
    """Return windows fused, as float32 [c,p] (`pipeline.fusing`); at least one window."""
    stack = np.stack([one.vector for one in vectors])
    frames = np.array([one.frames for one in vectors])
    return fuse(stack, frames, np.array([one.quality for one in vectors]), None)


def read_thumbnail(sighting: Sighting) -> bytes | None:
    """Return the picture that the run wrote of a track, None if there is none that can be used."""
    if not sighting.run_dir:
        return None
    path = Path(sighting.run_dir) / "thumbnails" / f"{sighting.track_id}.jpg"
    try:
        with path.open("rb") as file:
            return check_thumbnail(file.read(MAX_THUMBNAIL_BYTES + 1))
    except (OSError, GalleryError):
        # A picture is for people's eyes only; without one the enrolment is as good.
        return None


def _template(sighting: Sighting, vectors: Sequence[SightingVector]) -> Template:
    weights = [weight_of(one.frames, one.quality) for one in vectors]
    quality = sum(w * one.quality for w, one in zip(weights, vectors, strict=True)) / sum(weights)
    return Template(
        mean_vector(vectors),
        sighting.network,
        sighting.weights_hash,
        f"{sighting.source_label or sighting.source_id}, track {sighting.track_id}",
        sighting.frames,
        min(quality, 1.0),
    )
