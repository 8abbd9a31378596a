"""Looking at one frame: what the threads of a pool are asked, each with networks of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from pipeline.errors import FrameError
from stages.detect.boxes import pad
from stages.detect.config import MediapipeConfig
from stages.detect.evidence import moving_share
from stages.detect.motion import Motion
from stages.detect.observation import Expected, Observation
from stages.detect.plausible import observation_of
from stages.detect.pose import Found, PoseNetworks, Roi, roi_from_box
from stages.detect.source_state import SourceState

CROP_PAD = 0.25  # around a moving box, of its height
STRICT_SCORE = 0.65  # for a pose that the detector did not confirm, only motion
MOVING_SHARE = 0.3  # of a mask, for motion to confirm it
LAST_PLACE_GAP = 0.03  # between last and predicted place, square sides, for a second reading


class Look:
    """Looks at one frame of one source.

    Args:
        state: of the source; of it only `confirmed_at` is written here, by a track's own call.
        pixels: uint8 [h,w,3] BGR.
        count: counts by name; called from several threads.
    """

    def __init__(
        self,
        config: MediapipeConfig,
        state: SourceState,
        pixels: np.ndarray,
        count: Callable[[str], None],
    ) -> None:
        self._config = config
        self._state = state
        self._pixels = pixels
        self._count = count
        self._outlook: Future[tuple[Motion, bool]] = Future()

    def tell(self, motion: Motion, *, may_read_twice: bool) -> None:
        """Say what moved, which calls may wait for, and whether tracks may be read twice."""
        self._outlook.set_result((motion, may_read_twice))

    def tell_failure(self, error: BaseException) -> None:
        """Say that it will never be known what moved: calls that wait for it fail."""
        self._outlook.set_exception(error)

    def read_expected(self, networks: PoseNetworks, one: Expected) -> Observation | None:
        """Read a track's person at the predicted place, or where it was last seen."""
        seen = self.read(networks, one.roi)
        motion, may_read_twice = self._outlook.result()
        if seen is None and may_read_twice and stopped_short(one):
            seen = self.read(networks, one.last_roi)
        if seen is not None:
            self._confirm(networks, motion, one, seen)
        return seen

    def read_again(self, networks: PoseNetworks, one: Expected) -> Observation | None:
        """Read a track's person where it was last seen: it may have stopped there while the
        prediction walked on, into somebody else.
        """
        seen = self.read(networks, one.last_roi)
        if seen is not None:
            self._confirm(networks, self._outlook.result()[0], one, seen)
        return seen

    def _confirm(
        self, networks: PoseNetworks, motion: Motion, one: Expected, seen: Observation
    ) -> None:
        """Note that a track's person moves, or else have the detector confirm it now and then."""
        if moving_share(seen, motion) >= MOVING_SHARE:
            self._state.confirm(one.key)
        elif self._state.wants_evidence(one.key):
            found = self.find(networks, pad(seen.box, CROP_PAD))
            if any(fits(other.roi, seen) for other in found):
                self._state.confirm(one.key)

    def search(
        self,
        networks: PoseNetworks,
        box: np.ndarray,
        *,
        seen: Sequence[Observation] = (),
        guessed: Future[Observation | None] | None = None,
    ) -> list[Observation]:
        """Return who is in box [4] and not among `seen`; `guessed`: `guess` of it, if begun."""
        new = self.read_found(networks, self.find(networks, pad(box, CROP_PAD)), seen)
        if new:
            return new
        guess = guessed.result() if guessed is not None else self.guess(networks, box)
        return [guess] if guess is not None else []

    def guess(self, networks: PoseNetworks, box: np.ndarray) -> Observation | None:
        """Return who fills box [4], if the pose is sure and motion confirms it."""
        guess = self.read(networks, roi_from_box(box))
        sure = (
            guess is not None
            and guess.score >= STRICT_SCORE
            and moving_share(guess, self._outlook.result()[0]) >= MOVING_SHARE
        )
        return guess if sure else None

    def read_found(
        self, networks: PoseNetworks, found: Sequence[Found], seen: Sequence[Observation]
    ) -> list[Observation]:
        """Read whom the detector found, but for those already seen."""
        out = []
        for one in found:
            if any(fits(one.roi, other) for other in seen):
                continue
            observation = self.read(networks, one.roi)
            if observation is not None:
                out.append(observation)
        return out

    def find(self, networks: PoseNetworks, box: np.ndarray) -> list[Found]:
        """Return whom the detector finds in box [4]."""
        self._count("searches")
        try:
            return networks.find(self._pixels, box)
        except FrameError:
            self._count("failed_crops")
            return []

    def read(self, networks: PoseNetworks, roi: Roi) -> Observation | None:
        """Return the person in a square, None for nobody and for what cannot be a person."""
        self._count("readings")
        try:
            reading = networks.read(self._pixels, roi)
        except FrameError:
            self._count("failed_crops")
            return None
        if reading is None:
            return None
        seen = observation_of(reading, self._config.min_height_px, self._config.min_score)
        if seen is None:
            self._count("implausible")
        return seen


def stopped_short(one: Expected) -> bool:
    """Say whether the place last seen is another than the place predicted, to the network."""
    gap = math.hypot(one.last_roi.x - one.roi.x, one.last_roi.y - one.roi.y)
    return gap > LAST_PLACE_GAP * one.roi.side


def fits(roi: Roi, seen: Observation) -> bool:
    """Say whether a square is about the person of an observation."""
    gap = math.hypot(roi.x - seen.roi.x, roi.y - seen.roi.y)
    ratio = roi.side / max(seen.roi.side, 1e-6)
    return gap <= 0.15 * seen.roi.side and 0.5 <= ratio <= 2.0
