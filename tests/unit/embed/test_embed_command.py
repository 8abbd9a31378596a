"""`embed` on folders: what is read, what is refused, what is written."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from embed_clips import seeded_network, silhouettes_of, theta_of

from pipeline.cli import embed as command
from pipeline.errors import InputError, UsageError, WeightsError
from stages.embed import shipped
from stages.embed.checkpoint import save_network
from stages.embed.gei import gait_energy
from stages.embed.sequences import find_sequences, natural_key, read_sequence
from stages.human.silhouette import align, cut_sides

GEI_HW = (64, 44)


def squares_of(seed: int, frames: int, side: int = 64) -> np.ndarray:
    """uint8 [s,side,side], already aligned."""
    return silhouettes_of(seed, frames, side, side)


def put(folder: Path, **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def put_masks(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        mask = np.zeros((120, 300), np.uint8)
        cv2.ellipse(mask, (60 + 4 * i, 60), (12 + i % 5, 50), 0, 0, 360, 255, -1)
        cv2.imwrite(str(folder / f"{i}.png"), mask)
    return folder


def run(root: Path, out: Path, **options: Any) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    arguments = ["--silhouettes", str(root), "--out", str(out)]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        arguments += [flag] if value is True else [flag, str(value)]
    return command.run(parser.parse_args(arguments))


@pytest.fixture(scope="module")
def weights_64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w64.safetensors"
    save_network(path, seeded_network())
    return path


def test_smoke_every_kind_of_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tmp_path / "in", tmp_path / "out.npz"
    stored = squares_of(1, 6)
    put(root / "001" / "nm-01" / "090", sils=stored)
    pickled = put(root / "002" / "nm-01" / "090")
    (pickled / "090.pkl").write_bytes(pickle.dumps(stored))
    put_masks(root / "010", 12)
    put(root / "003-broken", sils=np.zeros((3, 50, 50), np.uint8))
    (root / "004-empty").mkdir()
    assert run(root, out) == 0
    with np.load(out) as result:
        assert result["names"].tolist() == ["001/nm-01/090", "002/nm-01/090", "010"]
        vectors = result["embeddings"]
    assert vectors.shape == (3, 44, 64) and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], gait_energy(cut_sides(stored)))
    np.testing.assert_array_equal(vectors[1], vectors[0])
    text = capsys.readouterr().err
    assert "skipped 003-broken: silhouettes: expected uint8" in text
    assert "skipped 004-empty" in text
    assert "3 sequences embedded with gei (numpy), 2 skipped" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out.npz"]


def test_smoke_the_folder_itself_may_be_the_sequence(tmp_path: Path) -> None:
    root = put(tmp_path / "walk", sils=squares_of(1, 3))
    assert run(root, tmp_path / "o.npz") == 0
    with np.load(tmp_path / "o.npz") as result:
        assert result["names"].tolist() == ["walk"]


def test_property_strange_names_are_printed_and_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = os.fsdecode(b"a\xff\x1b[31m[b]") + "é"
    put(tmp_path / "in" / strange, sils=squares_of(1, 3), keypoints=np.zeros(2))
    put(tmp_path / "in" / "b" / strange, sils=squares_of(1, 3))
    assert run(tmp_path / "in", tmp_path / "o.npz") == 0
    assert r"skipped a\udcff\x1b[31m[b]é" in capsys.readouterr().err
    with np.load(tmp_path / "o.npz") as result:
        assert result["names"].tolist() == [f"b/{strange}"]


def test_exception_nothing_could_be_embedded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "in" / "a", sils=np.zeros((3, 64, 64), np.uint8))
    assert run(tmp_path / "in", tmp_path / "o.npz") == 1
    assert not (tmp_path / "o.npz").exists()
    assert "none of 1 sequences" in capsys.readouterr().err


def test_exception_an_earlier_output_stays_when_nothing_comes(tmp_path: Path) -> None:
    (tmp_path / "o.npz").write_bytes(b"earlier")
    put(tmp_path / "in" / "a", sils=np.zeros((3, 64, 64), np.uint8))
    assert run(tmp_path / "in", tmp_path / "o.npz") == 1
    assert (tmp_path / "o.npz").read_bytes() == b"earlier"


def test_exception_bad_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = put(tmp_path / "in", sils=squares_of(1, 3))
    with pytest.raises(UsageError, match="takes no weights"):
        run(root, tmp_path / "o.npz", weights="w")
    with pytest.raises(UsageError, match="cannot write"):
        run(root, tmp_path / "none" / "o.npz")
    with pytest.raises(UsageError, match="cannot write"):
        run(root, tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        run(tmp_path / "none", tmp_path / "o.npz")
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="holds no sequences"):
        run(tmp_path / "bare", tmp_path / "o.npz")
    monkeypatch.setattr(shipped, "SHIPPED_WEIGHTS", tmp_path)
    with pytest.raises(WeightsError, match="drawn at random"):
        run(root, tmp_path / "o.npz", network="smplgait")


def test_smoke_smplgait_with_and_without_bodies(
    tmp_path: Path, weights_64: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "in"
    put(root / "a", sils=squares_of(1, 4), smpls=theta_of(1, 4).astype(np.float64))
    put(root / "b", sils=squares_of(1, 4))
    assert run(root, tmp_path / "1.npz", network="smplgait", weights=weights_64) == 0
    text = capsys.readouterr().err
    assert "skipped b: this network reads a body" in text and "--no-smpl" in text
    assert run(root, tmp_path / "2.npz", network="smplgait", weights=weights_64, no_smpl=True) == 0
    with np.load(tmp_path / "1.npz") as with_bodies, np.load(tmp_path / "2.npz") as without:
        assert with_bodies["embeddings"].shape == (1, 256, 31)
        assert without["names"].tolist() == ["a", "b"]
        np.testing.assert_array_equal(without["embeddings"][0], without["embeddings"][1])
        assert not np.allclose(with_bodies["embeddings"][0], without["embeddings"][0], rtol=1e-2)
        assert str(with_bodies["weights_hash"]) != str(without["weights_hash"])


def test_smoke_a_network_for_128(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "w"
    save_network(weights, seeded_network(height=128, use_smpl=False))
    root = tmp_path / "in"
    put(root / "large", sils=squares_of(1, 2, 128))
    put(root / "small", sils=squares_of(1, 2, 64))
    put_masks(root / "masks", 2)
    assert run(root, tmp_path / "o.npz", network="smplgait", weights=weights) == 0
    with np.load(tmp_path / "o.npz") as result:
        assert result["names"].tolist() == ["large", "masks"]
    assert "skipped small: silhouettes are 64 pixels high" in capsys.readouterr().err


def test_property_128_is_halved_for_a_network_of_64_and_said(tmp_path: Path) -> None:
    large = squares_of(1, 2, 128)
    sequence = read_sequence(put(tmp_path, sils=large), "a", GEI_HW)
    assert sequence.silhouettes.shape == (2, 64, 44)
    assert "halved" in sequence.notes[0]
    want = large[:, 0:2, 20:22].mean((1, 2))
    assert np.abs(sequence.silhouettes[:, 0, 0] - want).max() <= 0.5


def test_property_only_the_first_720_frames_are_used(tmp_path: Path) -> None:
    stored = squares_of(1, 730)
    folder = put(tmp_path, sils=stored, smpls=theta_of(1, 730))
    sequence = read_sequence(folder, "a", GEI_HW)
    assert sequence.silhouettes.shape == (720, 64, 44) and sequence.theta.shape == (720, 85)
    np.testing.assert_array_equal(sequence.silhouettes, cut_sides(stored[:720]))
    assert sequence.notes == ("730 frames, only the first 720 are used",)


def test_property_masks_in_number_order_with_their_rows(tmp_path: Path) -> None:
    put_masks(tmp_path, 12)
    cv2.imwrite(str(tmp_path / "3.png"), np.zeros((50, 50), np.uint8))
    theta = theta_of(1, 12)
    np.save(tmp_path / "smpls.npy", theta)
    np.save(tmp_path / "keypoints.npy", np.ones((12, 17, 3), np.float64))
    sequence = read_sequence(tmp_path, "a", GEI_HW)
    kept = [i for i in range(12) if i != 3]
    np.testing.assert_array_equal(sequence.theta, theta[kept])
    assert sequence.keypoints_px.shape == (11, 17, 3)
    for row, number in enumerate(kept):
        mask = cv2.imread(str(tmp_path / f"{number}.png"), cv2.IMREAD_GRAYSCALE)
        square = align(mask)
        assert square is not None
        np.testing.assert_array_equal(sequence.silhouettes[row], cut_sides(square))
    assert sequence.notes == ("1 masks too faint, left out",)


def test_property_zero_and_one_count_as_full(tmp_path: Path) -> None:
    stored = (squares_of(1, 3) > 127).astype(np.uint8)
    sequence = read_sequence(put(tmp_path, sils=stored), "a", GEI_HW)
    assert sequence.silhouettes.max() == 255


def test_property_gait3d_pairs_of_pickles(tmp_path: Path) -> None:
    theta = theta_of(1, 3)
    (tmp_path / "sils-seq0.pkl").write_bytes(pickle.dumps(squares_of(1, 3)))
    (tmp_path / "smpls-seq0.pkl").write_bytes(pickle.dumps(list(theta)))
    np.testing.assert_array_equal(read_sequence(tmp_path, "a", GEI_HW).theta, theta)


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_exception_a_malicious_pickle_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path / "in")
    (folder / "a.pkl").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    with pytest.raises(InputError, match="not a pickle of plain arrays"):
        read_sequence(folder, "a", GEI_HW)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sils": np.zeros((3, 64, 44), np.uint8)}, "expected uint8"),
        ({"sils": np.zeros((3, 64, 64), np.float32)}, "expected uint8"),
        ({"sils": np.zeros((64, 64), np.uint8)}, "expected uint8"),
        ({"sils": np.zeros((0, 64, 64), np.uint8)}, "expected 1..|damaged"),
        ({"sils": np.zeros((3, 64, 64), np.uint8)}, "every silhouette is empty"),
        ({"sils": np.array([{}], object)}, "damaged"),
        ({"smpls": np.zeros((3, 85))}, "expected PNG masks or one of"),
        ({"smpls": np.zeros((4, 85))}, "smpls.npy: expected numbers of shape"),
        ({"smpls": np.zeros((3, 82))}, "smpls.npy: expected numbers of shape"),
        ({"smpls": np.full((3, 85), np.nan)}, "not finite"),
        ({"smpls": np.full((3, 85), 1e300)}, "not finite"),
        ({"smpls": np.zeros((3, 85), complex)}, "expected numbers"),
        ({"keypoints": np.zeros((3, 17, 2))}, "keypoints.npy: expected"),
    ],
)
def test_exception_bad_arrays(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    if "sils" not in arrays and "one of" not in message:
        arrays = {**arrays, "sils": squares_of(1, 3)}
    with pytest.raises(InputError, match=message):
        read_sequence(put(tmp_path, **arrays), "a", GEI_HW)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a picture",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\0\0\0\0",
    ],
)
def test_exception_bad_pictures(tmp_path: Path, content: bytes) -> None:
    put_masks(tmp_path, 3)
    (tmp_path / "1.png").write_bytes(content)
    with pytest.raises(InputError, match=r"1\.png is"):
        read_sequence(tmp_path, "a", GEI_HW)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04", b"\x93NUMPY\x01\0v\0{"])
def test_exception_bad_npy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sils.npy").write_bytes(content)
    with pytest.raises(InputError):
        read_sequence(tmp_path, "a", GEI_HW)


def test_exception_two_kinds_at_once_and_an_archive(tmp_path: Path) -> None:
    put_masks(put(tmp_path / "a", sils=squares_of(1, 3)), 3)
    with pytest.raises(InputError, match=r"got 3 PNG files and \['sils.npy'\]"):
        read_sequence(tmp_path / "a", "a", GEI_HW)
    folder = put(tmp_path / "b")
    with (folder / "sils.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(InputError, match="file of one array"):
        read_sequence(folder, "b", GEI_HW)


def test_property_sequences_are_found_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("10", "9", "b/2", "b/10", ".hidden"):
        put(tmp_path / name, sils=np.zeros((1, 64, 64), np.uint8))
    (tmp_path / "note.png").write_bytes(b"a picture of the data set")
    found = [p.relative_to(tmp_path).as_posix() for p in find_sequences(tmp_path)]
    assert found == ["9", "10", "b/2", "b/10"] or found == ["b/2", "b/10", "9", "10"]


def test_property_natural_key() -> None:
    ordered = ["9.png", "10.png", "a2.png", "a10.png", "²3.png"]
    assert sorted(["a10.png", "²3.png", "a2.png", "10.png", "9.png"], key=natural_key) == ordered
