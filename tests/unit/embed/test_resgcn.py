"""ResGCN: shapes, counts, how far it sees, parity between its ways of running, and a golden."""

from __future__ import annotations

import copy
import dataclasses
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from embed_clips import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_walkers import walker_of, walkers, without
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stages.embed.networks.catalogue import build_network
from stages.embed.networks.coco_graph import LEFT_RIGHT, adjacency
from stages.embed.networks.keypoint_features import BRANCHES, features_of, normalise
from stages.embed.networks.resgcn import ResGCN, ResGCNConfig
from stages.embed.networks.spatial_blocks import SpatialBasicBlock
from stages.embed.networks.temporal_blocks import TemporalBasicBlock
from stages.embed.parts import HeadPart

GOLDEN = Path(__file__).parent / "golden_resgcn.npz"
# Relative to the largest number of the output: float32 sums in another order, on other processors
# (4e-5 seen). What all people have in common is taken away from the vectors, its rounding is not.
TOLERANCE = 5e-4
# Pixels are float32: places, sizes and a path through few hips leave rounding of their own.
PIXEL_TOLERANCE = 1e-2
SMALL: dict[str, Any] = {"branch_channels": (8, 8, 8), "main_channels": (16, 16)}


@cache
def _calibrated(seed: int, config: ResGCNConfig) -> ResGCN:
    """A network whose numbers are drawn from the seed, and which tells people apart.

    Its batch norms and its last bias are set on some walkers: with statistics drawn, too, every
    vector would be nearly the same, and no test of parity could fail.
    """
    network = seeded(ResGCN(config), seed)
    network.neighbours.copy_(adjacency(config.partition))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean
    some = walkers(6, 30, seed=50)
    pooled: list[Tensor] = []
    hook = network.fc.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    with torch.no_grad():
        network.train().head_part(some)
        network.eval().head_part(some)
        network.fc.bias.copy_(-pooled[-1].mean(0) @ network.fc.weight.T)
    hook.remove()
    return network


def seeded_network(seed: int = 3, **config: Any) -> ResGCN:
    """A copy of it, in eval mode."""
    return copy.deepcopy(_calibrated(seed, ResGCNConfig(**config)))


def embed(network: ResGCN, keypoints: Tensor, **kwargs: Any) -> Tensor:
    with torch.inference_mode():
        return network(keypoints, **kwargs)["inference_feat"]["embeddings"]


def close(got: Tensor, want: Tensor, tolerance: float = TOLERANCE) -> bool:
    assert got.shape == want.shape
    return bool((got - want).abs().max() <= tolerance * want.abs().max())


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 30, 61])
def test_shape_forward(frames: int) -> None:
    network = ResGCN(ResGCNConfig(class_num=11)).eval()
    out = network(walkers(2, frames), labels=torch.tensor([4, 5]))
    assert set(out) == {"training_feat", "visual_summary", "inference_feat"}
    embeddings = out["inference_feat"]["embeddings"]
    assert embeddings.shape == (2, 128, 3) == (2, *network.vector_shape)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2, 3))
    assert torch.equal(out["training_feat"]["triplet"]["embeddings"], embeddings[:, :, :1])
    assert out["training_feat"]["triplet"]["labels"].tolist() == [4, 5]
    assert out["training_feat"]["softmax"]["logits"].shape == (2, 11, 1)
    pictures = out["visual_summary"]["image/keypoints"]
    assert pictures.shape == (2, 1, 64, 64)
    assert pictures.max() <= 1 and (pictures > 0).flatten(1).sum(1).min() > 8


def test_shape_training_gives_the_original_only() -> None:
    network = ResGCN(ResGCNConfig(class_num=5)).train()
    out = network(walkers(3, 6), labels=torch.tensor([0, 1, 1]))
    assert out["inference_feat"]["embeddings"].shape == (3, 128, 1)
    assert out["training_feat"]["triplet"]["embeddings"].shape == (3, 128, 1)
    assert out["training_feat"]["softmax"]["logits"].shape == (3, 5, 1)


def test_shape_without_classes_and_test_time() -> None:
    network = seeded_network(test_time=False)
    out = network(walkers(1, 4))
    assert "softmax" not in out["training_feat"]
    assert out["inference_feat"]["embeddings"].shape == (1, 128, 1) == (1, *network.vector_shape)
    assert network.silhouette_hw is None and not network.pools
    assert network.reads == ("keypoints",)


@pytest.mark.parametrize("block", ["bottleneck", "basic"])
@pytest.mark.parametrize("partition", ["spatial", "distance"])
@pytest.mark.parametrize("branches", [("joint",), ("velocity",), ("joint", "bone"), BRANCHES])
def test_shape_variants(branches: tuple[str, ...], partition: str, block: str) -> None:
    config = {**SMALL, "branches": branches, "partition": partition, "block": block}
    network = seeded_network(**config, out_channels=24)
    assert network.input_norms[0].num_features == (3 if branches == ("joint",) else 5)
    inputs = [torch.rand(1, network.config.in_channels, 9, 17) for _ in branches]
    assert network.feature_map(inputs).shape == (1, 16, 3, 17)
    assert embed(network, walkers(2, 9)).shape == (2, 24, 3)


def test_shape_where_residuals_sit() -> None:
    branch: Any = ResGCN().branches[0]
    first, second, _ = branch
    assert isinstance(first.spatial, SpatialBasicBlock)
    assert isinstance(first.temporal, TemporalBasicBlock)
    for block in (first, first.spatial, first.temporal, second):
        assert block.residual is None
    assert isinstance(second.spatial.residual, nn.Identity)
    assert isinstance(second.temporal.residual, nn.Identity)
    main: Any = ResGCN(ResGCNConfig(block="basic")).main
    halving, plain, *_ = main
    assert halving.residual[0].stride == (2, 1)
    assert isinstance(plain.residual, nn.Identity)
    assert plain.spatial.residual is None and plain.temporal.residual is None


def test_golden_parameter_counts() -> None:
    assert parameters(ResGCN()) == 417_541
    assert parameters(ResGCN(ResGCNConfig(branches=("joint",)))) == 314_075
    assert parameters(ResGCN(ResGCNConfig(block="basic"))) == 2_263_845
    assert parameters(ResGCN(ResGCNConfig(class_num=74))) == 417_541 + 2 * 128 + 128 * 74


@pytest.mark.parametrize(("test_time", "want"), [(False, 118_681_660), (True, 356_017_080)])
def test_golden_multiplications_of_30_frames(test_time: bool, want: int) -> None:
    network = ResGCN(ResGCNConfig(test_time=test_time)).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.head_part(walkers(1, 30))
    assert counter.get_total_flops() == 2 * want


def test_golden_frames_that_a_number_depends_on() -> None:
    """97, more than a window of 30: what is averaged over time cannot be kept between windows."""
    network = seeded_network()
    inputs = [torch.randn(1, 5, 256, 17, requires_grad=True) for _ in BRANCHES]
    feature = network.feature_map(inputs)
    assert feature.shape == (1, 256, 64, 17)
    feature[:, :, 32].abs().sum().backward()
    for features in inputs:
        assert features.grad is not None
        frames = features.grad.abs().sum((0, 1, 3)).nonzero().flatten().tolist()
        assert frames == list(range(4 * 32 - 48, 4 * 32 + 49))
        assert len(frames) == 97


def test_property_every_frame_bears_on_every_number_of_a_window() -> None:
    network = seeded_network()
    keypoints = walkers(1, 30)
    wrist = 9  # no part of the hips' path and of the size

    def feature_map(keypoints: Tensor) -> Tensor:
        xy, confidence = normalise(keypoints)
        return network.feature_map([features_of(branch, xy, confidence) for branch in BRANCHES])

    with torch.inference_mode():
        plain = feature_map(keypoints)
        for frame in (0, 29):
            moved = keypoints.clone()
            moved[0, frame, wrist, :2] += 40
            changed = (feature_map(moved) - plain).abs().amax((0, 1, 3))
            assert changed.shape == (8,)
            assert changed.min() > 1e-4 * plain.abs().max()


def test_parity_batched_and_single() -> None:
    network = seeded_network()
    keypoints = without(walkers(3, 20), 0.2)
    together = embed(network, keypoints)
    for row in range(3):
        assert close(together[row : row + 1], embed(network, keypoints[row : row + 1]))


def test_parity_packed_and_one_by_one() -> None:
    network = seeded_network(class_num=4)
    lengths = [5, 1, 37]
    parts = [without(walkers(1, length, seed), 0.1) for seed, length in enumerate(lengths)]
    with torch.inference_mode():
        out = network(torch.cat(parts, 1), lengths=lengths)
    embeddings = out["inference_feat"]["embeddings"]
    assert embeddings.shape == (3, 128, 3)
    assert out["training_feat"]["softmax"]["logits"].shape == (3, 4, 1)
    for row, part in enumerate(parts):
        assert close(embeddings[row : row + 1], embed(network, part))
        picture = network(part)["visual_summary"]["image/keypoints"][0]
        assert torch.equal(out["visual_summary"]["image/keypoints"][row], picture)


def test_parity_test_time_parts_and_each_on_its_own() -> None:
    network = seeded_network()
    plain = ResGCN(ResGCNConfig(test_time=False)).eval()
    plain.load_state_dict(network.state_dict())
    keypoints = without(walkers(2, 25), 0.1)
    picture = keypoints[:, :, list(LEFT_RIGHT)]
    picture[..., 0] = 640 - picture[..., 0]
    parts = [embed(plain, k) for k in (keypoints, keypoints.flip(1), picture)]
    assert close(embed(network, keypoints), torch.cat(parts, 2), 1e-3)
    for one in range(3):
        for other in range(one):
            assert not close(parts[one], parts[other], 0.05)


def test_parity_with_a_plain_second_writing() -> None:
    """The paper step by step on the network's own blocks, in the order in which it is written."""
    network: Any = seeded_network(test_time=False)
    keypoints = walkers(2, 13)
    streams = []
    for k, name in enumerate(("joint", "velocity", "bone")):
        norm, branch = network.input_norms[k], network.branches[k]
        x = F.batch_norm(
            features_of(name, *normalise(keypoints)),  # type: ignore[arg-type]
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
        )
        for module in branch:
            x = module.temporal(module.spatial(x, network.neighbours * module.edge_mask))
        streams.append(x)
    x = torch.cat(streams, 1)
    for module, (channels, frames) in zip(
        network.main, [(128, 7), (128, 7), (256, 4), (256, 4)], strict=True
    ):
        x = module.temporal(module.spatial(x, network.neighbours * module.edge_mask))
        assert x.shape == (2, channels, frames, 17)
    pooled = x.reshape(2, 256, -1).mean(2)
    want = pooled @ network.fc.weight.T + network.fc.bias
    want = want / want.square().sum(1, keepdim=True).sqrt()
    assert close(embed(network, keypoints), want[..., None])


def test_parity_head_part_and_stored_config() -> None:
    network = seeded_network(class_num=3)
    keypoints = walkers(2, 12)
    want = embed(network, keypoints)
    again = build_network("resgcn", {k: _listed(v) for k, v in network.export_config().items()})
    assert again.config == network.config
    again.load_state_dict(network.state_dict())
    again.eval().drop_training_parts()
    assert again.bn_necks is None
    with torch.inference_mode():
        assert close(HeadPart(again)(keypoints), want)


def _listed(value: object) -> object:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def test_parity_half_precision() -> None:
    network = seeded_network()
    keypoints = walkers(2, 30)
    want = embed(network, keypoints)
    got = embed(network.half(), keypoints)  # no classes: those are for training
    assert got.dtype == torch.float32
    assert not close(got, want)
    assert (got * want).sum(1).min() > 0.99  # their cosine


@given(
    st.integers(0, 1000),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.2, 0.6]),
    st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000)),
    st.floats(0.3, 6),
)
@settings(max_examples=20, deadline=None)
def test_property_place_and_size_do_not_matter(
    seed: int, frames: int, share: float, by: tuple[float, float], scale: float
) -> None:
    network = seeded_network(**SMALL)
    keypoints = without(walkers(1, frames, seed), share, seed)
    moved = keypoints.clone()
    moved[..., :2] = keypoints[..., :2] * scale + torch.tensor(by)
    assert close(embed(network, moved), embed(network, keypoints), PIXEL_TOLERANCE)


@given(st.integers(0, 1000), st.integers(1, 20), st.sampled_from([0.0, 0.2, 0.6]))
@settings(max_examples=15, deadline=None)
def test_property_reversing_swaps_parts(seed: int, frames: int, share: float) -> None:
    network = seeded_network(**SMALL)
    keypoints = without(walkers(1, frames, seed), share, seed)
    forwards, backwards = embed(network, keypoints), embed(network, keypoints.flip(1))
    assert close(backwards[:, :, [1, 0]], forwards[:, :, [0, 1]], PIXEL_TOLERANCE)


def test_property_mirroring_swaps_parts() -> None:
    network = seeded_network()
    keypoints = walkers(1, 20)
    picture = keypoints[:, :, list(LEFT_RIGHT)]
    picture[..., 0] = -picture[..., 0]
    assert close(
        embed(network, picture)[:, :, [2, 0]], embed(network, keypoints)[:, :, [0, 2]], 1e-3
    )


@pytest.mark.parametrize("change", ["gait", "speed", "confidence"])
def test_property_what_does_matter(change: str) -> None:
    network = seeded_network()
    one, other = walker_of(1, 30)[None], walker_of(1, 30)[None]
    if change == "gait":
        other = walker_of(2, 30)[None]
    elif change == "speed":
        other = one[:, ::2]
        one = one[:, :15]
    else:
        other[..., 2] /= 2
    assert not close(embed(network, one), embed(network, other), 0.02)


@pytest.mark.parametrize("keypoints", [torch.zeros(1, 5, 17, 3), walkers(1, 5) * 1e6])
def test_property_nobody_and_giants_are_finite(keypoints: Tensor) -> None:
    out = embed(seeded_network(), keypoints)
    assert torch.isfinite(out).all()


def test_property_gradient_reaches_every_parameter() -> None:
    network = ResGCN(ResGCNConfig(class_num=5)).train()
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2])
    training = network(walkers(3, 12), labels=labels)["training_feat"]
    embeddings = training["triplet"]["embeddings"]
    loss = (embeddings * torch.randn_like(embeddings)).sum()
    loss = loss + F.cross_entropy(training["softmax"]["logits"][:, :, 0], labels)
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_golden_output() -> None:
    """Refreshed only by GAIT_REFRESH_GOLDEN=1."""
    keypoints = without(walker_of(2, 31), 0.1)[None]
    got = embed(seeded_network(), keypoints)[0]
    if os.environ.get("GAIT_REFRESH_GOLDEN") == "1":
        np.savez_compressed(GOLDEN, embedding=got.numpy())
    with np.load(GOLDEN) as stored:
        assert close(got, torch.from_numpy(stored["embedding"]))


@pytest.mark.parametrize(
    "shape", [(5, 17, 3), (1, 5, 18, 3), (1, 5, 17, 2), (1, 5, 3, 17), (1, 0, 17, 3), (0, 5, 17, 3)]
)
def test_exception_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"keypoints: expected .* got \["):
        ResGCN()(torch.zeros(shape))


@pytest.mark.parametrize("lengths", [[], [3], [2, 3], [4, 0], [5, -1]])
def test_exception_lengths_that_do_not_fit(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="packed sequences"):
        ResGCN().eval()(walkers(1, 4), lengths=lengths)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"branches": ()}, "branches"),
        ({"branches": ("bone", "joint")}, "in this order"),
        ({"branches": ("joint", "joint")}, "branches"),
        ({"branches": ("angle",)}, "branches"),
        ({"branches": "joint"}, "branches must be some values"),
        ({"branch_channels": (64, 64)}, "branch_channels must be 3 values"),
        ({"main_channels": 128}, "main_channels must be 2 values"),
        ({"main_channels": (128, 0)}, "widths"),
        ({"main_channels": (128, 1 << 20)}, "widths"),
        ({"main_channels": (128, 250)}, "reduction 8 does not divide"),
        ({"reduction": 0}, "reduction"),
        ({"block": "plain"}, "block"),
        ({"partition": "uniform"}, "partition"),
        ({"window": 8}, "window"),
        ({"window": -1}, "window"),
        ({"class_num": -1}, "class_num"),
        ({"class_num": True}, "whole numbers"),
        ({"out_channels": "128"}, "whole numbers"),
        ({"test_time": 1}, "test_time"),
    ],
)
def test_exception_bad_config(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResGCNConfig(**bad)


def test_property_config_is_frozen_and_takes_lists() -> None:
    config = ResGCNConfig(branches=["joint", "bone"], main_channels=[8, 16])  # type: ignore[arg-type]
    assert config.branches == ("joint", "bone") and config.main_channels == (8, 16)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.window = 3  # type: ignore[misc]
