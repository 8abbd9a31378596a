"""Drawing: labels, strip, text, thumbnails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sink_scenes import body, stamp

from pipeline.messages import Identities, Span, Stamp
from stages.sink.annotate import (
    Figure,
    draw_people,
    fit_label,
    pen_for,
    place_labels,
    rate_text,
)
from stages.sink.lettering import clean, elide, line_metrics, text_patch, text_width
from stages.sink.meter import Figures, Meter
from stages.sink.picture import Picture, layout_for
from stages.sink.strip import draw_strip, strip_items
from stages.sink.thumbnails import ThumbnailWriter, worth


def figure(track_id: int, state: str = "known", name: str = "Anna", **box: object) -> Figure:
    person = body(track_id, **box).person  # type: ignore[arg-type]
    return Figure(
        track_id,
        person.bbox_xyxy_px,
        person.mask,
        person.keypoints_px,
        state,  # type: ignore[arg-type]
        name,
        0.5,
    )


@settings(max_examples=60, deadline=None)
@given(
    corners=st.lists(st.tuples(st.integers(-300, 900), st.integers(-300, 700)), max_size=12),
    text_w=st.integers(20, 200),
)
def test_property_labels_stay_inside(corners: list[tuple[int, int]], text_w: int) -> None:
    boxes = [np.array([[x, y], [x + 50, y + 120]]) for x, y in corners]
    sizes = [(text_w, 18)] * len(boxes)
    for x, y in place_labels(boxes, sizes, (640, 480), gap=2):
        assert x >= 0 and x + text_w <= 640 and y >= 0 and y + 18 <= 480


def test_smoke_labels_of_a_group_do_not_overlap() -> None:
    boxes = [np.array([[100 + 20 * i, 200], [160 + 20 * i, 400]]) for i in range(6)]
    places = place_labels(boxes, [(150, 20)] * 6, (640, 480), gap=2)
    for i, (ax, ay) in enumerate(places):
        for bx, by in places[i + 1 :]:
            assert abs(ax - bx) >= 150 or abs(ay - by) >= 20


def test_smoke_long_names_keep_number_and_score() -> None:
    text = fit_label(figure(7, name="x" * 250), 20, 300)
    assert text.startswith("#7 x") and text.endswith("… 0.50") and text_width(text, 20) <= 300
    assert fit_label(figure(7, "unknown"), 20, 300) == "#7 unknown 0.50"
    assert fit_label(figure(7, "pending"), 20, 300) == "#7 pending"


def test_smoke_labels_tell_the_false_alarm_rate_where_it_is_known() -> None:
    known = replace(figure(7), false_alarm_rate=0.001)
    assert fit_label(known, 20, 300) == "#7 Anna 1:1000"
    unknown = replace(figure(7, "unknown"), false_alarm_rate=0.31)
    assert fit_label(unknown, 20, 300) == "#7 unknown 31%"
    pending = replace(figure(7, "pending"), false_alarm_rate=0.31)
    assert fit_label(pending, 20, 300) == "#7 pending"
    odd = replace(figure(7), false_alarm_rate=float("nan"))
    assert fit_label(odd, 20, 300) == "#7 Anna 0.50"


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (1.0, "100%"),
        (0.9501, "96%"),
        (0.07, "7%"),
        (0.01, "1%"),
        (0.0099, "1:100"),
        (8e-5, "1:12000"),
        (1e-6, "1:1000000"),
        (0.0, "0"),
    ],
)
def test_golden_rates_are_rounded_up(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-7, 1.0))
def test_property_a_shown_rate_is_never_less_than_it_is(rate: float) -> None:
    text = rate_text(rate)
    shown = float(text[:-1]) / 100 if text.endswith("%") else 1 / float(text.removeprefix("1:"))
    assert rate * (1 - 1e-6) <= shown <= max(1.12 * rate, rate + 0.01)


@given(st.text(max_size=40))
def test_property_clean_text_is_one_line(text: str) -> None:
    cleaned = clean(text)
    assert "\n" not in cleaned and "\u202e" not in cleaned
    cleaned.encode("utf-8")
    assert clean(cleaned) == cleaned


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60), st.integers(0, 400))
def test_property_elided_text_fits(text: str, width_px: int) -> None:
    shown = elide(clean(text), 14, width_px)
    assert shown in (clean(text), "…") or text_width(shown, 14) <= width_px


def test_shape_text_patches_have_one_height() -> None:
    for text in ("", "a", "Ägypten", "山", "gjpqy", "m̈̈̈"):
        patch = text_patch(text, 18, (0, 0, 0), (255, 255, 255))
        assert patch.shape[0] == line_metrics(18)[0] and patch.dtype == np.uint8
    ink = 255 - text_patch("Ö", 18, (0, 0, 0), (255, 255, 255))
    assert ink.max() > 200 and not ink[-3:].any()


@pytest.mark.parametrize("size_wh", [(320, 240), (768, 576), (1920, 1080), (3840, 2160), (120, 60)])
def test_shape_nothing_is_drawn_outside_and_labels_show(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    image = np.zeros((height, width, 3), np.uint8)
    around = np.zeros((height + 4, width + 4, 3), np.uint8)
    view = around[2:-2, 2:-2]
    box = (0.2 * width, 0.3 * height, 0.4 * width, 0.9 * height)
    for picture in (image, view):
        draw_people(picture, [figure(1, box=box)], (1.0, 1.0))
    assert np.array_equal(image, view) and image.any()
    around[2:-2, 2:-2] = 0
    assert not around.any()
    assert 11 <= pen_for(size_wh).font <= 60


def test_smoke_scaled_figures_land_where_they_should() -> None:
    pixels = np.zeros((400, 800, 3), np.uint8)
    picture = Picture((800, 400), 400)
    canvas = picture.draw(pixels, [figure(1, box=(400, 200, 600, 380))], "cam", [])
    ys, xs = np.nonzero(canvas[:200].any(axis=2))
    assert abs(int(xs.min()) - 200) <= 3 and abs(int(ys.max()) - 190) <= 3


def test_shape_layout_is_even() -> None:
    for size in ((1, 1), (3, 5), (161, 91), (1920, 1080), (16384, 1), (1, 16384), (5000, 4999)):
        layout = layout_for(size, 1920)
        assert not any(side % 2 for side in layout.canvas_wh) and min(layout.frame_wh) >= 1
        assert max(layout.frame_wh) <= 1920


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("width", [20, 160, 320, 1920])
def test_smoke_strip_fits_any_width(width: int, live: bool) -> None:
    image = np.zeros((24, width, 3), np.uint8)
    items = strip_items(stamp(123_456), live, 1, Figures(None, None, 7))
    draw_strip(image, "x" * 500, items, 14)
    assert image.any()


def test_golden_strip_texts() -> None:
    moment = Stamp("cam", 5, 3_723_450_000_000, 0, 1_700_000_000_000_000_000)
    texts = [i.text for i in strip_items(moment, False, 2, Figures(24.96, 81.4, 3))]
    assert texts == [
        "1:02:03.4",
        "25.0 frames/s",
        "latency 81 ms",
        "3 dropped",
        "2 people",
        "frame 5",
    ]
    assert strip_items(moment, True, 1, Figures(None, None, 0))[0].text == (
        "2023-11-14 22:13:20 UTC"
    )


def test_smoke_meter() -> None:
    meter = Meter()
    assert meter.add(stamp(0), None) == Figures(None, None, 0)
    for i in range(1, 100):
        at = stamp(i)
        span = Span("identify", 0, at.capture_ns + (i % 3) * 10_000_000)
        moment = replace(at, frame_id=i if i < 50 else i + 5, dropped=i // 10)
        figures = meter.add(moment, Identities(at, spans=(span,)))
    assert figures.rate_hz == pytest.approx(25, rel=0.05)
    assert figures.latency_ms == 10 and figures.drops == 5 + 9


def test_smoke_thumbnails_only_get_better(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    writer = ThumbnailWriter(tmp_path, side_px=128)
    path = tmp_path / "1.jpg"
    writer.add(pixels, body(1, (10, 10, 50, 110)).person)
    first = path.read_bytes()
    writer.add(pixels, body(1, (110, 10, 151, 115)).person)  # hardly larger
    writer.add(pixels, body(1, (200, 0, 290, 200), cut_by_border=True).person)
    assert path.read_bytes() == first
    writer.add(pixels, body(1, (100, 100, 200, 400)).person)
    assert path.read_bytes() != first
    picture = cv2.imread(str(path))
    assert max(picture.shape[:2]) == 128
    assert [p.name for p in tmp_path.iterdir()] == ["1.jpg"]


def test_smoke_worth_of_nothing() -> None:
    person = body(1).person
    person.bbox_xyxy_px[:] = np.nan
    assert worth(person, (100, 100)) == 0
    assert worth(body(1, (200, 0, 300, 50)).person, (100, 100)) == 0
