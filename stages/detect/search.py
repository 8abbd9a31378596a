"""Looks for people in the frames of one source with MediaPipe's networks.

Three sources of proposals: where tracked people should be now, where something moved that nobody
explains, and a slow scan of the whole picture for those who neither move nor are tracked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import numpy as np

from stages.detect.boxes import pad
from stages.detect.config import MediapipeConfig
from stages.detect.evidence import explain
from stages.detect.look import Look, fits, stopped_short
from stages.detect.masks import same_person, share_out, without_doubles
from stages.detect.motion import Motion, MotionModel, leftovers
from stages.detect.observation import Expected, Observation
from stages.detect.pool import PosePool
from stages.detect.pose import Found
from stages.detect.source_state import SourceState

ROUNDS = 2  # searches of what nobody explains, in one frame
MOST_SEARCHES = 12  # in one round


class _First(NamedTuple):
    """What the first round of a frame has found.

    Attributes:
        budget: readings and searches that are left.
        scan: whether a part of the picture was searched in any case.
        seen: the tracks' people.
        new: people who moved away from everybody expected.
        scanned: what the detector found in the scan.
    """

    motion: Motion
    budget: int
    scan: bool
    seen: list[Observation]
    new: list[Observation]
    scanned: list[Found]


class Searcher:
    """Finds everybody in a frame.

    In: a frame uint8 [h,w,3] BGR and where tracked people should be. Out: observations, each
    person once. Keeps per source the background, places where nobody was, and since when each
    track has gone unconfirmed.

    A frame costs 4 ms for motion, 20 ms of one core for each tracked person, 33 ms for each new
    one. MediaPipe's own static mode would cost 30 ms for each person; its tracking mode 20 ms, but
    its answers depend on what that instance saw before. Reading at a predicted square costs the
    same 20 ms and depends on nothing but the square.
    """

    def __init__(
        self, config: MediapipeConfig, pool: PosePool, count: Callable[[str], None]
    ) -> None:
        self._config = config
        self._pool = pool
        self._count = count  # called from several threads

    def new_state(self, rate_hz: float, live: bool) -> SourceState:
        """Return the state of a source that has shown nothing yet."""
        model = MotionModel(self._config.motion_width_px, self._config.background_s * rate_hz)
        return SourceState(model, rate_hz, live)

    def observe(
        self, state: SourceState, pixels: np.ndarray, expected: Sequence[Expected]
    ) -> tuple[list[Observation], set[int]]:
        """Return who is seen, and the keys of the tracks whose turn was skipped."""
        state.index += 1
        size_wh = (pixels.shape[1], pixels.shape[0])
        if min(size_wh) < 16 or size_wh[1] < self._config.min_height_px:
            return [], set()
        look = Look(self._config, state, pixels, self._count)
        budget = self._budget(state)
        turns, skipped = state.share_turns(state.due(expected, size_wh), budget)
        first = self._first_round(look, state, pixels, expected, turns, budget - len(turns))
        motion, budget, seen, scanned = first.motion, first.budget, first.seen, first.scanned
        if first.new:
            seen = _add(state, seen, first.new, expected)
        waiting = [one.box for one in expected if one.key in skipped]
        for _ in range(ROUNDS):
            boxes = self._unexplained(state, motion, seen, waiting)[: max(0, budget // 2)]
            if not len(boxes):
                break
            new = self._search(look, state, boxes, seen)
            budget -= 2 * len(boxes)
            if not new:
                break
            seen = _add(state, seen, new, expected)
        if not first.scan and budget >= 2 and not (motion.settled or seen or expected):
            box = state.next_scan(size_wh)
            scanned = self._pool.lend(lambda networks: look.find(networks, box))
        if scanned:
            answers = self._pool.map(
                lambda networks, one: look.read_found(networks, [one], seen), scanned
            )
            seen = _add(state, seen, [one for answer in answers for one in answer], expected)
        state.forget(expected)
        return share_out(seen), skipped

    def _budget(self, state: SourceState) -> int:
        limited = state.live and self._config.max_crops_per_frame > 0
        return self._config.max_crops_per_frame if limited else 10**6

    def _first_round(
        self,
        look: Look,
        state: SourceState,
        pixels: np.ndarray,
        expected: Sequence[Expected],
        turns: Sequence[Expected],
        budget: int,
    ) -> _First:
        """Do at once all that depends on the last frames alone, so that every core has work: the
        tracks are read while it is still found out what moved.

        Args:
            turns: of `expected`, the tracks to read.
            budget: readings and searches that may be made besides.
        """
        with self._pool.begin() as work:
            reading = [work.add(look.read_expected, one) for one in turns]
            try:
                motion = state.motion.update(pixels)
                apart = self._unexplained(state, motion, [], [one.box for one in expected])
            except BaseException as error:
                look.tell_failure(error)  # or the readings would wait for ever
                raise
            apart = apart[: max(0, budget // 2)]
            budget -= 2 * len(apart)
            scan = budget >= 2 and state.index % state.frames(self._config.scan_s) == 0
            budget -= 2 * scan
            look.tell(motion, may_read_twice=budget >= len(turns))
            # The longest calls go first: the last one to end is then a short one.
            scanning = []
            if scan:
                box = state.next_scan((pixels.shape[1], pixels.shape[0]))
                scanning = [work.add(look.find, box, at_once=True)]
            searching = [work.add(look.search, box, at_once=True) for box in apart[::-1]][::-1]
            seen, lost = _settle(turns, work.answers(reading))
            again = [work.add(look.read_again, one) for one in lost[:budget]]
            for late in work.answers(again):
                if late is not None and not _known(late, seen):
                    seen.append(late)
            for one in turns:
                state.read_at[one.key] = state.index
            new = _take_new(state, apart, work.answers(searching), seen)
            scanned = [one for found in work.answers(scanning) for one in found]
        return _First(motion, budget, scan, seen, new, scanned)

    def _unexplained(
        self,
        state: SourceState,
        motion: Motion,
        seen: Sequence[Observation],
        waiting: Sequence[np.ndarray],
    ) -> np.ndarray:
        """Return boxes [n,4] of motion that no observation accounts for, frame pixels."""
        if not motion.settled:
            return np.zeros((0, 4))
        rest = motion.moving.copy()
        for one in seen:
            explain(rest, one, motion.scale)
        for box in waiting:
            x1, y1, x2, y2 = np.maximum(pad(box, 0.1) * motion.scale, 0).astype(int)
            rest[y1:y2, x1:x2] = 0
        boxes = leftovers(rest, motion.moving, motion.scale, self._config.min_height_px)
        return state.without_refused(boxes)[:MOST_SEARCHES]

    def _search(
        self, look: Look, state: SourceState, boxes: np.ndarray, seen: Sequence[Observation]
    ) -> list[Observation]:
        """Return who is in boxes [n,4] and not among `seen`."""
        with self._pool.begin() as work:
            guesses: list[Future[Observation | None]] = []
            if len(boxes) < self._pool.threads:
                # What would be read if the detector finds nobody: nothing else has work now.
                guesses = [work.add(look.guess, box) for box in boxes]
            found = []
            for index, box in enumerate(boxes):
                guessed = guesses[index] if guesses else None
                found.append(work.add(partial(look.search, seen=seen, guessed=guessed), box))
            return _take_new(state, boxes, work.answers(found), seen)


def _take_new(
    state: SourceState,
    boxes: np.ndarray,
    answers: Sequence[list[Observation]],
    seen: Sequence[Observation],
) -> list[Observation]:
    """Return whom searching `boxes` adds; a place that adds nobody is left alone a while."""
    out: list[Observation] = []
    for box, new in zip(boxes, answers, strict=True):
        fresh = [one for one in new if not _known(one, [*seen, *out])]
        if not fresh:
            state.refuse(box)
        out.extend(fresh)
    return out


def _settle(
    turns: Sequence[Expected], answers: Sequence[Observation | None]
) -> tuple[list[Observation], list[Expected]]:
    """Keep each person once; return too the tracks to read again, whose person was another's."""
    # Of two tracks that read the same person, who was asked for closest by stays.
    order = sorted(range(len(turns)), key=lambda i: _surprise(turns[i], answers[i]))
    seen: list[Observation] = []
    lost: list[Expected] = []
    for i in order:
        observation = answers[i]
        if observation is None:
            continue
        if not _known(observation, seen):
            seen.append(observation)
        elif stopped_short(turns[i]):
            lost.append(turns[i])
    return seen, lost


def _add(
    state: SourceState,
    seen: Sequence[Observation],
    new: Sequence[Observation],
    expected: Sequence[Expected],
) -> list[Observation]:
    """Join new observations to those already made; a track that they fit is confirmed by them."""
    for observation in new:
        for one in expected:
            if fits(one.roi, observation):
                state.confirm(one.key)
    return without_doubles([*seen, *new])


def _known(observation: Observation, seen: Sequence[Observation]) -> bool:
    return any(same_person(observation, other) for other in seen)


def _surprise(one: Expected, seen: Observation | None) -> float:
    """Return how far the person read lies from where the track should be, in square sides."""
    if seen is None:
        return math.inf
    return math.hypot(seen.roi.x - one.roi.x, seen.roi.y - one.roi.y) / one.roi.side
