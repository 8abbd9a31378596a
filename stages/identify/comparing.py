"""A track against the gallery: how alike, and with a calibration, how likely by chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from stages.identify.calibration import Calibration
from stages.identify.normalise import (
    Place,
    cohort_index,
    comparison_scores,
    place_in,
    wants_templates,
    wants_tracks,
)
from stages.identify.records import Snapshot, TemplateSet
from stages.identify.search import Index, Metric, build_index, by_person, distances, score_of

NetworkKey = tuple[str, str]
# Finds the calibration of a network's weights, None where there is none.
Find = Callable[[str, str], Calibration | None]


@dataclass(frozen=True, slots=True, eq=False)
class Comparer:
    """The templates of one network's weights, and what scores against them are worth.

    Attributes:
        calibration: None if there is none for these weights.
        cohort, templates: the cohort's index and the templates' places in it, as far as the
            calibration's norm asks for them.
    """

    index: Index
    calibration: Calibration | None = None
    cohort: Index | None = None
    templates: Place | None = None

    @property
    def count(self) -> int:
        """How many templates there are."""
        return self.index.templates.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """A track's scores by person, in the order of the index; empty if nothing was compared.

    Attributes:
        alike: float64 [people], 1 / (1 + distance), 0..1.
        strengths: float64 [people], decades of false-alarm level; None without a calibration.
        nearest: the place of whoever comes nearest, -1 for nobody.
        best: the comparison score of whoever comes nearest; nan without a calibration.
    """

    alike: np.ndarray
    strengths: np.ndarray | None
    nearest: int
    best: float = math.nan


NOTHING = Compared(np.empty(0), None, -1)


def make_comparer(
    templates: TemplateSet, metric: Metric, calibration: Calibration | None
) -> Comparer:
    """Return templates ready to be compared with; the calibration's metric goes before `metric`."""
    if calibration is None:
        return Comparer(build_index(templates, metric))
    index = build_index(templates, calibration.metric)
    if calibration.cohort is None:
        return Comparer(index, calibration)
    cohort = cohort_index(calibration.cohort, calibration.metric)
    places = None
    if wants_templates(calibration.norm):
        places = place_in(templates.vectors, cohort, calibration.norm.nearest)
    return Comparer(index, calibration, cohort, places)


def comparers_of(snapshot: Snapshot, metric: Metric, find: Find) -> Mapping[NetworkKey, Comparer]:
    """Return a comparer for each network's weights of which the gallery holds templates."""
    return {
        (one.network, one.weights_hash): make_comparer(
            one, metric, find(one.network, one.weights_hash)
        )
        for one in snapshot.sets
    }


def compare_track(
    vector: np.ndarray, frames: float, quality: float, against: Comparer, nearest: int
) -> Compared:
    """Compare a track's fused vector, float32 [c,p], with everybody.

    Args:
        frames, quality: the evidence behind the vector.
        nearest: a person is judged by the mean of this many nearest templates.
    """
    index, calibration = against.index, against.calibration
    found = distances(vector[None], index)
    alike = score_of(by_person(found, index.first, nearest))[0]
    if calibration is None:
        return Compared(alike, None, int(alike.argmax()))
    tracks = None
    if wants_tracks(calibration.norm):
        assert against.cohort is not None
        tracks = place_in(vector[None], against.cohort, calibration.norm.nearest)
    scores = comparison_scores(found, calibration.norm, tracks, against.templates)
    best = -by_person(-scores, index.first, nearest)[0]
    strengths = calibration.strengths(best, against.count, frames, quality)
    return Compared(alike, strengths, int(best.argmax()), float(best.max()))
