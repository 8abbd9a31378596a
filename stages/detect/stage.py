"""The detect stage: frames in, people out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pipeline.errors import FrameError, GaitError
from pipeline.messages import MAX_PEOPLE, Frame, Mask, People, Person, StreamStart
from pipeline.stage import StageBase
from stages.detect.appearance import clothing
from stages.detect.border import cut_by_border, occluded
from stages.detect.config import MediapipeConfig, YoloConfig
from stages.detect.observation import Expected, Observation
from stages.detect.pool import PosePool
from stages.detect.search import Searcher
from stages.detect.tracking import DEFAULT_RATE_HZ, PersonTracker, Sighting, load_norfair
from stages.human.joints import MEDIAPIPE_TO_COCO


class Watcher(Protocol):
    """What a variant is: it finds people in the frames of several sources."""

    def new_state(self, rate_hz: float, live: bool) -> Any:
        """Return the state of a source that has shown nothing yet."""

    def observe(
        self, state: Any, pixels: np.ndarray, expected: Sequence[Expected]
    ) -> tuple[list[Observation], set[int]]:
        """Return who is seen, and the keys of the tracks whose turn was skipped."""


@dataclass(slots=True, eq=False)
class _Source:
    tracker: PersonTracker
    watched: Any


class DetectStage(StageBase):
    """Finds, segments and tracks people.

    In: `Frame` with pixels. Out: exactly one `People` with its stamp; a person is in it only if
    it was seen in that very frame. Keeps, per source, a tracker and what the variant keeps (the
    background); both go at `end`. `mediapipe` costs about 8 ms
    a frame plus 22 ms of one core for each person, on as many cores as there are threads (two
    threads: 1.5 to 1.9 times one). The answer depends on the frames alone, not
    on timing or on the number of threads; in a live stream with `max_crops_per_frame` set, people
    share the turns and `report` counts those skipped.
    """

    def __init__(self, config: MediapipeConfig | YoloConfig) -> None:
        self._config = config
        self._sources: dict[str, _Source] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._pool: PosePool | None = None
        self._watcher: Watcher | None = None

    def setup(self) -> None:
        """Load the networks.

        Raises:
            GaitError: a library or the weights are missing.
        """
        load_norfair()
        self._pool = PosePool(self._config.threads, self._config.min_detection)
        try:
            if isinstance(self._config, MediapipeConfig):
                self._watcher = Searcher(self._config, self._pool, self._count)
            else:
                from stages.detect.yolo import YoloWatcher

                self._watcher = YoloWatcher(self._config, self._pool, self._count)
        except GaitError:
            self.close()
            raise

    def start(self, stream: StreamStart) -> None:
        """Make room for a source."""
        assert self._watcher is not None, "setup comes before start"
        rate_hz = stream.rate_hz if stream.rate_hz > 0 else DEFAULT_RATE_HZ
        self._sources[stream.source_id] = _Source(
            PersonTracker(self._config.tracking, rate_hz),
            self._watcher.new_state(rate_hz, stream.live),
        )

    def process(self, message: Frame) -> Iterable[People]:
        """Answer a frame with the people in it.

        Raises:
            FrameError: the frame has no pixels, or its source was not started.
        """
        stamp, pixels = message.stamp, message.pixels
        source = self._sources.get(stamp.source_id)
        if source is None or self._watcher is None:
            raise FrameError(f"{stamp}: the source was not started")
        if pixels is None or pixels.size == 0:
            raise FrameError(f"{stamp}: the frame has no pixels")
        source.tracker.advance(stamp.time_ns)
        expected = source.tracker.expected()
        seen, skipped = self._watcher.observe(source.watched, pixels, expected)
        seen = sorted(seen, key=lambda one: -one.score)[:MAX_PEOPLE]
        hidden = occluded(seen)
        sightings = []
        for one, covered in zip(seen, hidden, strict=True):
            cut = cut_by_border(one.box, one.landmarks, message.size_wh)
            wears = clothing(pixels, one.mask, one.mask_xy)
            sightings.append(Sighting(one, wears, covered, cut))
        tracked = source.tracker.update(sightings, skipped)
        people = tuple(
            _person(number, sightings[index], index in tracked.crowded)
            for number, index in tracked.shown
        )
        self._counts["frames"] += 1
        self._counts["people"] += len(people)
        self._counts["skipped_turns"] += len(skipped)
        self._counts["ended_tracks"] += len(tracked.ended)
        return (People(stamp, people, tracked.ended),)

    def skip(self, message: Frame) -> Iterable[People]:
        """Answer a frame that could not be handled: nobody seen."""
        self._counts["skipped_frames"] += 1
        return (People(message.stamp),)

    def end(self, source_id: str) -> Iterable[People]:
        """Free a source's state. Its open tracks end with the stream: nothing more to say."""
        self._sources.pop(source_id, None)
        return ()

    def snapshot(self) -> Any:
        """Each source's tracks and what the variant keeps of it, and the counts."""
        return self._sources, self._counts

    def restore(self, state: Any) -> None:
        """Go on with the sources of a snapshot."""
        self._sources, self._counts = state

    def report(self) -> Mapping[str, Any]:
        """Return counts: frames, people, network runs, turns skipped for lack of time."""
        with self._lock:
            threads = self._pool.threads if self._pool is not None else 0
            return {**{name: self._counts[name] for name in REPORTED}, "threads": threads}

    def close(self) -> None:
        """Free the networks and all sources."""
        self._sources.clear()
        self._watcher = None
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1


REPORTED = (
    "frames",
    "skipped_frames",
    "people",
    "ended_tracks",
    "readings",
    "searches",
    "implausible",
    "failed_crops",
    "skipped_turns",
)


def _person(track_id: int, sighting: Sighting, crowded: bool) -> Person:
    """Return the message for one tracked sighting."""
    one = sighting.observation
    keypoints = np.zeros((17, 3), np.float32)
    if len(one.landmarks):
        keypoints[:] = one.landmarks[list(MEDIAPIPE_TO_COCO)][:, [0, 1, 3]]
    return Person(
        track_id=track_id,
        bbox_xyxy_px=one.box.astype(np.float32),
        score=float(np.clip(one.score, 0.0, 1.0)),
        mask=Mask.pack(one.mask, *one.mask_xy),
        keypoints_px=keypoints,
        world_landmarks_m=one.world,
        cut_by_border=sighting.cut,
        occluded=sighting.covered or crowded,
    )
