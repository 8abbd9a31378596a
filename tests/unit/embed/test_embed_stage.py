"""The embed stage, the gait energy image and the torch runtime."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embed_clips import message_of, seeded_network, silhouettes_of, tensors_of, window_of
from pydantic import ValidationError

from pipeline.codec import decode, encode
from pipeline.errors import ConfigError, InputError, WeightsError
from pipeline.messages import Embeddings
from stages.embed import Config, EmbedStage, build, shipped
from stages.embed.checkpoint import save_network
from stages.embed.devices import choose_device
from stages.embed.embedder import CPU_CHUNK, torch_embedder
from stages.embed.gei import GaitEnergyImage, gait_energy
from stages.embed.interface import Clip, Embedder
from stages.embed.loading import load_embedder
from stages.embed.stage import unfit_reason

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def smplgait_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_network(path, seeded_network(class_num=4))
    return path


def ready(**config: Any) -> EmbedStage:
    stage = build(Config(**({"network": "gei"} | config)))
    stage.setup()
    return stage


def embedder_of(path: Path, **config: Any) -> Embedder:
    return load_embedder(Config(network="smplgait", weights=path, device="cpu", **config))


def test_shape_gei() -> None:
    window = window_of(1, 5)
    (vector,) = GaitEnergyImage().embed([window])
    assert vector.shape == (44, 64) and vector.dtype == np.float32
    np.testing.assert_allclose(vector.T, window.silhouettes.mean(0) / 255, atol=1e-6)
    assert vector.min() >= 0 and vector.max() <= 1


def test_property_gei_does_not_depend_on_the_order_or_number_of_frames() -> None:
    window = window_of(1, 30).silhouettes
    np.testing.assert_array_equal(gait_energy(window), gait_energy(window[::-1]))
    np.testing.assert_array_equal(gait_energy(np.repeat(window, 4, 0)), gait_energy(window))
    assert (gait_energy(np.full((720, 64, 44), 255, np.uint8)) == 1.0).all()


@pytest.mark.parametrize(
    "silhouettes",
    [
        np.zeros((0, 64, 44), np.uint8),
        np.zeros((3, 64, 64), np.uint8),
        np.zeros((3, 64, 44), np.float32),
        np.zeros((64, 44), np.uint8),
    ],
)
def test_exception_gei_bad_silhouettes(silhouettes: np.ndarray) -> None:
    class Bad:
        theta = keypoints_px = np.zeros((0, 85), np.float32)

    bad = Bad()
    bad.silhouettes = silhouettes  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="expected"):
        GaitEnergyImage().embed([bad])  # type: ignore[list-item]


def test_shape_stage_answers_each_message_once() -> None:
    stage = ready()
    for windows in ([], [window_of(1)], [window_of(1), window_of(2, 15)]):
        message = message_of(windows)
        (answer,) = stage.process(message)
        assert answer.stamp == message.stamp
        assert answer.visible_tracks == message.visible_tracks
        assert answer.ended_tracks == (99,)
        assert [e.track_id for e in answer.embeddings] == [w.track_id for w in windows]
        for embedding, window in zip(answer.embeddings, windows, strict=True):
            assert (embedding.network, embedding.weights_hash) == ("gei", "gei-average-1")
            assert embedding.start_ns == window.times_ns[0]
            assert embedding.end_ns == window.times_ns[-1]
            assert embedding.frames == len(window.silhouettes)
            assert embedding.quality == window.quality
        header, blob = encode(answer)
        assert len(decode(Embeddings, header, blob).embeddings) == len(windows)
    assert stage.report()["embeddings"] == 3
    assert list(stage.end("cam")) == []


def test_smoke_by_default_the_weights_that_come_with_it_embed() -> None:
    stage = build(Config(device="cpu", runtime="torch"))
    stage.setup()
    (answer,) = stage.process(message_of([window_of(1)]))
    (embedding,) = answer.embeddings
    assert embedding.network == "joined" and embedding.vector.shape == (400, 1)
    # 1 where it is as crowded as usual; this walker is like nobody.
    assert 0.5 < np.linalg.norm(embedding.vector) < 1.5


def test_shape_skip_passes_tracks_on() -> None:
    stage = ready()
    (answer,) = stage.skip(message_of([window_of(1)]))
    assert (
        answer.embeddings == () and answer.visible_tracks == (1,) and answer.ended_tracks == (99,)
    )
    assert stage.report()["left_out"] == {"skipped_message": 1}


def test_property_unfit_windows_are_left_out_with_a_reason(smplgait_file: Path) -> None:
    nan, infinite, blank = window_of(1, 3), window_of(2, 3), window_of(3, 3)
    nan.theta[1, 4] = np.nan
    infinite.theta[0, 0] = np.inf
    blank = replace(blank, silhouettes=np.zeros_like(blank.silhouettes))
    message = message_of([nan, window_of(4, 3), infinite, blank])
    stage = ready(network="smplgait", weights=smplgait_file, device="cpu")
    (answer,) = stage.process(message)
    assert [e.track_id for e in answer.embeddings] == [4]
    assert stage.report()["left_out"] == {"theta_not_finite": 2, "silhouettes_empty": 1}
    gei = ready()
    (answer,) = gei.process(message)
    assert [e.track_id for e in answer.embeddings] == [1, 4, 2], "it reads no bodies"
    assert gei.report()["left_out"] == {"silhouettes_empty": 1}


def test_property_a_network_asks_only_for_what_it_reads() -> None:
    window = window_of(1, 3)  # its keypoints are all unseen
    assert unfit_reason(window, ("silhouettes", "theta")) == ""
    assert unfit_reason(window, ("keypoints",)) == "keypoints_unseen"
    window.keypoints_px[1] = 1.0
    assert unfit_reason(window, ("keypoints",)) == ""
    window.keypoints_px[0, 0, 0] = np.inf
    assert unfit_reason(window, ("keypoints",)) == "keypoints_not_finite"


class OnlyNan(GaitEnergyImage):
    def embed(self, windows: Sequence[Clip]) -> list[np.ndarray]:
        return [np.full((44, 64), np.nan, np.float32) for _ in windows]


def test_property_vectors_that_are_not_finite_are_left_out() -> None:
    stage = EmbedStage(Config(network="gei"), load=lambda _: OnlyNan())
    stage.setup()
    (answer,) = stage.process(message_of([window_of(1)]))
    assert answer.embeddings == ()
    assert stage.report()["left_out"] == {"vector_not_finite": 1}


def test_exception_smplgait_without_weights_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED_WEIGHTS", tmp_path)
    stage = build(Config(network="smplgait"))
    with pytest.raises(WeightsError, match="drawn at random") as caught:
        stage.setup()
    assert "--weights" in caught.value.hint and "gei" in caught.value.hint


def test_exception_missing_weights_refuse_at_setup(tmp_path: Path) -> None:
    stage = build(Config(network="smplgait", weights=tmp_path / "none"))
    with pytest.raises(WeightsError, match="no such file"):
        stage.setup()


def test_exception_large_weights_do_not_fit_windows(tmp_path: Path) -> None:
    save_network(tmp_path / "w", seeded_network(height=128))
    stage = build(Config(network="smplgait", weights=tmp_path / "w", device="cpu"))
    with pytest.raises(WeightsError, match=r"\(128, 88\)"):
        stage.setup()


@pytest.mark.parametrize(
    "bad",
    [
        {"network": "resnet"},
        {"device": "tpu"},
        {"threads": -1},
        {"unknown": 1},
        {"network": "gei", "weights": "w"},
        {"runtime": "tensorflow"},
    ],
)
def test_exception_bad_config(bad: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(bad)


def test_shape_every_config_field_is_described() -> None:
    assert all(field.description for field in Config.model_fields.values())


def test_parity_runtime_and_forward(smplgait_file: Path) -> None:
    embedder = embedder_of(smplgait_file)
    network = seeded_network(class_num=4)
    windows = [window_of(1, 5), window_of(2, CPU_CHUNK + 3), window_of(3, 1)]
    together = embedder.embed(windows)
    for window, vector in zip(windows, together, strict=True):
        with torch.inference_mode():
            want = network(*tensors_of(window))["inference_feat"]["embeddings"][0].numpy()
        assert vector.shape == embedder.vector_shape == (256, 31)
        assert np.abs(vector - want).max() <= 1e-4 * np.abs(want).max()
        (alone,) = embedder.embed([window])
        assert np.abs(vector - alone).max() <= 1e-4 * np.abs(want).max()
    assert embedder.embed([]) == []
    again = embedder.embed(windows)
    for first, second in zip(together, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_property_runtime_reads_bodies_unless_told_not_to(smplgait_file: Path) -> None:
    full, muted = embedder_of(smplgait_file), embedder_of(smplgait_file, use_smpl=False)
    assert "theta" in full.reads and "theta" not in muted.reads
    assert full.weights_hash != muted.weights_hash  # their vectors must not be compared
    window = window_of(1, 4)
    other = replace(window, theta=window.theta * 2)
    assert not np.allclose(full.embed([window]), full.embed([other]), rtol=1e-2)
    np.testing.assert_array_equal(muted.embed([window]), muted.embed([other]))
    silhouettes_only = replace_theta(window, np.zeros((0, 85), np.float32))
    np.testing.assert_array_equal(muted.embed([silhouettes_only]), muted.embed([window]))


class Stored:
    def __init__(self, silhouettes: np.ndarray, theta: np.ndarray) -> None:
        self.silhouettes, self.theta = silhouettes, theta
        self.keypoints_px = np.zeros((0, 17, 3), np.float32)


def replace_theta(window: Any, theta: np.ndarray) -> Stored:
    return Stored(window.silhouettes, theta)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (np.zeros((0, 85), np.float32), "reads a body"),
        (np.zeros((3, 85), np.float32), "expected float32"),
        (np.zeros((4, 82), np.float32), "expected float32"),
        (np.zeros((4, 85), np.float64), "expected float32"),
        (np.full((4, 85), np.nan, np.float32), "not finite"),
    ],
)
def test_exception_bodies_that_do_not_fit(
    smplgait_file: Path, theta: np.ndarray, message: str
) -> None:
    embedder = embedder_of(smplgait_file)
    with pytest.raises(InputError, match=message):
        embedder.embed([Stored(silhouettes_of(1, 4), theta)])


def test_smoke_stage_with_smplgait(smplgait_file: Path) -> None:
    stage = ready(network="smplgait", weights=smplgait_file, device="cpu")
    (answer,) = stage.process(message_of([window_of(1, 4), window_of(2, 3)]))
    assert [e.vector.shape for e in answer.embeddings] == [(256, 31)] * 2
    report = stage.report()
    assert report["network"] == "smplgait" and report["parameters"] == 3_287_104
    assert len(report["weights_hash"]) == 16
    stage.close()
    assert stage.report() == report and report["embeddings"] == 2


def test_smoke_device_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="stages.embed"):
        device = choose_device("auto")
    assert str(device) in caplog.text and "CUDA" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is there")
def test_exception_device_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="not there"):
        choose_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_parity_cuda_and_processor() -> None:
    windows = [window_of(1, 30), window_of(2, 15)]
    on_cpu = torch_embedder(seeded_network(), "0" * 16, torch.device("cpu")).embed(windows)
    on_cuda = torch_embedder(seeded_network(), "0" * 16, torch.device("cuda", 0)).embed(windows)
    for ours, theirs in zip(on_cuda, on_cpu, strict=True):
        # TF32 convolutions keep ten bits of each factor.
        assert np.abs(ours - theirs).max() <= 1e-2 * np.abs(theirs).max()


def test_smoke_gei_never_imports_torch() -> None:
    code = (
        "import sys, pipeline.cli.embed\n"
        "from stages.embed import Config, build\n"
        "stage = build(Config(network='gei')); stage.setup()\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True, timeout=120)
