"""Masks without neighbours, and the flags that say when a silhouette is not to be trusted."""

from dataclasses import replace

import numpy as np
import pytest
from detect_people import landmarks_in, observation

from stages.detect.appearance import clothing, unlikeness
from stages.detect.border import cut_by_border, occluded
from stages.detect.masks import own_pixels, same_person, share_out, without_doubles
from stages.detect.plausible import joints_inside, upright

SIZE = (640, 480)


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ([100, 100, 150, 250], False),
        ([1, 100, 50, 250], True),
        ([100, 2, 150, 250], True),
        ([600, 100, 639, 250], True),
        ([100, 300, 150, 478], True),
        ([4, 4, 50, 250], False),
    ],
)
def test_a_box_at_the_edge_is_cut(box, cut):
    box = np.array(box, float)
    assert cut_by_border(box, np.zeros((0, 4)), SIZE) is cut
    assert cut_by_border(box, landmarks_in(box), SIZE) is cut


def test_joints_beyond_the_edge_are_cut():
    box = np.array([100.0, 300, 150, 470])
    marks = landmarks_in(box)
    marks[27:29, 1] = 495
    assert cut_by_border(box, marks, SIZE)


def test_nobody_occludes_nobody():
    assert occluded([]) == []
    assert occluded([observation(100, 200)]) == [False]
    assert occluded([observation(100, 200), observation(200, 200)]) == [False, False]


def test_the_farther_of_two_is_occluded():
    assert occluded([observation(100, 200), observation(110, 220)]) == [True, False]
    assert occluded([observation(110, 220), observation(100, 200)]) == [False, True]


def test_of_two_equally_near_both_are_marked():
    assert occluded([observation(100, 200), observation(112, 200)]) == [True, True]


def test_a_mask_that_runs_into_another_body_is_marked():
    assert occluded([replace(observation(100, 200), spill=0.2)]) == [True]


def test_own_pixels_leave_the_neighbour_out():
    strength = np.zeros((140, 200), np.float32)
    strength[20:120, 30:64] = 0.9  # the person
    strength[20:120, 90:124] = 0.9  # somebody beside, not touching
    strength[60:70, 64:90] = 0.9  # joined hands
    marks = landmarks_in(np.array([30.0, 20, 64, 120]))
    mask, spill = own_pixels(strength, (0, 0), marks)
    assert mask[25:115, 38:56].mean() > 0.95
    assert not mask[:, 80:].any()
    assert spill > 0.3
    alone = strength.copy()
    alone[:, 64:] = 0
    assert own_pixels(alone, (0, 0), marks)[1] < 0.05


def test_own_pixels_of_an_empty_mask():
    mask, spill = own_pixels(np.zeros((50, 40), np.float32), (0, 0), np.zeros((33, 4)))
    assert not mask.any() and spill in (0.0, 1.0)


def test_doubles_go_and_the_first_stays():
    a, b, c = observation(100, 200), observation(102, 201), observation(160, 200)
    assert same_person(a, b) and not same_person(a, c)
    assert without_doubles([b, a, c]) == [b, c]


def test_a_pixel_belongs_to_one_person_only():
    strong, weak = observation(100, 200, strength=0.9), observation(115, 200, strength=0.6)
    out = share_out([strong, weak])
    claims = np.zeros((480, 640), int)
    for one in out:
        x, y = one.mask_xy
        claims[y : y + one.mask.shape[0], x : x + one.mask.shape[1]] += one.mask
    assert claims.max() == 1
    assert out[0].mask.all() and out[1].mask.sum() < weak.mask.sum()
    assert out[1].box.tolist()[0] == out[1].mask_xy[0]


def test_only_an_upright_body_is_plausible():
    marks = landmarks_in(np.array([100.0, 100, 140, 220]))
    assert upright(marks)
    lying = marks.copy()
    lying[:, :2] = marks[:, 1::-1]
    assert not upright(lying)
    assert not upright(np.zeros((33, 4)))
    upside_down = marks.copy()
    upside_down[:, 1] *= -1
    assert not upright(upside_down)


def test_joints_outside_the_mask_are_counted():
    box = np.array([100.0, 100, 140, 220])
    marks = landmarks_in(box)
    assert joints_inside(np.ones((120, 40), bool), (100, 100), marks) == 1.0
    assert joints_inside(np.zeros((120, 40), bool), (100, 100), marks) == 0.0
    assert joints_inside(np.ones((120, 40), bool), (400, 100), marks) == 0.0


def test_clothing_tells_colours_apart_and_ignores_size():
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[:, :200] = (0, 0, 200)
    picture[:, 200:] = (200, 0, 0)
    red, small = np.ones((120, 40), bool), np.ones((60, 20), bool)
    a = clothing(picture, red, (20, 20))
    b = clothing(picture, small, (100, 200))
    c = clothing(picture, red, (300, 20))
    assert unlikeness(a, b) == pytest.approx(0, abs=1e-3)
    assert unlikeness(a, c) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(a.sum(axis=1), 1, rtol=1e-5)
