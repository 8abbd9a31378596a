"""The plots of an evaluation. Matplotlib is imported when the first one is drawn, without a screen.

Each function returns a figure that belongs to nobody else: there is nothing to close.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from stages.embed.evaluation.evaluate import Evaluation
from stages.embed.evaluation.open_set import OpenSet
from stages.embed.evaluation.tables import LIVE_FPIR, label_of, length_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Readable with red-green blindness (Wong, Nature Methods 8, 2011).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# The network is drawn solid, the baseline dashed.
DASHES = ("-", "--", ":")
MARKERS = ("o", "s", "^")
CURVE_RANKS = 20
DPI = 130
# Views up to which the cells of a heat map carry their number.
NUMBERED_VIEWS = 14


def plots_of(evaluation: Evaluation) -> dict[str, Callable[[], Figure]]:
    """Return what can be drawn of an evaluation, by file name without ending."""
    plots: dict[str, Callable[[], Figure]] = {"cmc": lambda: cmc_plot(evaluation)}
    if evaluation.methods[0].closed.matrices:
        plots["view_matrix"] = lambda: view_plot(evaluation)
    if len(evaluation.methods[0].lengths) > 1:
        plots["lengths"] = lambda: length_plot(evaluation)
    if any(method.open is not None for method in evaluation.methods):
        plots["det"] = lambda: det_plot(evaluation)
        plots["scores"] = lambda: score_plot(evaluation)
    return plots


def cmc_plot(evaluation: Evaluation) -> Figure:
    """Draw the share of probes found among the first k, by network and group."""
    figure, axes = new_axes(6.4, 4.2)
    last = 1
    for line, method in enumerate(evaluation.methods):
        for name, colour in _group_colours(evaluation, line):
            group = method.closed.of_group(name)
            if group.mated == 0:
                continue
            last = max(last, min(CURVE_RANKS, method.gallery))
            label = f"{label_of(method)}, {name}" if name != "all" else label_of(method)
            ranks = np.arange(1, min(CURVE_RANKS, method.gallery) + 1)
            curve = 100 * group.curve[: len(ranks)]
            style = DASHES[line % 3]
            axes.plot(ranks, curve, style, color=colour, marker=MARKERS[line % 3], ms=3.5,
                      label=label)  # fmt: skip
    axes.set_xlabel("rank")
    axes.set_ylabel("probes whose mate is among the first, %")
    axes.set_title("Cumulative match, whole gallery")
    axes.set_xticks([1, *range(5, last + 1, 5)])
    axes.set_xlim(0.5, last + 0.5)
    percent_axis(axes)
    legend(axes)
    return figure


def view_plot(evaluation: Evaluation) -> Figure:
    """Draw the view matrices: a row for each network, a column for each group."""
    from matplotlib.figure import Figure

    methods = [method for method in evaluation.methods if method.closed.matrices]
    groups = [matrix.group for matrix in methods[0].closed.matrices]
    views = len(methods[0].closed.matrices[0].probe_views)
    side = max(3.0, min(6.5, 0.9 + 0.42 * views))
    size = (len(groups) * side + 1.2, len(methods) * side + 0.4)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(len(methods), len(groups), squeeze=False)
    image = None
    for row, method in enumerate(methods):
        for column, matrix in enumerate(method.closed.matrices):
            axes = grid[row][column]
            image = heat_map(axes, 100 * matrix.rank1(), matrix.probe_views)
            group = "" if matrix.group == "all" else f", {matrix.group}"
            mean = 100 * matrix.mean()
            axes.set_title(f"{label_of(method)}{group}: mean {mean:.1f} %", fontsize=10)
            axes.set_xlabel("gallery view")
            axes.set_ylabel("probe view")
    assert image is not None
    bar = figure.colorbar(image, ax=grid.ravel().tolist(), shrink=0.6, pad=0.02)
    bar.set_label("Rank-1, %")
    return figure


def length_plot(evaluation: Evaluation) -> Figure:
    """Draw Rank-1 of each group, and TPIR at 1 % FPIR, against window length."""
    from matplotlib.figure import Figure

    with_open = any(m.open is not None for m in evaluation.methods)
    panels = 2 if with_open else 1
    figure = Figure(figsize=(5.6 * panels, 4.2), dpi=DPI, layout="constrained")
    grid = figure.subplots(1, panels, squeeze=False)[0]
    labels = [length_label(length.frames) for length in evaluation.methods[0].lengths]
    places = np.arange(len(labels))
    for line, method in enumerate(evaluation.methods):
        style = DASHES[line % 3] + MARKERS[line % 3]
        for name, colour in _group_colours(evaluation, line):
            values = [100 * length.closed.headline(name) for length in method.lengths]
            label = f"{label_of(method)}, {name}" if name != "all" else label_of(method)
            grid[0].plot(places, values, style, ms=4.5, color=colour, label=label)
        if with_open:
            tpir = [
                math.nan if length.open is None else 100 * length.open.tpir[LIVE_FPIR].mean
                for length in method.lengths
            ]
            colour = COLOURS[line % len(COLOURS)]
            grid[1].plot(places, tpir, style, ms=4.5, color=colour, label=label_of(method))
    over_views = ", mean over views" if evaluation.methods[0].closed.matrices else ""
    grid[0].set_ylabel(f"Rank-1{over_views}, %")
    grid[0].set_title("Closed set")
    if with_open:
        grid[1].set_ylabel(f"TPIR at {100 * LIVE_FPIR:g} % FPIR, mean of splits, %")
        grid[1].set_title("Open set")
    for axes in grid:
        axes.set_xticks(places, labels)
        axes.set_xlabel("frames of the probe")
        percent_axis(axes)
        legend(axes)
    return figure


def det_plot(evaluation: Evaluation) -> Figure:
    """Draw misses against false alarms, with the band in which 8 of 10 splits lie."""
    figure, axes = new_axes(6.0, 4.6)
    lowest = 100.0
    for line, (label, found) in enumerate(_opened(evaluation)):
        fpir, (mean, low, high) = 100 * found.curve_fpir, 100 * found.curve_miss
        known = ~np.isnan(mean)
        colour = COLOURS[line % len(COLOURS)]
        axes.fill_between(fpir[known], low[known], high[known], color=colour, alpha=0.15, lw=0)
        axes.plot(fpir[known], mean[known], DASHES[line % 3], color=colour, lw=1.8, label=label)
        if known.any():
            lowest = min(lowest, float(fpir[known].min()))
    axes.axvline(100 * LIVE_FPIR, color="#666666", lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_xlim(min(lowest, 100 * LIVE_FPIR) * 0.9, 100)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("strangers given a name (FPIR), %")
    axes.set_ylabel("enrolled not given theirs (1 - TPIR), %")
    axes.set_title("Detection error trade-off, open set")
    percent_axis(axes)
    legend(axes)
    return figure


def score_plot(evaluation: Evaluation) -> Figure:
    """Draw how the scores of the right people and of strangers are spread, a panel a network."""
    from matplotlib.figure import Figure

    opened = _opened(evaluation)
    figure = Figure(figsize=(7.0, 2.7 * len(opened)), dpi=DPI, layout="constrained")
    grid = figure.subplots(len(opened), 1, squeeze=False)[:, 0]
    for axes, (label, found) in zip(grid, opened, strict=True):
        series = (
            (found.own_scores, COLOURS[0], "enrolled: score of their own template"),
            (found.stranger_scores, COLOURS[1], "strangers: best score of anybody's"),
        )
        for counts, colour, name in series:
            share = 100 * counts / max(counts.sum(), 1)
            axes.stairs(share, found.bin_edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(share, found.bin_edges, color=colour, lw=1.2, label=name)
        threshold = found.thresholds[LIVE_FPIR].median
        if not math.isnan(threshold):
            name = f"threshold at {100 * LIVE_FPIR:g} % FPIR, median"
            axes.axvline(threshold, color="#333333", lw=1, ls="--", label=name)
        axes.set_title(label, fontsize=10)
        axes.set_xlabel("score, 1 / (1 + distance)")
        axes.set_ylabel("probes a bin, %")
        axes.set_ylim(bottom=0)
        quiet(axes)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, figure.subplots()


def heat_map(axes: Axes, values: np.ndarray, views: tuple[str, ...]) -> AxesImage:
    """Draw percent [v,v]; cells that do not count stay grey."""
    from matplotlib import colormaps

    colours = colormaps["viridis"].with_extremes(bad="#dddddd")
    image = axes.imshow(np.ma.masked_invalid(values), vmin=0, vmax=100, cmap=colours)
    turn = 90 if max(len(view) for view in views) > 3 and len(views) > 6 else 0
    axes.set_xticks(range(len(views)), views, rotation=turn, fontsize=8)
    axes.set_yticks(range(len(views)), views, fontsize=8)
    if len(views) <= NUMBERED_VIEWS:
        for (i, j), value in np.ndenumerate(values):
            if not math.isnan(value):
                ink = "white" if value < 60 else "black"
                text = f"{value:.0f}"
                axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=8)
    return image


def _group_colours(evaluation: Evaluation, line: int) -> list[tuple[str, str]]:
    """Return the groups to draw with their colours; one group takes the network's colour."""
    if len(evaluation.groups) == 1:
        return [(evaluation.groups[0], COLOURS[line % len(COLOURS)])]
    return [(name, COLOURS[i % len(COLOURS)]) for i, name in enumerate(evaluation.groups)]


def _opened(evaluation: Evaluation) -> list[tuple[str, OpenSet]]:
    return [(label_of(m), m.open) for m in evaluation.methods if m.open is not None]


def percent_axis(axes: Axes) -> None:
    axes.set_ylim(-2, 102)
    quiet(axes)


def quiet(axes: Axes) -> None:
    axes.grid(True, color="#e5e5e5", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(axes: Axes) -> None:
    """Put the legend below the plot, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    count = len(handles)
    if count:
        columns = min(count, 3)
        # Matplotlib fills a legend by columns; read by rows it keeps a network's lines together.
        order = [i for column in range(columns) for i in range(column, count, columns)]
        axes.legend(
            [handles[i] for i in order],
            [labels[i] for i in order],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=columns,
            fontsize=8,
            frameon=False,
        )
