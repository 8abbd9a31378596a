"""Alignment of masks, against a plain second writing of the field's steps and by its properties."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.human.silhouette import align, cut_sides, median_column

MEAN_DIFFERENCE = 6.0  # grey levels: the filter's phase and the rounding of the width


def walker(height: int = 200, step: float = 0.3) -> np.ndarray:
    """A stick person: head, trunk, two legs apart, an arm; bool [h,w]."""
    scale = height / 200
    mask = np.zeros((height, round(130 * scale)), np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x * scale), round(y * scale)

    cv2.circle(mask, at(65, 18), round(16 * scale), 1, -1)
    cv2.ellipse(mask, at(65, 70), at(20, 42), 0, 0, 360, 1, -1)
    for side in (-1, 1):
        foot = at(65 + side * 80 * step, 192)
        cv2.line(mask, at(65, 105), foot, 1, max(1, round(14 * scale)))
    cv2.line(mask, at(65, 45), at(65 + 70 * step, 100), 1, max(1, round(9 * scale)))
    return mask.astype(bool)


def plain_reference(frame: np.ndarray) -> np.ndarray:
    """The field's steps in their plainest form, on a whole frame uint8 [h,w]; 64 high."""
    rows = np.flatnonzero(frame.sum(axis=1))
    person = frame[rows[0] : rows[-1] + 1]
    width = int(64 * person.shape[1] / person.shape[0])
    person = cv2.resize(person, (width, 64), interpolation=cv2.INTER_CUBIC)
    mass = np.cumsum(person.sum(axis=0, dtype=np.int64))
    centre = int(np.flatnonzero(mass > mass[-1] / 2)[0])
    return np.pad(person, ((0, 0), (32, 32)))[:, centre : centre + 64]


def test_property_empty_and_single_pixel_masks_are_dropped() -> None:
    assert align(np.zeros((0, 0), bool)) is None
    assert align(np.zeros((50, 0), np.uint8)) is None
    assert align(np.zeros((50, 40), bool)) is None
    single = np.zeros((50, 40), bool)
    single[3, 4] = True
    assert align(single) is None


def test_property_the_pixel_sum_decides() -> None:
    mask = np.zeros((80, 40), bool)
    mask[10:49, 20] = True  # 39 * 255 = 9945
    assert align(mask) is None
    mask[49, 20] = True  # 40 * 255 = 10200
    assert align(mask) is not None


def test_parity_with_the_plain_form_where_both_have_the_same_phase() -> None:
    mask = walker(200)
    columns = np.flatnonzero(mask.any(axis=0))
    person = mask[:, columns[0] : columns[-1] + 1]
    rows = np.flatnonzero(person.any(axis=1))
    person = person[rows[0] : rows[-1] + 1]
    frame = np.zeros((person.shape[0], person.shape[0]), np.uint8)
    left = (frame.shape[1] - person.shape[1]) // 2
    frame[:, left : left + person.shape[1]] = person * np.uint8(255)
    np.testing.assert_array_equal(align(mask), plain_reference(frame))


@pytest.mark.parametrize(("x", "y", "width"), [(0, 0, 131), (37, 5, 640), (201, 90, 777)])
def test_parity_with_the_plain_form_anywhere_in_a_frame(x: int, y: int, width: int) -> None:
    mask = walker(200)
    frame = np.zeros((y + 203, width), np.uint8)
    frame[y : y + 200, x : x + mask.shape[1]] = (mask * np.uint8(255))[:, : width - x]
    ours = align(mask)
    assert ours is not None
    difference = np.abs(ours.astype(int) - plain_reference(frame)).mean()
    assert difference < MEAN_DIFFERENCE


@settings(max_examples=60, deadline=None)
@given(
    x=st.integers(0, 90),
    y=st.integers(0, 60),
    more=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    step=st.floats(0, 0.5),
)
def test_property_a_shift_in_the_frame_changes_nothing(
    x: int, y: int, more: tuple[int, int], step: float
) -> None:
    mask = walker(120, step)
    h, w = mask.shape
    frame = np.zeros((y + h + more[0], x + w + more[1]), bool)
    frame[y : y + h, x : x + w] = mask
    np.testing.assert_array_equal(align(frame), align(mask))


@settings(max_examples=30, deadline=None)
@given(height=st.integers(60, 200), step=st.floats(0, 0.5))
def test_property_twice_the_size_changes_little(height: int, step: float) -> None:
    mask = walker(height, step)
    once, twice = align(mask), align(np.kron(mask, np.ones((2, 2), bool)))
    assert once is not None and twice is not None
    # The median of a symmetric walker lies between two columns; either of them is right.
    moved = [np.roll(twice, shift, axis=1).astype(int) for shift in (-1, 0, 1)]
    assert min(np.abs(once - other).mean() for other in moved) < 8.0  # 3 %


@settings(max_examples=80, deadline=None)
@given(
    h=st.integers(1, 70),
    w=st.integers(1, 400),
    seed=st.integers(0, 999),
    density=st.floats(0.01, 1),
    height=st.sampled_from([64, 128]),
)
def test_property_any_mask_gives_a_square_or_nothing(
    h: int, w: int, seed: int, density: float, height: int
) -> None:
    mask = np.random.default_rng(seed).random((h, w)) < density
    before = mask.copy()
    square = align(mask, height)
    np.testing.assert_array_equal(mask, before)
    if mask.sum() * 255 <= 10_000:
        assert square is None
        return
    assert square is not None and square.dtype == np.uint8
    assert square.shape == (height, height)
    assert square.any()


def test_property_overshoot_of_the_filter_is_clipped() -> None:
    mask = np.zeros((40, 30), bool)
    mask[::2, 10:20] = True
    square = align(mask, 128)
    assert square is not None
    assert square.min() == 0 and square.max() == 255


def test_property_very_wide_masks_stay_bounded() -> None:
    mask = np.ones((2, 16_000), bool)
    square = align(mask)
    assert square is not None and (square == 255).all()


def test_property_a_person_at_the_edge_of_the_mask_is_padded() -> None:
    mask = np.zeros((100, 30), bool)
    mask[:, :10] = True
    square = align(mask)
    assert square is not None
    columns = np.flatnonzero(square.max(axis=0) > 127)
    assert abs(columns.mean() - 32) <= 1.5
    assert len(columns) in (6, 7)


def test_property_soft_grey_is_not_binarised_and_zero_one_counts_as_full() -> None:
    mask = walker(100)
    grey = align(mask.astype(np.uint8) * 100)
    full = align(mask.astype(np.uint8))
    assert grey is not None and grey.max() < 130
    np.testing.assert_array_equal(full, align(mask))


def test_golden_a_bar_with_a_foot() -> None:
    mask = np.zeros((128, 64), bool)
    mask[:, 20:36] = True
    mask[112:, 20:52] = True
    square = align(mask)
    assert square is not None
    # Halved: a bar 8 wide and 64 high, a foot 16 wide and 8 high; the median column is the bar's
    # sixth. A cubic filter at half size keeps straight edges with an overshoot of 1 part in 10.
    rows = (square[10] > 127).astype(int), (square[60] > 127).astype(int)
    expected_bar = [0] * 28 + [1] * 8 + [0] * 28
    expected_foot = [0] * 28 + [1] * 16 + [0] * 20
    assert [rows[0].tolist(), rows[1].tolist()] == [expected_bar, expected_foot]
    assert square[10, 26:38].tolist() == pytest.approx(
        GOLDEN_ROW, abs=1
    )  # one grey level: rounding differs between processors


GOLDEN_ROW = [0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0]


def test_shape_cut_sides() -> None:
    assert cut_sides(np.zeros((3, 64, 64), np.uint8)).shape == (3, 64, 44)
    assert cut_sides(np.zeros((128, 128), np.uint8)).shape == (128, 88)
    numbered = np.arange(64)[None]
    assert cut_sides(numbered)[0, 0] == 10 and cut_sides(numbered)[0, -1] == 53


def test_property_median_is_the_first_column_past_half() -> None:
    assert median_column(np.array([[1, 1, 1, 1]], np.uint8)) == 2
    assert median_column(np.array([[1, 1, 1]], np.uint8)) == 1
    assert median_column(np.array([[0, 9, 0, 1]], np.uint8)) == 1


@pytest.mark.parametrize(
    "mask", [np.ones((20, 20), np.float32), np.ones((20, 20, 3), np.uint8), np.ones(20, bool)]
)
def test_exception_other_dtypes_and_shapes(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="mask: expected"):
        align(mask)
