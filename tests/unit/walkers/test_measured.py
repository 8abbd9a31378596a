"""The measured figures: the shipped file is whole, and a damaged one is said to be."""

import json

import numpy as np
import pytest

from pipeline.errors import InputError
from stages.human.walkers.landmark_bones import (
    MIRROR,
    PARENTS,
    SIDE,
    bones_of,
    landmarks_of,
    view_terms,
)
from stages.human.walkers.measured import FIGURES_FILE, load_figures, save_figures


def test_shape_of_the_shipped_figures():
    masks, landmarks = load_figures().masks, load_figures().landmarks
    count = len(masks.heights_px)
    assert (np.diff(masks.heights_px) > 0).all()
    for name in ("blur", "shrink", "steady", "flicker", "feet", "crown", "missed"):
        assert getattr(masks, name).shape == (count,)
    assert landmarks.gain.shape == landmarks.steady_m.shape == (36, 3)
    assert landmarks.bias_m.shape == (36, 3, 5) and landmarks.doubt.shape == (33, 5)
    assert (landmarks.wander_s > 0).all() and (landmarks.steady_m >= 0).all()


def test_property_figures_come_back_as_written(tmp_path):
    path = tmp_path / "figures.json"
    save_figures(path, load_figures())
    again = load_figures(path)
    np.testing.assert_array_equal(again.landmarks.bias_m, load_figures().landmarks.bias_m)
    assert json.loads(path.read_text("utf-8")) == json.loads(FIGURES_FILE.read_text("utf-8"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda table: table.pop("masks"), "masks"),
        (lambda table: table["masks"].pop("blur"), "blur"),
        (lambda table: table.update(format_version=99), "99"),
        (lambda table: table["landmarks"].update(mix_up=[float("nan"), 1.0, 0.0]), "finite"),
        (lambda table: table["landmarks"].update(steady_m=[[0.1]]), "steady_m"),
    ],
)
def test_exception_a_damaged_file_is_named(tmp_path, damage, says):
    table = json.loads(FIGURES_FILE.read_text("utf-8"))
    damage(table)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(table), "utf-8")
    with pytest.raises(InputError, match=says):
        load_figures(path)


def test_exception_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load_figures(tmp_path / "nowhere.json")


def test_parity_bones_make_the_landmarks_again():
    points = np.random.default_rng(0).normal(size=(4, 33, 3))
    centred = points - 0.5 * (points[:, 23:24] + points[:, 24:25])
    np.testing.assert_allclose(landmarks_of(bones_of(points)), centred, atol=1e-12)


def test_property_of_the_tree():
    assert (MIRROR[MIRROR] == np.arange(36)).all()
    np.testing.assert_array_equal(SIDE[MIRROR], -SIDE)
    # A mirror keeps what hangs on what.
    np.testing.assert_array_equal(MIRROR[PARENTS], PARENTS[MIRROR])


def test_property_views_from_both_sides_mirror():
    angle = np.radians([10.0, 130.0])
    views = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    terms, mirrored = view_terms(views), view_terms(views * [1, -1])
    np.testing.assert_allclose(mirrored, terms * [1, 1, -1, 1, -1], atol=1e-12)
