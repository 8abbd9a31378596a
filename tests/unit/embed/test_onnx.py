"""Networks exported to ONNX: the same numbers as torch, and no file that is something else."""

from __future__ import annotations

import copy
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from embed_clips import network_of, window_of
from exported_networks import VARIANTS, WEIGHTS, WEIGHTS_HASH, export_of, network, wanted
from torch import Tensor

from pipeline.errors import ConfigError, WeightsError
from stages.embed.embedder import NetworkEmbedder, facts_of, torch_embedder
from stages.embed.networks.catalogue import CATALOGUE
from stages.embed.networks.interface import THETA, GaitNetwork
from stages.embed.parts import FramePart
from stages.embed.runtimes import onnx_export
from stages.embed.runtimes.exported_files import (
    ExportedFiles,
    Wanted,
    content_sha256,
    files_beside,
    metadata_of,
    read_parts,
    stem_of,
)
from stages.embed.runtimes.onnx_export import export_onnx, require_onnx
from stages.embed.runtimes.onnx_runtime import OnnxRuntime
from stages.embed.runtimes.parity import TOLERANCES, differences, made_up_inputs

VARIANT = pytest.mark.parametrize(("name", "use_smpl"), VARIANTS)
TOLERANCE = TOLERANCES["float32"]


def small_network(**config: object) -> GaitNetwork:
    """A network that is exported quickly."""
    return network_of("smplgait", channels=(4, 4, 8), out_channels=4, use_smpl=False, **config)


def runtime_of(name: str, use_smpl: bool = True, **options: object) -> OnnxRuntime:
    return OnnxRuntime(export_of(name, use_smpl).files, threads=1, **options)  # type: ignore[arg-type]


def difference(got: Tensor, want: Tensor) -> float:
    """The largest difference as a share of the largest number."""
    assert got.shape == want.shape
    return float((got.float() - want).abs().max() / want.abs().max())


@pytest.mark.parametrize(
    ("name", "use_smpl"), [variant for variant in VARIANTS if CATALOGUE[variant[0]].network.pools]
)
@pytest.mark.parametrize("count", [1, 4, 11])
@torch.inference_mode()
def test_parity_frame_part_on_other_batches(name: str, use_smpl: bool, count: int) -> None:
    net = network(name)
    part = FramePart(net, use_smpl).eval()
    inputs = made_up_inputs(net, part.reads, count, seed=count)
    got = runtime_of(name, use_smpl).frame_part(*inputs)
    want = part(*inputs)
    assert len(got) == len(want)
    for feature, expected in zip(got, want, strict=True):
        assert feature.dtype == torch.float32
        assert difference(feature, expected) < TOLERANCE


@VARIANT
@pytest.mark.parametrize("count", [1, 5])
@torch.inference_mode()
def test_parity_head_on_other_batches(name: str, use_smpl: bool, count: int) -> None:
    net = network(name)
    part = FramePart(net, use_smpl).eval()
    if net.pools:
        inputs = part(*made_up_inputs(net, part.reads, count, seed=3))
    else:  # another length of window, too
        windows = [made_up_inputs(net, part.reads, 41, seed) for seed in range(count)]
        inputs = tuple(torch.stack(rows) for rows in zip(*windows, strict=True))
    got = runtime_of(name, use_smpl).head_part(*inputs)
    assert got.shape == (count, *net.vector_shape)
    assert difference(got, net.head_part(*inputs)) < TOLERANCE


@VARIANT
def test_parity_differences_found_at_export(name: str, use_smpl: bool) -> None:
    found = export_of(name, use_smpl).differences
    assert 0 < found.whole <= found.largest < TOLERANCE
    again = differences(runtime_of(name, use_smpl), network(name), use_smpl)
    assert again.largest < TOLERANCE


@pytest.mark.parametrize("use_smpl", [True, False])
def test_parity_embedder_of_whole_windows(use_smpl: bool) -> None:
    net = network("smplgait")
    windows = [window_of(1, 30), window_of(2, 9)]
    facts = facts_of(net, "hash", use_smpl=use_smpl)
    got = NetworkEmbedder(facts, runtime_of("smplgait", use_smpl)).embed(windows)
    cpu = torch.device("cpu")
    want = torch_embedder(copy.deepcopy(net), "hash", cpu, use_smpl=use_smpl).embed(windows)
    assert np.abs(np.stack(got) - np.stack(want)).max() < TOLERANCE * np.abs(want).max()


def test_property_features_depend_on_the_body() -> None:
    """An export that lost its body branch would agree with torch on rows of zeros."""
    net = network("smplgait")
    silhouettes, theta = made_up_inputs(net, net.reads, 2, seed=0)
    runtime = runtime_of("smplgait")
    (one,), (other,) = (runtime.frame_part(silhouettes, theta * k) for k in (1.0, 1.5))
    assert difference(one, other) > 100 * TOLERANCE


def test_exception_a_runtime_that_passes_over_the_body_is_found() -> None:
    class Bodiless(OnnxRuntime):
        def frame_part(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            return super().frame_part(inputs[0], torch.zeros_like(inputs[1]))

    found = differences(Bodiless(export_of("smplgait").files, threads=1), network("smplgait"))
    assert found.frames > 100 * TOLERANCE
    assert found.head < TOLERANCE


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_exception_numbers_that_are_not_finite_are_the_largest_difference(number: float) -> None:
    class Broken(OnnxRuntime):
        def head_part(self, *pooled: Tensor) -> Tensor:
            embeddings = super().head_part(*pooled)
            embeddings[0, 0, 0] = number
            return embeddings

    found = differences(Broken(export_of("smplgait").files, threads=1), network("smplgait"))
    assert found.frames < TOLERANCE
    assert found.head == found.whole == found.largest == math.inf
    assert str(found).endswith("head inf, whole inf")


def test_exception_weights_that_float16_does_not_hold(tmp_path: Path) -> None:
    net = small_network()
    net.load_state_dict({key: tensor * 1e6 for key, tensor in net.state_dict().items()})
    with pytest.raises(WeightsError, match=r"differs from torch by .*inf") as caught:
        export_onnx(net, tmp_path, "w", weights_hash="ab", precision="float16")
    assert "Export in float32" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted({name for name, _ in VARIANTS}))
def test_parity_float16(name: str) -> None:
    exported = export_of(name, precision="float16")
    assert TOLERANCE < exported.differences.largest < TOLERANCES["float16"]
    runtime = OnnxRuntime(exported.files, threads=1)
    net = network(name)
    assert runtime.describe()["precision"] == "float16"
    if net.pools:
        features = runtime.frame_part(*made_up_inputs(net, net.reads, 2, seed=1))
        assert {feature.dtype for feature in features} == {torch.float16}
        assert runtime.head_part(*features).dtype == torch.float32
    for path in exported.files.parts().values():
        large = [t for t in onnx.load(path).graph.initializer if np.prod(t.dims) > 1000]
        assert large
        assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}


@VARIANT
def test_golden_what_a_file_says_of_itself(name: str, use_smpl: bool) -> None:
    net = network(name)
    files = export_of(name, use_smpl).files
    for part, file in read_parts(files, wanted(name, use_smpl)).items():
        facts = file.facts
        assert (facts.network, facts.weights_hash, facts.part) == (name, WEIGHTS_HASH, part)
        assert facts.config == json.loads(json.dumps(net.export_config()))
        assert (facts.precision, facts.use_smpl) == ("float32", use_smpl)
        model = onnx.load(file.path)
        assert [port.name for port in facts.inputs] == [port.name for port in model.graph.input]
        assert metadata_of(file.data) == {p.key: p.value for p in model.metadata_props}
        onnx.checker.check_model(model)
    (embeddings,) = facts.outputs  # of the head, which comes last
    assert embeddings.shape == ("n", *net.vector_shape)


def test_golden_ports_of_smplgait() -> None:
    parts = read_parts(export_of("smplgait").files)
    inputs = [(port.name, port.dtype, port.shape) for port in parts["frames"].facts.inputs]
    assert inputs == [
        ("silhouettes", "uint8", ("m", 64, 44)),
        ("theta", "float32", ("m", 85)),
    ]
    (feature,) = parts["head"].facts.inputs
    assert (feature.name, feature.dtype, feature.shape) == (
        "feature0",
        "float32",
        ("n", 256, 16, 16),
    )


@VARIANT
def test_property_no_path_of_this_machine_is_in_a_file(name: str, use_smpl: bool) -> None:
    for path in export_of(name, use_smpl).files.parts().values():
        data = path.read_bytes()
        for trace in (str(Path.cwd()), "site-packages", "stack_trace", "stages/embed"):
            assert trace.encode() not in data


def test_property_equal_weights_make_equal_files(tmp_path: Path) -> None:
    first, again = (
        export_onnx(small_network(), tmp_path, stem, weights_hash="ab").files.parts()
        for stem in ("first", "again")
    )
    for part in ("frames", "head"):
        assert again[part].read_bytes() == first[part].read_bytes()


def test_property_the_network_is_left_as_it_is(tmp_path: Path) -> None:
    net = small_network(class_num=5).train()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    export_onnx(net, tmp_path, "w", weights_hash="ab", precision="float16")
    assert net.training
    after = net.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.frames.onnx", "w.head.onnx"]


def test_exception_an_export_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.head.onnx").write_bytes(b"earlier")
    monkeypatch.setitem(onnx_export.TOLERANCES, "float32", 1e-12)
    with pytest.raises(WeightsError, match=r"differs from torch by features .* more than 1e-12"):
        export_onnx(small_network(), tmp_path, "w", weights_hash="ab")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"earlier"]


def test_exception_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot write an exported network in .*nowhere"):
        export_onnx(small_network(), tmp_path / "nowhere", "w", weights_hash="ab")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_exception_a_package_that_is_not_installed(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=f"needs {missing}") as caught:
        require_onnx()
    assert "pip install 'gaitstream[onnx]'" in caught.value.hint


def test_exception_onnxruntime_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="runtime onnx needs onnxruntime"):
        OnnxRuntime(export_of("smplgait").files)


@pytest.fixture
def files(tmp_path: Path) -> ExportedFiles:
    """A copy of SMPLGait's files, to be spoiled."""
    for path in export_of("smplgait").files.parts().values():
        shutil.copy(path, tmp_path)
    return files_beside(tmp_path / WEIGHTS, wanted("smplgait"), pools=True)


def test_smoke_files_lie_beside_the_weights(files: ExportedFiles) -> None:
    runtime = OnnxRuntime(files, wanted=wanted("smplgait"), threads=1)
    assert runtime.name == "onnx"
    assert runtime.device == torch.device("cpu")
    assert runtime.describe()["threads"] == 1
    assert stem_of(Path("a/b.safetensors"), "float16", use_smpl=False) == "b.no-smpl.fp16"


@pytest.mark.parametrize("part", ["frames", "head"])
def test_exception_missing_file(files: ExportedFiles, part: str) -> None:
    files.parts()[part].unlink()
    with pytest.raises(WeightsError, match=rf"w\.{part}\.onnx is missing") as caught:
        OnnxRuntime(files)
    assert "run_pipeline.py export" in caught.value.hint


@pytest.mark.parametrize("kept", [0, 1, 100, 0.3, 0.999])
def test_exception_file_cut_off(files: ExportedFiles, kept: float) -> None:
    data = files.head.read_bytes()
    files.head.write_bytes(data[: int(kept if kept >= 1 else kept * len(data))])
    with pytest.raises(WeightsError, match=r"damaged|empty"):
        OnnxRuntime(files)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_exception_one_bit_flipped_among_the_weights(files: ExportedFiles, place: float) -> None:
    data = bytearray(files.head.read_bytes())
    data[int(place * len(data))] ^= 0x10
    files.head.write_bytes(data)
    with pytest.raises(WeightsError, match=r"w\.head\.onnx is damaged"):
        OnnxRuntime(files)


def respoken(path: Path, **changes: str) -> None:
    """Let a file say something else of itself."""
    model = onnx.load(path)
    entries = {p.key: p.value for p in model.metadata_props} | changes
    del model.metadata_props[:]
    content = content_sha256(model.SerializeToString(deterministic=True))
    onnx.helper.set_model_props(model, {**entries, "content_sha256": content})
    path.write_bytes(model.SerializeToString(deterministic=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": "2"}, "has format_version '2', this program reads 1"),
        ({"network": "gaitgln"}, "network gaitgln, expected smplgait"),
        ({"weights_hash": "ffff"}, "weights_hash ffff, expected 0123456789abcdef"),
        ({"precision": "float16"}, "precision float16, expected float32"),
        ({"use_smpl": "false"}, "use_smpl False, expected True"),
        ({"precision": "int4"}, "its metadata does not read"),
        ({"part": "frames"}, "holds the frames part of a network, expected the head"),
        ({"config": "[]"}, "its metadata does not read"),
        ({"inputs": "7"}, "its metadata does not read"),
    ],
)
def test_exception_file_of_something_else(
    files: ExportedFiles, changes: dict[str, str], message: str
) -> None:
    respoken(files.head, **changes)
    with pytest.raises(WeightsError, match=message):
        OnnxRuntime(files, wanted=wanted("smplgait"))


def test_exception_parts_of_two_networks(files: ExportedFiles) -> None:
    respoken(files.head, weights_hash="ffff")
    with pytest.raises(WeightsError, match="made from something else: weights_hash ffff"):
        OnnxRuntime(files)


def test_exception_other_weights_than_wanted(files: ExportedFiles) -> None:
    with pytest.raises(WeightsError, match=f"weights_hash {WEIGHTS_HASH}, expected beef") as caught:
        OnnxRuntime(files, wanted=Wanted("smplgait", "beef"))
    assert "run_pipeline.py export" in caught.value.hint


def test_exception_an_onnx_file_of_somebody_else(files: ExportedFiles) -> None:
    model = onnx.load(files.head)
    del model.metadata_props[:]
    onnx.save(model, files.head)
    with pytest.raises(WeightsError, match="carries no metadata of ours"):
        OnnxRuntime(files)


def test_exception_an_onnxruntime_that_is_too_old(files: ExportedFiles) -> None:
    model = onnx.load(files.head)
    model.ir_version = 99
    onnx.save(model, files.head)
    respoken(files.head)
    with pytest.raises(WeightsError, match=r"onnxruntime .* cannot load .*head\.onnx"):
        OnnxRuntime(files)


def test_exception_frame_part_of_a_network_without(files: ExportedFiles) -> None:
    runtime = OnnxRuntime(ExportedFiles(None, files.head), threads=1)
    with pytest.raises(ValueError, match="no frame part"):
        runtime.frame_part(torch.zeros(1))


def test_property_outputs_are_not_overwritten_by_the_next_call() -> None:
    net = network("smplgait")
    runtime = runtime_of("smplgait")
    (first,) = runtime.frame_part(*made_up_inputs(net, net.reads, 2, seed=1))
    kept = first.clone()
    runtime.frame_part(*made_up_inputs(net, net.reads, 2, seed=2))
    assert torch.equal(first, kept)


def test_smoke_reads_of_made_up_people() -> None:
    silhouettes, theta, keypoints = made_up_inputs(
        network("smplgait"), ("silhouettes", THETA, "keypoints"), 3, seed=0
    )
    assert (silhouettes.dtype, silhouettes.shape) == (torch.uint8, (3, 64, 44))
    assert 0.05 < float(silhouettes.float().mean()) / 255 < 0.6
    assert float(theta.abs().min(1).values.max()) > 0
    assert keypoints.shape == (3, 17, 3)
    assert float(keypoints[..., 2].min()) > 0
