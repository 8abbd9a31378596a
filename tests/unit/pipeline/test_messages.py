"""Messages check themselves when they are made."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import MessageError
from pipeline.messages import Frame, FrameHandle, Mask, Stamp, check_array

STAMP = Stamp("cam0", 0, 0, 0, 0)


def test_exception_says_expected_and_actual_shape() -> None:
    with pytest.raises(MessageError, match=r"expected float32\[17, '\*'\], got float64\[3\]"):
        check_array("keypoints", np.zeros(3), "float32", (17, None))
    with pytest.raises(MessageError, match="got list"):
        check_array("keypoints", [1], "float32", (1,))  # type: ignore[arg-type]


def test_mask_packs_and_unpacks() -> None:
    inside = np.random.default_rng(0).random((7, 13)) > 0.5
    mask = Mask.pack(inside, -2, 5)
    assert np.array_equal(mask.unpack(), inside)
    assert mask.bits.size == 12


def test_exception_mask_of_no_size() -> None:
    with pytest.raises(MessageError, match="mask size"):
        Mask.pack(np.zeros((0, 4), bool), 0, 0)


def test_exception_frame_without_pixels() -> None:
    with pytest.raises(MessageError, match="pixels or a handle"):
        Frame(STAMP)
    with pytest.raises(MessageError, match="expected uint8"):
        Frame(STAMP, pixels=np.zeros((4, 4), np.uint8))
    with pytest.raises(MessageError, match="frame size must be"):
        Frame(STAMP, pixels=np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(MessageError, match="out of range"):
        FrameHandle("s", 0, 0, 9)


def test_frame_size_is_width_then_height() -> None:
    assert Frame(STAMP, pixels=np.zeros((4, 6, 3), np.uint8)).size_wh == (6, 4)
    assert Frame(STAMP, handle=FrameHandle("s", 0, 4, 6)).size_wh == (6, 4)


def test_exception_negative_frame_id() -> None:
    with pytest.raises(MessageError, match="frame_id"):
        Stamp("cam0", -1, 0, 0, 0)


def test_stamp_tells_source_frame_and_time() -> None:
    assert str(Stamp("door", 12, 480_000_000, 0, 0)) == "source door, frame 12 (0.480 s)"
