"""What the identify stage keeps between messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.messages import IdentityState
from stages.identify.comparing import NOTHING, Compared, Comparer, Find, NetworkKey, comparers_of
from stages.identify.decision import Claim, Evidence
from stages.identify.records import Snapshot
from stages.identify.search import Metric


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a track."""

    state: IdentityState = "pending"
    name: str = ""
    person_id: str = ""


@dataclass(slots=True)
class Track:
    """What is kept of a track between messages; `compared` belongs to the index's people."""

    evidence: Evidence
    compared: Compared = NOTHING
    claim: Claim = field(default_factory=Claim)
    answer: Answer = field(default_factory=Answer)
    said: Answer | None = None


@dataclass(slots=True, eq=False)
class View:
    """The gallery as some sources see it: recordings as it was at the start, live ones as it is."""

    revision: int
    names: dict[str, str]
    comparers: Mapping[NetworkKey, Comparer]


@dataclass(frozen=True, slots=True, eq=False)
class SourceState:
    """A source as it can be kept: of the gallery it knows only the revision, None for none."""

    label: str
    live: bool
    revision: int | None
    tracks: dict[int, Track]
    present: frozenset[int]
    looked_ns: int | None
    tidied_ns: int | None


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

    def state(self) -> SourceState:
        """Return what another process needs to go on."""
        return SourceState(
            label=self.label,
            live=self.live,
            revision=None if self.view is None else self.view.revision,
            tracks=self.tracks,
            present=self.present,
            looked_ns=self.looked_ns,
            tidied_ns=self.tidied_ns,
        )

    @classmethod
    def of(cls, kept: SourceState) -> Source:
        """Return the source of a state, without its view."""
        source = cls(kept.label, kept.live)
        source.tracks, source.present = kept.tracks, kept.present
        source.looked_ns, source.tidied_ns = kept.looked_ns, kept.tidied_ns
        return source


def view_of(snapshot: Snapshot, metric: Metric, find: Find) -> View:
    """Return a snapshot, ready to be searched."""
    return View(snapshot.revision, snapshot.names, comparers_of(snapshot, metric, find))


def final_answer(
    source_id: str, track_id: int, track: Track, false_alarm_rate: float | None
) -> dict[str, Any]:
    """Return a track's last answer as it stands in the report."""
    return {
        "source_id": source_id,
        "track_id": track_id,
        "state": track.answer.state,
        "name": track.answer.name,
        "person_id": track.answer.person_id,
        "false_alarm_rate": false_alarm_rate,
        "windows": track.evidence.windows,
        "frames": round(track.evidence.frames),
    }
