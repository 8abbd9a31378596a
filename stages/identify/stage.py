"""The stage that turns embeddings into names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.clock import NS_PER_S
from pipeline.errors import CalibrationError, GalleryError
from pipeline.messages import (
    MAX_PEOPLE,
    Embedding,
    Embeddings,
    Identities,
    Identity,
    Stamp,
    StreamStart,
)
from pipeline.stage import StageBase
from stages.identify.answering import deciding_scores, rules_for, shown
from stages.identify.calibration import Calibration
from stages.identify.calibrations import Calibrations
from stages.identify.comparing import NOTHING, Comparer, compare_track
from stages.identify.config import Config
from stages.identify.decision import (
    Claim,
    Evidence,
    assign,
    best_of,
    gather,
    stands_out,
    watch_rival,
    wishes,
)
from stages.identify.gallery import Gallery
from stages.identify.records import is_comparable, is_trained
from stages.identify.schema import Mode
from stages.identify.sighting_log import SightingLog
from stages.identify.snapshot import take_snapshot
from stages.identify.state import Answer, Source, Track, View, final_answer, view_of

LOOK_EVERY_NS = NS_PER_S
TIDY_EVERY_NS = 60 * NS_PER_S
MAX_ANSWERS = 1000
MAX_WARNINGS = 20


class IdentifyStage(StageBase):
    """Names the tracks of each source.

    In: `Embeddings`, one for each frame. Out: one `Identities` for each, with the tracks that had
    new windows and those whose answer has changed because of another track or of the gallery.
    Keeps, for each track until it ends: a weighted sum of its vectors, its scores and its name;
    nothing of that depends on timing. A frame without windows costs microseconds; one with, a
    matrix product with the gallery (10 000 x 256: about 1 ms) and a small assignment.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._calibrations: Calibrations | None = None
        self._gallery: Gallery | None = None
        self._log: SightingLog | None = None
        self._at_start = View(0, {}, {})
        self._now = self._at_start
        self._sources: dict[str, Source] = {}
        self._counts: Counter[str] = Counter()
        self._answers: list[dict[str, Any]] = []
        self._warnings: Counter[str] = Counter()

    # --- life

    def setup(self) -> None:
        """Read the calibration, open the gallery and build its indexes.

        Raises:
            GalleryError: see `Gallery.open`; also if sightings are wanted and it is read-only.
            CalibrationError: the calibration cannot be read, is of other weights than the gallery's
                templates, or does not vouch for so low a false-alarm rate.
        """
        config = self._config
        self._calibrations = Calibrations(config)
        if config.gallery is None:
            return
        mode: Mode = "create" if config.create_gallery else "write" if config.sightings else "any"
        self._gallery = Gallery.open(config.gallery, mode)
        self._at_start = self._now = self._view(self._gallery)
        self._calibrations.check_gallery(self._now.comparers)
        if config.sightings:
            self._log = SightingLog(
                self._gallery, config.run_id, config.run_dir, config.sightings_minutes
            )
            # A run of this name that is done again has other tracks under the same numbers. This
            # also tells now, not at the end of the run, whether the gallery can be written to.
            if self.resumed:
                return
            with self._gallery.change(people=False):
                self._gallery.write("DELETE FROM sightings WHERE run_id = ?", (config.run_id,))

    def snapshot(self) -> Any:
        """The tracks, the counts and what waits to be written; of the gallery only its revision."""
        return (
            self._at_start.revision,
            {key: source.state() for key, source in self._sources.items()},
            (self._counts, self._answers, self._warnings),
            None if self._log is None else self._log.snapshot(),
        )

    def restore(self, state: Any) -> None:
        """Go on with the tracks of a snapshot, against the gallery as it is now."""
        revision, sources, (self._counts, self._answers, self._warnings), log = state
        if revision != self._now.revision:
            self._warn(
                "the gallery was changed during the run, and this stage was started again: from "
                "here on it names by the gallery as it is now"
            )
        for key, kept in sources.items():
            source = self._sources[key] = Source.of(kept)
            if kept.revision is not None:
                source.view = self._now
                if kept.revision != self._now.revision:
                    self._score(source.view, list(source.tracks.values()))
        if self._log is not None:
            self._log.restore(log)

    def start(self, stream: StreamStart) -> None:
        """Begin a source."""
        source = self._sources[stream.source_id] = Source(stream.label, stream.live)
        source.view = self._now if stream.live else self._at_start

    def end(self, source_id: str) -> Iterable[Identities]:
        """Free a source's tracks and write their sightings."""
        source = self._sources.pop(source_id, None)
        if source is not None:
            for track_id in sorted(source.tracks):
                self._forget(source_id, source, track_id)
        if self._log is not None:
            self._log.flush(last=not self._sources)
            self._tidy()
        return ()

    def close(self) -> None:
        """Write what still waits and close the gallery."""
        if self._gallery is None:
            return
        if self._log is not None:
            self._log.flush(last=True)
        self._gallery.close()
        self._gallery = None

    def _view(self, gallery: Gallery) -> View:
        assert self._calibrations is not None, "setup() comes first"
        snapshot = take_snapshot(gallery)
        return view_of(snapshot, self._calibrations.metric, self._calibrations.find)

    # --- work

    def process(self, message: Embeddings) -> tuple[Identities]:
        """Answer one frame; decisions depend on the messages and the gallery alone.

        Raises:
            CalibrationError: vectors of other weights than those of the calibration that was given.
        """
        source_id = message.stamp.source_id
        source = self._source(source_id)
        renewed = self._look(source, message.stamp)
        fresh = self._take(source_id, source, message.embeddings)
        present = frozenset(source.tracks.keys() & {*message.visible_tracks, *fresh})
        if fresh or renewed or present != source.present:
            self._decide(source, sorted(present), fresh)
            source.present = present
        identities = self._say(source, present, fresh)
        for track_id in message.ended_tracks:
            self._forget(source_id, source, track_id)
        return (Identities(message.stamp, identities, message.ended_tracks),)

    def skip(self, message: Embeddings) -> tuple[Identities]:
        """Say nothing about a bad message, but let its ended tracks go."""
        source = self._source(message.stamp.source_id)
        for track_id in message.ended_tracks:
            self._forget(message.stamp.source_id, source, track_id)
        return (Identities(message.stamp, (), message.ended_tracks),)

    def _source(self, source_id: str) -> Source:
        source = self._sources.get(source_id)
        if source is None:
            source = self._sources[source_id] = Source(source_id, live=False)
        if source.view is None:
            source.view = self._at_start
        return source

    def _look(self, source: Source, stamp: Stamp) -> bool:
        """In a live source, about once a second: take over what others did to the gallery."""
        if not source.live or self._gallery is None:
            return False
        now = stamp.time_ns
        if source.looked_ns is None or not 0 <= now - source.looked_ns < LOOK_EVERY_NS:
            source.looked_ns = now
            self._reload(self._gallery)
            if self._log is not None:
                self._log.flush()
                if source.tidied_ns is None or not 0 <= now - source.tidied_ns < TIDY_EVERY_NS:
                    source.tidied_ns = now
                    self._tidy()
        if source.view is self._now:
            return False
        source.view = self._now
        for track in source.tracks.values():
            self._score(source.view, [track])
        return True

    def _reload(self, gallery: Gallery) -> None:
        assert self._calibrations is not None, "setup() comes first"
        try:
            if gallery.revision() == self._now.revision:
                return
            self._now = self._view(gallery)
        except (GalleryError, CalibrationError) as error:
            # A live run goes on with the gallery that it has; the report says so.
            self._warn(f"the gallery could not be read again: {error.message}")
            return
        try:
            self._calibrations.check_gallery(self._now.comparers)
        except CalibrationError as error:
            # It has grown beyond what the calibration vouches for: names get rarer, and no more is
            # claimed of them than can be.
            self._warn(error.message)

    def _tidy(self) -> None:
        if self._gallery is None:
            return
        try:
            self._gallery.tidy()
        except GalleryError as error:
            self._warn(f"expired sightings could not be deleted: {error.message}")

    def _take(self, source_id: str, source: Source, embeddings: tuple[Embedding, ...]) -> list[int]:
        """Add windows to their tracks; return the ids of the tracks that have new ones."""
        changed: dict[int, Track] = {}
        for seen in embeddings:
            if not is_comparable(seen.vector) or not seen.vector.size:
                self._counts["bad_vectors"] += 1
                continue
            track = source.tracks.get(seen.track_id)
            before = None if track is None else track.evidence
            assert self._calibrations is not None, "setup() comes first"
            self._calibrations.check_vectors(seen.network, seen.weights_hash)
            calibration = self._calibration(source, seen.network, seen.weights_hash)
            weighing = None if calibration is None else calibration.weighing
            evidence = gather(before, seen, self._config.memory_windows, weighing)
            if track is None:
                track = source.tracks[seen.track_id] = Track(evidence)
                self._counts["tracks"] += 1
            track.evidence = evidence
            changed[seen.track_id] = track
            self._counts["windows"] += 1
            if self._log is not None and is_trained(seen.weights_hash):
                frames = round(evidence.frames)
                self._log.note(source_id, source.label, seen, evidence.windows, frames)
        assert source.view is not None
        self._score(source.view, list(changed.values()))
        if self._log is not None and self._log.full():
            self._log.flush()
        return sorted(changed)

    def _score(self, view: View, tracks: list[Track]) -> None:
        """Compare tracks with the gallery."""
        for track in tracks:
            evidence = track.evidence
            comparer = self._comparer(view, evidence)
            # One by one: the last digits of a product depend on what else is in it.
            track.compared = (
                NOTHING
                if comparer is None
                else compare_track(
                    *(evidence.mean, evidence.frames, evidence.quality),
                    comparer,
                    self._config.nearest,
                )
            )

    def _comparer(self, view: View, evidence: Evidence) -> Comparer | None:
        """Return what a track is compared with, None where it cannot be; the report says why."""
        network, weights_hash = evidence.network, evidence.weights_hash
        if not is_trained(weights_hash):
            self._warn(f"{network} has no trained weights: nobody can be named")
            return None
        comparer = view.comparers.get((network, weights_hash))
        if comparer is None:
            if view.comparers:
                held = ", ".join(f"{name}/{digest}" for name, digest in sorted(view.comparers))
                self._warn(
                    f"nobody can be named: vectors are of {network}/{weights_hash}, "
                    f"the gallery holds templates of {held} only"
                )
            return None
        if evidence.total.shape != comparer.index.shape:
            self._warn(
                f"vectors of {network} are {list(evidence.total.shape)}, "
                f"in the gallery {list(comparer.index.shape)}"
            )
            return None
        return comparer

    def _calibration(self, source: Source, network: str, weights_hash: str) -> Calibration | None:
        assert source.view is not None
        comparer = source.view.comparers.get((network, weights_hash))
        return None if comparer is None else comparer.calibration

    def _decide(self, source: Source, present: list[int], fresh: list[int]) -> None:
        """Give names to the tracks that are visible together, each name once."""
        assert source.view is not None
        ready = []
        for track_id in present:
            track = source.tracks[track_id]
            if track.evidence.windows < self._config.min_windows:
                track.claim, track.answer = Claim(), Answer("pending")
            else:
                ready.append(track_id)
        wanted = [
            self._wishes(source.view, source.tracks[track_id], len(ready), track_id in fresh)
            for track_id in ready
        ]
        for track_id, person in zip(ready, assign(wanted), strict=True):
            track = source.tracks[track_id]
            if person != track.claim.held:
                track.claim = Claim(person)
            name = source.view.names.get(person, "")
            track.answer = Answer("known", name, person) if person else Answer("unknown")

    def _wishes(self, view: View, track: Track, count: int, is_fresh: bool) -> dict[str, float]:
        compared = track.compared
        if compared.nearest < 0:
            return {}
        people = view.comparers[track.evidence.key].index.people
        scores = deciding_scores(compared, self._config)
        # One more than there are tracks: the rival of a held name is among them.
        best = best_of(people, scores, count + 1, track.claim.held)
        rules = rules_for(view, track, self._config)
        if is_fresh:
            track.claim = watch_rival(track.claim, best, rules)
        if not stands_out(best, track.claim.held, rules):
            return {}
        return wishes(track.claim, best, rules)

    def _say(
        self, source: Source, present: frozenset[int], fresh: list[int]
    ) -> tuple[Identity, ...]:
        """Return what is to be said, by track id; what does not fit is said next time."""
        changed = [i for i in sorted(present) if source.tracks[i].answer != source.tracks[i].said]
        chosen = [*changed, *(i for i in fresh if i not in set(changed))][:MAX_PEOPLE]
        return tuple(self._identity(source, track_id) for track_id in sorted(chosen))

    def _identity(self, source: Source, track_id: int) -> Identity:
        track = source.tracks[track_id]
        answer, said = track.answer, track.said
        if said is not None and said.state == answer.state == "known":
            self._counts["switches"] += said.person_id != answer.person_id
        track.said = answer
        score, level = shown(source.view, track)
        return Identity(
            *(track_id, answer.state, answer.name, answer.person_id),
            score=score,
            false_alarm_rate=level,
            windows=track.evidence.windows,
            frames=round(track.evidence.frames),
            changed=answer != said,
        )

    def _forget(self, source_id: str, source: Source, track_id: int) -> None:
        track = source.tracks.pop(track_id, None)
        if track is None:
            return
        source.present -= {track_id}
        self._counts[track.answer.state] += 1
        if len(self._answers) < MAX_ANSWERS:
            level = shown(source.view, track)[1]
            self._answers.append(final_answer(source_id, track_id, track, level))
        if self._log is not None:
            self._log.end_track(source_id, track_id)

    # --- telling

    def _warn(self, text: str) -> None:
        if text in self._warnings or len(self._warnings) < MAX_WARNINGS:
            self._warnings[text] += 1

    def report(self) -> Mapping[str, Any]:
        """Return counts of tracks by their last answer, the answers themselves, and warnings."""
        running = [
            (source_id, source, track_id, track)
            for source_id, source in sorted(self._sources.items())
            for track_id, track in sorted(source.tracks.items())
        ]
        counts = self._counts + Counter(track.answer.state for *_, track in running)
        answers = [
            *self._answers,
            *(
                final_answer(source_id, track_id, track, shown(source.view, track)[1])
                for source_id, source, track_id, track in running
            ),
        ]
        log, calibrations = self._log, self._calibrations
        comparers = self._now.comparers
        notes = [] if calibrations is None else calibrations.notes
        return {
            "tracks": counts["tracks"],
            "windows": counts["windows"],
            "named": counts["known"],
            "unknown": counts["unknown"],
            "pending": counts["pending"],
            "switches": counts["switches"],
            "bad_vectors": counts["bad_vectors"],
            "gallery_people": len(self._now.names),
            "calibrations": [] if calibrations is None else calibrations.facts(comparers),
            "answers": answers[:MAX_ANSWERS],
            "answers_left_out": counts["tracks"] - len(answers[:MAX_ANSWERS]),
            "sightings_written": 0 if log is None else log.written,
            "sightings_lost": 0 if log is None else log.lost,
            "sightings_error": "" if log is None else log.last_error,
            "warnings": dict.fromkeys(notes, 1) | dict(self._warnings),
        }
