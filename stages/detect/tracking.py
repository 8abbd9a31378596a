"""Follows the people of one source from frame to frame, on norfair's tracker.

norfair keeps the tracks, their Kalman filters, and the numbers; here are the distance (place,
size, clothing), the lifetimes in seconds of the recording's clock, and the running mean of what a
person wears. Two points a person are followed, the middle of the shoulders and of the hips: they
move more steadily than a box, whose sides swing with arms and legs.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.detect.appearance import unlikeness
from stages.detect.boxes import area, intersection
from stages.detect.config import TrackingConfig
from stages.detect.observation import Expected, Observation
from stages.detect.pose import Roi

FAR = 1e6  # a distance that never matches
MATCH = 1.0  # distances below are matches
DEFAULT_RATE_HZ = 25.0
WANDER_PER_S = 0.8  # how fast the prediction of an unseen person gets vague, body heights
LARGEST_REACH = 1.5  # body heights
SCALE_STEP = 1.5  # heights that differ more than this are not the same person
# Clothing unlikeness: the same person stays below 0.28 in 99 of 100 frames, two people are above
# 0.43 in three of four comparisons (real outdoor footage, people 60-80 pixels tall).
ALIKE = 0.22  # means nothing: light, folds, few pixels
STRANGE = 0.5  # surely somebody else
UNKNOWN = 0.3  # taken where clothing cannot be compared
# Clothing's weight: place is sure from one frame to the next, clothing after a gap, and of
# somebody half hidden one sees the other's clothes.
WEIGHT_NEXT_FRAME, WEIGHT_AFTER_GAP, WEIGHT_COVERED = 0.6, 1.1, 0.5
GAP_S = 0.3  # unseen for this long, clothing has its full weight
LEFT_MEMORY_S = 0.4  # how long somebody last seen at the frame's edge is remembered
CLOTHING_MEMORY = 0.08  # weight of the newest frame in the running mean
FIRST_PARTS = 3  # while only parts have been seen, the newest counts at least a third
HEIGHT_MEMORY = 0.2  # the same for the height, which changes as one walks towards the camera
HIDDEN_S = 1.0  # how long somebody unseen is taken to stand behind whoever is in that place
HIDDEN_SHARE = 0.3  # of a sighting's box under the place of somebody unseen
FIRST_NOISE_HZ = 10.0  # norfair's own process noise fits footage of about this rate
PROCESS_NOISE = 0.1
LONGEST_STEP = 64  # nominal frames that one step may bridge


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """What norfair carries with each detection.

    Attributes:
        observation: who was seen.
        wears: float32 [2,20], `appearance.clothing`.
        covered: a nearer person hides part of it.
        cut: the frame's edge cuts it.
    """

    observation: Observation
    wears: np.ndarray
    covered: bool = False
    cut: bool = False

    @property
    def whole(self) -> bool:
        """All of the person is seen, so its height and clothing can be remembered."""
        return not self.covered and not self.cut


@dataclass(slots=True, eq=False)
class _Memory:
    """What is kept of a track beside norfair's state."""

    wears: np.ndarray
    height: float
    seen_ns: int
    cut: bool
    hits: int = 0
    wholes: int = 0

    def mix(self, wears: np.ndarray, height: float, count: int) -> None:
        """Take the `count`-th sighting into the running means."""
        self.wears = self.wears + max(CLOTHING_MEMORY, 1.0 / count) * (wears - self.wears)
        self.height += max(HEIGHT_MEMORY, 1.0 / count) * (height - self.height)


@dataclass(frozen=True, slots=True)
class Tracked:
    """The outcome of one frame.

    Attributes:
        shown: track number and index of the sighting, by number.
        crowded: indices of sightings in whose place another, unseen person was expected, so that
            the mask may hold both.
        ended: numbers that will not come back, each reported once.
    """

    shown: tuple[tuple[int, int], ...]
    crowded: frozenset[int]
    ended: tuple[int, ...]


def trunk_points(observation: Observation) -> np.ndarray:
    """Return float64 [2,2]: middle of the shoulders, middle of the hips, pixels of the frame."""
    marks = observation.landmarks
    if len(marks):
        shoulders, hips = (marks[11, :2] + marks[12, :2]) / 2, (marks[23, :2] + marks[24, :2]) / 2
        return np.stack([shoulders, hips])
    x1, y1, x2, y2 = observation.box
    middle, height = (x1 + x2) / 2, y2 - y1
    return np.array([[middle, y1 + 0.2 * height], [middle, y1 + 0.52 * height]])


def match_distance(
    gap_heights: float, height_ratio: float, unlike: float, reach: float, weight: float
) -> float:
    """Return how badly a sighting fits a track: below 1 it may be the same person.

    Args:
        gap_heights: from the predicted to the seen place, body heights.
        height_ratio: seen over remembered height.
        unlike: clothing unlikeness 0..1, NaN if one of them is not known.
        reach: gap at which place alone rules a match out, body heights.
        weight: of clothing; 1 or more lets clothing alone rule a match out.
    """
    if gap_heights > reach or abs(math.log(max(height_ratio, 1e-6))) > math.log(SCALE_STEP):
        return FAR
    strange = UNKNOWN
    if not math.isnan(unlike):
        strange = (min(max(unlike, ALIKE), STRANGE) - ALIKE) / (STRANGE - ALIKE)
    return gap_heights / reach + weight * strange


def clothing_weight(unseen_s: float, covered: bool) -> float:
    """Return the weight of clothing against place for a track unseen for so many seconds."""
    share = min(unseen_s / GAP_S, 1.0)
    weight = WEIGHT_NEXT_FRAME + share * (WEIGHT_AFTER_GAP - WEIGHT_NEXT_FRAME)
    return weight * (WEIGHT_COVERED if covered else 1.0)


def load_norfair() -> Any:
    """Import norfair: half a second that only a running stage wants to spend.

    Its dependency filterpy has escapes in its docstrings that Python warns about when it first
    compiles them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "invalid escape sequence")
        return importlib.import_module("norfair")


class _PersonDistance:
    """norfair's `Distance`: the matrix of distances, filled from the tracks' memory."""

    def __init__(self, owner: PersonTracker) -> None:
        self._owner = owner

    def get_distances(self, objects: Sequence[Any], candidates: Sequence[Any]) -> np.ndarray:
        """Return [candidates, objects]."""
        if not objects or not candidates:
            return np.zeros((len(candidates), len(objects)))
        return np.array([[self._owner.distance(c, o) for o in objects] for c in candidates])


class PersonTracker:
    """The tracks of one source.

    In: the observations of a frame and its time. Out: which observation is which track, and which
    tracks have ended. Keeps norfair's state and a mean of each person's clothing. Under 1 ms a
    frame with eight people. Everything follows from what it was given, and numbers start at 1.
    """

    def __init__(self, config: TrackingConfig, rate_hz: float) -> None:
        self._config = config
        self._rate = rate_hz if rate_hz > 0 else DEFAULT_RATE_HZ
        # Process noise per frame falls with the cube of the frame rate, so that the filter's
        # time constant is the same in seconds.
        noise = PROCESS_NOISE * min(1.0, (FIRST_NOISE_HZ / self._rate) ** 3)
        norfair = load_norfair()
        self._detection = norfair.Detection
        self._tracker = norfair.Tracker(
            distance_function="euclidean",  # replaced below: norfair warns about a plain function
            distance_threshold=MATCH,
            hit_counter_max=config.first_hits + 2,
            initialization_delay=config.first_hits - 1,
            filter_factory=norfair.OptimizedKalmanFilterFactory(Q=noise),
            past_detections_length=0,
        )
        self._tracker.distance_function = _PersonDistance(self)
        self._memory: dict[int, _Memory] = {}
        self._time_ns: int | None = None
        self._steps = 1

    def advance(self, time_ns: int) -> None:
        """Move all predictions to `time_ns`. Once before `expected` and `update` of a frame."""
        self._steps = 1
        if self._time_ns is not None:
            passed = round((time_ns - self._time_ns) * 1e-9 * self._rate)
            self._steps = min(max(passed, 1), LONGEST_STEP)
        self._time_ns = time_ns
        for track in self._tracks():
            # norfair predicts one step itself in `update`.
            for _ in range(self._steps - 1):
                track.filter.predict()

    def expected(self) -> list[Expected]:
        """Return where each track should be at the time of the last `advance`, oldest first."""
        assert self._time_ns is not None
        out = []
        for track in self._tracks():
            seen: Observation = track.last_detection.data.observation
            points = track.estimate + track.estimate_velocity
            dx, dy = (points - track.last_detection.points).mean(axis=0)
            memory = self._memory[track.initializing_id]
            roi = Roi(seen.roi.x + dx, seen.roi.y + dy, seen.roi.side, seen.roi.angle)
            unseen_s = (self._time_ns - memory.seen_ns) * 1e-9
            box = seen.box + np.array([dx, dy, dx, dy])
            out.append(Expected(track.initializing_id, roi, seen.roi, box, unseen_s))
        return out

    def _tracks(self) -> list[Any]:
        """Return norfair's tracks, oldest first. Its own types do not say that numbers are set."""
        return list(self._tracker.tracked_objects)

    def distance(self, detection: Any, track: Any) -> float:
        """Return `match_distance` of a detection and one of norfair's tracks."""
        memory = self._memory[track.initializing_id]
        sighting: Sighting = detection.data
        assert self._time_ns is not None
        predicted = track.estimate
        gap = float(np.hypot(*(detection.points - predicted).T).mean())
        unseen_s = max(0.0, (self._time_ns - memory.seen_ns) * 1e-9 - 1.0 / self._rate)
        reach = min(self._config.reach_heights + WANDER_PER_S * unseen_s, LARGEST_REACH)
        unlike = math.nan
        if sighting.wears.any() and memory.wears.any():
            unlike = unlikeness(sighting.wears, memory.wears)
        height = sighting.observation.height
        # Of somebody cut or covered the part that is seen says nothing about the whole.
        ratio = height / memory.height if sighting.whole and not memory.cut else 1.0
        weight = self._config.appearance_weight * clothing_weight(unseen_s, sighting.covered)
        return match_distance(gap / max(memory.height, height), ratio, unlike, reach, weight)

    def update(self, sightings: Sequence[Sighting], skipped: Collection[int] = ()) -> Tracked:
        """Match the sightings of the frame last `advance`d to.

        Args:
            sightings: everybody who was seen.
            skipped: keys of tracks that nobody looked for: not seeing them says nothing.
        """
        assert self._time_ns is not None
        expected = self.expected()
        detections = [self._detection(trunk_points(s.observation), data=s) for s in sightings]
        index_of = {id(detection): index for index, detection in enumerate(detections)}
        self._tracker.update(detections)
        match = {
            track.initializing_id: index_of[id(track.last_detection)]
            for track in self._tracks()
            if id(track.last_detection) in index_of
        }
        missing = [
            one
            for one in expected
            if one.key not in match and self._memory[one.key].hits >= self._config.first_hits
        ]
        crowded = frozenset(i for i, s in enumerate(sightings) if _crowded(s, missing))
        shown, ended, over = [], [], set()
        for track in self._tracks():
            key = track.initializing_id
            index = match.get(key)
            if index is not None:
                whole = sightings[index].whole and index not in crowded
                self._remember(key, sightings[index], whole)
            if track.is_initializing:
                if index is None and key in skipped:
                    track.hit_counter += 1  # takes back what norfair counted as a miss
                continue
            # From here on seconds decide, not norfair's count of frames.
            track.hit_counter = self._tracker.hit_counter_max
            if index is not None:
                shown.append((int(track.id), index))
            elif self._over(self._memory[key]):
                ended.append(int(track.id))
                over.add(key)
        self._tracker.tracked_objects = [
            track for track in self._tracks() if track.initializing_id not in over
        ]
        keys = {track.initializing_id for track in self._tracks()}
        self._memory = {key: kept for key, kept in self._memory.items() if key in keys}
        return Tracked(tuple(sorted(shown)), crowded, tuple(sorted(ended)))

    def _over(self, memory: _Memory) -> bool:
        """Say whether a track unseen in this frame is given up."""
        assert self._time_ns is not None
        longest = self._config.memory_s
        if memory.cut:
            # Who comes in next where somebody left is mostly somebody else.
            longest = min(longest, LEFT_MEMORY_S)
        return (self._time_ns - memory.seen_ns) * 1e-9 > longest

    def end(self) -> tuple[int, ...]:
        """Forget everything; return the numbers of the tracks that were still open."""
        open_ids = tuple(sorted(int(t.id) for t in self._tracks() if not t.is_initializing))
        self._tracker.tracked_objects = []
        self._memory = {}
        return open_ids

    def _remember(self, key: int, sighting: Sighting, whole: bool) -> None:
        assert self._time_ns is not None
        memory = self._memory.get(key)
        height = sighting.observation.height
        if memory is None:
            memory = _Memory(sighting.wears, height, self._time_ns, sighting.cut)
            self._memory[key] = memory
        memory.hits += 1
        memory.seen_ns = self._time_ns
        memory.cut = sighting.cut
        if whole:
            # The first whole sighting replaces what was gathered from parts.
            memory.wholes += 1
            memory.mix(sighting.wears, height, memory.wholes)
        elif memory.wholes == 0:
            memory.mix(sighting.wears, height, min(memory.hits, FIRST_PARTS))


def _crowded(sighting: Sighting, missing: Sequence[Expected]) -> bool:
    """Say whether somebody recently seen should stand where the sighting is."""
    box = sighting.observation.box[None]
    return any(
        one.unseen_s <= HIDDEN_S
        and float(intersection(one.box[None], box)[0, 0]) > HIDDEN_SHARE * float(area(box)[0])
        for one in missing
    )
