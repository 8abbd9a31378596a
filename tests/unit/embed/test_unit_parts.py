"""Embeddings of length 1, and weights that come with the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import WeightsError
from stages.embed import shipped
from stages.embed.checkpoint import load_network, save_network
from stages.embed.config import Config
from stages.embed.loading import load_embedder
from stages.embed.networks.gaitgln import GaitGLN, GaitGLNConfig
from stages.embed.networks.resgcn import ResGCN, ResGCNConfig
from stages.embed.networks.smplgait import SMPLGait, SMPLGaitConfig
from stages.embed.networks.unit_parts import UnitParts

NARROW = SMPLGaitConfig(channels=(4, 4, 4), out_channels=6, unit=True)


def test_property_parts_have_length_one_and_no_common_vector() -> None:
    torch.manual_seed(0)
    unit = UnitParts(parts=3, channels=8).train()
    common = 10 * torch.randn(1, 8, 3)
    out = unit(common + torch.randn(64, 8, 3))
    torch.testing.assert_close(out.norm(dim=1), torch.ones(64, 3))
    assert out.mean(0).norm(dim=0).max() < 0.4  # without the batch norm it is nearly 1


def test_parity_unit_network_streams_and_saves(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SMPLGait(NARROW).train()
    silhouettes, theta = torch.rand(5, 4, 64, 44), torch.randn(5, 4, 85)
    network(silhouettes, theta)  # the batch norms see something
    network.eval()
    with torch.inference_mode():
        whole = network(silhouettes, theta)["inference_feat"]["embeddings"]
        frames = network.frame_part(silhouettes.flatten(0, 1), theta.flatten(0, 1))[0]
        streamed = network.head_part(frames.unflatten(0, (5, 4)).amax(1))
    torch.testing.assert_close(streamed, whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(5, 31))
    save_network(tmp_path / "unit.safetensors", network)
    again, _ = load_network(tmp_path / "unit.safetensors", "smplgait")
    with torch.inference_mode():
        torch.testing.assert_close(again(silhouettes, theta)["inference_feat"]["embeddings"], whole)


def test_parity_unit_gaitgln_streams_and_folds() -> None:
    torch.manual_seed(0)
    narrow = GaitGLNConfig(channels=(4, 4, 4), lateral_channels=8, out_channels=6, unit=True)
    network = GaitGLN(narrow).train()
    silhouettes = torch.rand(5, 4, 64, 44)
    network(silhouettes)
    network.eval()
    with torch.inference_mode():
        whole = network(silhouettes)["inference_feat"]["embeddings"]
        frames = network.frame_part(silhouettes.flatten(0, 1))
        network.optimise_for_inference()
        streamed = network.head_part(*(x.unflatten(0, (5, 4)).amax(1) for x in frames))
    torch.testing.assert_close(streamed, whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(5, 93))


def test_property_unit_resgcn_has_no_common_vector() -> None:
    torch.manual_seed(0)
    keypoints = torch.rand(24, 12, 17, 3) * 40
    common = {}
    for unit in (False, True):
        small = ResGCNConfig(
            branch_channels=(8, 8, 8), main_channels=(8, 8), reduction=2, out_channels=6, unit=unit
        )
        out = ResGCN(small).train()(keypoints)["inference_feat"]["embeddings"]
        torch.testing.assert_close(out.norm(dim=1), torch.ones(24, 1))
        common[unit] = float(out.detach().mean(0).norm())
    assert common[True] < 0.4 < 0.8 < common[False]


@pytest.mark.parametrize("config", [SMPLGaitConfig, GaitGLNConfig, ResGCNConfig])
def test_exception_unit_is_a_yes_or_no(config: Any) -> None:
    with pytest.raises(ValueError, match="unit must be true or false"):
        config(unit=1)


def test_exception_unit_parts_are_not_for_a_compact_block() -> None:
    with pytest.raises(ValueError, match="compact block reads them as is"):
        GaitGLNConfig(compact=True, unit=True)


def test_smoke_shipped_weights_are_taken_when_none_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED_WEIGHTS", tmp_path)
    with pytest.raises(WeightsError, match="none come with the program"):
        load_embedder(Config(network="smplgait", runtime="torch", device="cpu"))
    wanted = save_network(tmp_path / "smplgait.safetensors", SMPLGait(NARROW).eval())
    found = load_embedder(Config(network="smplgait", runtime="torch", device="cpu"))
    assert found.weights_hash == wanted
