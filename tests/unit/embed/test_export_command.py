"""`export` on weights files: what is written, what is said, what is refused."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embed_clips import seeded_network, window_of

from pipeline.cli import export as command
from pipeline.cli import main
from pipeline.errors import ConfigError, UsageError, WeightsError
from stages.embed.checkpoint import load_network, save_network
from stages.embed.embedder import NetworkEmbedder, facts_of, torch_embedder
from stages.embed.runtimes.exported_files import Wanted, files_beside, read_parts
from stages.embed.runtimes.onnx_runtime import OnnxRuntime
from stages.embed.runtimes.tensorrt_module import find_tensorrt


def run(weights: Path, network: str = "smplgait", **options: Any) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    arguments = ["--network", network, "--weights", str(weights)]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        arguments += [flag] if value is True else [flag, str(value)]
    return command.run(parser.parse_args(arguments))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as a training leaves them, with classes; narrow, so that they are traced quickly."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_network(path, seeded_network(class_num=7, channels=(8, 8, 16), out_channels=8))
    return path


@pytest.fixture
def weights(tmp_path: Path, trained: Path) -> Path:
    path = tmp_path / "w.safetensors"
    path.symlink_to(trained)
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_smoke_beside_the_weights(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(weights) == 0
    assert names_in(weights.parent) == ["w.frames.onnx", "w.head.onnx", "w.safetensors"]
    said = capsys.readouterr().err
    for part in ("frames", "head"):
        path = weights.parent / f"w.{part}.onnx"
        assert f"{part}: {path}, {path.stat().st_size:,} bytes" in said
    assert "Conv 6" in said
    assert "largest difference between ONNX Runtime and torch float32" in said

    network, weights_hash = load_network(weights, "smplgait")
    want = Wanted("smplgait", weights_hash)
    runtime = OnnxRuntime(files_beside(weights, want, pools=True), wanted=want, threads=1)
    got = NetworkEmbedder(facts_of(network, weights_hash), runtime).embed([window_of(1, 12)])
    cpu = torch.device("cpu")
    expected = torch_embedder(network, weights_hash, cpu).embed([window_of(1, 12)])
    assert np.abs(got[0] - expected[0]).max() < 1e-4 * np.abs(expected[0]).max()


def test_smoke_engines(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        tensorrt = find_tensorrt()
    except ConfigError as error:
        pytest.skip(error.message)
    out, cache = tmp_path / "out", tmp_path / "engines"
    out.mkdir()
    options = {
        "out": out,
        "precision": "float16",
        "no_smpl": True,
        "engine": True,
        "engine_cache": cache,
        "max_batch": 16,
    }
    assert run(weights, **options) == 0
    assert names_in(out) == ["w.no-smpl.fp16.frames.onnx", "w.no-smpl.fp16.head.onnx"]
    said = capsys.readouterr().err
    engines = sorted(cache.glob("*.engine"))
    assert len(engines) == 2
    for path, part in zip(engines, ("frames", "head"), strict=True):
        assert f"{part} engine of {tensorrt}: " in said
        assert f"s, {path}" in said
    assert "TensorRT: " in said
    if torch.cuda.is_available():
        assert "largest difference between TensorRT and torch float32" in said
    else:
        assert "the engines are built but were not run: there is no CUDA device" in said
    facts = [file.facts for file in read_parts(_files(out)).values()]
    assert {(fact.precision, fact.use_smpl) for fact in facts} == {("float16", False)}

    assert run(weights, **options) == 0
    assert "frames engine" in (again := capsys.readouterr().err)
    assert again.count("built earlier") == 2


def _files(out: Path) -> Any:
    want = Wanted("smplgait", "", "float16", use_smpl=False)
    return files_beside(out / "w.safetensors", want, pools=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "nowhere"}, "there is no such folder"),
        ({"max_batch": 0}, "within 1 and 4096"),
        ({"max_batch": 5000}, "within 1 and 4096"),
        ({"engine_cache": "x"}, "--engine-cache is for --engine"),
    ],
)
def test_exception_options(weights: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(weights, **options)
    assert names_in(weights.parent) == ["w.safetensors"]


def test_exception_no_bodies_where_none_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_network(path, seeded_network(use_smpl=False))
    with pytest.raises(UsageError, match="reads no bodies anyway"):
        run(path, no_smpl=True)


def test_exception_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="missing"):
        run(tmp_path / "w.safetensors")


def test_exception_onnx_is_not_installed(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match="needs onnxscript"):
        run(weights)


def test_exception_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "w.safetensors")
    assert main(["export", "--network", "smplgait", "--weights", missing]) == 1
    assert "w.safetensors are missing" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["export", "--network", "gei", "--weights", missing])
    assert caught.value.code == 2


def test_smoke_help_needs_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, pipeline.cli\n"
        "try: pipeline.cli.main(['export', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'tensorrt_rtx_bindings'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--max-batch" in done.stdout
