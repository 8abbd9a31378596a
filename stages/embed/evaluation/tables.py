"""The tables of an evaluation, and all its figures as plain data."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.embed.evaluation.closed_set import ClosedSet, GroupRanks, ViewMatrix
from stages.embed.evaluation.evaluate import Evaluation, MethodResult
from stages.embed.evaluation.open_set import OpenSet, Spread

RANKS = (1, 5, 10)
LIVE_FPIR = 0.01
NONE = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes:
        name: of its file. title: what it shows, with units. left: columns set to the left.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1

    def markdown(self) -> str:
        """Return the table as Markdown."""
        rule = ["---" if i < self.left else "---:" for i in range(len(self.header))]
        rows = [self.header, tuple(rule), *self.rows]
        return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows) + "\n"

    def csv(self) -> str:
        """Return the table as CSV; what has no value is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows([["" if cell == NONE else cell for cell in row] for row in self.rows])
        return text.getvalue()


def tables_of(evaluation: Evaluation) -> list[Table]:
    """Return the tables of an evaluation; every one has a row for each network."""
    tables = [ranks_table(evaluation)]
    if evaluation.methods[0].closed.matrices:
        tables += [views_table(evaluation), matrix_table(evaluation)]
    if any(method.open is not None for method in evaluation.methods):
        tables.append(open_set_table(evaluation))
    tables.append(lengths_table(evaluation))
    if evaluation.unreadable or any(method.broken for method in evaluation.methods):
        tables.append(broken_table(evaluation))
    return tables


def ranks_table(evaluation: Evaluation) -> Table:
    """Return Rank-1/5/10, mAP and mINP of each network and group."""
    with_views = bool(evaluation.methods[0].closed.matrices)
    rows = []
    for method in evaluation.methods:
        for group in method.closed.groups:
            cells = [label_of(method), group.group, str(group.mated)]
            if with_views:
                cells.append(percent(method.closed.headline(group.group)))
            cells += [percent(group.rank(k)) for k in RANKS]
            rows.append((*cells, percent(group.mean_ap), percent(group.mean_inp)))
    header = ["network", "group", "probes"]
    header += ["by view"] if with_views else []
    header += [*(f"Rank-{k}" for k in RANKS), "mAP", "mINP"]
    title = "Closed set, whole gallery, %"
    title += "; by view: mean Rank-1 when each other view's gallery is searched alone" * with_views
    return Table("ranks", title, tuple(header), tuple(rows), left=2)


def views_table(evaluation: Evaluation) -> Table:
    """Return Rank-1 by probe view, as published for CASIA-B and OUMVLP."""
    views = evaluation.methods[0].closed.matrices[0].probe_views
    rows = []
    for method in evaluation.methods:
        for matrix in method.closed.matrices:
            of_view = dict(zip(matrix.probe_views, matrix.by_probe_view(), strict=True))
            cells = [percent(of_view.get(view, math.nan)) for view in views]
            means = percent(matrix.mean()), percent(matrix.mean(of_mated=True))
            rows.append((label_of(method), matrix.group, *cells, *means))
    header = ("network", "group", *views, "mean", "mean of probes with a mate")
    title = "Rank-1 by probe view: mean over the other views' galleries, each searched alone, %"
    return Table("views", title, header, tuple(rows), left=2)


def matrix_table(evaluation: Evaluation) -> Table:
    """Return every cell of the view matrices, one a row."""
    rows = []
    for method in evaluation.methods:
        for matrix in method.closed.matrices:
            rank1 = matrix.rank1()
            for i, j in zip(*np.nonzero(matrix.counts), strict=True):
                names = matrix.probe_views[i], matrix.gallery_views[j]
                numbers = matrix.probes[i], matrix.mated[i, j], matrix.hits[i, j]
                cells = [str(number) for number in numbers]
                row = (label_of(method), matrix.group, *names, *cells, percent(rank1[i, j]))
                rows.append(row)
    header = (
        *("network", "group", "probe view", "gallery view"),
        *("probes", "probes with a mate", "hits", "Rank-1"),
    )
    return Table("view_matrix", "Rank-1 by probe and gallery view, %", header, tuple(rows), left=4)


def open_set_table(evaluation: Evaluation) -> Table:
    """Return TPIR, AUROC and equal error rate over the splits."""
    rows = []
    opened = [(method, method.open) for method in evaluation.methods if method.open is not None]
    fpirs = sorted(opened[0][1].tpir)
    for method, found in opened:
        cells = [spread_cell(found.tpir[fpir]) for fpir in fpirs]
        threshold = found.thresholds[LIVE_FPIR].median
        score = NONE if math.isnan(threshold) else f"{threshold:.4f}"
        last = (spread_cell(found.auroc), spread_cell(found.eer), score)
        rows.append((label_of(method), *cells, *last))
    names = (f"TPIR at {_share(fpir)} FPIR" for fpir in fpirs)
    header = ("network", *names, "AUROC", "EER", f"threshold at {_share(LIVE_FPIR)} FPIR")
    title = "Open set, mean / median ± standard deviation over the splits, %"
    return Table("open_set", title, header, tuple(rows))


def lengths_table(evaluation: Evaluation) -> Table:
    """Return the published figure of each group, mAP and TPIR against window length."""
    groups = evaluation.groups
    rows = []
    for method in evaluation.methods:
        for length in method.lengths:
            cells = [length_label(length.frames), str(length.probes), str(length.shorter)]
            cells += [percent(length.closed.headline(group)) for group in groups]
            cells.append(percent(length.closed.groups[-1].mean_ap))
            tpir = math.nan if length.open is None else length.open.tpir[LIVE_FPIR].mean
            rows.append((label_of(method), *cells, percent(tpir)))
    ranks = ["Rank-1" if len(groups) == 1 else f"Rank-1 {group}" for group in groups]
    header = (
        *("network", "frames", "probes", "shorter"),
        *(*ranks, "mAP", f"TPIR at {_share(LIVE_FPIR)} FPIR"),
    )
    title = "Accuracy against window length, %"
    return Table("lengths", title, header, tuple(rows))


def broken_table(evaluation: Evaluation) -> Table:
    """Return the sequences that were skipped."""
    found = [("all", name, reason) for name, reason in evaluation.unreadable]
    for method in evaluation.methods:
        found += [(label_of(method), name, reason) for name, reason in method.broken]
    rows = [(network, name, " ".join(reason.split())) for network, name, reason in found]
    return Table("skipped", "Sequences skipped", ("network", "sequence", "reason"), tuple(rows), 3)


def label_of(method: MethodResult) -> str:
    """Return a network's name in tables and plots; says if it is untrained."""
    return method.name if method.facts.get("trained", True) else f"{method.name} (untrained)"


def length_label(frames: int | None) -> str:
    """Return a window length as tables show it."""
    return "all" if frames is None else str(frames)


def percent(share: float) -> str:
    """Return 0..1 as percent with one decimal."""
    return NONE if math.isnan(share) else f"{100 * share:.1f}"


def spread_cell(values: Spread) -> str:
    """Return mean / median ± standard deviation, percent."""
    if math.isnan(values.mean):
        return NONE
    return f"{percent(values.mean)} / {percent(values.median)} ± {percent(values.std)}"


def metrics_of(evaluation: Evaluation) -> dict[str, Any]:
    """Return all figures as plain data, shares 0..1, null where there is none."""
    found = {
        "protocol": evaluation.protocol,
        "groups": list(evaluation.groups),
        "dataset": dict(evaluation.dataset),
        "options": evaluation.options.model_dump(mode="json"),
        "notes": list(evaluation.notes),
        "unreadable": _skipped_data(evaluation.unreadable),
        "versions": dict(evaluation.versions),
        "networks": [_method_data(method) for method in evaluation.methods],
    }
    return {name: plain(value) for name, value in found.items()}


def _method_data(method: MethodResult) -> dict[str, Any]:
    return {
        "name": method.name,
        **{name: value for name, value in method.facts.items() if name != "network"},
        "sequences": method.embedded,
        "skipped": _skipped_data(method.broken),
        "subjects": method.subjects,
        "gallery": method.gallery,
        "probes": method.probes,
        "closed_set": _closed_data(method.closed),
        "open_set": None if method.open is None else _open_data(method.open),
        "lengths": [
            {
                "frames": length.frames,
                "probes": length.probes,
                "shorter": length.shorter,
                "closed_set": _closed_data(length.closed),
                "open_set": None if length.open is None else _open_data(length.open),
            }
            for length in method.lengths
        ],
        "seconds": dict(method.seconds),
    }


def _skipped_data(skipped: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"sequence": name, "reason": reason} for name, reason in skipped]


def _closed_data(closed: ClosedSet) -> dict[str, Any]:
    groups = {group.group: _group_data(group, closed) for group in closed.groups}
    return {"groups": groups, "views": {m.group: _matrix_data(m) for m in closed.matrices}}


def _group_data(group: GroupRanks, closed: ClosedSet) -> dict[str, Any]:
    return {
        "probes": group.probes,
        "probes_with_mate": group.mated,
        "published_rank1": closed.headline(group.group),
        **{f"rank{k}": group.rank(k) for k in RANKS},
        "mAP": group.mean_ap,
        "mINP": group.mean_inp,
        "cmc": group.curve,
    }


def _matrix_data(matrix: ViewMatrix) -> dict[str, Any]:
    return {
        "views": list(matrix.probe_views),
        "rank1": matrix.rank1(),
        "rank1_of_probes_with_mate": matrix.rank1(of_mated=True),
        "by_probe_view": matrix.by_probe_view(),
        "mean": matrix.mean(),
        "mean_of_probes_with_mate": matrix.mean(of_mated=True),
        "probes": matrix.probes,
    }


def _open_data(found: OpenSet) -> dict[str, Any]:
    return {
        "splits": found.splits,
        "enrolled": found.enrolled,
        "strangers": found.strangers,
        "mated_probes": found.mated_probes,
        "stranger_probes": found.stranger_probes,
        "tpir": {f"{fpir:g}": _spread_data(values) for fpir, values in found.tpir.items()},
        "threshold": {f"{f:g}": _spread_data(values) for f, values in found.thresholds.items()},
        "auroc": _spread_data(found.auroc),
        "eer": _spread_data(found.eer),
        "det": {
            "fpir": found.curve_fpir,
            "miss_mean": found.curve_miss[0],
            "miss_p10": found.curve_miss[1],
            "miss_p90": found.curve_miss[2],
        },
    }


def _spread_data(values: Spread) -> dict[str, float]:
    return {"mean": values.mean, "median": values.median, "std": values.std}


def plain(value: Any) -> Any:
    """Return what JSON can hold: no arrays, no nan."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _share(share: float) -> str:
    return f"{100 * share:g} %"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
