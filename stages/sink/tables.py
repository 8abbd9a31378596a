"""Rows of `tracks.csv`: one for each person in each frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from pipeline.messages import Person, Stamp
from stages.sink.tracks import Track

COLUMNS = (
    "source_id",
    "frame_id",
    "time_s",
    "track_id",
    "x1",
    "y1",
    "x2",
    "y2",
    "score",
    "name",
    "name_score",
)


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Return `rows` as CSV text (comma, quotes where needed, \\n)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def track_row(stamp: Stamp, person: Person, track: Track) -> tuple[object, ...]:
    """Return the row of a person.

    Box in pixels of the original frame (2 digits), times in seconds (3), scores 0..1 (4). The name
    is the one known at this frame: "unknown" for a stranger, "" while pending.
    """
    pending = track.identity is None or track.identity.state == "pending"
    return (
        stamp.source_id,
        stamp.frame_id,
        f"{stamp.time_ns / 1e9:.3f}",
        person.track_id,
        *(f"{side:.2f}" for side in person.bbox_xyxy_px.tolist()),
        f"{person.score:.4f}",
        track.name.replace("\0", ""),  # Python 3.10's csv cannot write it
        "" if pending or track.identity is None else f"{track.identity.score:.4f}",
    )
