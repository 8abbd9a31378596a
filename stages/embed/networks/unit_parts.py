"""Embeddings of length 1: a batch norm for each number, then each part brought to length 1.

What all people have in common falls out with the mean, and numbers that vary little count as much
as others. Distances then lie in 0..2 whatever the network, and the Euclidean distance orders people
as the cosine does. The neck of Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person
Re-identification", CVPR Workshops 2019, read at inference too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UnitParts(nn.Module):
    """In and out: [n,c,p]; float32 under autocast too. Nothing in it is learnt by gradient."""

    def __init__(self, parts: int, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels * parts, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, p = x.shape
        with torch.autocast(x.device.type, enabled=False):
            x = self._normed(x.float().reshape(n, c * p)).reshape(n, c, p)
            return F.normalize(x, dim=1)

    def _normed(self, x: Tensor) -> Tensor:
        mean, var = self.bn.running_mean, self.bn.running_var
        if self.training or mean is None or var is None or mean.dtype == x.dtype:
            normed: Tensor = self.bn(x)
            return normed
        # A network in float16 keeps its statistics so, too, and torch takes no two precisions.
        return F.batch_norm(x, mean.float(), var.float(), eps=self.bn.eps)
