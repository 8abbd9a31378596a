"""Graph convolutions over the joints of a skeleton, each frame by itself.

Graph convolution in subsets of neighbours: Yan, Xiong, Lin, "Spatial Temporal Graph Convolutional
Networks for Skeleton-Based Action Recognition", AAAI 2018. The blocks: ResGCN, see `resgcn`.

Letters: n sequences, c channels, s frames, v joints, k subsets of neighbours.
"""

from __future__ import annotations

from torch import Tensor, nn

from stages.embed.networks.coco_graph import SUBSETS
from stages.embed.networks.temporal_blocks import added, narrowed, shortcut


class SpatialGraphConv(nn.Module):
    """Adds up, for each subset of a joint's neighbours, their weighted mean through a matrix.

    In: [n,c,s,v] and the weights of neighbours [v,k,v], from, subset, to. Out: [n,c',s,v].

    The neighbours are gathered first and the matrices applied last, one 1x1 convolution for all
    subsets: the same numbers as the other way round, and up to ten times faster where c < c'.
    """

    def __init__(self, in_channels: int, out_channels: int, subsets: int = SUBSETS) -> None:
        super().__init__()
        self.conv = nn.Conv2d(subsets * in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        gathered = x @ edges.flatten(1)  # [n,c,s,k*v]
        gathered = gathered.unflatten(3, edges.shape[1:])  # [n,c,s,k,v]
        return self.conv(gathered.permute(0, 3, 1, 2, 4).flatten(1, 2))  # [n,c',s,v]


class SpatialBasicBlock(nn.Module):
    """Graph convolution, batch norm, residual, ReLU.

    In: [n,c,s,v] and [v,k,v] as `SpatialGraphConv`. Out: [n,c',s,v].

    Args:
        residual: add the block's own input, through a 1x1 convolution and batch norm where c and c'
            differ.
    """

    def __init__(self, in_channels: int, out_channels: int, residual: bool = True) -> None:
        super().__init__()
        self.conv = SpatialGraphConv(in_channels, out_channels)
        self.bn = nn.BatchNorm2d(out_channels)
        self.residual = shortcut(in_channels, out_channels) if residual else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        own = None if self.residual is None else self.residual(x)
        return self.relu(added(self.bn(self.conv(x, edges)), own))


class SpatialBottleneckBlock(nn.Module):
    """The same over c'/reduction channels, between two 1x1 convolutions; all with batch norm.

    In: [n,c,s,v] and [v,k,v] as `SpatialGraphConv`. Out: [n,c',s,v].

    Args:
        residual: as in `SpatialBasicBlock`.
        reduction: how many times narrower the graph convolution is.

    Raises:
        ValueError: for a reduction that does not divide c'.
    """

    def __init__(
        self, in_channels: int, out_channels: int, residual: bool = True, reduction: int = 4
    ) -> None:
        super().__init__()
        narrow = narrowed(out_channels, reduction)
        self.conv_down = nn.Conv2d(in_channels, narrow, 1, bias=False)
        self.bn_down = nn.BatchNorm2d(narrow)
        self.conv = SpatialGraphConv(narrow, narrow)
        self.bn = nn.BatchNorm2d(narrow)
        self.conv_up = nn.Conv2d(narrow, out_channels, 1, bias=False)
        self.bn_up = nn.BatchNorm2d(out_channels)
        self.residual = shortcut(in_channels, out_channels) if residual else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        own = None if self.residual is None else self.residual(x)
        x = self.relu(self.bn_down(self.conv_down(x)))  # [n,c'/reduction,s,v]
        x = self.relu(self.bn(self.conv(x, edges)))
        return self.relu(added(self.bn_up(self.conv_up(x)), own))  # [n,c',s,v]
