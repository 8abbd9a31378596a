"""The course of a training, as it is drawn."""

from __future__ import annotations

import math
from pathlib import Path

import cv2

from stages.embed.training.curves import CURVE_COLUMNS, EVALUATION_COLUMNS, draw, points_of

TRIED = [
    {"step": "100", "subjects": "30", "rank1": "0.4"},
    {"step": "200", "subjects": "30", "rank1": ""},
    {"step": "300", "subjects": "30", "rank1": "0.5"},
    {"step": "300", "subjects": "100", "rank1": "0.3"},
]


def test_golden_a_line_joins_figures_of_the_same_people() -> None:
    points = points_of(TRIED, "rank1")
    assert [step for step, _ in points] == [100, 300, 300, 300]
    assert points[:2] == [(100, 0.4), (300, 0.5)]
    assert math.isnan(points[2][1])
    assert points[3] == (300, 0.3)


def test_golden_no_gap_where_nothing_is_said_of_people() -> None:
    rows = [{"step": "1", "loss": "2.0"}, {"step": "2", "loss": "1.5"}]
    assert points_of(rows, "loss") == [(1, 2.0), (2, 1.5)]


def test_property_picture_is_drawn_from_few_columns(tmp_path: Path) -> None:
    empty = dict.fromkeys((*CURVE_COLUMNS, *EVALUATION_COLUMNS), "")
    curve = [empty | {"step": "1", "loss": "2.0", "lr": "0.001"}]
    tried = [empty | row for row in TRIED]
    draw(tmp_path / "training.png", curve, tried)
    picture = cv2.imread(str(tmp_path / "training.png"))
    assert picture is not None and picture.std() > 5
