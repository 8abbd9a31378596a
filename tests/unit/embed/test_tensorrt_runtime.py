"""TensorRT's runtime: which TensorRT, on which GPU, and, on a GPU, the same numbers as torch."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from exported_networks import export_of, network, wanted

from pipeline.errors import ConfigError
from stages.embed.networks.catalogue import CATALOGUE
from stages.embed.runtimes import tensorrt_module
from stages.embed.runtimes.engine_cache import EngineCache, PrivateFolder
from stages.embed.runtimes.exported_files import read_parts
from stages.embed.runtimes.parity import TOLERANCES, differences
from stages.embed.runtimes.tensorrt_builder import Gpu, Limits, gpu_of, key_of
from stages.embed.runtimes.tensorrt_module import RTX, TensorRT, find_tensorrt
from stages.embed.runtimes.tensorrt_runtime import CompiledKernels, TensorRTRuntime, pieces_of

CUDA = torch.device("cuda", 0)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("no_tensorrt")
def test_exception_no_tensorrt() -> None:
    with pytest.raises(ConfigError, match=r"no TensorRT loads .*tensorrt_rtx_bindings") as caught:
        find_tensorrt()
    assert "'gaitstream[tensorrt-rtx]'" in caught.value.hint


@pytest.mark.usefixtures("no_tensorrt")
def test_smoke_tensorrt_proper_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", SimpleNamespace(__version__="1.0"))
    rtx = find_tensorrt()
    assert (str(rtx), rtx.times_tactics) == ("tensorrt-rtx 1.0", False)
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="11.0"))
    proper = find_tensorrt()
    assert (str(proper), proper.times_tactics) == ("tensorrt 11.0", True)


def test_exception_tensorrt_whose_libraries_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(tensorrt_module.importlib, "import_module", broken)
    with pytest.raises(ConfigError, match=r"libnvinfer\.so\.10: cannot open"):
        find_tensorrt()


def test_exception_rtx_knows_not_every_gpu() -> None:
    bindings = pytest.importorskip("tensorrt_rtx_bindings")
    rtx = TensorRT(bindings, RTX, bindings.__version__)
    assert rtx.why_not_on((8, 9)) == ""
    assert "no code for compute capability 9.0" in rtx.why_not_on((9, 0))
    assert dataclasses.replace(rtx, flavour="tensorrt").why_not_on((9, 0)) == ""


def test_exception_runtime_without_a_gpu() -> None:
    files = export_of("smplgait").files
    with pytest.raises(ConfigError, match="needs a CUDA device, got cpu") as caught:
        TensorRTRuntime(files, device=torch.device("cpu"))
    assert "onnx" in caught.value.hint
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="got cuda:0; torch sees 0"):
            TensorRTRuntime(files, device=CUDA)
        assert gpu_of(torch.device("cpu")) == Gpu("none", "", "")


class Kernels:
    """Plays TensorRT for RTX's runtime config and its cache of compiled kernels."""

    def __init__(self, content: bytes, accepts: bool = True) -> None:
        self.content = content
        self.accepts = accepts
        self.loaded = b""
        self.dynamic_shapes_kernel_specialization_strategy = "lazy"
        self.cache: object = None

    def create_runtime_cache(self) -> Kernels:
        return self

    def set_runtime_cache(self, cache: Kernels) -> None:
        self.cache = cache

    def serialize(self) -> bytes:
        return self.content

    def deserialize(self, data: bytes) -> bool:
        self.loaded = data
        return self.accepts


def compiled(folder: PrivateFolder, config: Kernels | None) -> CompiledKernels:
    strategies = SimpleNamespace(EAGER="eager")
    module: Any = SimpleNamespace(DynamicShapesKernelSpecializationStrategy=strategies)
    engine = SimpleNamespace(create_runtime_config=lambda: config) if config else object()
    return CompiledKernels(module, engine, folder, "w.kernels")


def test_smoke_compiled_kernels_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = PrivateFolder(tmp_path / "engines")
    first = Kernels(b"one shape")
    kernels = compiled(folder, first)
    assert kernels.runtime_config is first.cache is first
    assert first.dynamic_shapes_kernel_specialization_strategy == "eager"
    assert first.loaded == b""
    kernels.save()
    assert folder.read("w.kernels") == b"one shape"

    second = Kernels(b"two shapes")
    kernels = compiled(folder, second)
    assert second.loaded == b"one shape"
    kernels.save()
    assert folder.read("w.kernels") == b"two shapes"

    compiled(folder, Kernels(b"", accepts=False))
    assert "of another GPU, driver or version: they are compiled anew" in caplog.text
    (folder.path / "w.kernels").chmod(0o666)
    third = Kernels(b"")
    compiled(folder, third)
    assert third.loaded == b""
    assert "kept kernels cannot be used: can be written by others" in caplog.text


def test_smoke_tensorrt_without_compiled_kernels(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path / "engines")
    kernels = compiled(folder, None)
    assert kernels.runtime_config is None
    kernels.save()
    assert list(folder.path.iterdir()) == []


def test_shape_pieces_of_a_batch() -> None:
    pieces = pieces_of((torch.arange(7), torch.arange(14).view(7, 2)), 3)
    assert [[len(tensor) for tensor in piece] for piece in pieces] == [[3, 3], [3, 3], [1, 1]]
    assert torch.equal(torch.cat([piece[0] for piece in pieces]), torch.arange(7))
    assert len(pieces_of((torch.zeros(3),), 3)) == 1


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("name", sorted(CATALOGUE))
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_parity_engine_and_torch(name: str, precision: Any, tmp_path: Path) -> None:
    files = export_of(name, precision=precision).files
    cache = EngineCache(tmp_path / "engines")
    # The made-up windows have 13 frames: in pieces of 8 and 5, the second padded.
    limits = Limits(frames=8, windows=2, length=60)
    options: Any = {"device": CUDA, "wanted": wanted(name, precision=precision), "limits": limits}
    runtime = TensorRTRuntime(files, cache=cache, **options)
    for _ in range(3):  # the first call captures, the others replay
        found = differences(runtime, network(name))
        assert found.largest < TOLERANCES[precision]
    made = {path: path.stat().st_mtime_ns for path in cache.folder.path.glob("*.engine")}
    assert len(made) == len(files.parts())
    again = TensorRTRuntime(files, cache=cache, **options)
    assert differences(again, network(name)).largest < TOLERANCES[precision]
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.gpu
@needs_cuda
def test_exception_engine_that_does_not_load_on_the_gpu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exported = export_of("smplgait")
    cache = EngineCache(tmp_path / "engines")
    for file in read_parts(exported.files).values():
        cache.store(key_of(find_tensorrt(), file, Limits(), gpu_of(CUDA)), b"no plan")
    runtime = TensorRTRuntime(exported.files, device=CUDA, cache=cache)
    assert "the kept one does not load" in caplog.text
    assert differences(runtime, network("smplgait")).largest < TOLERANCES["float32"]
