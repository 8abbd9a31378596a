"""The figures of one network on a suite, from its distances."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stages.embed.evaluation.bootstrap import NOTHING, Estimate, draw_people
from stages.embed.evaluation.open_set import OpenSet, Splits, equal_error_rate
from stages.embed.evaluation.pair_distances import Distances
from stages.embed.evaluation.subjects import Grouping
from stages.embed.evaluation.suite import NORMAL, Layout
from stages.embed.evaluation.suite_open_set import draw_enrolled, open_set
from stages.embed.evaluation.suite_ranks import (
    ViewSearch,
    between,
    by_angle,
    first_chances,
    rank1,
    search_templates,
    search_views,
    view_matrix,
)
from stages.embed.evaluation.verification import (
    PairCounts,
    count_pairs,
    equal_error,
    threshold_at,
)

# Share of strangers taken at which groups of people are compared.
GROUP_TAKEN = 0.01


@dataclass(frozen=True, slots=True)
class Counting:
    """How figures are counted.

    Attributes:
        gallery_people: people enrolled that a figure is stated for.
        splits: of the open set. draws: of people, for intervals. seed: of both.
    """

    gallery_people: int = 100
    splits: Splits = field(default_factory=Splits)
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ConditionFigures:
    """What came of the probes of one condition, from other views alone; shares 0..1.

    Attributes:
        probes: how many. pairs: of a probe and a gallery view that Rank-1 is over.
        rank1, front_side, front_back: Rank-1 over all pairs of views, between front or back and
            side, and between front and back.
        eer: equal error rate over pairs of windows.
        template_rank1, template_eer: likewise against the people's templates of all other views.
        tpir: against templates, at 1 % FPIR. open: all of the open set.
        angles: Rank-1 by the angle between the views.
    """

    condition: str
    probes: int
    pairs: int
    rank1: Estimate
    front_side: Estimate
    front_back: Estimate
    eer: Estimate
    template_rank1: Estimate
    template_eer: Estimate
    tpir: Estimate
    open: OpenSet | None
    angles: tuple[tuple[str, Estimate], ...]


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """What came of one group of people's normal walks, at one threshold for all.

    Attributes:
        refused: own pairs above the threshold. taken: others' pairs below it.
    """

    grouping: str
    group: str
    people: int
    rank1: Estimate
    eer: Estimate
    refused: float
    taken: float


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What came of one network, one set of vectors.

    Attributes:
        conditions: normal first. matrix: Rank-1 float64 [v,v] of normal walks.
        errors: float64 [2,k]: own pairs refused and others' taken, of normal walks, for a curve.
        groups: of people.
    """

    conditions: tuple[ConditionFigures, ...]
    matrix: np.ndarray
    errors: np.ndarray
    groups: tuple[GroupFigures, ...]

    def of(self, condition: str) -> ConditionFigures | None:
        """Return a condition's figures; None if the suite lacks it."""
        return next((each for each in self.conditions if each.condition == condition), None)


def figures_of(
    distances: Distances, layout: Layout, counting: Counting, groupings: tuple[Grouping, ...] = ()
) -> Figures:
    """Count all figures of one network.

    Memory: the distances, and 20 bytes a probe and view.
    """
    search = search_views(distances.windows, layout)
    chances = first_chances(search, counting.gallery_people)
    draws = draw_people(len(layout.people), counting.draws, counting.seed)
    work = _Counter(distances, layout, counting, search, chances, draws)
    conditions = tuple(work.condition(name) for name in layout.conditions)
    normal = layout.of_condition(layout.conditions[0])
    counts = work.pairs_of(normal)
    errors = np.empty((2, 0)) if counts is None else np.concatenate(counts.rates())
    groups = tuple(
        work.group(grouping, code, counts, normal)
        for grouping in groupings
        for code in range(len(grouping.groups))
    )
    counted = search.cross & normal[:, None]
    return Figures(conditions, view_matrix(chances, counted, layout), errors, groups)


def change_cost(figures: Figures, condition: str) -> float:
    """Return the share of normal walks' Rank-1 that a condition costs; nan if either is missing."""
    normal, changed = figures.of(NORMAL), figures.of(condition)
    if normal is None or changed is None or not normal.rank1.value > 0:
        return float("nan")
    return 1 - changed.rank1.value / normal.rank1.value


@dataclass(slots=True, eq=False)
class _Counter:
    """One network's distances, and what is counted from them more than once."""

    distances: Distances
    layout: Layout
    counting: Counting
    search: ViewSearch
    chances: np.ndarray
    draws: np.ndarray

    def condition(self, name: str) -> ConditionFigures:
        layout = self.layout
        probes = layout.of_condition(name)
        counted = self.search.cross & probes[:, None]
        front, back, side = layout.near(0), layout.near(180), layout.near(90, 270)
        opened = self._open(probes)
        return ConditionFigures(
            condition=name,
            probes=int(probes.sum()),
            pairs=int(counted.sum()),
            rank1=self._rank1(counted),
            front_side=self._rank1(counted & between(layout, front | back, side)),
            front_back=self._rank1(counted & between(layout, front, back)),
            eer=equal_error(self.pairs_of(probes), self.draws),
            template_rank1=self._template_rank1(probes),
            template_eer=self._template_eer(probes),
            tpir=NOTHING if opened is None else opened[1],
            open=None if opened is None else opened[0],
            angles=tuple(
                (label, self._rank1(counted & there)) for label, there in by_angle(layout)
            ),
        )

    def group(
        self, grouping: Grouping, code: int, counts: PairCounts | None, normal: np.ndarray
    ) -> GroupFigures:
        inside = grouping.member == code
        counted = self.search.cross & (normal & inside[self.layout.probe_person])[:, None]
        eer, refused, taken = NOTHING, float("nan"), float("nan")
        if counts is not None:
            own = counts.of_people(inside)
            eer = equal_error(own, self.draws)
            column = threshold_at(counts, GROUP_TAKEN)
            refused, taken = (float(rate[0, column]) for rate in own.rates())
        return GroupFigures(
            grouping.name,
            grouping.groups[code],
            int(inside.sum()),
            self._rank1(counted),
            eer,
            refused,
            taken,
        )

    def pairs_of(self, probes: np.ndarray) -> PairCounts | None:
        return count_pairs(
            self.distances.windows, self.search, self.layout, probes, self.counting.seed
        )

    def _rank1(self, counted: np.ndarray) -> Estimate:
        return rank1(self.chances, counted, self.layout, self.draws)

    def _template_rank1(self, probes: np.ndarray) -> Estimate:
        search = search_templates(self.distances.templates, self.layout)
        chances = first_chances(search, self.counting.gallery_people)
        return rank1(chances, search.cross & probes[:, None], self.layout, self.draws)

    def _template_eer(self, probes: np.ndarray) -> Estimate:
        """Return the exact rate, without an interval."""
        found = self.distances.templates[probes]
        own = self.layout.probe_person[probes, None] == np.arange(found.shape[1])[None]
        known = ~np.isnan(found)
        value = equal_error_rate(-found[own & known], -found[~own & known])
        return Estimate(value, float("nan"), float("nan"))

    def _open(self, probes: np.ndarray) -> tuple[OpenSet, Estimate] | None:
        splits = self.counting.splits
        enrolled = draw_enrolled(len(self.layout.people), self.counting.gallery_people, splits)
        rows = np.flatnonzero(probes)
        return open_set(self.distances.templates, self.layout, rows, enrolled, self.draws)
