"""Projections: learnt from embeddings, put behind networks, and the command that does both."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.cli import main
from pipeline.errors import InputError
from stages.embed.checkpoint import load_network, save_network
from stages.embed.networks.gaitgln import GaitGLN, GaitGLNConfig
from stages.embed.networks.interface import GaitNetwork
from stages.embed.networks.joined import Joined, JoinedConfig
from stages.embed.networks.resgcn import ResGCN, ResGCNConfig
from stages.embed.networks.smplgait import SMPLGait, SMPLGaitConfig
from stages.embed.networks.smplrows import SMPLRows, SMPLRowsConfig
from stages.embed.parts import HeadPart
from stages.embed.training.cohort import with_cohort
from stages.embed.training.discriminant import fit_discriminant, rows_of, with_projection
from tests.walkers import write_dataset

SMPLGAIT = SMPLGaitConfig(channels=(4, 4, 4), out_channels=6, unit=True)
GLN = GaitGLNConfig(channels=(4, 4, 4), lateral_channels=8, out_channels=6, unit=True)
RESGCN = ResGCNConfig(branch_channels=(8, 8, 8), main_channels=(8, 8), reduction=2, out_channels=6)

ROWS = SMPLRowsConfig(width=8, pooled=8, depth=1, out_channels=6)
BOTH = JoinedConfig(
    members=tuple(
        {"network": name, "config": asdict(config)}
        for name, config in (("smplgait", SMPLGAIT), ("smplrows", ROWS))
    )
)


def crowd(people: int, each: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Embeddings [N,40]: people differ in 3 numbers, which much louder noise of views hides."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(99).standard_normal((40, 40)))[0]
    spread = np.concatenate([np.full(3, 0.5), np.full(10, 5.0), np.full(27, 0.2)])
    own = np.concatenate([rng.standard_normal((people, 3)), np.zeros((people, 37))], axis=1)
    rows = np.repeat(own, each, axis=0) + spread * rng.standard_normal((people * each, 40))
    return (rows @ turn + 3.0).astype(np.float32), [f"p{i // each}" for i in range(people * each)]


def rank1(rows: np.ndarray, names: list[str]) -> float:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    alike = unit @ unit.T - 9 * np.eye(len(rows))
    nearest = alike.argmax(axis=1)
    return float(np.mean([names[i] == names[n] for i, n in enumerate(nearest)]))


def test_property_people_come_out_of_the_noise() -> None:
    vectors, names = crowd(200, 8)
    found = fit_discriminant(vectors, names, 5)
    assert found.weight.shape == (5, 40) and found.bias.shape == (5,)
    assert (np.diff(found.shares) <= 0).all()
    assert found.shares[2] > 0.4 and found.shares[3] < 0.3  # three directions are people
    others, of_others = crowd(30, 4, seed=1)
    plain = rank1(others - others.mean(axis=0), of_others)
    assert rank1(others @ found.weight.T + found.bias, of_others) > 2 * plain


def test_golden_same_embeddings_same_projection() -> None:
    vectors, names = crowd(40, 4)
    one, same = (fit_discriminant(vectors, names, 4) for _ in range(2))
    np.testing.assert_array_equal(one.weight, same.weight)
    assert len(fit_discriminant(vectors, names, 400).weight) <= 39  # people minus one


@pytest.mark.parametrize(("people", "each"), [(5, 4), (20, 1)])
def test_exception_too_few_to_learn_from(people: int, each: int) -> None:
    with pytest.raises(InputError, match=f"10 people or more .* got {people} people"):
        fit_discriminant(*crowd(people, each), 5)


def network_and_inputs(name: str) -> tuple[GaitNetwork, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    silhouettes = torch.rand(5, 4, 64, 44)
    if name == "smplgait":
        return SMPLGait(SMPLGAIT).eval(), (silhouettes, torch.randn(5, 4, 85))
    if name == "gaitgln":
        return GaitGLN(GLN).eval(), (silhouettes,)
    if name == "smplrows":
        return SMPLRows(ROWS).eval(), (torch.randn(5, 4, 85),)
    if name == "joined":
        return Joined(BOTH).eval(), (silhouettes, torch.randn(5, 4, 85))
    return ResGCN(RESGCN).eval(), (torch.rand(5, 12, 17, 3) * 40,)


@pytest.mark.parametrize("name", ["smplgait", "gaitgln", "resgcn", "smplrows", "joined"])
def test_parity_projection_behind_a_network(name: str, tmp_path: Path) -> None:
    network, inputs = network_and_inputs(name)
    with torch.inference_mode():
        before = network(*inputs)["inference_feat"]["embeddings"].numpy()
    numbers = rows_of(network, before).shape[1]
    rng = np.random.default_rng(0)
    found = fit_discriminant(
        rng.standard_normal((60, numbers)).astype(np.float32), [f"{i // 4}" for i in range(60)], 7
    )
    grown = with_projection(network, found)
    parts = 3 if name == "resgcn" else 1
    assert grown.vector_shape == (len(found.weight), parts)
    with torch.inference_mode():
        after = grown(*inputs)["inference_feat"]["embeddings"].numpy()
    want = rows_of(network, before) @ found.weight.T + found.bias
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(after[:, :, 0], want, atol=1e-5)
    path = tmp_path / f"{name}.safetensors"
    save_network(path, grown)
    again, _ = load_network(path, name)
    assert again.vector_shape == grown.vector_shape
    with torch.inference_mode():
        loaded = again(*inputs)["inference_feat"]["embeddings"].numpy()
    np.testing.assert_array_equal(loaded, after)
    if network.pools:
        with torch.inference_mode():
            frames = grown.frame_part(*(x.flatten(0, 1) for x in inputs))
            streamed = grown.head_part(*(x.unflatten(0, (5, 4)).amax(1) for x in frames))
        np.testing.assert_allclose(streamed.numpy(), after, atol=1e-5)
    with pytest.raises(ValueError, match="behind a network that has none"):
        with_projection(grown, found)


@pytest.mark.parametrize("name", ["smplgait", "gaitgln", "resgcn", "smplrows", "joined"])
def test_parity_projection_of_a_network_in_half_precision(name: str) -> None:
    network, inputs = network_and_inputs(name)
    numbers = rows_of(network, np.zeros((1, *network.vector_shape), np.float32)).shape[1]
    vectors = np.random.default_rng(0).standard_normal((60, numbers)).astype(np.float32)
    grown = with_projection(network, fit_discriminant(vectors, [f"{i // 4}" for i in range(60)], 7))
    if isinstance(grown, Joined):
        grown = with_cohort(grown, np.eye(grown.vector_shape[0], dtype=np.float32)[:, :, None])
    pooled = list(inputs)
    with torch.inference_mode():
        if grown.pools:
            frames = grown.frame_part(*(x.flatten(0, 1) for x in inputs))
            pooled = [x.unflatten(0, (5, 4)).amax(1) for x in frames]
        want = HeadPart(grown)(*pooled)
        halved = HeadPart(copy.deepcopy(grown).half())
        found = halved(*(x.half() if grown.pools else x for x in pooled))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, want, atol=0.03)


@pytest.mark.parametrize(
    "config", [SMPLGaitConfig, GaitGLNConfig, ResGCNConfig, SMPLRowsConfig, JoinedConfig]
)
def test_exception_projection_is_a_number_and_has_no_classes(config: Any) -> None:
    with pytest.raises(ValueError, match=r"projection must lie in 0\.\.4096, got -1"):
        config(projection=-1)
    with pytest.raises(ValueError, match="leaves no parts, which classes read"):
        config(projection=8, class_num=3)


def test_smoke_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_dataset(tmp_path / "data", subjects=12)
    torch.manual_seed(0)
    weights, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_network(weights, SMPLGait(SMPLGAIT).eval())
    command = ["project", "--weights", str(weights), "--data", str(data), "--numbers", "6"]
    assert main([*command, "--out", str(out)]) == 0
    assert "186 numbers brought to 6" in capsys.readouterr().err
    network, _ = load_network(out, "smplgait")
    assert network.vector_shape == (6, 1)
    assert main([*command, "--out", str(out)]) == 2  # it exists
    assert "exists" in capsys.readouterr().err
    again = ["project", "--weights", str(out), "--data", str(data), "--out", str(weights)]
    assert main([*again, "--overwrite"]) == 1
    assert "have a projection of 6 numbers" in capsys.readouterr().err
    assert main([*command, "--numbers", "0", "--out", str(tmp_path / "c.safetensors")]) == 2
