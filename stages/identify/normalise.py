"""From distances to scores that mean the same for everybody.

Some walkers are near to everybody (seen from the front, say) and some to nobody. How near a track
and a template are to a cohort of strangers tells which, and taking that off makes one threshold fit
all: the adaptive symmetric normalisation of speaker recognition (Cumani et al., Interspeech 2011),
with the `nearest` strangers of the cohort only, who are those seen from the same side.

Letters: n tracks, m templates, k people of the cohort, c numbers for each of p body parts.
A comparison score is higher the more alike two vectors are. It has no bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.errors import CalibrationError
from stages.identify.records import TemplateSet
from stages.identify.search import Index, Metric, build_index, distances

NormKind = Literal["plain", "track", "template", "both"]

# A cohort whose nearest are all at one distance says nothing about how distances vary.
_MIN_SPREAD = 1e-3


@dataclass(frozen=True, slots=True)
class Norm:
    """How distances become comparison scores.

    Attributes:
        kind: plain: minus the distance; track: by what the track's distances to the cohort are;
            template: by the template's; both: the mean of the two.
        nearest: of the cohort, how many are looked at.
    """

    kind: NormKind = "plain"
    nearest: int = 1

    def __post_init__(self) -> None:
        if self.nearest < 1:
            raise CalibrationError(f"a cohort's nearest must be 1 or more, got {self.nearest}")


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """How near vectors are to the cohort: mean and spread of the nearest, float64 [n] each."""

    mean: np.ndarray
    spread: np.ndarray


def cohort_index(cohort: np.ndarray, metric: Metric) -> Index:
    """Return a cohort, float32 [k,c,p], ready to be compared with."""
    owners = tuple(f"{row:06d}" for row in range(len(cohort)))
    return build_index(TemplateSet("cohort", "", owners, cohort), metric)


def place_in(vectors: np.ndarray, cohort: Index, nearest: int) -> Place:
    """Return how near float32 [n,c,p] are to the cohort."""
    return place_of(distances(vectors, cohort), nearest)


def place_of(found: np.ndarray, nearest: int) -> Place:
    """Return mean and spread of the `nearest` smallest of float32 [n,k] distances."""
    count = min(nearest, found.shape[1])
    closest = np.partition(found, count - 1, axis=1)[:, :count].astype(np.float64)
    # Sorted, since a partition leaves an order that may differ from one machine to another.
    closest.sort(axis=1)
    mean = closest.mean(axis=1)
    spread = np.maximum(closest.std(axis=1), _MIN_SPREAD * np.maximum(mean, _MIN_SPREAD))
    return Place(mean, spread)


def comparison_scores(
    found: np.ndarray, norm: Norm, tracks: Place | None, templates: Place | None
) -> np.ndarray:
    """Return float64 [n,m] scores of float32 [n,m] distances.

    Args:
        tracks, templates: their places in the cohort, as far as `norm` asks for them.
    """
    far = found.astype(np.float64)
    if norm.kind == "plain":
        return -far
    total, terms = np.zeros_like(far), 0
    if norm.kind in ("track", "both"):
        assert tracks is not None, f"{norm.kind} needs the tracks' places"
        total += (tracks.mean[:, None] - far) / tracks.spread[:, None]
        terms += 1
    if norm.kind in ("template", "both"):
        assert templates is not None, f"{norm.kind} needs the templates' places"
        total += (templates.mean[None] - far) / templates.spread[None]
        terms += 1
    return total / terms


def wants_tracks(norm: Norm) -> bool:
    """Say whether a norm asks for the tracks' places."""
    return norm.kind in ("track", "both")


def wants_templates(norm: Norm) -> bool:
    """Say whether a norm asks for the templates' places."""
    return norm.kind in ("template", "both")
