"""What a calibration is worth, for people: a page with tables, a CSV file and two plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import CalibrationError
from stages.identify.assessing import LEVELS, Tried, merge_levels
from stages.identify.calibration import Calibration, Check
from stages.identify.ways import Choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Templates in the galleries that the plots and the table of scores show, as far as there are any.
SHOWN_SIZES = (1, 10, 50)
SHOWN_FRAMES = (30, 60, 120)
PLOTTED_LEVELS = np.geomspace(1e-4, 0.5, 80)
CHECK_HEADER = (
    *("templates", "asked", "achieved", "95 % interval", "tracks", "people"),
    *("same side", "other side", "vouched"),
)
# Readable with red-green blindness (Wong, Nature Methods 8, 2011).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def check_rows(checks: Sequence[Check]) -> list[tuple[str, ...]]:
    """Return the rows under `CHECK_HEADER`."""
    return [
        (
            *(str(one.templates), percent(one.asked), percent(one.achieved)),
            f"{percent(one.low)}–{percent(one.high)}",
            *(f"{one.tracks}", f"{one.people}"),
            *(percent(one.named_same), percent(one.named_other)),
            "yes" if one.is_carried else "no",
        )
        for one in checks
    ]


def percent(share: float | None) -> str:
    """Return a share as text: two digits, "-" for none."""
    if share is None or not np.isfinite(share):
        return "-"
    value = 100 * share
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.2g} %"


def threshold_rows(calibration: Calibration) -> list[tuple[str, ...]]:
    """Return rows of templates, frames and the score that each level takes."""
    known = calibration.evidence.frames
    frames = [f for f in SHOWN_FRAMES if known[0] <= f <= known[-1]] or [round(float(known[-1]))]
    quality = calibration.evidence.quality_middle
    rows = []
    for size in SHOWN_SIZES:
        for count in frames:
            cells = [
                f"{calibration.threshold(level, size, count, quality):.3f}"
                if level >= calibration.carried(size)
                else "not vouched for"
                for level in LEVELS
            ]
            lowest = percent(calibration.claim(0.0, size))
            rows.append((str(size), str(count), *cells, lowest))
    return rows


def summary_lines(calibration: Calibration) -> list[str]:
    """Return what a calibration rests on, in words."""
    basis, tail = calibration.basis, calibration.tail
    cohort = "none" if calibration.cohort is None else f"{len(calibration.cohort)} templates"
    lines = [
        f"network {calibration.network}, weights {calibration.weights_hash}, "
        f"{calibration.metric} distance, normalised: {calibration.norm.kind}, cohort: {cohort}",
        f"made of {basis.people} people ({basis.pairs} pairs), {basis.comparisons} comparisons of "
        f"strangers: {basis.data or 'unnamed data'}",
        f"beyond the highest {percent(float(tail.shares[-1]))} of them a generalised Pareto tail "
        f"of shape {tail.shape:.2f} is fitted to {tail.excesses}; levels under "
        f"{percent(calibration.measured(1))} (one template) rest on it, under "
        f"{percent(calibration.carried(1))} nothing is claimed",
        f"repeated looks at a track raise its false alarms {calibration.looks:.2f} times; people "
        f"not learned from passed {calibration.caution:.2f} times as often as promised, which is "
        "added",
    ]
    if calibration.weighing is not None:
        w = calibration.weighing
        lines.append(f"windows count by frames^{w.frames_power:g} quality^{w.quality_power:g}")
    if calibration.site is not None:
        site = calibration.site
        lines.append(
            f"for {site.footage or 'a place'}: {site.tracks} tracks, weight {site.trust:.2f} "
            f"against the prior, shift {site.shift:+.3f}, spread {site.scale:.2f}"
        )
    return lines


def write_report(
    folder: Path, calibration: Calibration, choices: Sequence[Choice], tried: list[Tried]
) -> None:
    """Write calibration.md, checks.csv, det.png and levels.png.

    Raises:
        CalibrationError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page = _page(calibration, choices)
        (folder / "calibration.md").write_text(page, encoding="utf-8")
        (folder / "checks.csv").write_text(_csv(calibration.checks), encoding="utf-8")
        det_plot(tried).savefig(folder / "det.png")
        level_plot(tried).savefig(folder / "levels.png")
    except OSError as error:
        raise CalibrationError(f"cannot write {folder}: {error.strerror}") from error


def _page(calibration: Calibration, choices: Sequence[Choice]) -> str:
    lines = ["# Calibration", "", *(f"- {line}" for line in summary_lines(calibration)), ""]
    lines += ["## Asked and achieved", ""]
    lines += [
        "Fitted on one half of the people, tried on the other, and the other way round; the "
        "calibration itself is fitted to all. A false alarm is a stranger's track that is given a "
        "name at any moment. Same and other side: the share of enrolled people's tracks that are "
        "named right at their last window, by a template of the same side and of another. Half of "
        "the people vouch for less than all do.",
        "",
        *_markdown(CHECK_HEADER, check_rows(calibration.checks)),
        "",
        "![Misses against false alarms](det.png) ![Achieved against asked](levels.png)",
        "",
        "## Scores",
        "",
    ]
    header = ("templates", "frames", *(percent(level) for level in LEVELS), "lowest")
    lines += _markdown(header, threshold_rows(calibration))
    if choices:
        told = [
            (one.what, percent(one.named_right), percent(one.error), "taken" if one.taken else "")
            for one in choices
        ]
        lines += ["", "## What was chosen from", ""]
        lines += _markdown(("way", "named right at 1 % of strangers", "error", ""), told)
    return "\n".join(lines) + "\n"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _csv(checks: Sequence[Check]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Check)])
    writer.writerows(astuple(one) for one in checks)
    return text.getvalue()


def det_plot(tried: list[Tried]) -> Figure:
    """Draw enrolled people who are missed against strangers who are named."""
    figure, axes = _axes("strangers' tracks that are named", "enrolled people's tracks missed")
    for colour, size in zip(COLOURS, _sizes(tried), strict=False):
        strangers = np.sort(merge_levels(tried, "strangers", size))
        for name, dash in (("same", "-"), ("other", "--")):
            mated = np.sort(merge_levels(tried, name, size))
            if not len(mated) or not len(strangers):
                continue
            alarms = np.searchsorted(strangers, PLOTTED_LEVELS, side="right") / len(strangers)
            missed = 1 - np.searchsorted(mated, PLOTTED_LEVELS, side="right") / len(mated)
            shown = alarms > 0
            label = f"gallery of {size}, {name} side"
            axes.plot(alarms[shown], missed[shown], dash, color=colour, label=label)
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.legend(fontsize=7)
    return figure


def level_plot(tried: list[Tried]) -> Figure:
    """Draw achieved false alarms against those that were asked for."""
    figure, axes = _axes("asked", "achieved")
    axes.plot([1e-4, 0.5], [1e-4, 0.5], color="0.6", lw=1, label="as asked")
    for colour, size in zip(COLOURS, _sizes(tried), strict=False):
        strangers = np.sort(merge_levels(tried, "strangers", size))
        if not len(strangers):
            continue
        alarms = np.searchsorted(strangers, PLOTTED_LEVELS, side="right") / len(strangers)
        carried = max(
            float(one.carried[int(np.flatnonzero(one.sizes == size)[0])]) for one in tried
        )
        vouched = carried <= PLOTTED_LEVELS
        for part, dash in ((vouched, "-"), (~vouched, ":")):
            shown = part & (alarms > 0)
            label = f"gallery of {size}" if dash == "-" else None
            axes.plot(PLOTTED_LEVELS[shown], alarms[shown], dash, color=colour, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(fontsize=7)
    return figure


def _sizes(tried: list[Tried]) -> list[int]:
    common = set.intersection(*(set(one.sizes.tolist()) for one in tried))
    return [size for size in SHOWN_SIZES if size in common] or sorted(common)[:1]


def _axes(x: str, y: str):  # type: ignore[no-untyped-def]
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes
