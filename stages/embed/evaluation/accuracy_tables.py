"""The tables of an evaluation on a suite, with what was aimed at beside the figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.embed.evaluation.accuracy import Accuracy, Result
from stages.embed.evaluation.bootstrap import NOTHING, Estimate
from stages.embed.evaluation.suite import NORMAL
from stages.embed.evaluation.suite_figures import ConditionFigures, Figures, change_cost
from stages.embed.evaluation.tables import NONE, Table, percent

CLOTHES = "cl"
Pick = Callable[[Figures], Estimate]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that was aimed at.

    Attributes:
        name: what it is. bound: 0..1, to be passed upwards, or downwards if not `above`.
        before: what an earlier trial reached, as text.
    """

    name: str
    pick: Pick
    bound: float
    above: bool
    before: str

    def text(self) -> str:
        """Return the bound as tables show it."""
        return f"{'over' if self.above else 'under'} {percent(self.bound)}"

    def verdict(self, value: float) -> str:
        """Return `met`, or by how many points it is missed."""
        if math.isnan(value):
            return NONE
        short = self.bound - value if self.above else value - self.bound
        return (
            f"{percent(value)}, met" if short < 0 else f"{percent(value)}, {percent(short)} short"
        )


def _normal(pick: Callable[[ConditionFigures], Estimate]) -> Pick:
    def picked(figures: Figures) -> Estimate:
        found = figures.of(NORMAL)
        return NOTHING if found is None else pick(found)

    return picked


def _clothes_cost(figures: Figures) -> Estimate:
    return Estimate(change_cost(figures, CLOTHES), math.nan, math.nan)


RANK1 = _normal(lambda found: found.rank1)
FRONT_SIDE = _normal(lambda found: found.front_side)
FRONT_BACK = _normal(lambda found: found.front_back)
EER = _normal(lambda found: found.eer)
TPIR = _normal(lambda found: found.tpir)
TEMPLATE_RANK1 = _normal(lambda found: found.template_rank1)
TEMPLATE_EER = _normal(lambda found: found.template_eer)

TARGETS = (
    Target("Rank-1, all pairs of views", RANK1, 0.60, True, "27"),
    Target("Rank-1, front or back against side", FRONT_SIDE, 0.40, True, "15"),
    Target("equal error rate", EER, 0.12, False, "30–38"),
    Target("TPIR at 1 % FPIR", TPIR, 0.40, True, NONE),
    Target("share of Rank-1 that other clothes cost", _clothes_cost, 1 / 3, False, NONE),
)


def accuracy_tables(accuracy: Accuracy) -> dict[str, Table]:
    """Return the tables by name; those that the suite cannot fill are left out."""
    found = [
        main_table(accuracy),
        target_table(accuracy),
        angle_table(accuracy),
        condition_table(accuracy),
        length_table(accuracy),
        open_table(accuracy),
        group_table(accuracy),
    ]
    return {table.name: table for table in found if table.rows}


def main_table(accuracy: Accuracy, short: bool = False) -> Table:
    """Return the figures of normal walks, a row for each network; `short`: without intervals."""
    rows = []
    for result in accuracy.results:
        picks = (RANK1, FRONT_SIDE, FRONT_BACK, EER, TPIR)
        rows.append((result.label, *(cell(result, pick, short) for pick in picks)))
    header = ("network", "Rank-1", "front–side", "front–back", "EER", "TPIR at 1 % FPIR")
    title = "Normal walks from other views, %" + ", with 95 % intervals" * (not short)
    return Table("main", title, header, tuple(rows))


def target_table(accuracy: Accuracy) -> Table:
    """Return what was aimed at, what a trial reached, and each trained network's figure."""
    shown = [each for each in accuracy.results if each.role in ("network", "fusion")]
    rows = [
        (
            target.name,
            target.text(),
            target.before,
            *(target.verdict(target.pick(each.runs[0]).value) for each in shown),
        )
        for target in TARGETS
    ]
    header = ("figure, %", "aim", "earlier trial", *(each.label for each in shown))
    return Table("targets", "Aims", header, tuple(rows) if shown else (), left=3)


def angle_table(accuracy: Accuracy) -> Table:
    """Return Rank-1 by the angle between the views."""
    rows = []
    angles: list[str] = []
    for result in accuracy.results:
        found = result.runs[0].of(NORMAL)
        if found is None or not found.angles:
            continue
        angles = [name for name, _ in found.angles]
        picks = [_angle(i) for i in range(len(angles))]
        rows.append((result.label, *(cell(result, pick, short=True) for pick in picks)))
    title = "Rank-1 by the angle between the two views, %"
    return Table("angles", title, ("network", *angles), tuple(rows))


def condition_table(accuracy: Accuracy) -> Table:
    """Return Rank-1, EER and TPIR by condition."""
    names = accuracy.layout.conditions
    rows = []
    for result in accuracy.results:
        cells = [cell(result, _rank1_of(name), short=True) for name in names]
        cost = percent(mean(result, _clothes_cost)) if CLOTHES in names else NONE
        errors = [cell(result, _eer_of(name), short=True) for name in names]
        rows.append((result.label, *cells, cost, *errors))
    header = (
        "network",
        *(f"Rank-1 {name}" for name in names),
        "clothes cost",
        *(f"EER {name}" for name in names),
    )
    return Table("conditions", "By condition, normal walks enrolled, %", header, tuple(rows))


def length_table(accuracy: Accuracy) -> Table:
    """Return figures of normal walks against window length, both sides cut alike."""
    rows = []
    for result in accuracy.results:
        for length in result.lengths:
            cells = [_cell(pick(length.figures)) for pick in (RANK1, EER, TPIR)]
            rows.append((result.label, str(length.frames), str(length.shorter), *cells))
    header = ("network", "frames", "shorter", "Rank-1", "EER", "TPIR at 1 % FPIR")
    title = "Window length, enrolled and looked for alike, normal walks, %"
    return Table("lengths", title, header, tuple(rows))


def open_table(accuracy: Accuracy) -> Table:
    """Return Rank-1 and EER against templates, and the open set's figures over the splits."""
    rows = []
    fpirs: Sequence[float] = ()
    for result in accuracy.results:
        found = result.runs[0].of(NORMAL)
        if found is None or found.open is None:
            continue
        fpirs = sorted(found.open.tpir)
        spreads = [*(found.open.tpir[fpir] for fpir in fpirs), found.open.auroc]
        cells = [f"{percent(s.mean)} / {percent(s.median)} ± {percent(s.std)}" for s in spreads]
        closed = [cell(result, pick, short=True) for pick in (TEMPLATE_RANK1, TEMPLATE_EER)]
        rows.append((result.label, *closed, *cells))
    header = (
        *("network", "Rank-1", "EER"),
        *(f"TPIR at {100 * fpir:g} % FPIR" for fpir in fpirs),
        "AUROC",
    )
    title = (
        "Enrolled from all other views, normal walks, %; the open set's figures as mean / median ± "
        "standard deviation over the splits"
    )
    return Table("open_set", title, header, tuple(rows))


def group_table(accuracy: Accuracy) -> Table:
    """Return figures by groups of people: whom does a network know worse?"""
    rows = []
    for result in accuracy.results:
        for group in result.runs[0].groups:
            rows.append(
                (
                    *(result.label, group.grouping, group.group, str(group.people)),
                    *(_cell(group.rank1), _cell(group.eer)),
                    *(percent(group.refused), percent(group.taken)),
                )
            )
    header = (
        *("network", "by", "group", "people", "Rank-1", "EER"),
        *("own pairs refused", "others' pairs taken"),
    )
    title = (
        "By group of people, normal walks, %; the last two columns at one threshold for all, at "
        "which 1 % of all others' pairs are taken"
    )
    return Table("groups", title, header, tuple(rows), left=3)


def cell(result: Result, pick: Pick, short: bool = False) -> str:
    """Return a figure as text: with its interval, or over several runs the mean with the range."""
    if len(result.runs) == 1:
        found = pick(result.runs[0])
        return percent(found.value) if short else _cell(found)
    values = [pick(run).value for run in result.runs]
    if any(map(math.isnan, values)):
        return NONE
    middle = percent(sum(values) / len(values))
    return middle if short else f"{middle} ({percent(min(values))} to {percent(max(values))})"


def mean(result: Result, pick: Pick) -> float:
    """Return the mean over the runs."""
    values = [pick(run).value for run in result.runs]
    return sum(values) / len(values)


def _cell(found: Estimate) -> str:
    if math.isnan(found.low):
        return percent(found.value)
    return f"{percent(found.value)} ({percent(found.low)} to {percent(found.high)})"


def _angle(place: int) -> Pick:
    return _normal(lambda found: found.angles[place][1])


def _rank1_of(condition: str) -> Pick:
    def picked(figures: Figures) -> Estimate:
        found = figures.of(condition)
        return NOTHING if found is None else found.rank1

    return picked


def _eer_of(condition: str) -> Pick:
    def picked(figures: Figures) -> Estimate:
        found = figures.of(condition)
        return NOTHING if found is None else found.eer

    return picked
