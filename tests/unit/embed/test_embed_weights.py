"""Weights on disk: what was saved comes back, and everything else is refused with a reason."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embed_clips import seeded_network
from safetensors.numpy import save_file

from pipeline.errors import WeightsError
from stages.embed import weights
from stages.embed.checkpoint import load_network, save_network

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3, np.int64)}


@pytest.fixture(scope="module")
def network_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_network(path, seeded_network(class_num=7))
    return path


def test_parity_save_and_load(network_file: Path) -> None:
    original = seeded_network(class_num=7)
    network, digest = load_network(network_file, "smplgait", class_num=7)
    assert len(digest) == 16 and int(digest, 16) >= 0
    assert not network.training
    for name, tensor in original.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


def test_parity_equal_weights_have_equal_hashes(tmp_path: Path) -> None:
    first = weights.save(tmp_path / "1", "smplgait", {"b": 1, "a": 2}, TENSORS)
    again = weights.save(
        tmp_path / "2", "smplgait", {"a": 2, "b": 1}, dict(reversed(TENSORS.items()))
    )
    other = weights.save(
        tmp_path / "3", "smplgait", {"a": 2, "b": 1}, {**TENSORS, "a": TENSORS["a"] + 1}
    )
    assert first == again != other
    assert weights.load(tmp_path / "1", "smplgait").hash == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "3"]


def test_parity_half_the_bytes_are_read_as_the_nearest_numbers(tmp_path: Path) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    network = seeded_network()
    hashes = {save_network(whole, network), save_network(half, network, half=True)}
    assert len(hashes) == 2 and half.stat().st_size < 0.55 * whole.stat().st_size
    read, digest = load_network(half, "smplgait")
    assert digest in hashes
    for name, tensor in network.state_dict().items():
        got = read.state_dict()[name]
        assert got.dtype == tensor.dtype, name
        wanted = tensor.half().float() if tensor.ndim > 1 else tensor
        assert torch.equal(got, wanted), name


def test_exception_too_large_for_half(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not finite in a"):
        weights.save(tmp_path / "w", "smplgait", {}, {"a": TENSORS["a"] + 1e5}, half=True)
    assert not list(tmp_path.iterdir())


def with_metadata(path: Path, metadata: dict[str, str] | None) -> Path:
    save_file(TENSORS, path, metadata)
    return path


def header(**changes: Any) -> dict[str, str]:
    plain = {"format_version": 1, "network": "smplgait", "config": {}}
    return {"gaitstream": json.dumps({**plain, **changes})}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing"),
        (b"", "empty"),
        (b"\x01", "damaged"),
        (b"garbage" * 100, "damaged"),
        (b"\xff" * 7 + b"\x7f" + b"{}", "damaged"),
        (b"\x02" + bytes(7) + b"[]", "damaged"),
        (b"\x02" + bytes(7) + b"{}", "do not say which network"),
        (pickle.dumps({}), "pickle"),
        (b"PK\x03\x04rest", "torch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1", "LFS"),
    ],
)
def test_exception_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        weights.load(path, "smplgait")
    assert str(path) in str(caught.value)


def test_exception_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="folder"):
        weights.load(tmp_path, "smplgait")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "do not say which network"),
        ({"format": "pt"}, "do not say which network"),
        ({"gaitstream": "{"}, "damaged"),
        ({"gaitstream": "[]"}, "damaged"),
        (header(format_version=2), "format_version 2"),
        (header(network="gaitgln"), "network 'gaitgln', expected 'smplgait'"),
        (header(config=3), "no config"),
    ],
)
def test_exception_metadata(tmp_path: Path, metadata: dict[str, str] | None, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        weights.load(with_metadata(tmp_path / "w", metadata), "smplgait")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_exception_cut_off(tmp_path: Path, network_file: Path, keep: float) -> None:
    data = network_file.read_bytes()
    path = tmp_path / "w"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(WeightsError, match="damaged"):
        load_network(path, "smplgait")


def test_exception_other_class_count(network_file: Path) -> None:
    with pytest.raises(WeightsError, match="tell 7 identities apart, this network is built for 74"):
        load_network(network_file, "smplgait", class_num=74)
    with pytest.raises(WeightsError, match="height 64 where 128"):
        load_network(network_file, "smplgait", height=128)


@pytest.mark.parametrize(
    "config", [{"height": 70}, {"what": 1}, {"class_num": "many"}, {"class_num": 10**9}]
)
def test_exception_config_that_the_network_cannot_take(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    with pytest.raises(WeightsError, match="config that smplgait cannot take"):
        load_network(with_metadata(tmp_path / "w", header(config=config)), "smplgait")


def test_exception_a_huge_config_takes_no_memory(tmp_path: Path) -> None:
    huge = {"class_num": 1_000_000, "out_channels": 4096}  # half a terabyte
    with pytest.raises(WeightsError, match="keys differ"):
        load_network(with_metadata(tmp_path / "w", header(config=huge)), "smplgait")


def test_exception_differing_keys_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w"
    network = seeded_network()
    tensors = {name: t.numpy() for name, t in network.state_dict().items()}
    del tensors["body.fc1.bias"]
    tensors["extra"] = np.zeros(3, np.float32)
    tensors["fcs.weight"] = tensors["fcs.weight"][:, :, :5]
    tensors["body.bn1.weight"] = np.ones(128, np.int64)
    weights.save(path, "smplgait", network.export_config(), tensors)
    with pytest.raises(WeightsError) as caught:
        load_network(path, "smplgait")
    text = str(caught.value)
    assert "4 of 29 keys differ" in text
    for line in (
        "body.bn1.weight: expected float32[128], got int64[128]",
        "body.fc1.bias: expected float32[128], got nothing",
        "extra: expected nothing, got float32[3]",
        "fcs.weight: expected float32[31, 256, 256], got float32[31, 256, 5]",
    ):
        assert line in text


def test_exception_only_ten_keys_are_named(tmp_path: Path) -> None:
    path = with_metadata(tmp_path / "w", header())
    with pytest.raises(WeightsError) as caught:
        load_network(path, "smplgait")
    assert str(caught.value).count("expected") == 10
    assert "more" in str(caught.value)


def test_exception_not_finite(tmp_path: Path) -> None:
    bad = {"a": np.array([1, np.nan], np.float32)}
    with pytest.raises(WeightsError, match="not finite in a"):
        weights.save(tmp_path / "w", "smplgait", {}, bad)
    save_file(bad, tmp_path / "w", header())
    with pytest.raises(WeightsError, match="not finite in a"):
        weights.load(tmp_path / "w", "smplgait")


def test_exception_other_dtypes(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="float64"):
        weights.save(tmp_path / "w", "smplgait", {}, {"a": np.zeros(2)})
    save_file({"a": np.zeros(2, np.float64)}, tmp_path / "w", header())
    with pytest.raises(WeightsError, match="F64"):
        weights.load(tmp_path / "w", "smplgait")
    with pytest.raises(WeightsError, match="cannot write"):
        weights.save(tmp_path / "w" / "below", "smplgait", {}, TENSORS)


def test_property_a_header_may_begin_like_a_pickle(tmp_path: Path) -> None:
    for length in range(64):  # one of them gives a header whose length begins with 0x80
        path = tmp_path / f"w{length}"
        weights.save(path, "smplgait", {"note": "x" * length * 4}, {"a": np.zeros(2, np.float32)})
        assert weights.load(path, "smplgait").tensors["a"].shape == (2,)
    starts = {path.read_bytes()[0] for path in tmp_path.iterdir()}
    assert 0x80 in starts
