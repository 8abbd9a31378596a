"""The body stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pipeline.messages import Bodies, Body, Output, People, Person, Stamp
from pipeline.stage import StageBase
from stages.body.landmarks import LandmarksBody, LandmarksConfig
from stages.human.skeleton import load_skeleton

GUESSED_QUALITY = 0.2
NO_LANDMARKS = np.zeros((33, 4), np.float32)


class BodyStage(StageBase):
    """`People` in, `Bodies` out, one for one.

    Keeps the smoothing of each track until it ends. Costs about 1 ms a person.
    """

    def __init__(self, config: LandmarksConfig) -> None:
        self._config = config
        self._bodies: LandmarksBody | None = None
        self._tracks: set[tuple[str, int]] = set()
        self._count = 0
        self._guessed = 0

    def setup(self) -> None:
        """Load the open body's skeleton."""
        self._bodies = LandmarksBody(load_skeleton(), self._config)

    def process(self, message: People) -> Iterable[Output]:
        """Give each person a body."""
        bodies = tuple(self._body(message.stamp, person) for person in message.people)
        for track_id in message.ended_tracks:
            self._forget((message.stamp.source_id, track_id))
        return [Bodies(message.stamp, bodies, message.ended_tracks)]

    def skip(self, message: People) -> Iterable[Output]:
        """A frame without bodies; tracks still end."""
        return [Bodies(message.stamp, (), message.ended_tracks)]

    def end(self, source_id: str) -> Iterable[Bodies]:
        """Forget the source's tracks."""
        for key in [key for key in self._tracks if key[0] == source_id]:
            self._forget(key)
        return ()

    def report(self) -> Mapping[str, Any]:
        """Return how many bodies, and how many of them are mostly guessed."""
        return {"bodies": self._count, "guessed": self._guessed}

    def snapshot(self) -> Any:
        """The tracks' smoothing, and the counts."""
        assert self._bodies is not None, "setup comes first"
        return self._bodies.snapshot(), self._tracks, self._count, self._guessed

    def restore(self, state: Any) -> None:
        """Go on with the tracks of a snapshot."""
        assert self._bodies is not None, "setup comes first"
        bodies, self._tracks, self._count, self._guessed = state
        self._bodies.restore(bodies)

    def _body(self, stamp: Stamp, person: Person) -> Body:
        assert self._bodies is not None, "setup comes first"
        key = (stamp.source_id, person.track_id)
        self._tracks.add(key)
        landmarks = person.world_landmarks_m
        estimate = self._bodies.estimate(
            key,
            stamp.time_ns,
            landmarks if len(landmarks) else NO_LANDMARKS,
            person.keypoints_px,
            person.bbox_xyxy_px,
        )
        self._count += 1
        self._guessed += estimate.quality < GUESSED_QUALITY
        return Body(person, estimate.theta, estimate.joints_m, estimate.quality)

    def _forget(self, key: tuple[str, int]) -> None:
        assert self._bodies is not None, "setup comes first"
        self._bodies.forget(key)
        self._tracks.discard(key)


def build(config: LandmarksConfig) -> BodyStage:
    """Return the stage for a checked configuration."""
    return BodyStage(config)
