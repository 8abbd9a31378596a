"""The compact block of GLN (Hou et al., "Gait Lateral Network", ECCV 2020): from all the numbers of
all parts to few. Dropout of nine tenths makes each few of them speak for the whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DROPOUT = 0.9


class CompactBlock(nn.Module):
    """The paper's: batch norm of each number, ReLU, dropout, one layer over all, batch norm.

    In: [n,c,p]. Out: [n,c']. Channel 0 of all parts comes first, then channel 1, and so on.
    """

    def __init__(self, channels: int, parts: int, out_channels: int) -> None:
        super().__init__()
        self.bn_in = nn.BatchNorm1d(channels * parts)
        self.dropout = nn.Dropout(DROPOUT)
        # Without a bias: the batch norm behind it would take it away.
        self.fc = nn.Linear(channels * parts, out_channels, bias=False)
        self.bn_out = nn.BatchNorm1d(out_channels)

    def forward(self, parts: Tensor) -> Tensor:
        x = torch.relu(self.bn_in(parts.flatten(1)))  # [n,c*p]
        return self.bn_out(self.fc(self.dropout(x)))  # [n,c']


class PartSumBlock(nn.Module):
    """The seed's: batch norm of each channel, ReLU, dropout, a weighted sum of parts, batch norm.

    In: [n,c,p]. Out: [n,c]. All channels share the parts' weights, so p numbers are learnt where
    `CompactBlock` learns c*p*c'.
    """

    def __init__(self, channels: int, parts: int) -> None:
        super().__init__()
        self.bn_in = nn.BatchNorm1d(channels)
        self.dropout = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(parts, 1, bias=False)
        self.bn_out = nn.BatchNorm1d(channels)

    def forward(self, parts: Tensor) -> Tensor:
        x = torch.relu(self.bn_in(parts))  # [n,c,p]
        return self.bn_out(self.fc(self.dropout(x)).squeeze(-1))  # [n,c]
