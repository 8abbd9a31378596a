"""Boxes and their suppression."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.detect.boxes import area, clip, iou, pad, pixel_slices, suppress, tiles

side = st.floats(-50, 500, allow_nan=False, width=32)
box = st.tuples(side, side, st.floats(1, 200), st.floats(1, 200)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
boxes = st.lists(box, max_size=12).map(lambda rows: np.array(rows, float).reshape(-1, 4))


def test_smoke_nothing_in_nothing_out():
    none = np.zeros((0, 4))
    assert iou(none, none).shape == (0, 0)
    assert suppress(none, np.zeros(0), 0.5).tolist() == []


@given(boxes, boxes)
def test_property_iou_is_symmetric_and_bounded(a, b):
    overlap = iou(a, b)
    assert overlap.shape == (len(a), len(b))
    assert (overlap >= 0).all() and (overlap <= 1 + 1e-9).all()
    np.testing.assert_allclose(overlap, iou(b, a).T)
    if len(a):
        np.testing.assert_allclose(np.diag(iou(a, a)), 1.0)


@given(boxes, st.floats(0, 1))
def test_property_suppression_keeps_a_cover(given_boxes, threshold):
    scores = np.arange(len(given_boxes), dtype=float) % 3
    kept = suppress(given_boxes, scores, threshold)
    overlap = iou(given_boxes, given_boxes)
    for i, row in enumerate(kept):
        assert all(overlap[row, other] <= threshold for other in kept[:i])
    for row in set(range(len(given_boxes))) - set(kept.tolist()):
        assert any(overlap[row, k] > threshold and scores[k] >= scores[row] for k in kept)


@given(box, st.integers(1, 300), st.integers(1, 300))
def test_property_slices_stay_in_the_picture(one, width, height):
    rows, columns = pixel_slices(np.array(one), (width, height))
    assert 0 <= rows.start <= height and 0 <= rows.stop <= height
    assert 0 <= columns.start <= width and 0 <= columns.stop <= width
    assert area(clip(np.array(one), (width, height))) <= area(np.array(one)) + 1e-6


def test_shape_padding_is_by_height():
    assert pad(np.array([10.0, 10, 20, 50]), 0.25).tolist() == [0, 0, 30, 60]


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_property_tiles_cover_the_picture(width, height):
    parts = np.stack(tiles((width, height), height / 2))
    assert parts[:, :2].min() == 0
    np.testing.assert_allclose(parts[:, 2:].max(axis=0), [width, height])
    for low, high in ((0, 2), (1, 3)):
        edges = np.unique(parts[:, [low, high]], axis=0)
        assert (edges[1:, 0] <= edges[:-1, 1] + 1e-9).all()
