"""Populations of gaits and styles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from stages.human.walkers.cycles import TERMS, Stride
from stages.human.walkers.gaits import (
    NUMBERS,
    SPLITS,
    Population,
    Style,
    draw_style,
    gait_of,
    load_population,
    numbers_of,
    population_of,
    save_populations,
    styled,
)


@pytest.mark.parametrize("split", SPLITS)
def test_shape_shipped_population(split: str) -> None:
    population = load_population(split)  # type: ignore[arg-type]
    assert population.mean.shape == (NUMBERS,)
    assert len(population.between) >= 10
    assert len(population.within) >= 10


def test_property_drawn_people_differ_as_measured() -> None:
    population = load_population("train")
    rng = np.random.default_rng(0)
    drawn = np.stack([population.draw(rng) for _ in range(400)]) - population.mean
    spread = np.linalg.norm(drawn, axis=1).mean()
    measured = np.sqrt((population.between**2).sum())
    assert 0.8 < spread / measured < 1.05  # tails are cut


def test_property_people_differ_more_than_days() -> None:
    for split in SPLITS:
        population = load_population(split)
        assert (population.between**2).sum() > 1.5 * (population.within**2).sum()


def test_parity_no_style_changes_nothing() -> None:
    gait = gait_of(load_population("train").mean)
    np.testing.assert_array_equal(styled(gait, Style()).series, gait.series)
    np.testing.assert_array_equal(
        styled(gait, draw_style(np.random.default_rng(0), 0.0)).series, gait.series
    )


def test_property_arm_swing_scales_arms_only() -> None:
    gait = gait_of(load_population("train").mean)
    swung = styled(gait, Style(arm_swing=(2.0, 1.0))).series.reshape(-1, 24, 3)
    usual = gait.series.reshape(-1, 24, 3)
    np.testing.assert_allclose(swung[1:, 16], 2 * usual[1:, 16])
    np.testing.assert_array_equal(swung[:, 17], usual[:, 17])
    np.testing.assert_array_equal(swung[0], usual[0])


def stride(rng: np.random.Generator) -> Stride:
    return Stride(rng.normal(0, 0.1, (13, 72)), 1.1, 1.4, 0.03)


def test_parity_saved_population_reads_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    strides = [(str(s), stride(rng)) for s in range(4) for _ in range(3)]
    population = population_of(strides)
    save_populations(tmp_path / "g.npz", {"train": population, "test": population}, "made up")
    read = load_population("test", tmp_path / "g.npz")
    np.testing.assert_allclose(read.mean, population.mean, atol=1e-6)
    np.testing.assert_allclose(read.between, population.between, atol=1e-3)
    save_populations(tmp_path / "h.npz", {"train": population, "test": population}, "made up")
    assert (tmp_path / "g.npz").read_bytes() == (tmp_path / "h.npz").read_bytes()


def test_property_population_is_as_good_as_its_mirror() -> None:
    rng = np.random.default_rng(2)
    population = population_of([(str(s), stride(rng)) for s in range(4)])
    assert isinstance(population, Population)
    mean = population.mean[:-2].reshape(13, 24, 3)[0]
    assert abs(mean[0, 1]) < 1e-9 and abs(mean[0, 2]) < 1e-9  # the pelvis leans to no side


def test_exception_too_few_subjects() -> None:
    rng = np.random.default_rng(3)
    with pytest.raises(InputError, match="at least 3 subjects, got 2"):
        population_of([("a", stride(rng)), ("b", stride(rng))])


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04broken"])
def test_exception_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gaits.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"gaits\.npz"):
        load_population("train", path)


def test_exception_file_of_something_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", format_version=np.int64(1), other=np.zeros(3))
    with pytest.raises(InputError, match="train_mean"):
        load_population("train", tmp_path / "x.npz")
    fields = {f"train_{part}": np.zeros((2, 5)) for part in ("mean", "between", "within")}
    np.savez(tmp_path / "y.npz", format_version=np.int64(1), **fields)
    with pytest.raises(InputError, match="finite rows"):
        load_population("train", tmp_path / "y.npz")


def test_golden_numbers_of_a_stride() -> None:
    made = stride(np.random.default_rng(4))
    gait = gait_of(numbers_of(made))
    hands = np.repeat(np.isin(np.arange(24), [22, 23]), 3)
    np.testing.assert_allclose(gait.series[:, ~hands], made.series[:, ~hands])
    assert not gait.series[:, hands].any()
    assert gait.duration_s == pytest.approx(1.1)
    assert gait.pace_hz == pytest.approx(1.4)


def test_property_nobody_is_tied_to_the_directions_of_those_measured() -> None:
    population = load_population("test")
    rng = np.random.default_rng(2)
    drawn = np.stack([population.draw(rng) for _ in range(300)]) - population.mean
    shares = np.linalg.svd(drawn, compute_uv=False) ** 2
    measured = len(population.between)
    assert 0.6 < shares[:measured].sum() / shares.sum() < 0.9
    # Each number strays as far as it does among those measured.
    spread = np.sqrt(np.square(population.between).sum(axis=0))
    some = spread > 0.02
    np.testing.assert_allclose(drawn.std(axis=0)[some], spread[some], rtol=0.2)


@pytest.mark.parametrize("rows", ["between", "within"])
def test_property_planted_legs_move_as_measured_legs_do(rows: str) -> None:
    loose = load_population("train")
    planted = replace(loose, planted=True)
    legs = np.zeros((TERMS, 24, 3), bool)
    legs[:, [0, 1, 2, 4, 5, 7, 8, 10, 11]] = True  # pelvis, hips, knees, ankles, feet
    places = np.flatnonzero(legs)
    measured = getattr(loose, rows).astype(float)
    basis = np.linalg.svd(measured[:, places], full_matrices=False)[2]

    def drawn(population: Population) -> np.ndarray:
        rng = np.random.default_rng(3)
        if rows == "within":
            return np.stack([population.another_day(rng, 1.0) for _ in range(300)])
        return np.stack([population.draw(rng) for _ in range(300)]) - population.mean

    free, standing = drawn(loose), drawn(planted)
    others = np.setdiff1d(np.arange(TERMS * 72), places)
    np.testing.assert_array_equal(free[:, others], standing[:, others])
    for numbers, least in ((standing, 1 - 1e-6), (free, 0.0)):
        inside = np.square(numbers[:, places] @ basis.T).sum() / np.square(numbers[:, places]).sum()
        assert inside >= least and (least or inside < 0.95)
    spread = np.sqrt(np.square(measured).sum(axis=0))[places]
    some = spread > 0.3 * spread.max()
    np.testing.assert_allclose(standing[:, places].std(axis=0)[some], spread[some], rtol=0.2)
