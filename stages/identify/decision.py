"""From scores to names: evidence, thresholds, hysteresis, and one name per person at a time.

A score is any number that is higher for who is more likely it: with a calibration the decades of
false-alarm level (2 for 1 %), by which tracks with more and less evidence compare; else 1/(1+d).

A track's windows are fused as vectors (`pipeline.fusing`), not as scores: what is kept is one
vector however large the gallery is, a person who is enrolled meanwhile is scored against all that
was seen, and like is compared with like, since a template is fused in the same way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.fusing import as_long_as, lengths_of
from pipeline.messages import Embedding
from stages.identify.calibration import Weighing
from stages.identify.fusion import window_weight

# For networks without a calibration: between what the same person and what others reach. Scores
# are 1/(1+d).
# `gei` lies between d = 0.8 (0.556) and d = 1.3 (0.435).
THRESHOLDS: Mapping[str, float] = {
    "smplgait": 0.5,
    "gaitgln": 0.5,
    "resgcn": 0.5,
    "smplrows": 0.5,
    "joined": 0.5,
    "gei": 0.49,
}
DEFAULT_THRESHOLD = 0.5

# By how much a held name may stand out less than a new one has to, as a ratio of distances.
CONTRAST_HYSTERESIS = 0.05

# Scores have six decimals, so these never outweigh a real difference.
_HELD_FIRST = 2e-7
_AT_LEAST = 1e-7
_ROW_TIE = 1e-10
_COLUMN_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class Rules:
    """When a name is given and when it is given up.

    Attributes:
        threshold: score from which a person counts as recognised.
        contrast: nearest person's distance over the second nearest's, above which nobody is named;
            1 for no such test, as with a calibration.
        margin: how far below the threshold a held name survives, and by how much another has to
            lead to take its place.
        min_windows: windows before anything is said.
        switch_windows: consecutive windows for which another name has to lead.
        memory_windows: windows after which older ones fade.
    """

    threshold: float
    contrast: float
    margin: float
    min_windows: int
    switch_windows: int
    memory_windows: int


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What was seen of a track: sums, never the windows themselves.

    Attributes:
        total: float64 [c,p], the weighted sum of the vectors.
        lengths: the weighted sum of their lengths.
        frames: distinct frames, told from the windows' times (windows overlap).
        good: the weighted sum of the qualities.
    """

    network: str
    weights_hash: str
    total: np.ndarray
    weight: float
    windows: int
    frames: float
    end_ns: int
    good: float
    lengths: float

    @property
    def key(self) -> tuple[str, str]:
        """Network and weights: what the vectors may be compared with."""
        return self.network, self.weights_hash

    @property
    def quality(self) -> float:
        """The windows' mean quality, 0..1."""
        return self.good / self.weight

    @property
    def mean(self) -> np.ndarray:
        """The fused vector, float32 [c,p]."""
        return as_long_as(self.total / self.weight, self.lengths / self.weight)


def gather(
    evidence: Evidence | None,
    seen: Embedding,
    memory_windows: int,
    weighing: Weighing | None = None,
) -> Evidence:
    """Return the evidence with one more window.

    A window of another network, of other weights or of another shape starts anew: such vectors
    cannot be added up.
    """
    weight = window_weight(seen.frames, seen.quality, weighing)
    good = weight * min(max(0.0, seen.quality), 1.0)
    vector = seen.vector.astype(np.float64)
    length = weight * float(lengths_of(vector[None])[0])
    if (
        evidence is None
        or (evidence.network, evidence.weights_hash) != (seen.network, seen.weights_hash)
        or evidence.total.shape != vector.shape
    ):
        return Evidence(
            *(seen.network, seen.weights_hash, weight * vector, weight),
            *(1, float(seen.frames), seen.end_ns),
            *(good, length),
        )
    keep = 1.0 if evidence.windows < memory_windows else 1.0 - 1.0 / memory_windows
    return replace(
        evidence,
        total=keep * evidence.total + weight * vector,
        weight=keep * evidence.weight + weight,
        windows=evidence.windows + 1,
        frames=evidence.frames + _new_frames(evidence, seen),
        end_ns=max(evidence.end_ns, seen.end_ns),
        good=keep * evidence.good + good,
        lengths=keep * evidence.lengths + length,
    )


def _new_frames(evidence: Evidence, seen: Embedding) -> float:
    length = seen.end_ns - seen.start_ns
    fresh = seen.end_ns - max(seen.start_ns, evidence.end_ns)
    return float(seen.frames) if length <= 0 else seen.frames * min(max(fresh / length, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Claim:
    """The name a track holds, and who is about to take its place.

    Attributes:
        held: person id, "" for none.
        rival: who has led in the last `lead` consecutive windows.
    """

    held: str = ""
    rival: str = ""
    lead: int = 0


def stands_out(scores: Mapping[str, float], held: str, rules: Rules) -> bool:
    """Say whether the best person is clearly nearer than the second best.

    Somebody who is as near to one person of the gallery as to another is most likely neither of
    them; without a calibrated network this tells strangers better than any score (the ratio test
    of Lowe, IJCV 2004). With one person to choose from there is nothing to compare.
    """
    ranked = sorted(((-score, person) for person, score in scores.items()))
    if len(ranked) < 2 or rules.contrast >= 1.0:
        return True
    nearest, second = (1.0 / max(-score, 1e-9) - 1.0 for score, _ in ranked[:2])
    slack = CONTRAST_HYSTERESIS if ranked[0][1] == held else 0.0
    return nearest <= min(rules.contrast + slack, 1.0) * second


def watch_rival(claim: Claim, scores: Mapping[str, float], rules: Rules) -> Claim:
    """Return the claim after one more window: does somebody else lead by the margin?

    Args:
        scores: of the best people and of the held one, by person id.
    """
    if not claim.held:
        return Claim()
    bar = max(rules.threshold, scores.get(claim.held, 0.0) + rules.margin)
    others = [
        (-score, person)
        for person, score in scores.items()
        if person != claim.held and score >= bar
    ]
    if not others:
        return Claim(claim.held)
    rival = min(others)[1]
    return Claim(claim.held, rival, claim.lead + 1 if rival == claim.rival else 1)


def wishes(claim: Claim, scores: Mapping[str, float], rules: Rules) -> dict[str, float]:
    """Return what each person is worth to a track: above 0, or not in it.

    A held name is worth more by the margin, and more than any other until a rival has led for
    `switch_windows`. The others stay in it, for the case that another track takes the held name.
    """
    worth = {
        person: score - rules.threshold + _AT_LEAST
        for person, score in scores.items()
        if score >= rules.threshold
    }
    held = scores.get(claim.held, -1.0)
    if held < rules.threshold - rules.margin:
        return worth
    if claim.lead >= rules.switch_windows and claim.rival in worth:
        worth.setdefault(claim.held, _AT_LEAST)
        return worth
    own = held - rules.threshold + rules.margin + _HELD_FIRST
    for person, value in worth.items():
        worth[person] = max(min(value, own - rules.margin - _AT_LEAST), _AT_LEAST)
    worth[claim.held] = max(own, _HELD_FIRST)
    return worth


def assign(wanted: Sequence[Mapping[str, float]]) -> list[str]:
    """Give each track at most one person and each person to at most one track.

    The sum of what is given is as large as can be. Ties go to the earlier track, then to the
    smaller person id.

    Args:
        wanted: for each track, what each person is worth to it (`wishes`).

    Returns:
        A person id for each track, "" for nobody.
    """
    people = sorted(set().union(*wanted)) if wanted else []
    if not people:
        return [""] * len(wanted)
    column = {person: number for number, person in enumerate(people)}
    # One more column for each track: nobody, worth 0. Everything unwanted is worth less than that.
    worth = np.full((len(wanted), len(people) + len(wanted)), -1.0)
    worth[:, len(people) :] = 0.0
    for row, options in enumerate(wanted):
        for person, value in options.items():
            tie = row * _ROW_TIE + column[person] * _COLUMN_TIE
            worth[row, column[person]] = value - tie
    rows, columns = linear_sum_assignment(worth, maximize=True)
    given = [""] * len(wanted)
    for row, chosen in zip(rows, columns, strict=True):
        if chosen < len(people) and worth[row, chosen] > 0.0:
            given[row] = people[chosen]
    return given


def best_of(
    people: Sequence[str], scores: np.ndarray, count: int, held: str = ""
) -> dict[str, float]:
    """Return the `count` best people and the held one, by id.

    With as many people as there are tracks the assignment is the same as with all of them.

    Args:
        people: ids in ascending order.
        scores: float64 [people].
    """
    if count < len(scores):
        bar = np.partition(scores, len(scores) - count)[len(scores) - count]
        chosen = np.nonzero(scores >= bar)[0]
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")][:count]
    else:
        chosen = np.argsort(-scores, kind="stable")
    best = {people[row]: float(scores[row]) for row in chosen}
    if held and held not in best:
        row = bisect_left(people, held)
        if row < len(people) and people[row] == held:
            best[held] = float(scores[row])
    return best
