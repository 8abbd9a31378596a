"""All parts of an embedding brought together in the directions that tell people apart.

A network that is trained part by part and batch by batch does not know how its parts go together,
nor which of their directions views and clothes turn. Both are learnt afterwards, in one step, from
the embeddings of the training set: linear discriminant analysis (Fisher, "The Use of Multiple
Measurements in Taxonomic Problems", 1936), each direction weighted by how much of what varies along
it is the person, as probabilistic linear discriminant analysis does (Ioffe, "Probabilistic Linear
Discriminant Analysis", ECCV 2006). See `stages.embed.training.discriminant`. Network and projection
may then be trained on together (configs/train_smplgait_together.yaml).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 4096


class Projection(nn.Module):
    """In: [n,c,p]; out: [n,k,1] of length 1, float32 under autocast too."""

    def __init__(self, numbers: int, projected: int) -> None:
        super().__init__()
        self.linear = nn.Linear(numbers, projected)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            # A network in float16 keeps its weights so, too.
            weight, bias = self.linear.weight.float(), self.linear.bias.float()
            projected = F.linear(x.float().flatten(1), weight, bias)
            return F.normalize(projected, dim=1).unsqueeze(-1)


def check_projection(config: object) -> None:
    """Check a network's config; ValueError says what is wrong."""
    numbers, classes = (getattr(config, name) for name in ("projection", "class_num"))
    if isinstance(numbers, bool) or not isinstance(numbers, int) or not 0 <= numbers <= LARGEST:
        raise ValueError(f"projection must lie in 0..{LARGEST}, got {numbers!r}")
    if numbers and classes:
        raise ValueError("a projection leaves no parts, which classes read: leave one of them out")
