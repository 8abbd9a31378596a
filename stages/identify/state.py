"""What the identify stage keeps between messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.messages import IdentityState
from stages.identify.decision import Claim, Evidence
from stages.identify.records import Snapshot
from stages.identify.search import Index, Metric, build_index

NetworkKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a track."""

    state: IdentityState = "pending"
    name: str = ""
    person_id: str = ""


@dataclass(slots=True)
class Track:
    """What is kept of a track between messages; `scores` belongs to the index's people."""

    evidence: Evidence
    scores: np.ndarray
    claim: Claim = field(default_factory=Claim)
    answer: Answer = field(default_factory=Answer)
    said: Answer | None = None


@dataclass(slots=True, eq=False)
class View:
    """The gallery as some sources see it: recordings as it was at the start, live ones as it is."""

    revision: int
    names: dict[str, str]
    indexes: dict[NetworkKey, Index]


class Source:
    """One source's tracks."""

    def __init__(self, label: str, live: bool) -> None:
        self.label = label
        self.live = live
        self.view: View | None = None
        self.tracks: dict[int, Track] = {}
        self.present: frozenset[int] = frozenset()
        self.looked_ns: int | None = None
        self.tidied_ns: int | None = None


def view_of(snapshot: Snapshot, metric: Metric) -> View:
    """Return the indexes of a snapshot, ready to be searched."""
    indexes = {(one.network, one.weights_hash): build_index(one, metric) for one in snapshot.sets}
    return View(snapshot.revision, snapshot.names, indexes)


def final_answer(source_id: str, track_id: int, track: Track) -> dict[str, Any]:
    """Return a track's last answer as it stands in the report."""
    return {
        "source_id": source_id,
        "track_id": track_id,
        "state": track.answer.state,
        "name": track.answer.name,
        "person_id": track.answer.person_id,
        "windows": track.evidence.windows,
        "frames": round(track.evidence.frames),
    }
