"""Looks for people in the frames of one source with MediaPipe's networks.

Three sources of proposals: where tracked people should be now, where something moved that nobody
explains, and a slow scan of the whole picture for those who neither move nor are tracked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from pipeline.errors import FrameError
from stages.detect.boxes import iou, pad, tiles
from stages.detect.config import MediapipeConfig
from stages.detect.evidence import explain, moving_share
from stages.detect.masks import same_person, share_out, without_doubles
from stages.detect.motion import Motion, MotionModel, leftovers
from stages.detect.observation import Expected, Observation
from stages.detect.plausible import observation_of
from stages.detect.pool import PosePool
from stages.detect.pose import Found, PoseNetworks, Roi, roi_from_box

CROP_PAD = 0.25  # around a moving box, of its height
ROUNDS = 2  # searches of what nobody explains, in one frame
MOST_SEARCHES = 12  # in one round
RETRY_S = 0.3  # until a place where nobody was found is searched again, then twice that ...
LONGEST_RETRY_S = 2.4
FORGET_S = 1.0  # until such a place is forgotten
SAME_PLACE_IOU = 0.5
STRICT_SCORE = 0.65  # for a pose that the detector did not confirm, only motion
MOVING_SHARE = 0.3  # of a mask, for motion to confirm it
EVIDENCE_S = 1.0  # without motion, the detector must confirm a person this often
DOUBT_S = 3.0  # without motion and detector: not a person
READ_LOST_S = 0.6  # how long an unseen person is read for at the predicted place
LAST_PLACE_GAP = 0.03  # between last and predicted place, square sides, for a second reading
TILE_HEIGHTS = 0.5  # side of a scanned part over the frame's height
NEWCOMERS_EVERY = 5  # frames between searches when the budget is very tight
SCAN_EVERY_FULL = 2  # every second scan is the whole picture, for near people


@dataclass(slots=True)
class _Refusal:
    """A moving place where nobody was found: a bush, a car, the hole somebody left behind."""

    box: np.ndarray
    until: int
    tries: int = 0


@dataclass(slots=True, eq=False)
class SourceState:
    """What the search keeps for one source."""

    motion: MotionModel
    rate_hz: float
    live: bool
    index: int = -1
    scans: int = 0
    refused: list[_Refusal] = field(default_factory=list)
    confirmed_at: dict[int, int] = field(default_factory=dict)
    read_at: dict[int, int] = field(default_factory=dict)

    def frames(self, seconds: float) -> int:
        """Return a duration as a number of frames, at least one."""
        return max(1, round(seconds * self.rate_hz))


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
        budget = self._budget(state)
        turns, skipped = _share_turns(state, self._due(state, expected, size_wh), budget)
        first = self._first_round(state, pixels, expected, turns, budget - len(turns))
        motion, budget, seen, scanned = first.motion, first.budget, first.seen, first.scanned
        if first.new:
            seen = _add(state, seen, first.new, expected)
        waiting = [one.box for one in expected if one.key in skipped]
        for _ in range(ROUNDS):
            boxes = self._unexplained(state, motion, seen, waiting)[: max(0, budget // 2)]
            if not len(boxes):
                break
            new = self._search(state, pixels, motion, boxes, seen)
            budget -= 2 * len(boxes)
            if not new:
                break
            seen = _add(state, seen, new, expected)
        if not first.scan and budget >= 2 and not (motion.settled or seen or expected):
            box = self._next_scan(state, size_wh)
            scanned = self._pool.lend(lambda networks: self._find(pixels, networks, box))
        if scanned:
            seen = _add(state, seen, self._read_scanned(pixels, scanned, seen), expected)
        self._forget(state, expected)
        return share_out(seen), skipped

    def _budget(self, state: SourceState) -> int:
        limited = state.live and self._config.max_crops_per_frame > 0
        return self._config.max_crops_per_frame if limited else 10**6

    def _due(
        self, state: SourceState, expected: Sequence[Expected], size_wh: tuple[int, int]
    ) -> list[Expected]:
        """Return the tracks worth reading: inside the frame, not lost, not in doubt."""
        due = []
        for one in expected:
            state.confirmed_at.setdefault(one.key, state.index)
            inside = 0 <= one.roi.x < size_wh[0] and 0 <= one.roi.y < size_wh[1]
            silent = state.index - state.confirmed_at[one.key]
            if inside and one.unseen_s <= READ_LOST_S and silent <= state.frames(DOUBT_S):
                due.append(one)
        return due

    def _first_round(
        self,
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
            outlook: Future[tuple[Motion, bool]] = Future()
            read = partial(self._read_expected, state, pixels, outlook)
            reading = [work.add(read, one) for one in turns]
            try:
                motion = state.motion.update(pixels)
                apart = self._unexplained(state, motion, [], [one.box for one in expected])
            except BaseException as error:
                outlook.set_exception(error)  # or the readings would wait for ever
                raise
            apart = apart[: max(0, budget // 2)]
            budget -= 2 * len(apart)
            scan = self._scan_due(state, budget)
            budget -= 2 * scan
            outlook.set_result((motion, budget >= len(turns)))
            # The longest calls go first: the last one to end is then a short one.
            scanning, search = [], partial(self._search_box, pixels, motion, (), None)
            if scan:
                box = self._next_scan(state, (pixels.shape[1], pixels.shape[0]))
                scanning = [work.add(partial(self._find, pixels), box, at_once=True)]
            searching = [work.add(search, box, at_once=True) for box in apart[::-1]][::-1]
            seen, lost = _settle(turns, work.answers(reading))
            again = partial(self._read_again, state, pixels, motion)
            for late in work.answers([work.add(again, one) for one in lost[:budget]]):
                if late is not None and not _known(late, seen):
                    seen.append(late)
            for one in turns:
                state.read_at[one.key] = state.index
            new = self._take_new(state, apart, work.answers(searching), seen)
            scanned = [one for found in work.answers(scanning) for one in found]
        return _First(motion, budget, scan, seen, new, scanned)

    def _read_expected(
        self,
        state: SourceState,
        pixels: np.ndarray,
        outlook: Future[tuple[Motion, bool]],
        networks: PoseNetworks,
        one: Expected,
    ) -> Observation | None:
        """Read a track's person at the predicted place, or where it was last seen."""
        seen = self._read(networks, pixels, one.roi)
        motion, retry = outlook.result()
        if seen is None and retry and _stopped_short(one):
            seen = self._read(networks, pixels, one.last_roi)
        if seen is not None:
            self._confirm(networks, state, pixels, motion, one, seen)
        return seen

    def _read_again(
        self,
        state: SourceState,
        pixels: np.ndarray,
        motion: Motion,
        networks: PoseNetworks,
        one: Expected,
    ) -> Observation | None:
        """Read a track's person where it was last seen: it may have stopped there while the
        prediction walked on, into somebody else.
        """
        seen = self._read(networks, pixels, one.last_roi)
        if seen is not None:
            self._confirm(networks, state, pixels, motion, one, seen)
        return seen

    def _confirm(
        self,
        networks: PoseNetworks,
        state: SourceState,
        pixels: np.ndarray,
        motion: Motion,
        one: Expected,
        seen: Observation,
    ) -> None:
        """Note that a track's person moves, or else have the detector confirm it now and then.

        Each call writes only its own track's key, so the threads do not disturb each other.
        """
        if moving_share(seen, motion) >= MOVING_SHARE:
            state.confirmed_at[one.key] = state.index
        elif state.index - state.confirmed_at[one.key] >= state.frames(EVIDENCE_S):
            found = self._find(pixels, networks, pad(seen.box, CROP_PAD))
            if any(fits(other.roi, seen) for other in found):
                state.confirmed_at[one.key] = state.index

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
        waits = [one.box for one in state.refused if one.until > state.index]
        if waits and len(boxes):
            boxes = boxes[iou(boxes, np.stack(waits)).max(axis=1) < SAME_PLACE_IOU]
        return boxes[:MOST_SEARCHES]

    def _refuse(self, state: SourceState, box: np.ndarray) -> None:
        """Leave a place alone for a while, twice as long each time that it was in vain."""
        keep, tries = [], 0
        for one in state.refused:
            if state.index - one.until > state.frames(FORGET_S):
                continue
            if float(iou(one.box[None], box[None])[0, 0]) >= SAME_PLACE_IOU:
                tries = max(tries, one.tries + 1)
            else:
                keep.append(one)
        wait = state.frames(min(RETRY_S * 2**tries, LONGEST_RETRY_S))
        state.refused = [*keep, _Refusal(box, state.index + wait, min(tries, 8))]

    def _search(
        self,
        state: SourceState,
        pixels: np.ndarray,
        motion: Motion,
        boxes: np.ndarray,
        seen: Sequence[Observation],
    ) -> list[Observation]:
        """Return who is in boxes [n,4] and not among `seen`."""
        with self._pool.begin() as work:
            guesses: list[Future[Observation | None]] = []
            if len(boxes) < self._pool.threads:
                # What would be read if the detector finds nobody: nothing else has work now.
                guesses = [work.add(partial(self._guess, pixels, motion), box) for box in boxes]
            search = partial(self._search_box, pixels, motion, seen)
            found = [
                work.add(partial(search, guesses[index] if guesses else None), box)
                for index, box in enumerate(boxes)
            ]
            return self._take_new(state, boxes, work.answers(found), seen)

    def _search_box(
        self,
        pixels: np.ndarray,
        motion: Motion,
        seen: Sequence[Observation],
        guessed: Future[Observation | None] | None,
        networks: PoseNetworks,
        box: np.ndarray,
    ) -> list[Observation]:
        """Return who is in box [4] and not among `seen`; `guessed`: `_guess` of it, if begun."""
        found = self._find(pixels, networks, pad(box, CROP_PAD))
        new = self._read_found(networks, pixels, found, seen)
        if new:
            return new
        guess = guessed.result() if guessed else self._guess(pixels, motion, networks, box)
        return [guess] if guess is not None else []

    def _guess(
        self, pixels: np.ndarray, motion: Motion, networks: PoseNetworks, box: np.ndarray
    ) -> Observation | None:
        """Return who fills box [4], if the pose is sure and motion confirms it."""
        guess = self._read(networks, pixels, roi_from_box(box))
        sure = (
            guess is not None
            and guess.score >= STRICT_SCORE
            and moving_share(guess, motion) >= MOVING_SHARE
        )
        return guess if sure else None

    def _take_new(
        self,
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
                self._refuse(state, box)
            out.extend(fresh)
        return out

    def _read_found(
        self,
        networks: PoseNetworks,
        pixels: np.ndarray,
        found: Sequence[Found],
        seen: Sequence[Observation],
    ) -> list[Observation]:
        out = []
        for one in found:
            if any(fits(one.roi, other) for other in seen):
                continue
            observation = self._read(networks, pixels, one.roi)
            if observation is not None:
                out.append(observation)
        return out

    def _scan_due(self, state: SourceState, budget: int) -> bool:
        return budget >= 2 and state.index % state.frames(self._config.scan_s) == 0

    def _next_scan(self, state: SourceState, size_wh: tuple[int, int]) -> np.ndarray:
        """Return the next part of the picture to search, whether or not anything moved there."""
        parts = tiles(size_wh, TILE_HEIGHTS * size_wh[1])
        box = np.array([0.0, 0.0, *size_wh])
        if state.scans % SCAN_EVERY_FULL:
            box = parts[state.scans // SCAN_EVERY_FULL % len(parts)]
        state.scans += 1
        return box

    def _read_scanned(
        self, pixels: np.ndarray, found: Sequence[Found], seen: Sequence[Observation]
    ) -> list[Observation]:
        """Return the people the detector found in a scan, but for those already seen."""
        answers = self._pool.map(
            lambda networks, one: self._read_found(networks, pixels, [one], seen), found
        )
        return [one for answer in answers for one in answer]

    def _find(self, pixels: np.ndarray, networks: PoseNetworks, box: np.ndarray) -> list[Found]:
        self._count("searches")
        try:
            return networks.find(pixels, box)
        except FrameError:
            self._count("failed_crops")
            return []

    def _read(self, networks: PoseNetworks, pixels: np.ndarray, roi: Roi) -> Observation | None:
        self._count("readings")
        try:
            reading = networks.read(pixels, roi)
        except FrameError:
            self._count("failed_crops")
            return None
        if reading is None:
            return None
        seen = observation_of(reading, self._config.min_height_px, self._config.min_score)
        if seen is None:
            self._count("implausible")
        return seen

    def _forget(self, state: SourceState, expected: Sequence[Expected]) -> None:
        keys = {one.key for one in expected}
        for table in (state.confirmed_at, state.read_at):
            for key in [key for key in table if key not in keys]:
                del table[key]


def _share_turns(
    state: SourceState, due: Sequence[Expected], budget: int
) -> tuple[list[Expected], set[int]]:
    """Give the turns to those who waited longest; a third of a tight budget is for newcomers.

    A search takes two turns: a budget whose third is less gives them up in every fifth frame.
    """
    if len(due) <= budget:
        return list(due), set()
    reserve = budget // 3
    if reserve < 2:
        reserve = min(2, budget) if state.index % NEWCOMERS_EVERY == 0 else 0
    turns = budget - reserve
    order = sorted(due, key=lambda one: (state.read_at.get(one.key, -1), one.key))
    return order[:turns], {one.key for one in order[turns:]}


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
        elif _stopped_short(turns[i]):
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
                state.confirmed_at[one.key] = state.index
    return without_doubles([*seen, *new])


def _known(observation: Observation, seen: Sequence[Observation]) -> bool:
    return any(same_person(observation, other) for other in seen)


def _stopped_short(one: Expected) -> bool:
    """Say whether the place last seen is another than the place predicted, to the network."""
    gap = math.hypot(one.last_roi.x - one.roi.x, one.last_roi.y - one.roi.y)
    return gap > LAST_PLACE_GAP * one.roi.side


def _surprise(one: Expected, seen: Observation | None) -> float:
    """Return how far the person read lies from where the track should be, in square sides."""
    if seen is None:
        return math.inf
    return math.hypot(seen.roi.x - one.roi.x, seen.roi.y - one.roi.y) / one.roi.side


def fits(roi: Roi, seen: Observation) -> bool:
    """Say whether a square is about the person of an observation."""
    gap = math.hypot(roi.x - seen.roi.x, roi.y - seen.roi.y)
    ratio = roi.side / max(seen.roi.side, 1e-6)
    return gap <= 0.15 * seen.roi.side and 0.5 <= ratio <= 2.0
