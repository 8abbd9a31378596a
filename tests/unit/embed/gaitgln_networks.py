"""GaitGLN networks drawn from seeds, and a second writing of the network to hold them against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from embed_clips import network_of
from torch import Tensor

from stages.embed.networks.gaitgln import GaitGLN

NARROW = {"channels": (3, 5, 4), "lateral_channels": 6, "out_channels": 6}


def seeded_gaitgln(**config: object) -> GaitGLN:
    """A GaitGLN whose every number, running statistics too, is drawn from a seed; in eval mode."""
    network = network_of("gaitgln", **config)
    assert isinstance(network, GaitGLN)
    return network


@dataclass(frozen=True, slots=True, eq=False)
class PlainWeights:
    """Convolutions in their order: trunk 6, set branch 4, laterals 3, smoothings 3; FCs or None."""

    trunk: Sequence[Tensor]
    set_branch: Sequence[Tensor]
    laterals: Sequence[Tensor]
    smoothings: Sequence[Tensor]
    fcs: Tensor | None


def plain_gln(
    weights: PlainWeights, silhouettes: Tensor, bins: Sequence[int], order: Sequence[int]
) -> Tensor:
    """The paper step by step, frame by frame: the parts [c,p] of silhouettes [s,h,w]."""

    def twice(x: Tensor, pair: Sequence[Tensor]) -> Tensor:
        for weight in pair:
            x = F.leaky_relu(F.conv2d(x, weight, padding=weight.shape[-1] // 2))
        return x

    sets, halved_sets = [], []
    x = silhouettes[:, None]
    for stage in range(3):
        x = twice(x, weights.trunk[2 * stage : 2 * stage + 2])
        sets.append(x.max(0, keepdim=True).values)
        x = F.max_pool2d(x, 2)
        halved_sets.append(x.max(0, keepdim=True).values)
    set1 = twice(halved_sets[0], weights.set_branch[:2]) + sets[1]
    set2 = twice(F.max_pool2d(set1, 2), weights.set_branch[2:]) + sets[2]

    doubled = weights.laterals[0].shape[1] == 2 * sets[0].shape[1]
    first = torch.cat([sets[0], sets[0]], 1) if doubled else sets[0]
    inputs = [first, torch.cat([sets[1], set1], 1), torch.cat([sets[2], set2], 1)]
    maps = [
        F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        for x, weight in zip(inputs, weights.laterals, strict=True)
    ]
    maps[1] = maps[1] + maps[2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    maps[0] = maps[0] + maps[1].repeat_interleave(2, 2).repeat_interleave(2, 3)

    parts = []
    for scale in order:
        smooth = F.conv2d(maps[scale], weights.smoothings[scale], padding=1)[0]
        for count in bins:
            for strip in smooth.chunk(count, dim=1):
                flat = strip.flatten(1)
                parts.append(flat.mean(1) + flat.max(1).values)
    if weights.fcs is not None:
        parts = [part @ weights.fcs[i] for i, part in enumerate(parts)]
    return torch.stack(parts, 1)
