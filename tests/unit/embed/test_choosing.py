"""Which runtime is chosen, and what is said of those passed over."""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from exported_networks import WEIGHTS, export_of, wanted

from pipeline.errors import ConfigError
from stages.embed.runtimes import choosing
from stages.embed.runtimes.choosing import choose_runtime, export_hint, obstacles_of
from stages.embed.runtimes.exported_files import Wanted
from stages.embed.runtimes.tensorrt_module import TensorRT

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def never() -> str:
    raise AssertionError("this was not to be asked")


def reasons(**texts: str | None) -> Mapping[str, Callable[[], str]]:
    """Obstacles by runtime; those that are not given, or None, must not be asked."""
    return {
        name: never if text is None else (lambda text=text: text)
        for name, text in {"onnx": None, "tensorrt": None, **texts}.items()
    }


@pytest.mark.parametrize(
    ("device", "obstacles", "name", "passed_over"),
    [
        (CPU, {"onnx": ""}, "onnx", ["tensorrt"]),
        (CPU, {"onnx": "no files"}, "torch", ["tensorrt", "onnx"]),
        (CUDA, {"tensorrt": ""}, "tensorrt", []),
        (CUDA, {"tensorrt": "not installed"}, "torch", ["tensorrt"]),
    ],
)
def test_smoke_auto(
    device: torch.device,
    obstacles: dict[str, str],
    name: str,
    passed_over: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    choice = choose_runtime("auto", device, reasons(**obstacles))
    assert (choice.name, choice.device) == (name, device)
    assert [runtime for runtime, _ in choice.passed_over] == passed_over
    (said,) = caplog.messages
    assert said == str(choice)
    assert said.startswith(f"runtime {name} on {device}: {choice.why}")
    for runtime, reason in choice.passed_over:
        assert reason
        assert f"; not {runtime}: {reason}" in said


def test_golden_what_the_log_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    choose_runtime("auto", CPU, reasons(onnx="no exported files"))
    assert caplog.messages == [
        "runtime torch on cpu: it runs everywhere; not tensorrt: it needs a CUDA device, the "
        "network is to run on cpu; not onnx: no exported files"
    ]


@pytest.mark.parametrize(
    ("asked", "device", "obstacles"),
    [
        ("torch", CPU, {}),
        ("torch", CUDA, {}),
        ("onnx", CPU, {"onnx": ""}),
        ("tensorrt", CUDA, {"tensorrt": ""}),
    ],
)
def test_smoke_asked_and_possible(
    asked: str, device: torch.device, obstacles: dict[str, str]
) -> None:
    choice = choose_runtime(asked, device, reasons(**obstacles))
    assert (choice.name, choice.device, choice.passed_over) == (asked, device, ())
    assert choice.why == "the configuration asks for it"


@pytest.mark.parametrize(
    ("asked", "device", "obstacles", "message"),
    [
        ("onnx", CPU, {"onnx": "w.head.onnx is missing"}, "w.head.onnx is missing"),
        ("onnx", CUDA, {}, "it runs on the processor, the network is to run on cuda:0"),
        ("tensorrt", CPU, {}, "it needs a CUDA device"),
        ("tensorrt", CUDA, {"tensorrt": "no TensorRT loads"}, "no TensorRT loads"),
    ],
)
def test_exception_asked_and_not_possible(
    asked: str, device: torch.device, obstacles: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"runtime {asked} cannot work here: {message}") as caught:
        choose_runtime(asked, device, reasons(**obstacles), hint="Do this.")
    assert caught.value.hint == "Do this."


def test_exception_no_such_runtime() -> None:
    with pytest.raises(ConfigError, match="no runtime 'openvino'") as caught:
        choose_runtime("openvino", CPU, reasons())
    assert "auto or one of tensorrt, onnx, torch" in caught.value.hint


def test_property_onnx_runs_on_the_processor_of_a_machine_with_a_gpu() -> None:
    choice = choose_runtime("onnx", CUDA, reasons(onnx=""), free_device=True)
    assert (choice.name, choice.device) == ("onnx", CPU)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of SMPLGait with exported files beside them."""
    for path in export_of("smplgait").files.parts().values():
        shutil.copy(path, tmp_path)
    return tmp_path / WEIGHTS


def obstacle(name: str, weights: Path, want: Wanted, device: torch.device = CPU) -> str:
    return obstacles_of(weights, want, True, device)[name]()


def test_smoke_obstacles_of_onnx(weights: Path) -> None:
    want = wanted("smplgait")
    assert obstacle("onnx", weights, want) == ""
    assert choose_runtime("auto", CPU, obstacles_of(weights, want, True, CPU)).name == "onnx"


@pytest.mark.parametrize(
    ("want", "says"),
    [
        (Wanted("smplgait", "beef"), "weights_hash 0123456789abcdef, expected beef"),
        (wanted("smplgait", use_smpl=False), r"w\.no-smpl\.frames\.onnx is missing"),
        (wanted("smplgait", precision="float16"), r"w\.fp16\.frames\.onnx is missing"),
    ],
)
def test_exception_files_of_something_else_are_an_obstacle(
    want: Wanted, says: str, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    choice = choose_runtime("auto", CPU, obstacles_of(weights, want, True, CPU))
    assert choice.name == "torch"
    reason = dict(choice.passed_over)["onnx"]
    assert re.search(says, reason)
    assert reason in caplog.text


def test_exception_onnxruntime_is_not_installed(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "needs onnxruntime" in obstacle("onnx", weights, wanted("smplgait"))


def test_smoke_obstacles_of_tensorrt(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the machine played: whether TensorRT loads, whether it knows the GPU, the files."""
    want = wanted("smplgait")

    def missing() -> TensorRT:
        raise ConfigError("no TensorRT loads (not installed)")

    monkeypatch.setattr(choosing, "find_tensorrt", missing)
    assert obstacle("tensorrt", weights, want, CUDA) == "no TensorRT loads (not installed)"

    class Known:
        def why_not_on(self, capability: tuple[int, int]) -> str:
            return "" if capability == (8, 9) else "no code for it"

    capability = (9, 0)
    monkeypatch.setattr(choosing, "find_tensorrt", Known)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert obstacle("tensorrt", weights, want, CUDA) == "no code for it"
    capability = (8, 9)
    assert obstacle("tensorrt", weights, want, CUDA) == ""
    assert "beef" in obstacle("tensorrt", weights, Wanted("smplgait", "beef"), CUDA)


@pytest.mark.parametrize(
    ("want", "runtime", "command"),
    [
        (Wanted("gaitgln", "ab"), "onnx", "--network gaitgln --weights a/w.safetensors;"),
        (
            Wanted("smplgait", "ab", "float16", use_smpl=False),
            "tensorrt",
            "--network smplgait --weights a/w.safetensors --no-smpl --precision float16 --engine;",
        ),
    ],
)
def test_golden_hint(want: Wanted, runtime: str, command: str) -> None:
    hint = export_hint(Path("a/w.safetensors"), want, runtime)
    assert f"run_pipeline.py export {command}" in hint
