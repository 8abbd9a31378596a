"""The blocks of ResGCN, over time and over joints, and the graph they work on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from embed_clips import seeded
from torch import Tensor, nn

from stages.embed.networks.coco_graph import (
    BONE_PARENTS,
    EDGES,
    HIPS,
    JOINTS,
    LEFT_RIGHT,
    PARTITIONS,
    Partition,
    adjacency,
    hops,
    subsets,
)
from stages.embed.networks.spatial_blocks import (
    SpatialBasicBlock,
    SpatialBottleneckBlock,
    SpatialGraphConv,
)
from stages.embed.networks.temporal_blocks import (
    TemporalBasicBlock,
    TemporalBottleneckBlock,
    shortcut,
)

TEMPORAL_BLOCKS = [TemporalBasicBlock, TemporalBottleneckBlock]
SPATIAL_BLOCKS = [SpatialBasicBlock, SpatialBottleneckBlock]
TEMPORAL = pytest.mark.parametrize("block", TEMPORAL_BLOCKS)
SPATIAL = pytest.mark.parametrize("block", SPATIAL_BLOCKS)
MIRROR = list(LEFT_RIGHT)


def seeded_input(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def seeded_state(block: Any) -> dict[str, Tensor]:
    """Draw all of a block's numbers, put it in eval mode, and return them."""
    return seeded(block, 3).state_dict()


def norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Batch norm in eval mode, by hand."""
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / (var + 1e-5).sqrt()
    shift = state[f"{name}.bias"] - mean * scale
    return x * scale[:, None, None] + shift[:, None, None]


@TEMPORAL
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("window", [1, 3, 9])
@pytest.mark.parametrize(
    ("stride", "frames", "left"), [(1, 30, 30), (1, 1, 1), (2, 30, 15), (2, 7, 4), (2, 1, 1)]
)
def test_shape_temporal(
    block: type, residual: bool, window: int, stride: int, frames: int, left: int
) -> None:
    out = block(8, window, stride, residual)(torch.randn(2, 8, frames, 17))
    assert out.shape == (2, 8, left, 17)
    assert out.min() >= 0


@TEMPORAL
@pytest.mark.parametrize("stride", [0, 3, -1])
def test_exception_temporal_stride(block: type, stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride over time must be one of .*got {stride}"):
        block(8, stride=stride)


@TEMPORAL
@pytest.mark.parametrize("window", [0, 2, 8, -1])
def test_exception_temporal_window(block: type, window: int) -> None:
    with pytest.raises(ValueError, match=f"must be odd, got {window}"):
        block(8, window=window)


@pytest.mark.parametrize("reduction", [0, 3, 16])
def test_exception_reduction(reduction: int) -> None:
    message = f"reduction {reduction} does not divide 8"
    with pytest.raises(ValueError, match=message):
        TemporalBottleneckBlock(8, reduction=reduction)
    with pytest.raises(ValueError, match=message):
        SpatialBottleneckBlock(4, 8, reduction=reduction)


def test_shape_a_residual_is_as_plain_as_it_can_be() -> None:
    assert isinstance(shortcut(4, 4), nn.Identity)
    for widths in ((4, 4, 2), (4, 6, 1)):
        fitted = shortcut(*widths)
        assert isinstance(fitted, nn.Sequential)
        conv, bn = fitted
        assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
        assert conv.kernel_size == (1, 1) and conv.stride == (widths[2], 1)
    assert TemporalBasicBlock(4, residual=False).residual is None


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_parity_temporal_basic_with_a_second_writing(stride: int, residual: bool) -> None:
    block = TemporalBasicBlock(4, 5, stride, residual)
    state = seeded_state(block)
    x, around = seeded_input(2, 4, 7, 3), seeded_input(2, 4, 7, 3)[:, :, ::stride]
    padded = F.pad(x, (0, 0, 2, 2))
    kernel = state["conv.weight"][..., 0]  # [4,4,5]
    frames = range(0, 7, stride)
    y = torch.stack(
        [torch.einsum("oct,nctv->nov", kernel, padded[:, :, t : t + 5]) for t in frames], 2
    )
    y = norm(state, "bn", y)
    if residual and stride == 1:
        y = y + x
    elif residual:
        weight = state["residual.0.weight"][:, :, 0, 0]
        y = y + norm(state, "residual.1", torch.einsum("oc,nctv->notv", weight, x[:, :, ::2]))
    with torch.inference_mode():
        torch.testing.assert_close(block(x), y.relu(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(block(x, around), (y + around).relu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_parity_temporal_bottleneck_with_a_second_writing(stride: int, residual: bool) -> None:
    block = TemporalBottleneckBlock(8, 9, stride, residual, reduction=4)
    state = seeded_state(block)
    assert state["conv.weight"].shape == (2, 2, 9, 1)
    x, around = seeded_input(2, 8, 6, 3), seeded_input(2, 8, 6, 3)[:, :, ::stride]
    y = norm(state, "bn_down", F.conv2d(x, state["conv_down.weight"])).relu()
    y = F.conv2d(F.pad(y, (0, 0, 4, 4)), state["conv.weight"])[:, :, ::stride]
    y = norm(state, "bn", y).relu()
    y = norm(state, "bn_up", F.conv2d(y, state["conv_up.weight"]))
    if residual and stride == 1:
        y = y + x
    elif residual:
        narrow = F.conv2d(x[:, :, ::2], state["residual.0.weight"])
        y = y + norm(state, "residual.1", narrow)
    with torch.inference_mode():
        torch.testing.assert_close(block(x), y.relu(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(block(x, around), (y + around).relu(), rtol=1e-4, atol=1e-5)


@TEMPORAL
def test_property_time_blocks_keep_joints_apart(block: type) -> None:
    net = block(8)
    seeded_state(net)
    x = seeded_input(1, 8, 12, 17)
    other = x.clone()
    other[..., 5] += 1
    with torch.inference_mode():
        changed = (net(other) != net(x)).flatten(0, 2).any(0)
    assert changed.nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize("block", TEMPORAL_BLOCKS + SPATIAL_BLOCKS)
def test_property_gradient_reaches_every_parameter(block: type) -> None:
    temporal = block in TEMPORAL_BLOCKS
    net = block(8, stride=2) if temporal else block(4, 8)
    x = seeded_input(2, 8 if temporal else 4, 6, JOINTS)
    out = net(x) if temporal else net(x, adjacency("spatial"))
    (out * seeded_input(*out.shape)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("partition", PARTITIONS)
def test_parity_graph_convolution_with_matrices_first(partition: Partition) -> None:
    conv = SpatialGraphConv(5, 6)
    x, edges = seeded_input(2, 5, 4, JOINTS), adjacency(partition)
    matrices = conv.conv.weight[:, :, 0, 0].reshape(6, 3, 5)  # [c',k,c]
    want = torch.einsum("okc,nctv,vkw->notw", matrices, x, edges)
    torch.testing.assert_close(conv(x, edges), want)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("widths", [(8, 8), (4, 8)])
def test_parity_spatial_blocks_with_a_second_writing(
    widths: tuple[int, int], residual: bool
) -> None:
    x, edges = seeded_input(2, widths[0], 3, JOINTS), adjacency("spatial")
    for block in (SpatialBasicBlock(*widths, residual), SpatialBottleneckBlock(*widths, residual)):
        state = seeded_state(block)
        y = x
        if isinstance(block, SpatialBottleneckBlock):
            y = norm(state, "bn_down", F.conv2d(y, state["conv_down.weight"])).relu()
        y = norm(state, "bn", block.conv(y, edges))
        if isinstance(block, SpatialBottleneckBlock):
            y = norm(state, "bn_up", F.conv2d(y.relu(), state["conv_up.weight"]))
        if residual and widths[0] == widths[1]:
            y = y + x
        elif residual:
            y = y + norm(state, "residual.1", F.conv2d(x, state["residual.0.weight"]))
        with torch.inference_mode():
            torch.testing.assert_close(block(x, edges), y.relu(), rtol=1e-4, atol=1e-5)


@SPATIAL
def test_property_spatial_blocks_keep_frames_apart(block: type) -> None:
    net = block(4, 8)
    seeded_state(net)
    x = seeded_input(1, 4, 6, JOINTS)
    other = x.clone()
    other[:, :, 2] += 1
    with torch.inference_mode():
        changed = net(other, adjacency("spatial")) != net(x, adjacency("spatial"))
    assert changed.transpose(0, 2).flatten(1).any(1).nonzero().flatten().tolist() == [2]


def test_golden_hops() -> None:
    apart = hops()
    assert (apart == apart.T).all() and (np.diag(apart) == 0).all()
    assert {(i, j) for i, j in np.argwhere(apart == 1) if i < j} == {
        (min(edge), max(edge)) for edge in EDGES
    }
    wrist, ankle, nose = 9, 16, 0
    assert apart[wrist, ankle] == 6 and apart[nose, list(HIPS)].tolist() == [4, 4]
    assert apart.max() == 6


def test_golden_spatial_subsets_of_the_left_knee() -> None:
    knee, hip, ankle = 13, 11, 15
    same, nearer, farther = subsets("spatial")[:, :, knee].T
    assert np.flatnonzero(same).tolist() == [knee]
    assert np.flatnonzero(nearer).tolist() == [hip]
    assert np.flatnonzero(farther).tolist() == [ankle]


def test_golden_distance_subsets_of_the_left_knee() -> None:
    zero, one, two = subsets("distance")[:, :, 13].T
    assert [np.flatnonzero(subset).tolist() for subset in (zero, one, two)] == [
        [13],
        [11, 15],
        [5, 12],
    ]


@pytest.mark.parametrize("partition", PARTITIONS)
def test_property_neighbours(partition: Partition) -> None:
    chosen, weights = subsets(partition), adjacency(partition)
    assert chosen.sum(1).max() == 1  # a neighbour is in one subset
    assert chosen.any((0, 2)).all()
    torch.testing.assert_close(weights.sum((0, 1)), torch.ones(JOINTS))
    assert ((weights > 0).numpy() == chosen).all()
    assert torch.equal(weights[MIRROR][:, :, MIRROR], weights)
    within = hops() <= (1 if partition == "spatial" else 2)
    assert (chosen.any(1) == within).all()


def test_property_bones_are_the_same_in_a_mirror() -> None:
    assert [BONE_PARENTS[j] for j in MIRROR] == [MIRROR[parent] for parent in BONE_PARENTS]
    for joint in range(JOINTS):  # every bone leads to the nose
        for _ in range(JOINTS):
            joint = BONE_PARENTS[joint]  # noqa: PLW2901
        assert joint == 0
