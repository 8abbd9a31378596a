"""The peers of `benchmarks/embedding.py`: whole windows, as the published recipes compute them.

Written from the papers with plain PyTorch in its default layout, over our weights, so that only the
way of computing differs: every window from its pixels, nothing kept, nothing folded.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stages.embed.networks.interface import GaitNetwork
from stages.embed.networks.smplgait import SMPLGait

Forward = Callable[..., Tensor]


def plain_forward(network: GaitNetwork) -> Forward:
    """Return a function of what the network reads, [n,s,...] each, to embeddings [n,c,p]."""
    network = network.eval().requires_grad_(False)
    if isinstance(network, SMPLGait) and network.body is not None:
        return lambda silhouettes, theta: _smplgait(network, silhouettes, theta)
    return lambda *inputs: network(*inputs)["inference_feat"]["embeddings"]


def _smplgait(network: SMPLGait, silhouettes: Tensor, theta: Tensor) -> Tensor:
    """The matrix of a frame is repeated for each channel, the feature padded, all multiplied."""
    assert network.body is not None
    n, s = silhouettes.shape[:2]
    feature = network.backbone.block(silhouettes.flatten(0, 1).unsqueeze(1))  # [n*s,c,h,w]
    c, h, w = feature.shape[1:]
    padding = torch.zeros(n * s, c, h, h - w)
    square = torch.cat([feature, padding], -1).reshape(-1, h, h)  # [n*s*c,h,h]
    matrices = network.body(theta.flatten(0, 1))  # [n*s,h,h]
    matrices = matrices.unsqueeze(1).repeat(1, c, 1, 1).reshape(-1, h, h)  # [n*s*c,h,h]
    product = torch.bmm(square, matrices).reshape(n, s, c, h, h)
    pooled = product.max(1)[0]  # [n,c,h,h]
    return network.fcs(network.horizontal_pooling(pooled))
