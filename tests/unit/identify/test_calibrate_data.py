"""Labelled walks out of stores and files of vectors, and which calibration a run takes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from calibration_samples import simple_calibration

from pipeline.cli.calibration_choice import check_calibration, settings_beside
from pipeline.cli.calibration_data import (
    Cutting,
    fitting_walks,
    walks_of_npz,
    walks_of_store,
)
from pipeline.config import load_config
from pipeline.errors import CalibrationError, InputError
from stages.embed.config import Config
from stages.embed.data.interface import Entry, StoredClip
from stages.embed.gei import gait_energy
from stages.embed.stage import EmbedStage
from stages.identify.calibration_file import write_calibration

CUTTING = Cutting(length=30, stride=8, min_length=15, windows=3, walks=100, seed=0)


class Store:
    """Sequences of grey noise, with keypoints whose confidence is the sequence's place."""

    def __init__(self, frames: list[int], height: int = 64, broken: int = -1) -> None:
        self.entries = [
            Entry(f"p{i // 2}", "nm-01", f"{90 * (i % 2):03d}", count)
            for i, count in enumerate(frames)
        ]
        self.height = height
        self.has = frozenset({"silhouettes", "keypoints"})
        self.broken = broken

    def read(
        self, index: int, frames: np.ndarray | None = None, wanted: frozenset[str] | None = None
    ) -> StoredClip:
        if index == self.broken:
            raise InputError("the file is damaged")
        assert frames is not None
        rng = np.random.default_rng(index)
        shape = (self.entries[index].frames, self.height, self.height * 11 // 16)
        points = np.full((shape[0], 17, 3), (index + 1) / 10, np.float32)
        silhouettes = rng.integers(0, 255, shape).astype(np.uint8)
        return StoredClip(silhouettes[frames], np.zeros((0, 85), np.float32), points[frames])

    def stamp(self, index: int) -> str:
        return ""


@pytest.fixture
def stage() -> EmbedStage:
    made = EmbedStage(Config(network="gei"))
    made.setup()
    return made


def quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def test_smoke_sequences_are_cut_as_the_pipeline_cuts(stage: EmbedStage) -> None:
    store = Store([20, 30, 45, 46, 200])
    walks, left_out = walks_of_store(stage, store, range(5), CUTTING, quiet)
    assert left_out == [] and walks.people == ("p0", "p0", "p1", "p1", "p2")
    assert walks.sides == ("000", "090", "000", "090", "000")
    assert walks.counts().tolist() == [1, 1, 2, 3, 3]
    assert walks.frames[:2].tolist() == [20, 30] and (walks.frames[2:] == 30).all()
    assert walks.distinct[walks.windows_of(4)].tolist() == [30.0, 38.0, 46.0]
    assert walks.quality[walks.windows_of(3)] == pytest.approx(0.4)
    assert (walks.network, walks.weights_hash) == ("gei", "gei-average-1")
    second = store.read(4, np.arange(8, 38)).silhouettes
    assert np.array_equal(walks.vectors[walks.windows_of(4)][1], gait_energy(second))


def test_smoke_broken_and_short_ones_are_left_out(stage: EmbedStage) -> None:
    walks, left_out = walks_of_store(stage, Store([40, 40, 9], broken=1), range(3), CUTTING, quiet)
    assert walks.people == ("p0",)
    assert "p0/nm-01/090: the file is damaged" in left_out[0]
    with pytest.raises(InputError, match="none of 1 sequences has 15 frames"):
        walks_of_store(stage, Store([9]), [0], CUTTING, quiet)
    with pytest.raises(InputError, match="none of 1 sequences could be embedded"):
        walks_of_store(stage, Store([40], broken=0), [0], CUTTING, quiet)


def test_smoke_larger_silhouettes_are_halved_and_walks_drawn_evenly(stage: EmbedStage) -> None:
    few = Cutting(length=30, stride=8, min_length=15, windows=1, walks=3, seed=0)
    walks, _ = walks_of_store(stage, Store([30] * 6, height=128), range(6), few, quiet)
    assert sorted(walks.people) == ["p0", "p1", "p2"] and walks.vectors.shape == (3, 44, 64)


def test_exception_more_walks_than_fit() -> None:
    assert fitting_walks(CUTTING, (44, 64)) == CUTTING
    unset = Cutting(30, 8, 15, 8, None, 0)
    assert fitting_walks(unset, (16, 1)).walks == 2500
    assert fitting_walks(unset, (256, 31)).walks == 2114
    with pytest.raises(InputError, match=r"Take fewer: --max-walks 5637"):
        fitting_walks(Cutting(30, 8, 15, 3, 10**6, 0), (256, 31))


def save(path: Path, **fields: object) -> Path:
    good = {
        "names": np.array(["b/nm/090", "a/nm/000", "a/nm/000", "c"]),
        "embeddings": np.arange(8, dtype=np.float32).reshape(4, 2, 1),
        "network": np.array("gei"),
        "weights_hash": np.array("x1"),
    }
    np.savez(path, **{k: v for k, v in (good | fields).items() if v is not None})
    return path


def test_smoke_vectors_of_a_file(tmp_path: Path) -> None:
    walks = walks_of_npz(save(tmp_path / "v.npz"), CUTTING)
    assert walks.people == ("a", "b", "c") and walks.sides == ("000", "090", "any")
    assert walks.counts().tolist() == [2, 1, 1]
    assert walks.vectors[:, 0, 0].tolist() == [2.0, 4.0, 0.0, 6.0]
    assert walks.distinct.tolist() == [30.0, 38.0, 30.0, 30.0]
    assert np.isnan(walks.quality).all()
    more = {"frames": np.array([60, 20, 20, 20]), "quality": np.full(4, 0.5)}
    told = walks_of_npz(save(tmp_path / "v.npz", **more), CUTTING)
    assert told.frames.tolist() == [20, 20, 60, 20] and (told.quality == 0.5).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": None}, "lacks names"),
        ({"names": np.array(["a", "b"])}, "expected names"),
        ({"embeddings": np.zeros((4, 2))}, "expected names"),
        ({"embeddings": np.zeros((4, 2, 1), object)}, "damaged"),
        ({"frames": np.array([1, 2])}, "frames must be 4 numbers"),
        ({"frames": np.zeros(4)}, "frames must be 4 numbers"),
        ({"quality": np.array(["x"] * 4)}, "quality must be 4 numbers"),
        ({"weights_hash": np.array("")}, "no trained weights"),
        ({"embeddings": np.full((4, 2, 1), np.nan, np.float32)}, "not finite"),
    ],
)
def test_exception_file_of_vectors(tmp_path: Path, fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        walks_of_npz(save(tmp_path / "v.npz", **fields), CUTTING)


def test_exception_no_file_of_vectors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        walks_of_npz(tmp_path / "none.npz", CUTTING)
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(InputError, match=r"no \.npz file"):
        walks_of_npz(tmp_path / "x.npz", CUTTING)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"no \.npz file"):
        walks_of_npz(tmp_path / "one.npy", CUTTING)


def test_smoke_calibration_beside_the_weights_is_taken(tmp_path: Path) -> None:
    weights = tmp_path / "walker.safetensors"
    weights.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()[:16]
    network = {"embed.network": "smplgait", "embed.weights": str(weights)}
    assert settings_beside(load_config(None, network)) == {}
    beside = tmp_path / "walker.calibration.json"
    write_calibration(beside, simple_calibration(weights_hash=digest))
    found = settings_beside(load_config(None, network))
    assert found == {"identify.calibration": str(beside)}
    check_calibration(load_config(None, network | found))
    own = network | {"identify.calibration": str(tmp_path / "own.json")}
    assert settings_beside(load_config(None, own)) == {}
    with pytest.raises(CalibrationError, match="is missing"):
        check_calibration(load_config(None, own))


def test_exception_calibration_of_another_run(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    weights = tmp_path / "walker.safetensors"
    weights.write_bytes(b"weights")
    write_calibration(path, simple_calibration())

    def check(**settings: object) -> None:
        given = {key.replace("_", ".", 1): value for key, value in settings.items()}
        check_calibration(load_config(None, {"identify.calibration": str(path)} | given))

    with pytest.raises(CalibrationError, match=r"is of smplgait, embed\.network is gei"):
        check(embed_network="gei")
    with pytest.raises(CalibrationError, match="scores of other weights"):
        check(embed_network="smplgait", embed_weights=str(weights))
    check(embed_network="smplgait", embed_weights=str(tmp_path / "theirs.pt"))
    write_calibration(path, simple_calibration(network="gei", weights_hash="gei-average-1"))
    check(embed_network="gei")
