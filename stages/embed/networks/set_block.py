"""Runs a block for single pictures on every frame of a sequence."""

from __future__ import annotations

from torch import Tensor, nn


class SetBlockWrapper(nn.Module):
    """Folds the frames into the batch, runs `block`, and unfolds them again.

    In: [n,c,s,h,w]. Out: [n,c',s,h',w'], whatever the block makes of [n*s,c,h,w].
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        n, c, s, h, w = x.shape
        frames = x.transpose(1, 2).reshape(n * s, c, h, w)  # [n*s,c,h,w]
        frames = self.block(frames)  # [n*s,c',h',w']
        return frames.unflatten(0, (n, s)).transpose(1, 2)  # [n,c',s,h',w']
