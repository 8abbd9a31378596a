"""BNNeck for each body part (Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person
Re-identification", CVPR Workshops 2019): batch norm between the metric and the class loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SeparateBNNecks(nn.Module):
    """Batch norm and a bias-free classifier for each part.

    In: [n,c,p]. Out: the normalised feature [n,c,p] and the logits [n,class_num,p].
    `parallel` keeps the batch norms of all parts in one layer of c*p channels (numbered c first),
    else there is one layer a part; the numbers are the same. With `norm` feature and classifier are
    brought to length 1, so that a logit is a cosine.
    """

    def __init__(
        self,
        parts: int,
        channels: int,
        class_num: int,
        norm: bool = True,
        parallel: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(parts, channels, class_num))  # [p,c,class_num]
        nn.init.xavier_uniform_(self.weight)
        self.norm = norm
        self.parallel = parallel
        self.bn: nn.Module = (
            nn.BatchNorm1d(channels * parts)
            if parallel
            else nn.ModuleList(nn.BatchNorm1d(channels) for _ in range(parts))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self._batch_norm(x).permute(2, 0, 1)  # [p,n,c]
        weight: Tensor = self.weight
        if self.norm:
            x, weight = F.normalize(x, dim=-1), F.normalize(weight, dim=1)
        logits = torch.bmm(x, weight)  # [p,n,class_num]
        return x.permute(1, 2, 0), logits.permute(1, 2, 0)

    def _batch_norm(self, x: Tensor) -> Tensor:
        n, c, p = x.shape
        if self.parallel:
            return self.bn(x.reshape(n, c * p)).reshape(n, c, p)
        assert isinstance(self.bn, nn.ModuleList)
        return torch.stack([bn(x[:, :, part]) for part, bn in enumerate(self.bn)], -1)


def check_class_num(classes: object) -> None:
    """Check how many identities a network tells apart; ValueError says what is wrong."""
    if isinstance(classes, bool) or not isinstance(classes, int) or not 0 <= classes <= 1_000_000:
        raise ValueError(f"class_num must be a whole number in 0..1000000, got {classes!r}")
