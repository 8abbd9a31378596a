"""What the search for people keeps of one source, from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.detect.boxes import iou, tiles
from stages.detect.motion import MotionModel
from stages.detect.observation import Expected

RETRY_S = 0.3  # until a place where nobody was found is searched again, then twice that ...
LONGEST_RETRY_S = 2.4
FORGET_S = 1.0  # until such a place is forgotten
SAME_PLACE_IOU = 0.5
EVIDENCE_S = 1.0  # without motion, the detector must confirm a person this often
DOUBT_S = 3.0  # without motion and detector: not a person
READ_LOST_S = 0.6  # how long an unseen person is read for at the predicted place
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
    """The background, when each track was confirmed and read, places where nobody was.

    Attributes:
        index: of the frame that is being looked at, counted from 0.
    """

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

    def due(self, expected: Sequence[Expected], size_wh: tuple[int, int]) -> list[Expected]:
        """Return the tracks worth reading: inside the frame, not lost, not in doubt."""
        due = []
        for one in expected:
            self.confirmed_at.setdefault(one.key, self.index)
            inside = 0 <= one.roi.x < size_wh[0] and 0 <= one.roi.y < size_wh[1]
            silent = self.index - self.confirmed_at[one.key]
            if inside and one.unseen_s <= READ_LOST_S and silent <= self.frames(DOUBT_S):
                due.append(one)
        return due

    def share_turns(self, due: Sequence[Expected], budget: int) -> tuple[list[Expected], set[int]]:
        """Give the turns to those who waited longest; a third of a tight budget is for newcomers.

        A search takes two turns: a budget whose third is less gives them up in every fifth frame.

        Returns:
            Who has a turn, and the keys of those who have none.
        """
        if len(due) <= budget:
            return list(due), set()
        reserve = budget // 3
        if reserve < 2:
            reserve = min(2, budget) if self.index % NEWCOMERS_EVERY == 0 else 0
        turns = budget - reserve
        order = sorted(due, key=lambda one: (self.read_at.get(one.key, -1), one.key))
        return order[:turns], {one.key for one in order[turns:]}

    def confirm(self, key: int) -> None:
        """Note that a track's person is one. Each key is written by one thread at a time."""
        self.confirmed_at[key] = self.index

    def wants_evidence(self, key: int) -> bool:
        """Say whether a track has gone unconfirmed for long."""
        return self.index - self.confirmed_at[key] >= self.frames(EVIDENCE_S)

    def next_scan(self, size_wh: tuple[int, int]) -> np.ndarray:
        """Return the next part of the picture to search, whether or not anything moved there."""
        parts = tiles(size_wh, TILE_HEIGHTS * size_wh[1])
        box = np.array([0.0, 0.0, *size_wh])
        if self.scans % SCAN_EVERY_FULL:
            box = parts[self.scans // SCAN_EVERY_FULL % len(parts)]
        self.scans += 1
        return box

    def refuse(self, box: np.ndarray) -> None:
        """Leave a place alone for a while, twice as long each time that it was in vain."""
        keep, tries = [], 0
        for one in self.refused:
            if self.index - one.until > self.frames(FORGET_S):
                continue
            if float(iou(one.box[None], box[None])[0, 0]) >= SAME_PLACE_IOU:
                tries = max(tries, one.tries + 1)
            else:
                keep.append(one)
        wait = self.frames(min(RETRY_S * 2**tries, LONGEST_RETRY_S))
        self.refused = [*keep, _Refusal(box, self.index + wait, min(tries, 8))]

    def without_refused(self, boxes: np.ndarray) -> np.ndarray:
        """Return those of boxes [n,4] that are not at a place to be left alone."""
        waits = [one.box for one in self.refused if one.until > self.index]
        if not waits or not len(boxes):
            return boxes
        kept: np.ndarray = boxes[iou(boxes, np.stack(waits)).max(axis=1) < SAME_PLACE_IOU]
        return kept

    def forget(self, expected: Sequence[Expected]) -> None:
        """Keep nothing of tracks that are not among those expected."""
        keys = {one.key for one in expected}
        for table in (self.confirmed_at, self.read_at):
            for key in [key for key in table if key not in keys]:
                del table[key]
