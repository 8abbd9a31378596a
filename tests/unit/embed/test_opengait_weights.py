"""Published checkpoints: what they hold is what runs, and everything else is refused by name."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from embed_clips import network_of, tensors_of, window_of
from gaitgln_networks import NARROW, PlainWeights, plain_gln, seeded_gaitgln
from published_names import (
    BASELINE,
    CLASSES,
    GLN_PHASE_1,
    GLN_PHASE_2,
    SMPLGAIT,
    Row,
    parts_first,
    published,
)
from torch import Tensor

from pipeline.errors import WeightsError
from stages.embed import opengait_weights
from stages.embed.networks.interface import GaitNetwork
from stages.embed.opengait_weights import load_opengait

SMALL = {"channels": (2, 3, 4), "out_channels": 5, "class_num": 4}
SILHOUETTES, THETA = tensors_of(window_of(1, 4))


def vectors(network: GaitNetwork, *inputs: Tensor) -> dict[str, Tensor]:
    """Everything that comes out: embeddings, other vectors, logits."""
    with torch.inference_mode():
        out = network(*inputs)
    logits = out["training_feat"].get("softmax", {})
    return {**out["inference_feat"], **{k: v for k, v in logits.items() if k == "logits"}}


def assert_same(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor), name


def checkpoint(path: Path, state: dict[str, Tensor]) -> Path:
    """A file as a training run saves it."""
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 40], 0.1)
    parameter.sum().backward()
    optimizer.step()
    scheduler.step()
    everything = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "iteration": 60000,
    }
    torch.save(everything, path)
    return path


def small_state() -> dict[str, Tensor]:
    return published(SMPLGAIT, network_of("smplgait", **SMALL).state_dict())


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("weights") / "small.pt", small_state())


@pytest.mark.parametrize(
    ("rows", "name", "config"),
    [
        (SMPLGAIT, "smplgait", {"class_num": CLASSES}),
        (BASELINE, "smplgait", {"class_num": CLASSES, "use_smpl": False}),
        (GLN_PHASE_1, "gaitgln", {}),
        (GLN_PHASE_2, "gaitgln", {"compact": True, "class_num": CLASSES}),
    ],
)
def test_shape_of_published_tensors(rows: list[Row], name: str, config: dict[str, Any]) -> None:
    """The list holds the published shapes; ours differ in one, see `published`."""
    state = network_of(name, **config).state_dict()
    found = {theirs: tuple(t.shape) for theirs, t in published(rows, state).items()}
    assert found == {theirs: shape for theirs, shape, _ in rows}


@pytest.mark.parametrize("form", ["checkpoint", "bare", "wrapped"])
def test_parity_smplgait(tmp_path: Path, form: str) -> None:
    source = network_of("smplgait", class_num=CLASSES)
    state = published(SMPLGAIT, source.state_dict())
    path = tmp_path / "SMPLGait-60000.pt"
    if form == "checkpoint":
        checkpoint(path, state)
    elif form == "bare":
        torch.save(state, path)
    else:
        checkpoint(path, {f"module.{name}": tensor for name, tensor in state.items()})
    network, digest = load_opengait(path, "smplgait")
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert network.config == source.config and not network.training
    assert_same(vectors(network, SILHOUETTES, THETA), vectors(source, SILHOUETTES, THETA))


def test_parity_smplgait_in_128_by_88(tmp_path: Path) -> None:
    source = network_of("smplgait", height=128, **SMALL)
    path = checkpoint(tmp_path / "w.pt", published(SMPLGAIT, source.state_dict()))
    for height in (None, 128):
        network, _ = load_opengait(path, "smplgait", height=height)
        assert network.config == source.config
    silhouettes = torch.rand(1, 2, 128, 88)
    assert_same(
        vectors(network, silhouettes, THETA[:, :2]), vectors(source, silhouettes, THETA[:, :2])
    )
    with pytest.raises(WeightsError, match="height 128, not 64"):
        load_opengait(path, "smplgait", height=64)


def test_parity_baseline_is_smplgait_without_bodies(tmp_path: Path) -> None:
    source = network_of("smplgait", use_smpl=False, **SMALL)
    path = checkpoint(tmp_path / "w.pt", published(BASELINE, source.state_dict()))
    network, _ = load_opengait(path, "smplgait", height=64)
    assert network.config == source.config
    assert_same(vectors(network, SILHOUETTES), vectors(source, SILHOUETTES))
    with pytest.raises(WeightsError, match="do not tell the height"):
        load_opengait(path, "smplgait")


@pytest.mark.parametrize("vector", ["parts", "compact"])
def test_parity_gln_phase_2(tmp_path: Path, vector: str) -> None:
    source = seeded_gaitgln(compact=True, class_num=CLASSES, vector=vector)
    path = checkpoint(tmp_path / "w.pt", published(GLN_PHASE_2, source.state_dict()))
    network, _ = load_opengait(path, "gaitgln", height=64, vector=vector)
    assert network.config == source.config and not network.training
    assert_same(vectors(network, SILHOUETTES), vectors(source, SILHOUETTES))


@pytest.mark.parametrize("kernel", [1, 3])
def test_parity_gln_phase_1(tmp_path: Path, kernel: int) -> None:
    source = seeded_gaitgln(height=128, lateral_kernel=kernel, **NARROW)
    path = checkpoint(tmp_path / "w.pt", published(GLN_PHASE_1, source.state_dict()))
    network, _ = load_opengait(path, "gaitgln", height=128)
    assert network.config == source.config
    silhouettes = torch.rand(1, 2, 128, 88)
    assert_same(vectors(network, silhouettes), vectors(source, silhouettes))


@pytest.mark.parametrize("kernel", [1, 3])
def test_parity_gln_with_a_plain_second_writing(tmp_path: Path, kernel: int) -> None:
    """Published numbers, halves of the first lateral layer and all, never in a network of ours."""
    rng = np.random.default_rng(5)
    sizes = {32: 3, 64: 5, 128: 4, 256: 6}  # narrower
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (first, second, *rest), _ in GLN_PHASE_1:
        if name == "Head.fc_bin":
            shapes[name] = (93, 6, 6)
        elif name.startswith("lateral"):
            inputs = {"1": 2 * 3, "2": 2 * 5, "3": 2 * 4}[name[len("lateral_layer")]]
            shapes[name] = (6, inputs, kernel, kernel)
        else:
            shapes[name] = (sizes[first], sizes.get(second, second), *rest)
    state = {
        name: torch.from_numpy(rng.normal(0, 0.3, shape).astype(np.float32))
        for name, shape in shapes.items()
    }
    network, _ = load_opengait(checkpoint(tmp_path / "w.pt", state), "gaitgln", height=64)

    def starting(*prefixes: str) -> list[Tensor]:
        return [tensor for name, tensor in state.items() if name.startswith(prefixes)]

    weights = PlainWeights(
        trunk=starting("sil_stage"),
        set_branch=starting("set_stage"),
        laterals=starting("lateral"),
        smoothings=starting("smooth"),
        fcs=state["Head.fc_bin"],
    )
    want = plain_gln(weights, SILHOUETTES[0], (16, 8, 4, 2, 1), (0, 1, 2))
    got = vectors(network, SILHOUETTES)["embeddings"][0]
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_parity_files_that_count_part_by_part(tmp_path: Path) -> None:
    """Code before OpenGait 2: the embedding is the same either way, the rest is not."""
    gln = seeded_gaitgln(compact=True, class_num=CLASSES, **NARROW)
    smplgait = network_of("smplgait", **SMALL)
    for rows, source, inputs, told, counted in (
        (GLN_PHASE_2, gln, (SILHOUETTES,), {"height": 64}, ("encoder_bn", "reduce_fc")),
        (SMPLGAIT, smplgait, (SILHOUETTES, THETA), {}, ("BNNecks.bn1d",)),
    ):
        parts = source.vector_shape[1]
        state = {
            name: parts_first(tensor, parts) if name.startswith(counted) and tensor.ndim else tensor
            for name, tensor in published(rows, source.state_dict()).items()
        }
        path = checkpoint(tmp_path / "w.pt", state)
        network, _ = load_opengait(path, source.name, parts_first=True, **told)
        want = vectors(source, *inputs)
        assert_same(vectors(network, *inputs), want)
        other = vectors(load_opengait(path, source.name, **told)[0], *inputs)
        assert torch.equal(other["embeddings"], want["embeddings"])
        assert not torch.allclose(other["logits"], want["logits"], rtol=1e-2)


def test_parity_files_without_counters(tmp_path: Path) -> None:
    state = small_state()
    fewer = {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}
    assert len(fewer) < len(state)
    network, _ = load_opengait(checkpoint(tmp_path / "w.pt", fewer), "smplgait")
    source = network_of("smplgait", **SMALL)
    assert_same(vectors(network, SILHOUETTES, THETA), vectors(source, SILHOUETTES, THETA))
    assert network.state_dict()["bn_necks.bn.num_batches_tracked"].dtype == torch.int64


def test_property_the_network_outlives_the_file(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "w.pt", small_state())
    network, _ = load_opengait(path, "smplgait")
    before = vectors(network, SILHOUETTES, THETA)
    with path.open("r+b") as file:  # in place: tensors that still lay in the file would change
        file.write(bytes(path.stat().st_size))
    assert_same(vectors(network, SILHOUETTES, THETA), before)


def test_exception_differing_keys_are_named(tmp_path: Path) -> None:
    state = small_state()
    del state["fc1.bias"]
    state["extra"] = torch.zeros(3)
    state["bn1.weight"] = state["bn1.weight"].long()
    state["bn2.weight"] = state["bn2.weight"].half()
    with pytest.raises(WeightsError) as caught:
        load_opengait(checkpoint(tmp_path / "w.pt", state), "smplgait")
    text = str(caught.value)
    assert "4 of 35 keys differ" in text
    for line in (
        "bn1.weight: expected float32[128], got int64[128]",
        "bn2.weight: expected float32[256], got float16[256]",
        "extra: expected nothing, got float32[3]",
        "fc1.bias: expected float32[128], got nothing",
    ):
        assert line in text


def test_exception_another_network(tmp_path: Path, small_file: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_opengait(small_file, "gaitgln", height=64)
    text = str(caught.value)
    assert "51 of 51 keys differ" in text and text.count("expected") == 10 and "and 41 more" in text
    assert "BNNecks.fc_bin: expected nothing, got float32[31, 5, 4]" in text

    path = tmp_path / "w.pt"
    checkpoint(path, published(GLN_PHASE_1, seeded_gaitgln(**NARROW).state_dict()))
    with pytest.raises(WeightsError, match="keys differ"):
        load_opengait(path, "smplgait", height=64)


@pytest.mark.parametrize(
    "changes",
    [
        {"FCs.fc_bin": (31, 4, 9000)},
        {"FCs.fc_bin": (31,)},
        {"FCs.fc_bin": ()},
        {"fc3.weight": (100, 256)},
        {"BNNecks.fc_bin": (31, 5, 0)},
        {"Backbone.forward_block.feature.0.conv.weight": (0, 1, 5, 5)},
    ],
)
def test_exception_sizes_that_no_network_has(
    tmp_path: Path, changes: dict[str, tuple[int, ...]]
) -> None:
    state = small_state() | {name: torch.zeros(shape) for name, shape in changes.items()}
    with pytest.raises(WeightsError, match="keys differ") as caught:
        load_opengait(checkpoint(tmp_path / "w.pt", state), "smplgait")
    assert all(name in str(caught.value) for name in changes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"height": 96}, "height must be one of"),
        ({"vector": "compact"}, "needs compact true"),
        ({"vector": "whole"}, "vector must be one of"),
        ({}, "do not tell the height"),
    ],
)
def test_exception_gln_settings(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    state = published(GLN_PHASE_1, seeded_gaitgln(**NARROW).state_dict())
    settings = {"height": 64, **settings} if settings else {}
    with pytest.raises(WeightsError, match=message):
        load_opengait(checkpoint(tmp_path / "w.pt", state), "gaitgln", **settings)


def test_exception_other_settings(small_file: Path) -> None:
    with pytest.raises(WeightsError, match="no reader of published checkpoints for network 'gei'"):
        load_opengait(small_file, "gei")
    with pytest.raises(WeightsError, match="no vector 'compact'"):
        load_opengait(small_file, "smplgait", vector="compact")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing"),
        (b"", "empty"),
        (b"garbage" * 100, "no checkpoint of torch"),
        (pickle.dumps({"model": {}}), "no checkpoint of torch"),
        (b"PK\x03\x04rest", "damaged"),
        (b"version https://git-lfs.github.com/spec/v1", "LFS"),
    ],
)
def test_exception_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "w.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        load_opengait(path, "smplgait")
    assert str(path) in str(caught.value)


def test_exception_folder_and_size(
    tmp_path: Path, small_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="folder"):
        load_opengait(tmp_path, "smplgait")
    monkeypatch.setattr(opengait_weights, "MAX_BYTES", 1000)
    with pytest.raises(WeightsError, match="larger than 1000 bytes"):
        load_opengait(small_file, "smplgait")


@pytest.mark.parametrize("keep", [0.001, 0.3, 0.9, 0.999])
def test_exception_cut_off(tmp_path: Path, small_file: Path, keep: float) -> None:
    data = small_file.read_bytes()
    path = tmp_path / "w.pt"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(WeightsError, match="damaged"):
        load_opengait(path, "smplgait")


def rewritten(path: Path, source: Path, change: bytes | None, method: int) -> Path:
    """The archive again, with another pickle or other compression."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", method) as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change if change and name.endswith("data.pkl") else data)
    return path


def test_exception_compressed(tmp_path: Path, small_file: Path) -> None:
    path = rewritten(tmp_path / "w.pt", small_file, None, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="compressed"):
        load_opengait(path, "smplgait")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("content", [None, [], {"model": {}}, "text", b"\x00" * 10, 2**70])
def test_exception_other_contents(
    tmp_path: Path, small_file: Path, content: object, protocol: int
) -> None:
    change = pickle.dumps(content, protocol)
    path = rewritten(tmp_path / "w.pt", small_file, change, zipfile.ZIP_STORED)
    with pytest.raises(WeightsError, match=r"hold no network|damaged"):
        load_opengait(path, "smplgait")


@pytest.mark.parametrize("length", [0, 1, 2, 20, 300, -1])
def test_exception_pickle_cut_off(tmp_path: Path, small_file: Path, length: int) -> None:
    with zipfile.ZipFile(small_file) as archive:
        whole = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
    change = whole[:length] or b"\x80"
    path = rewritten(tmp_path / "w.pt", small_file, change, zipfile.ZIP_STORED)
    with pytest.raises(WeightsError, match="damaged"):
        load_opengait(path, "smplgait")


class Intruder:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_exception_code_in_the_file_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    for extra in (Intruder(mark), PurePosixPath("a")):
        path = tmp_path / "w.pt"
        torch.save({"model": small_state(), "extra": extra}, path)
        with pytest.raises(WeightsError, match="more than tensors and plain data"):
            load_opengait(path, "smplgait")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "hold no network: .* got list"),
        ({"iteration": 3, "epoch": 1}, "hold no network: .* of iteration, epoch"),
        ({"model": [1, 2]}, "hold no network"),
        ({"model": {"fc1.weight": 3}}, "hold no network"),
        ({"a": torch.zeros(2), "module.a": torch.zeros(2)}, "name tensors twice"),
        ({"a": torch.eye(3).to_sparse()}, "damaged"),
        ({"a": torch.zeros(1).expand(1 << 40)}, "claim"),
    ],
)
def test_exception_no_network(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        load_opengait(path, "smplgait")


@pytest.mark.parametrize("name", ["FCs.fc_bin", "bn2.running_var"])
def test_exception_not_finite(tmp_path: Path, name: str) -> None:
    state = small_state()
    state[name].view(-1)[1] = float("nan")
    with pytest.raises(WeightsError, match=f"not finite in {name}"):
        load_opengait(checkpoint(tmp_path / "w.pt", state), "smplgait")


def test_exception_torch_before_its_archives(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(small_state(), buffer, _use_new_zipfile_serialization=False)
    path = tmp_path / "w.pt"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(WeightsError, match=r"no checkpoint of torch 1\.6 or later"):
        load_opengait(path, "smplgait")
