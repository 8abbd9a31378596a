"""The plots of an evaluation on a suite: small pictures that may lie beside the text.

Each function returns a figure that belongs to nobody else: there is nothing to close.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stages.embed.evaluation.accuracy import Accuracy, Result
from stages.embed.evaluation.accuracy_tables import EER, RANK1, TPIR
from stages.embed.evaluation.plots import (
    COLOURS,
    DASHES,
    MARKERS,
    heat_map,
    legend,
    new_axes,
    percent_axis,
)
from stages.embed.evaluation.suite import NORMAL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL_DPI = 85
# Networks whose matrices are drawn, the first ones.
MATRICES = 4
LOWEST_TAKEN = 1e-4


def accuracy_plots(accuracy: Accuracy) -> dict[str, Callable[[], Figure]]:
    """Return what can be drawn, by file name without ending."""
    plots: dict[str, Callable[[], Figure]] = {}
    if np.isfinite(accuracy.results[0].runs[0].matrix).any():
        plots["views"] = lambda: view_plot(accuracy)
    if any(each.runs[0].errors.shape[1] for each in accuracy.results):
        plots["errors"] = lambda: error_plot(accuracy)
    if any(len(each.lengths) > 1 for each in accuracy.results):
        plots["lengths"] = lambda: length_plot(accuracy)
    return plots


def view_plot(accuracy: Accuracy) -> Figure:
    """Draw Rank-1 by probe view and gallery view of the trained networks and the baseline."""
    from matplotlib.figure import Figure

    shown = _shown(accuracy, MATRICES)
    views = accuracy.layout.views
    side = max(3.0, min(4.6, 0.9 + 0.3 * len(views)))
    figure = Figure(figsize=(len(shown) * side + 0.9, side), dpi=SMALL_DPI, layout="constrained")
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    image = None
    for axes, result in zip(grid, shown, strict=True):
        image = heat_map(axes, 100 * result.runs[0].matrix, views)
        axes.set_title(result.label, fontsize=10)
        axes.set_xlabel("view enrolled, degrees")
    grid[0].set_ylabel("view looked for, degrees")
    assert image is not None
    bar = figure.colorbar(image, ax=grid.tolist(), shrink=0.8, pad=0.02)
    bar.set_label("Rank-1, %")
    return figure


def error_plot(accuracy: Accuracy) -> Figure:
    """Draw own pairs refused against others' pairs taken, normal walks from other views."""
    figure, axes = new_axes(7.2, 5.0)
    for line, result in enumerate(_lines(accuracy)):
        refused, taken = result.runs[0].errors
        keep = taken >= LOWEST_TAKEN
        label = f"{result.label}: EER {100 * EER(result.runs[0]).value:.1f} %"
        style, colour = _style(line)
        axes.plot(100 * taken[keep], 100 * refused[keep], style, color=colour, lw=1.6, label=label)
    equal = 100 * np.geomspace(LOWEST_TAKEN, 1, 100)
    axes.plot(equal, equal, color="#bbbbbb", lw=0.8, label="equal")
    axes.set_xscale("log")
    axes.set_xlim(100 * LOWEST_TAKEN, 100)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("pairs of different people taken for one, %")
    axes.set_ylabel("pairs of one person refused, %")
    axes.set_title("Are two windows of one person?")
    percent_axis(axes)
    legend(axes)
    return figure


def length_plot(accuracy: Accuracy) -> Figure:
    """Draw Rank-1 and TPIR of normal walks against window length."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.4, 4.2), dpi=SMALL_DPI, layout="constrained")
    panels = figure.subplots(1, 2)
    names = ("Rank-1, %", "TPIR at 1 % FPIR, %")
    for axes, pick, name in zip(panels, (RANK1, TPIR), names, strict=True):
        ticks: Sequence[int] = ()
        for line, result in enumerate(each for each in accuracy.results if each.lengths):
            ticks = [length.frames for length in result.lengths]
            values = [100 * pick(length.figures).value for length in result.lengths]
            style, colour = _style(line)
            marker = MARKERS[line % len(MARKERS)]
            axes.plot(range(len(ticks)), values, style, marker=marker, ms=4.5, color=colour,
                      label=result.label)  # fmt: skip
        axes.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
        axes.set_xlabel("frames of a window")
        axes.set_ylabel(name)
        percent_axis(axes)
        legend(axes)
    return figure


def _shown(accuracy: Accuracy, most: int) -> list[Result]:
    """Return the trained networks, a fusion and the baseline, `most` at most."""
    order = ("network", "fusion", "baseline", "untrained")
    has = [each for each in accuracy.results if each.runs[0].of(NORMAL) is not None]
    ranked = sorted(has, key=lambda each: order.index(each.role) if each.role in order else 9)
    return ranked[:most]


def _style(line: int) -> tuple[str, str]:
    """Return dash and colour of a line: all colours once with each dash."""
    return DASHES[line // len(COLOURS) % len(DASHES)], COLOURS[line % len(COLOURS)]


def _lines(accuracy: Accuracy) -> list[Result]:
    return [each for each in accuracy.results if each.runs[0].errors.shape[1]]
