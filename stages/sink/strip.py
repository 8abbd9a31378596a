"""The strip below the picture: source, time, people, frames a second, latency, drops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import cv2
import numpy as np

from pipeline.messages import Stamp
from stages.sink.annotate import paste
from stages.sink.lettering import Bgr, clean, elide, line_metrics, text_patch, text_width
from stages.sink.meter import Figures

PAPER: Bgr = (30, 27, 24)
INK: Bgr = (205, 205, 205)
LABEL_INK: Bgr = (255, 255, 255)
ALERT_INK: Bgr = (60, 170, 250)


@dataclass(frozen=True, slots=True)
class Item:
    """One entry: `text`, its `short` form, and the widest text it may become, to keep its place."""

    text: str
    short: str
    widest: str
    widest_short: str
    ink: Bgr = INK


def strip_items(stamp: Stamp, live: bool, people: int, figures: Figures) -> list[Item]:
    """Return what the strip says, the most important first."""
    rate = "–" if figures.rate_hz is None else f"{figures.rate_hz:.1f}"
    latency = "–" if figures.latency_ms is None else f"{figures.latency_ms:.0f}"
    clock = _clock(stamp, live)
    who = "1 person" if people == 1 else f"{people} people"
    drops, ink = figures.drops, ALERT_INK if figures.drops else INK
    texts = f"{drops} dropped", f"{drops} lost", f"{max(drops, 99)} dropped", f"{drops} lost"
    number = f"frame {stamp.frame_id}"
    return [
        Item(clock, clock, clock, clock),
        Item(f"{rate} frames/s", f"{rate} fps", "000.0 frames/s", "000.0 fps"),
        Item(f"latency {latency} ms", f"{latency} ms", "latency 00000 ms", "0000 ms"),
        Item(*texts, ink),
        Item(who, who, "00 people", "00 people"),
        Item(number, number, "frame 000000", "frame 0000"),
    ]


def draw_strip(image: np.ndarray, label: str, items: Sequence[Item], font_px: int) -> None:
    """Fill `image` (uint8 [h,w,3] BGR, the strip itself, changed in place).

    The label stands at the left, entries at the right in columns that keep their place. What does
    not fit is first shortened, then left out, the least important first; the label keeps at least a
    quarter of the width.
    """
    height, width = image.shape[:2]
    cv2.rectangle(image, (0, 0), (width, height), PAPER, -1)
    gap = font_px
    y = (height - line_metrics(font_px)[0]) // 2
    room = int(width * 0.75) - gap
    texts = _choose(items, font_px, gap, room)
    x = width - gap // 2
    for text, column, ink in reversed(texts):
        x -= column
        paste(image, text_patch(text, font_px, ink, PAPER), x, y)
        x -= gap
    shown = elide(clean(label), font_px, max(0, x - gap // 2))
    paste(image, text_patch(shown, font_px, LABEL_INK, PAPER), gap // 2, y)


def _choose(items: Sequence[Item], font_px: int, gap: int, room: int) -> list[tuple[str, int, Bgr]]:
    """Return (text, column width, ink) of the entries that fit into `room` pixels."""
    for count in range(len(items), 0, -1):
        long = [(i.text, i.widest, i.ink) for i in items[:count]]
        short = [(i.short, i.widest_short, i.ink) for i in items[:count]]
        for form in (long, short):
            columns = [
                (text, max(text_width(text, font_px), text_width(widest, font_px)), ink)
                for text, widest, ink in form
            ]
            if sum(column for _, column, _ in columns) + gap * count <= room:
                return columns
    return []


def _clock(stamp: Stamp, live: bool) -> str:
    """Return the date and time (UTC) of a live picture, the position in a recording."""
    if live:
        moment = datetime.fromtimestamp(stamp.capture_unix_ns // 1_000_000_000, tz=timezone.utc)
        return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    seconds, tenths = divmod(stamp.time_ns // 100_000_000, 10)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}.{tenths}"
