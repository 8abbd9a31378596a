"""What moved: settled and unsettled models, and boxes of one person each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.detect.motion import (
    MotionModel,
    leftovers,
    proposals,
    split_wide,
    stack_fragments,
)

WIDTH, HEIGHT = 480, 270


def street(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(90, 130, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def with_block(picture, x, y, w, h, value=230):
    out = picture.copy()
    out[y : y + h, x : x + w] = value
    return out


def settled_model():
    model = MotionModel(480, 200)
    for _ in range(8):
        motion = model.update(street())
    assert motion.settled
    return model


def test_smoke_a_still_picture_has_no_proposals():
    motion = settled_model().update(street())
    assert len(proposals(motion.moving, motion.scale, 48)) == 0


def test_a_moving_block_is_one_proposal_about_its_size():
    model = settled_model()
    motion = model.update(with_block(street(), 100, 80, 40, 110))
    boxes = proposals(motion.moving, motion.scale, 48)
    assert boxes.shape == (1, 4)
    np.testing.assert_allclose(boxes[0], [100, 80, 140, 190], atol=4)


def test_small_things_and_flat_things_are_no_proposals():
    picture = with_block(with_block(street(), 50, 50, 8, 8), 200, 200, 100, 10)
    motion = settled_model().update(picture)
    assert len(proposals(motion.moving, motion.scale, 48)) == 0


def test_a_light_switch_unsettles_and_calm_settles_again():
    model = settled_model()
    brighter = street() + np.uint8(90)
    assert not model.update(brighter).settled
    settled = [model.update(brighter).settled for _ in range(25)]
    assert settled[-1] and not settled[0]


def test_a_moving_camera_gives_no_proposals():
    model = settled_model()
    for seed in range(1, 6):
        rng = np.random.default_rng(seed)
        motion = model.update(rng.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8))
    assert not motion.settled and not motion.moving.any()


def test_another_frame_size_starts_anew():
    model = settled_model()
    assert not model.update(street()[: HEIGHT // 2]).settled


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2000)])
def test_shape_odd_pictures_pass(shape):
    motion = MotionModel(480, 200).update(np.zeros((*shape, 3), np.uint8))
    assert motion.moving.ndim == 2


def test_head_trunk_and_legs_are_stacked_but_neighbours_are_not():
    parts = np.array([[10, 0, 20, 12], [8, 16, 24, 50], [9, 54, 22, 90], [60, 0, 75, 90]], float)
    joined = stack_fragments(parts)
    assert sorted(joined.tolist()) == [[8, 0, 24, 90], [60, 0, 75, 90]]


@given(st.lists(st.tuples(*[st.integers(0, 200)] * 2, *[st.integers(1, 80)] * 2), max_size=8))
@settings(deadline=None, max_examples=60)
def test_property_stacking_covers_every_part(parts):
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in parts], float).reshape(-1, 4)
    joined = stack_fragments(boxes)
    assert len(joined) <= len(boxes)
    for box in boxes:
        assert any((j[:2] <= box[:2]).all() and (j[2:] >= box[2:]).all() for j in joined)
    once_more = stack_fragments(joined)
    assert sorted(once_more.tolist()) == sorted(joined.tolist())


@given(st.integers(10, 400), st.integers(20, 200))
def test_property_splitting_covers_a_wide_box(width, height):
    boxes = split_wide(np.array([[5.0, 7, 5 + width, 7 + height]]))
    assert boxes[:, 0].min() == pytest.approx(5) and boxes[:, 2].max() == pytest.approx(5 + width)
    edges = boxes[np.argsort(boxes[:, 0])]
    assert (edges[1:, 0] < edges[:-1, 2]).all()


def test_a_sliver_behind_somebody_grows_to_a_person():
    moving = np.zeros((270, 480), np.uint8)
    moving[60:180, 100:170] = 255
    rest = moving.copy()
    rest[:, :160] = 0
    rest[130:] = 0
    boxes = leftovers(rest, moving, 1.0, 48)
    assert len(boxes) == 1
    assert boxes[0][1] == 60 and boxes[0][3] == 180
    assert boxes[0][2] - boxes[0][0] >= 0.3 * 120
