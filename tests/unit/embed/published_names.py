"""The tensors of OpenGait and Gait3D-Benchmark checkpoints, written down: names and shapes
there, and our names. A list of its own, so that the reader is not tested against itself."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

Row = tuple[str, tuple[int, ...], str]

CLASSES = 7


def batch_norm(theirs: str, size: int, ours: str) -> list[Row]:
    return [
        (f"{theirs}.weight", (size,), f"{ours}.weight"),
        (f"{theirs}.bias", (size,), f"{ours}.bias"),
        (f"{theirs}.running_mean", (size,), f"{ours}.running_mean"),
        (f"{theirs}.running_var", (size,), f"{ours}.running_var"),
        (f"{theirs}.num_batches_tracked", (), f"{ours}.num_batches_tracked"),
    ]


BASELINE: list[Row] = [
    ("Backbone.forward_block.feature.0.conv.weight", (64, 1, 5, 5), "backbone.block.0.weight"),
    ("Backbone.forward_block.feature.2.conv.weight", (64, 64, 3, 3), "backbone.block.2.weight"),
    ("Backbone.forward_block.feature.5.conv.weight", (128, 64, 3, 3), "backbone.block.5.weight"),
    ("Backbone.forward_block.feature.7.conv.weight", (128, 128, 3, 3), "backbone.block.7.weight"),
    ("Backbone.forward_block.feature.10.conv.weight", (256, 128, 3, 3), "backbone.block.10.weight"),
    ("Backbone.forward_block.feature.12.conv.weight", (256, 256, 3, 3), "backbone.block.12.weight"),
    ("FCs.fc_bin", (31, 256, 256), "fcs.weight"),
    ("BNNecks.fc_bin", (31, 256, CLASSES), "bn_necks.weight"),
    *batch_norm("BNNecks.bn1d", 31 * 256, "bn_necks.bn"),
]

SMPLGAIT: list[Row] = [
    *BASELINE,
    ("fc1.weight", (128, 85), "body.fc1.weight"),
    ("fc1.bias", (128,), "body.fc1.bias"),
    ("fc2.weight", (256, 128), "body.fc2.weight"),
    ("fc2.bias", (256,), "body.fc2.bias"),
    ("fc3.weight", (256, 256), "body.fc3.weight"),
    ("fc3.bias", (256,), "body.fc3.bias"),
    *batch_norm("bn1", 128, "body.bn1"),
    *batch_norm("bn2", 256, "body.bn2"),
    *batch_norm("bn3", 256, "body.bn3"),
]

GLN_PHASE_1: list[Row] = [
    ("sil_stage_0.forward_block.0.conv.weight", (32, 1, 5, 5), "trunk.stages.0.0.weight"),
    ("sil_stage_0.forward_block.2.conv.weight", (32, 32, 3, 3), "trunk.stages.0.2.weight"),
    ("sil_stage_1.forward_block.0.conv.weight", (64, 32, 3, 3), "trunk.stages.1.0.weight"),
    ("sil_stage_1.forward_block.2.conv.weight", (64, 64, 3, 3), "trunk.stages.1.2.weight"),
    ("sil_stage_2.forward_block.0.conv.weight", (128, 64, 3, 3), "trunk.stages.2.0.weight"),
    ("sil_stage_2.forward_block.2.conv.weight", (128, 128, 3, 3), "trunk.stages.2.2.weight"),
    ("set_stage_1.0.conv.weight", (64, 32, 3, 3), "pyramid.set_branch.stages.0.0.weight"),
    ("set_stage_1.2.conv.weight", (64, 64, 3, 3), "pyramid.set_branch.stages.0.2.weight"),
    ("set_stage_2.0.conv.weight", (128, 64, 3, 3), "pyramid.set_branch.stages.1.0.weight"),
    ("set_stage_2.2.conv.weight", (128, 128, 3, 3), "pyramid.set_branch.stages.1.2.weight"),
    ("lateral_layer1.weight", (256, 64, 1, 1), "pyramid.laterals.0.weight"),
    ("lateral_layer2.weight", (256, 128, 1, 1), "pyramid.laterals.1.weight"),
    ("lateral_layer3.weight", (256, 256, 1, 1), "pyramid.laterals.2.weight"),
    ("smooth_layer1.weight", (256, 256, 3, 3), "pyramid.smoothings.0.weight"),
    ("smooth_layer2.weight", (256, 256, 3, 3), "pyramid.smoothings.1.weight"),
    ("smooth_layer3.weight", (256, 256, 3, 3), "pyramid.smoothings.2.weight"),
    ("Head.fc_bin", (93, 256, 256), "fcs.weight"),
]

GLN_PHASE_2: list[Row] = [
    *GLN_PHASE_1,
    *batch_norm("encoder_bn", 93 * 256, "compact_block.bn_in"),
    ("reduce_fc.weight", (256, 93 * 256), "compact_block.fc.weight"),
    *batch_norm("reduce_bn", 256, "compact_block.bn_out"),
    ("reduce_cls.weight", (CLASSES, 256), "classifier.weight"),
]


def published(rows: Sequence[Row], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the published names. GLN's first lateral layer is two halves there."""
    assert sorted(state) == sorted(ours for _, _, ours in rows)
    named = {theirs: state[ours].clone() for theirs, _, ours in rows}
    if "lateral_layer1.weight" in named:
        half = named["lateral_layer1.weight"] / 2
        named["lateral_layer1.weight"] = half.repeat(1, 2, 1, 1)
    return named


def parts_first(tensor: Tensor, parts: int) -> Tensor:
    """The last axis counted part by part, where it was channel by channel."""
    channels = tensor.shape[-1] // parts
    order = [channel * parts + part for part in range(parts) for channel in range(channels)]
    return tensor[..., order].clone()
