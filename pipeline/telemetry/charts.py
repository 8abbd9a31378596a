"""The pictures of a profile's report, as SVG that stands in a page by itself."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.telemetry.timeline import NS_PER_MS, PARTS, Timeline, parts_ms, whole_ms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR_PERCENTILES = (50, 95, 99)
# Of frames around a percentile the parts are averaged over so many hundredths of all frames.
AROUND_PERCENT = 2.0
SHOWN_IN_A_ROW = 16
COLOURS = (
    *("#4477aa", "#ee6677", "#228833", "#ccbb44"),
    *("#66ccee", "#aa3377", "#bbbbbb", "#994455"),
)
PART_COLOURS = {"queue": "#f0b27a", "transport": "#85929e", "service": "#2471a3"}
PART_WORDS = {"queue": "waiting", "transport": "on the way", "service": "at work"}


def bars_ms(timeline: Timeline, percent: float) -> np.ndarray:
    """Return float64 [S,3]: what a stay in each stage consists of, around a percentile of stays.

    Percentiles of parts do not add up to the percentile of the whole; the parts of those frames
    whose stay is the percentile do.
    """
    parts = np.stack([parts_ms(timeline)[name] for name in PARTS], axis=-1)  # [F,S,3]
    order = np.argsort(parts.sum(-1), axis=0)  # [F,S]
    count = len(order)
    half = AROUND_PERCENT / 200 * count
    middle = percent / 100 * (count - 1)
    low = max(0, int(np.floor(middle - half)))
    high = min(count, int(np.ceil(middle + half)) + 1)
    chosen = np.take_along_axis(parts, order[low:high, :, None], axis=0)
    return np.asarray(chosen.mean(0), np.float64)


def stage_bars(timeline: Timeline) -> str:
    """Percentile bars of every stage, split into waiting, transport and work."""
    from matplotlib.figure import Figure

    count = len(timeline.stages)
    figure = Figure(figsize=(9, 0.9 * count + 1), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(BAR_PERCENTILES)
    places, names = [], []
    for p, percent in enumerate(BAR_PERCENTILES):
        found = bars_ms(timeline, percent)
        at = np.arange(count) + (p - 1) * height
        left = np.zeros(count)
        for k, part in enumerate(PARTS):
            axes.barh(
                at,
                found[:, k],
                height * 0.9,
                left=left,
                color=PART_COLOURS[part],
                label=PART_WORDS[part] if p == 0 else None,
            )
            left += found[:, k]
        places += list(at)
        names += [
            f"{stage}  p{percent}" if percent == BAR_PERCENTILES[1] else f"p{percent}"
            for stage in timeline.stages
        ]
    axes.set_yticks(places, names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    return _svg(figure)


def latency_over_time(timeline: Timeline) -> str:
    """Each frame's way from capture to the last stage, over the run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    at_s = (timeline.capture_ns - timeline.capture_ns.min()) / 1e9
    whole = whole_ms(timeline)
    axes.plot(at_s, whole, ".", markersize=2, color=COLOURS[0], label="a frame")
    said = timeline.carried > 0
    axes.plot(at_s[said], whole[said], ".", markersize=4, color=COLOURS[1], label="with a name")
    for percent in BAR_PERCENTILES:
        value = float(np.percentile(whole, percent))
        axes.axhline(value, color="#888888", linewidth=0.6)
        axes.annotate(f"p{percent}", (1.0, value), xycoords=("axes fraction", "data"), fontsize=7)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("s")
    axes.set_ylabel("capture to sink, ms")
    axes.legend(loc="upper left", fontsize=7)
    return _svg(figure)


def samples_over_time(samples: Sequence[Mapping[str, Any]], begin_ns: int) -> str:
    """Queues, dropped frames, cores and memory, over the run."""
    from matplotlib.figure import Figure

    at_s = [(each["at_ns"] - begin_ns) / 1e9 for each in samples]
    stages = list(samples[0]["stages"])
    figure = Figure(figsize=(9, 7.5), layout="constrained")
    queue, drop, core, memory = figure.subplots(4, 1, sharex=True)
    for stage, colour in zip(stages, COLOURS, strict=False):
        told = [each["stages"][stage] for each in samples]
        for reader in told[0]["queues"]:
            depth = [each["queues"].get(reader, 0) for each in told]
            queue.step(at_s, depth, color=colour, linewidth=0.9, label=f"{stage} to {reader}")
        if told[0]["cores"] is not None:
            core.plot(at_s, [each["cores"] for each in told], color=colour, label=stage)
            memory.plot(at_s, [each["memory_mb"] for each in told], color=colour, label=stage)
    first = stages[0]
    drop.step(at_s, [each["stages"][first]["dropped"] for each in samples], color=COLOURS[1])
    core.plot(at_s, [each["busy_cores"] for each in samples], "k--", linewidth=0.8, label="machine")
    memory.plot(at_s, [each["run_memory_mb"] for each in samples], "k--", linewidth=0.8)
    labels = ("messages under way", "frames dropped", "cores", "memory, MB")
    for axes, label in zip((queue, drop, core, memory), labels, strict=True):
        axes.set_ylabel(label, fontsize=8)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    for axes in (queue, core):
        axes.legend(loc="upper left", fontsize=6, ncols=4)
    memory.set_xlabel("s")
    return _svg(figure)


def frame_lanes(timeline: Timeline, chosen: Sequence[tuple[str, int]]) -> str:
    """A flame-like timeline: one lane a frame, its stays in the stages end to end.

    Args:
        chosen: what each lane is called, and which frame (place in the timeline) it shows.
    """
    parts = parts_ms(timeline)
    starts = (timeline.enter_ns - timeline.capture_ns[:, None]) / NS_PER_MS
    ends = (timeline.leave_ns - timeline.capture_ns[:, None]) / NS_PER_MS
    until = max(float(ends[f, -1]) for _, f in chosen)
    left, width, lane = 130, 760, 20
    height = lane * len(chosen) + 30
    scale = width / max(until, 1e-3)
    drawn = []
    for row, (name, f) in enumerate(chosen):
        y = row * lane
        drawn.append(
            f'<text x="{left - 6}" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
            f'<line x1="{left}" x2="{left + width}" y1="{y + lane}" y2="{y + lane}" '
            'stroke="#eeeeee"/>'
        )
        for s, stage in enumerate(timeline.stages):
            before = parts["queue"][f, s] + parts["transport"][f, s]
            begin = starts[f, s] + (before if s == 0 else 0.0)
            told = (
                f"{stage}: waiting {parts['queue'][f, s]:.2f} ms, on the way "
                f"{parts['transport'][f, s]:.2f} ms, at work {parts['service'][f, s]:.2f} ms"
            )
            colour = COLOURS[s % len(COLOURS)]
            boxes = ((begin - before, begin, 0.25), (begin, float(ends[f, s]), 1.0))
            for from_ms, to_ms, opacity in boxes:
                drawn.append(
                    f'<rect x="{left + from_ms * scale:.2f}" y="{y + 3}" '
                    f'width="{max(0.0, to_ms - from_ms) * scale:.2f}" height="{lane - 6}" '
                    f'fill="{colour}" fill-opacity="{opacity}"><title>{escape(told)}</title></rect>'
                )
    for tick in _ticks(until):
        x = left + tick * scale
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 24}" stroke="#dddddd"/>'
            f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{tick:g} ms</text>'
        )
    key = "".join(
        f'<span class="key" style="background:{COLOURS[s % len(COLOURS)]}"></span>{escape(stage)} '
        for s, stage in enumerate(timeline.stages)
    )
    return (
        f'<p>{key} (pale: waiting and on the way)</p><svg viewBox="0 0 {left + width + 20} '
        f'{height}" class="lanes" role="img">{"".join(drawn)}</svg>'
    )


def sample_frames(timeline: Timeline) -> list[tuple[str, int]]:
    """Choose frames to show: those at percentiles, and some in a row around the median one."""
    whole = whole_ms(timeline)
    order = np.argsort(whole)
    last = len(order) - 1
    chosen = [
        (f"p{percent}, frame {timeline.frame_ids[place]}", int(place))
        for percent in BAR_PERCENTILES
        for place in [order[round(percent / 100 * last)]]
    ]
    chosen.append((f"slowest, frame {timeline.frame_ids[order[-1]]}", int(order[-1])))
    begin = max(0, min(int(order[last // 2]) - SHOWN_IN_A_ROW // 2, last + 1 - SHOWN_IN_A_ROW))
    for place in range(begin, min(last + 1, begin + SHOWN_IN_A_ROW)):
        chosen.append((f"frame {timeline.frame_ids[place]}", place))
    return chosen


def _ticks(until: float) -> list[float]:
    step = 10 ** np.floor(np.log10(max(until, 1e-3)))
    for smaller in (5, 2, 1):
        if until / (step / smaller) <= 12:
            step = step / smaller
            break
    return [float(t) for t in np.arange(0, until + step / 2, step)]


def _svg(figure: Figure) -> str:
    held = io.StringIO()
    figure.savefig(held, format="svg", metadata={"Date": None})
    text = held.getvalue()
    return text[text.index("<svg") :]
