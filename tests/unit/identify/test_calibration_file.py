"""Calibrations on disk: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_samples import HASH, NETWORK, simple_calibration
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import CalibrationError
from stages.identify import calibration_file
from stages.identify.calibration import Check, Site, Weighing
from stages.identify.calibration_file import (
    check_metric,
    check_weights,
    read_calibration,
    shipped_calibration,
    shipped_name,
    write_calibration,
)
from stages.identify.normalise import Norm

COHORT = np.random.default_rng(0).normal(size=(5, 6, 2)).astype(np.float16).astype(np.float32)
FULL = replace(
    simple_calibration(shift_by_frames=0.3),
    norm=Norm("both", 3),
    cohort=COHORT,
    weighing=Weighing(0.5, 2.0),
    caution=1.07,
    site=Site(0.1, 1.05, 12, 0.4, "corridor.mp4"),
    checks=(Check(10, 0.01, True, 0.011, 0.005, 0.02, 900, 30, 0.6, None),),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_calibration(tmp_path / "c.json", FULL)
    return tmp_path / "c.json"


def test_smoke_round_trip(path: Path) -> None:
    found = read_calibration(path)
    assert (found.network, found.weights_hash, found.metric) == (NETWORK, HASH, "euclidean")
    assert (found.norm, found.weighing, found.site) == (FULL.norm, FULL.weighing, FULL.site)
    assert (found.checks, found.basis) == (FULL.checks, FULL.basis)
    assert (found.looks, found.caution) == (FULL.looks, 1.07)
    assert found.cohort is not None and np.array_equal(found.cohort, COHORT)
    scores = np.linspace(-8, 0, 200)
    for frames in (10, 50, 200):
        expected = FULL.strengths(scores, 25, frames, 0.7)
        assert np.array_equal(found.strengths(scores, 25, frames, 0.7), expected)
    assert sorted(p.name for p in path.parent.iterdir()) == ["c.json"]


def test_smoke_plain_one_has_no_cohort(tmp_path: Path) -> None:
    write_calibration(tmp_path / "c.json", simple_calibration())
    found = read_calibration(tmp_path / "c.json")
    assert found.cohort is None and found.site is None and not found.cohort_wanted
    assert (tmp_path / "c.json").stat().st_size < 10_000


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(format="other"), "its format is 'other'"),
        (lambda d: d.update(version=2), "has version 2, this program reads 1"),
        (lambda d: d.update(metric="manhattan"), "is no calibration"),
        (lambda d: d.update(colour="red"), "unknown field `colour`"),
        (lambda d: d.pop("tail"), "missing required field `tail`"),
        (lambda d: d.update(looks=0.2), "looks and caution must be 1 or more"),
        (lambda d: d.update(looks=None), "is no calibration"),
        (lambda d: d.update(weights_hash="untrained-3"), "which are none"),
        (lambda d: d["tail"]["knots"].reverse(), "survival curve is damaged"),
        (lambda d: d["evidence"]["spread"].pop(), "evidence table is damaged"),
        (lambda d: d["crowd"]["sizes"].pop(), "gallery sizes are damaged"),
        (lambda d: d["cohort"].update(crc32=1), "its cohort has changed"),
        (lambda d: d["cohort"].update(shape=[1 << 40, 6, 2]), "its cohort"),
        (lambda d: d["cohort"].update(shape=[-5, 6, -2]), "its cohort"),
        (lambda d: d.update(cohort=None), "needs a cohort"),
        (lambda d: d["basis"].update(people=1), "two people or more"),
        (lambda d: d["site"].update(scale=-1.0), "shift and scale"),
    ],
)
def test_exception_damaged(path: Path, edit: Callable, message: str) -> None:
    change(path, edit)
    with pytest.raises(CalibrationError, match=message):
        read_calibration(path)


def test_exception_cohort_that_is_not_finite(path: Path) -> None:
    write_calibration(path, replace(FULL, cohort=np.full((2, 6, 2), np.inf, np.float32)))
    with pytest.raises(CalibrationError, match="not finite"):
        read_calibration(path)


def test_exception_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CalibrationError, match=r"c\.json is missing"):
        read_calibration(tmp_path / "c.json")
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_calibration(tmp_path)
    with pytest.raises(CalibrationError, match="cannot write"):
        write_calibration(tmp_path / "none" / "c.json", FULL)
    (tmp_path / "x.json").write_bytes(b"\x00\xff not JSON")
    with pytest.raises(CalibrationError, match="is no calibration"):
        read_calibration(tmp_path / "x.json")
    (tmp_path / "deep.json").write_bytes(b"[" * 100_000)
    with pytest.raises(CalibrationError, match="is no calibration"):
        read_calibration(tmp_path / "deep.json")
    monkeypatch.setattr(calibration_file, "MAX_BYTES", 5)
    with pytest.raises(CalibrationError, match="more than 5 bytes"):
        read_calibration(tmp_path / "x.json")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_property_a_flipped_byte_is_refused_or_harmless(
    path: Path, place: float, byte: int
) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] = byte
    flipped = path.with_name("flipped.json")
    flipped.write_bytes(data)
    try:
        found = read_calibration(flipped)
    except CalibrationError:
        return
    assert np.isfinite(found.strengths(np.linspace(-5, 0, 5), 10, 30, 0.5)).all()


def test_exception_other_weights_and_metric(path: Path) -> None:
    found = read_calibration(path)
    check_weights(path, found, NETWORK, HASH)
    with pytest.raises(CalibrationError, match=f"is of {NETWORK}/{HASH}, the vectors are of gei"):
        check_weights(path, found, "gei", HASH)
    with pytest.raises(CalibrationError, match="scores of other weights mean something else"):
        check_weights(path, found, NETWORK, "f" * 16)
    check_metric(path, found, "auto")
    check_metric(path, found, "euclidean")
    with pytest.raises(CalibrationError, match="is of euclidean distances"):
        check_metric(path, found, "cosine")


def test_smoke_shipped_is_found_by_network_and_hash(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration_file, "SHIPPED", path.parent)
    assert shipped_calibration(NETWORK, HASH) is None
    path.rename(path.parent / shipped_name(NETWORK, HASH))
    found = shipped_calibration(NETWORK, HASH)
    assert found is not None and found.weights_hash == HASH
    assert shipped_calibration("../../etc/passwd", "x") is None
    (path.parent / shipped_name(NETWORK, HASH)).rename(path.parent / shipped_name("gei", HASH))
    with pytest.raises(CalibrationError, match="the vectors are of gei"):
        shipped_calibration("gei", HASH)


def test_smoke_everything_that_ships_is_sound() -> None:
    for each in sorted(calibration_file.SHIPPED.glob("*.json")):
        found = read_calibration(each)
        assert each.name == shipped_name(found.network, found.weights_hash)
        assert found.site is None and found.checks, "shipped ones are of no place, and checked"
