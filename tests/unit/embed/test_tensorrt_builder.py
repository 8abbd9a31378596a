"""TensorRT engines: really built from every network's files, and kept where nobody else writes."""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from exported_networks import VARIANTS, export_of, network

from pipeline.errors import ConfigError
from stages.embed.networks.catalogue import CATALOGUE
from stages.embed.runtimes import engine_cache
from stages.embed.runtimes.engine_cache import EngineCache, PrivateFolder, default_folder
from stages.embed.runtimes.exported_files import PartFile, read_parts
from stages.embed.runtimes.tensorrt_builder import (
    SAY_EVERY_S,
    Engine,
    Gpu,
    Limits,
    Progress,
    build_engine,
    engine_for,
    key_of,
    profile_of,
)
from stages.embed.runtimes.tensorrt_module import TensorRT, find_tensorrt

LIMITS = Limits(frames=64, windows=16, length=120)
CUDA = torch.device("cuda", 0)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def tensorrt() -> TensorRT:
    try:
        found = find_tensorrt()
    except ConfigError as error:
        pytest.skip(error.message)
    if found.flavour != "tensorrt-rtx" and not torch.cuda.is_available():
        pytest.skip(f"{found} builds only where there is a GPU")
    return found


@pytest.fixture(scope="module")
def head() -> PartFile:
    return read_parts(export_of("smplgait").files)["head"]


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


Build = Callable[..., Engine]


@pytest.fixture
def build(tensorrt: TensorRT, head: PartFile, cache: EngineCache) -> Build:
    """Asks for the head's engine."""

    def ask(gpu: Gpu | None = None, **changes: Any) -> Engine:
        limits = dataclasses.replace(LIMITS, **changes)
        return engine_for(tensorrt, head, limits, gpu or Gpu(), cache)

    return ask


@pytest.mark.parametrize(
    ("name", "use_smpl", "precision"),
    [(name, use_smpl, "float32") for name, use_smpl in VARIANTS]
    + [(name, True, "float16") for name in sorted(CATALOGUE)],
)
def test_smoke_every_network_becomes_an_engine(
    name: str,
    use_smpl: bool,
    precision: Any,
    tensorrt: TensorRT,
    record_property: Callable[[str, object], None],
) -> None:
    parts = read_parts(export_of(name, use_smpl, precision).files)
    assert list(parts) == (["frames", "head"] if network(name).pools else ["head"])
    for part, file in parts.items():
        built = build_engine(tensorrt, file, LIMITS)
        text = (
            f"{tensorrt}: {name}{'' if use_smpl else ' without bodies'}, {part}, {precision}: "
            f"parsed, {built.layers} layers, engine of {len(built.plan):,} bytes in "
            f"{built.seconds:.2f} s"
        )
        print(text)
        record_property(f"{name}.{use_smpl}.{part}.{precision}", text)
        weights = sum(
            len(tensor.raw_data) for tensor in onnx.load_from_string(file.data).graph.initializer
        )
        assert len(built.plan) > weights > 0
        assert built.layers > 0
        assert any("Engine generation completed" in line for line in built.words)


def test_smoke_engine_is_built_once(
    build: Build, cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stages.embed.runtimes.tensorrt_builder")
    first = build()
    assert first.built is not None
    assert "none is kept for this network" in caplog.text
    assert first.path is not None
    assert first.path.stat().st_mode & 0o777 == 0o600
    caplog.clear()
    second = build()
    assert second.built is None
    assert second.plan == first.plan
    assert f"kept in {first.path}" in caplog.text
    assert [path.name for path in cache.folder.path.iterdir()] == [first.path.name]
    assert first.path.name.startswith("smplgait.head.float32-")


@pytest.mark.parametrize(
    ("gpu", "changes", "replaces", "says"),
    [
        (Gpu("none", "", "580.65"), {}, True, r"is for driver  \(now 580.65\)"),
        (Gpu("RTX 4090", "8.9", ""), {}, False, "none is kept"),
        (Gpu(), {"windows": 17}, False, "none is kept"),
    ],
)
def test_property_another_key_is_another_engine(
    gpu: Gpu,
    changes: dict[str, int],
    replaces: bool,
    says: str,
    build: Build,
    cache: EngineCache,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    build()
    caplog.clear()
    other = build(gpu, **changes)
    assert other.built is not None
    (line,) = [r for r in caplog.records if "is built now" in r.message]
    assert line.levelno == (logging.WARNING if replaces else logging.INFO)
    assert re.search(says, line.message)
    assert len(list(cache.folder.path.iterdir())) == (1 if replaces else 2)
    assert build(gpu, **changes).built is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("onnx_sha256", "0" * 64),
        ("precision", "float16"),
        ("flavour", "tensorrt"),
        ("version", "99"),
        ("gpu", "another"),
        ("capability", "9.9"),
        ("driver", "1"),
        ("profile", "{}"),
    ],
)
def test_property_every_field_of_the_key_counts(
    field: str, value: str, tensorrt: TensorRT, head: PartFile, cache: EngineCache
) -> None:
    key = key_of(tensorrt, head, LIMITS, Gpu())
    cache.store(key, b"plan")
    assert cache.find(key).plan == b"plan"
    assert cache.find(dataclasses.replace(key, **{field: value})).plan is None


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-1], "does not match its own checksum"),
        (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "its own checksum"),
        (lambda data: data[:100], "header of .* is cut off"),
        (lambda data: b"", "0 bytes are too few"),
        (lambda data: b"X" + data[1:], "no engine file of this program"),
        (lambda data: data[:8] + b"\x07" + data[9:], "format version is 7"),
        (lambda data: data[:16] + b"[1" + data[18:], "damaged"),
        (lambda data: data.replace(b'"driver"', b'"raiser"'), "damaged"),
    ],
)
def test_exception_damaged_engine_is_built_again(
    change: Callable[[bytes], bytes],
    says: str,
    build: Build,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    first = build()
    assert first.path is not None
    rewritten(first.path, change)
    again = build()
    assert again.built is not None
    assert re.search(says, again.why)
    new, line = [r for r in caplog.records if "is built now" in r.message]
    assert new.levelno == logging.INFO and line.levelno == logging.WARNING
    assert re.search(says, line.message)
    assert build().built is None


def test_exception_engine_that_does_not_load_is_built_again(
    tensorrt: TensorRT, head: PartFile, cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.store(key_of(tensorrt, head, LIMITS, Gpu()), b"no plan at all")
    assert engine_for(tensorrt, head, LIMITS, Gpu(), cache).plan == b"no plan at all"
    why = "the kept one does not load: Magic tag does not match"
    again = engine_for(tensorrt, head, LIMITS, Gpu(), cache, refused=why)
    assert again.built is not None
    assert why in caplog.text
    assert engine_for(tensorrt, head, LIMITS, Gpu(), cache).plan == again.plan


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_exception_folder_that_others_can_write(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "engines"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigError, match="can be written by others") as caught:
        EngineCache(folder)
    assert f"chmod go-w {folder}" in caught.value.hint


def test_exception_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_cache.os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="belongs to user"):
        EngineCache(tmp_path)


def test_exception_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "engines").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot use the engine folder") as caught:
        EngineCache(tmp_path / "engines")
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_exception_engine_that_others_can_write_is_not_loaded(build: Build) -> None:
    first = build()
    assert first.path is not None
    first.path.chmod(0o666)
    again = build()
    assert again.built is not None
    assert "can be written by others (mode 666)" in again.why
    assert again.path is not None
    assert again.path.stat().st_mode & 0o777 == 0o600


def test_exception_engine_that_is_a_link_is_not_loaded(build: Build, tmp_path: Path) -> None:
    first = build()
    assert first.path is not None
    shutil.move(first.path, tmp_path / "elsewhere")
    first.path.symlink_to(tmp_path / "elsewhere")
    again = build()
    assert again.built is not None
    assert not first.path.is_symlink()
    assert (tmp_path / "elsewhere").stat().st_size > 0


def test_exception_engine_that_cannot_be_kept_is_used_all_the_same(
    build: Build, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine_cache, "write_atomically", full)
    engine = build()
    assert engine.path is None
    assert len(engine.plan) > 0
    assert "cannot be kept" in caplog.text
    assert "No space left on device" in caplog.text


def test_smoke_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert default_folder() == tmp_path / "x" / "gaitstream" / "engines"
    assert EngineCache().folder.path.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "gaitstream" / "engines"


def test_exception_parser_says_why(tensorrt: TensorRT, head: PartFile) -> None:
    model = onnx.load_from_string(head.data)
    model.graph.node[0].op_type = "NoSuchOperator"
    spoiled = dataclasses.replace(head, data=model.SerializeToString())
    with pytest.raises(ConfigError, match=r"cannot read .*NoSuchOperator") as caught:
        build_engine(tensorrt, spoiled, LIMITS)
    assert "Plugin not found" in caught.value.message
    assert "runtime torch" in caught.value.hint


def test_exception_no_onnx_at_all(tensorrt: TensorRT, head: PartFile) -> None:
    with pytest.raises(ConfigError, match="Failed to parse the ONNX model"):
        build_engine(tensorrt, dataclasses.replace(head, data=b"abc"), LIMITS)


def test_exception_shapes_that_the_network_cannot_take(
    tensorrt: TensorRT, head: PartFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = (head.facts.inputs[0], (1, 256, 16, 9))
    monkeypatch.setattr(
        "stages.embed.runtimes.tensorrt_builder.profile_of",
        lambda facts, limits: {small[0].name: (small[1],) * 3},
    )
    with pytest.raises(ConfigError, match="its own words: "):
        build_engine(tensorrt, head, LIMITS)


@pytest.mark.filterwarnings("ignore:Use Deprecated in TensorRT-RTX:DeprecationWarning")
def test_smoke_timing_cache_is_kept_and_merged(
    tensorrt: TensorRT, head: PartFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The RTX flavour's timing cache holds nothing, but its calls work: they are what is tried."""
    folder = PrivateFolder(tmp_path / "engines")
    proper = dataclasses.replace(tensorrt, flavour="tensorrt")
    path = folder.path / "timing.cache"
    for _ in range(2):
        build_engine(proper, head, LIMITS, timing=(folder, path.name))
        assert path.stat().st_size > 0
        assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)
    build_engine(proper, head, LIMITS, timing=(folder, path.name))
    assert "the timing cache cannot be used: can be written by others" in caplog.text
    assert path.stat().st_mode & 0o777 == 0o600


def test_smoke_a_tensorrt_without_timing_cache_keeps_none(
    tensorrt: TensorRT, head: PartFile, tmp_path: Path
) -> None:
    folder = PrivateFolder(tmp_path / "engines")
    rtx = dataclasses.replace(tensorrt, flavour="tensorrt-rtx")
    build_engine(rtx, head, LIMITS, timing=(folder, "timing.cache"))
    assert list(folder.path.iterdir()) == []


def test_golden_profile() -> None:
    parts = read_parts(export_of("smplgait").files)
    limits = Limits(frames=100, windows=2)
    assert profile_of(parts["frames"].facts, limits) == {
        "silhouettes": ((1, 64, 44), (25, 64, 44), (100, 64, 44)),
        "theta": ((1, 85), (25, 85), (100, 85)),
    }
    shapes = ((1, 256, 16, 16), (1, 256, 16, 16), (2, 256, 16, 16))
    assert profile_of(parts["head"].facts, limits) == {"feature0": shapes}


def test_smoke_progress_is_said_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    time_s = 0.0
    progress = Progress("engine x", now=lambda: time_s)
    progress.begin("Timing", 10)
    for done in range(10):
        time_s += SAY_EVERY_S / 4
        progress.step("Timing", done)
    progress.end("Timing")
    said = [record.message for record in caplog.records]
    assert said == ["engine x: Timing, 3 of 10", "engine x: Timing, 7 of 10"]


FAIL_THEN_BUILD = """
import dataclasses, gc, logging, sys
from pathlib import Path
from pipeline.errors import ConfigError
from stages.embed.runtimes.exported_files import read_part
from stages.embed.runtimes.tensorrt_builder import Limits, build_engine
from stages.embed.runtimes.tensorrt_module import find_tensorrt

tensorrt, file = find_tensorrt(), read_part(Path(sys.argv[1]))
spoiled = dataclasses.replace(file, data=file.data.replace(b"ReduceMean", b"NoSuchName"))
gc.disable()
gc.freeze()  # so that a collection looks at little

def fail():
    try:
        build_engine(tensorrt, spoiled, Limits())
    except ConfigError as error:
        kept = [error]
        kept.append(kept)

class Collecting(logging.Handler):
    def emit(self, record):
        gc.collect()

fail()
log = logging.getLogger("stages.embed.runtimes.tensorrt_module")
log.addHandler(Collecting())
log.setLevel(logging.DEBUG)
log.propagate = False
print(len(build_engine(tensorrt, file, Limits()).plan))
"""


@pytest.mark.usefixtures("tensorrt")
def test_exception_a_failed_build_does_not_stop_the_next() -> None:
    """What an error keeps of TensorRT's may be freed while TensorRT speaks, and holds its lock."""
    command = [sys.executable, "-c", FAIL_THEN_BUILD, str(export_of("smplgait").files.head)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1_000_000
