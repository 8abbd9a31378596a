"""What a score is worth: how often a stranger would be given a name at it.

A track's score against a template (`normalise.py`) is first standardised: strangers' scores have a
middle and a spread that change with the frames of evidence and with the quality. What is left has
one survival curve p (`tail.py`). A stranger is compared with n templates and judged by the best, so

    one look     1 - (1 - p) ** effective(n)      mostly under n, since templates are alike
    whole track  looks * caution * one look       a track is looked at again with every window

and that last number is the false-alarm level: of the strangers who walk by, the share that is given
somebody's name if names are given from this score on. Levels are per track, not per comparison.

A level is vouched for down to one false alarm in as many independent trials as the calibration has
seen (`carried`), and never beyond; where fewer than ten were seen it rests on the fitted tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.errors import CalibrationError
from stages.identify.normalise import Norm
from stages.identify.search import Metric
from stages.identify.tail import Tail

# Nothing below is claimed, whatever the data: the world holds surprises that no data have.
MIN_LEVEL = 1e-6
# False alarms that a level should be measured with, so that it is more than a fitted curve's word.
MEASURED_ALARMS = 10
# Strengths (decades of level) have this many decimals: the digits behind differ from one matrix
# library to the next and must not decide a tie.
STRENGTH_DECIMALS = 6
_LEAST_LEVEL = 1e-250


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Middle and spread of strangers' scores by how much was seen.

    Attributes:
        frames: float64 [e], distinct frames, ascending. middle, spread: float64 [e] at those;
            between them by the logarithm of the frames, beyond them as at the ends.
        quality_slope: score by which strangers rise from quality 0 to 1.
        quality_middle: where the slope turns. quality_range: lowest and highest that was seen;
            what lies beyond counts as the end.
    """

    frames: np.ndarray
    middle: np.ndarray
    spread: np.ndarray
    quality_slope: float = 0.0
    quality_middle: float = 1.0
    quality_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        columns = (self.frames, self.middle, self.spread)
        numbers = np.concatenate(
            [*columns, [self.quality_slope, self.quality_middle, *self.quality_range]]
        )
        if not (
            len(self.frames) == len(self.middle) == len(self.spread) >= 1
            and np.isfinite(numbers).all()
            and bool((np.diff(self.frames) > 0).all())
            and self.frames[0] > 0
            and bool((self.spread > 0).all())
            and self.quality_range[0] <= self.quality_range[1]
        ):
            raise CalibrationError(
                "a calibration's evidence table is damaged: frames must ascend from above 0, "
                "spreads be above 0, all numbers finite"
            )

    def standardise(
        self, scores: np.ndarray, frames: np.ndarray | float, quality: np.ndarray | float
    ) -> np.ndarray:
        """Return float64 [...]: about 0 in the middle of strangers, about 1 at their upper end."""
        middle, spread = self._at(frames, quality)
        return (scores - middle) / spread

    def raw(
        self, standard: np.ndarray, frames: np.ndarray | float, quality: np.ndarray | float
    ) -> np.ndarray:
        """Return the scores of which `standardise` makes these."""
        middle, spread = self._at(frames, quality)
        return middle + standard * spread

    def _at(
        self, frames: np.ndarray | float, quality: np.ndarray | float
    ) -> tuple[np.ndarray, np.ndarray]:
        place = np.log(np.maximum(np.asarray(frames, np.float64), 1.0))
        known = np.log(self.frames)
        low, high = self.quality_range
        good = np.nan_to_num(np.asarray(quality, np.float64), nan=low)
        rise = self.quality_slope * (np.clip(good, low, high) - self.quality_middle)
        return np.interp(place, known, self.middle) + rise, np.interp(place, known, self.spread)


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """By how much more often a stranger passes where the gallery is larger.

    Attributes:
        sizes: int64 [g], templates, ascending from 1. effective: float64 [g], independent ones
            with which the best would be as high; beyond the largest, each one counts in full.
    """

    sizes: np.ndarray
    effective: np.ndarray

    def __post_init__(self) -> None:
        if not (
            len(self.sizes) == len(self.effective) >= 1
            and self.sizes[0] == 1
            and bool((np.diff(self.sizes) > 0).all())
            and bool((np.diff(self.effective) >= 0).all())
            and self.effective[0] >= 1
            and np.isfinite(self.effective).all()
        ):
            raise CalibrationError(
                "a calibration's gallery sizes are damaged: they must ascend from 1, and what they "
                "are worth must not descend"
            )

    def at(self, templates: int) -> float:
        """Return how many independent templates so many are worth, at least 1."""
        count = max(templates, 1)
        last = int(self.sizes[-1])
        if count > last:
            return float(self.effective[-1]) * count / last
        logs = np.interp(np.log(count), np.log(self.sizes), np.log(self.effective))
        return float(np.exp(logs))


@dataclass(frozen=True, slots=True)
class Site:
    """What a place's own footage has changed: strangers' standardised scores there.

    Attributes:
        shift: by how much they lie higher. scale: by how much they spread further.
        tracks: how many it was told from. trust: 0..1, weight of the footage against the prior.
        footage: what it was, for people.
    """

    shift: float
    scale: float
    tracks: int
    trust: float
    footage: str = ""

    def __post_init__(self) -> None:
        if not (np.isfinite([self.shift, self.scale]).all() and self.scale > 0):
            raise CalibrationError(
                f"a site's shift and scale must be finite and the scale above 0, got "
                f"{self.shift} and {self.scale}"
            )


@dataclass(frozen=True, slots=True)
class Weighing:
    """How much a window counts in a track's mean: frames ** a times quality ** b."""

    frames_power: float = 1.0
    quality_power: float = 1.0


@dataclass(frozen=True, slots=True)
class Basis:
    """What a calibration rests on.

    Attributes:
        people: strangers. pairs: unordered pairs of people, each an independent trial.
        comparisons: of tracks with templates. data: what they were, for people.
    """

    people: int
    pairs: int
    comparisons: int
    data: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A gallery, the level that was asked for, and what came of people not learned from.

    Attributes:
        templates: in the gallery. asked: level. is_carried: whether the calibration vouches for it.
        achieved: share of strangers' tracks that were named; low, high: its 95 % interval.
        tracks: of strangers, all draws together. people: how many different ones.
        named_same, named_other: of enrolled people's tracks those named right, enrolled from the
            same side and from another; None where there were none.
    """

    templates: int
    asked: float
    is_carried: bool
    achieved: float | None
    low: float | None
    high: float | None
    tracks: int
    people: int
    named_same: float | None
    named_other: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What the scores of one network's weights are worth.

    Attributes:
        metric: of the distances. norm: how they become scores. cohort: float32 [k,c,p] of
            strangers, None for a plain norm.
        looks: by how much more often a stranger passes at some moment than at a given one.
        caution: by how much more often people passed who had not been learned from than promised.
        weighing: how windows are fused; None: as without a calibration.
        site: what a place's own footage has changed. checks: what trials have shown.
    """

    network: str
    weights_hash: str
    metric: Metric
    norm: Norm
    cohort: np.ndarray | None
    evidence: Evidence
    tail: Tail
    crowd: Crowd
    looks: float
    basis: Basis
    weighing: Weighing | None = None
    site: Site | None = None
    checks: tuple[Check, ...] = ()
    caution: float = 1.0

    def __post_init__(self) -> None:
        if self.norm.kind != "plain" and (self.cohort is None or len(self.cohort) < 2):
            raise CalibrationError(
                f"a calibration that normalises by {self.norm.kind} needs a cohort of two or more"
            )
        if not (1.0 <= self.looks < np.inf and 1.0 <= self.caution < np.inf):
            raise CalibrationError(
                f"looks and caution must be 1 or more, got {self.looks} and {self.caution}"
            )
        if self.basis.people < 2 or self.basis.pairs < 1:
            raise CalibrationError(
                f"a calibration needs two people or more, this one has {self.basis.people}"
            )

    def standardise(
        self, scores: np.ndarray, frames: np.ndarray | float, quality: np.ndarray | float
    ) -> np.ndarray:
        """Return what the survival curve is asked with, float64 [...]."""
        standard = self.evidence.standardise(scores, frames, quality)
        return standard if self.site is None else (standard - self.site.shift) / self.site.scale

    def one_look(
        self,
        scores: np.ndarray,
        templates: int,
        frames: np.ndarray | float,
        quality: np.ndarray | float,
    ) -> np.ndarray:
        """Return how often a stranger's best of so many templates is that high at one moment."""
        share = self.tail.survival(self.standardise(scores, frames, quality))
        with np.errstate(divide="ignore"):
            return -np.expm1(self.crowd.at(templates) * np.log1p(-np.minimum(share, 1.0)))

    def levels(
        self,
        scores: np.ndarray,
        templates: int,
        frames: np.ndarray | float,
        quality: np.ndarray | float,
    ) -> np.ndarray:
        """Return the false-alarm level of each score, float64 [...], 0..1, as the curve has it.

        What may be claimed of it is `claim`.
        """
        return np.minimum(self._rise * self.one_look(scores, templates, frames, quality), 1.0)

    def strengths(
        self, scores: np.ndarray, templates: int, frames: float, quality: float
    ) -> np.ndarray:
        """Return decades of level, -log10: 2 for 1 %, 3 for 0.1 %; 0 or more, rounded."""
        levels = np.maximum(self.levels(scores, templates, frames, quality), _LEAST_LEVEL)
        return np.round(-np.log10(levels), STRENGTH_DECIMALS) + 0.0

    def threshold(self, level: float, templates: int, frames: float, quality: float) -> float:
        """Return the score whose false-alarm level is `level`, 0 < level < 1."""
        one_look = min(level / self._rise, 1.0 - 1e-12)
        share = -np.expm1(np.log1p(-one_look) / self.crowd.at(templates))
        standard = self.tail.quantile(np.asarray(share))
        if self.site is not None:
            standard = self.site.shift + standard * self.site.scale
        return float(self.evidence.raw(standard, frames, quality))

    def carried(self, templates: int) -> float:
        """Return the lowest level that is vouched for with so many templates, 0..1."""
        return min(1.0, max(MIN_LEVEL, self._rise * self.crowd.at(templates) / self.basis.pairs))

    def measured(self, templates: int) -> float:
        """Return the level from which on it is measured; below it rests on the fitted tail."""
        return min(1.0, MEASURED_ALARMS * self.carried(templates))

    def claim(self, level: float, templates: int) -> float:
        """Return the level that may be said: three digits, and not below what is carried."""
        return min(1.0, _up_to_three_digits(max(level, self.carried(templates))))

    @property
    def _rise(self) -> float:
        return self.looks * self.caution

    @property
    def cohort_wanted(self) -> bool:
        """Whether scores need the cohort."""
        return self.norm.kind != "plain"


def _up_to_three_digits(level: float) -> float:
    """Return the least number of three digits that is not below `level`, 0 < level <= 1."""
    digits = 2 - math.floor(math.log10(level))
    # What a sum has spoilt in the tenth digit is not to become a step of the third.
    return round(math.ceil(round(level * 10.0**digits, 6)) / 10.0**digits, digits + 1)
