"""Embeddings whose lengths say how crowded their place is: distances count alike everywhere.

Among some embeddings strangers lie close, a common build walking in a common way; among others
nobody does. One threshold for both either names strangers of the crowd or misses the rare. Dividing
squared distances by how far the nearest others are on either side makes up for it: local scaling
(Zelnik-Manor and Perona, "Self-Tuning Spectral Clustering", NIPS 2004); speaker verification does
the like to scores, by a cohort (Matejka et al., "Analysis of Score Normalization in Multilingual
Speaker Recognition", Interspeech 2017).

Here it is part of the embedding: z of length 1 becomes z * sqrt(r / r(z)), where r(z) is 1 minus
the mean similarity to the nearest of a cohort of other people, and r its mean over that cohort. The
squared distance of two such vectors is 2 (1 - similarity) r / sqrt(r(z) r(z')) plus what their
lengths differ by, so nothing that compares, averages or stores embeddings need know.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of the cohort these count as near.
NEAR_SHARE = 0.05
LARGEST = 4096
# A similarity of all but 1 to the cohort would make a vector without end.
LEAST_GAP = 1e-3


class LocalScaling(nn.Module):
    """In: [n,c,1] of length 1; out: the same, longer in a crowd. Float32 under autocast too.

    Args:
        numbers: c.
        people: k, of the cohort; its embeddings [k,c] are a buffer, random until `take` or loaded.
    """

    cohort: Tensor
    usual_gap: Tensor

    def __init__(self, numbers: int, people: int) -> None:
        super().__init__()
        self.near = max(1, round(NEAR_SHARE * people))
        rows = torch.empty(people, numbers)
        # Arithmetic on the meta device, even drawing numbers, imports torch's compiler: seconds.
        if not rows.is_meta:
            rows = F.normalize(rows.normal_(), dim=1)
        self.register_buffer("cohort", rows)
        self.register_buffer("usual_gap", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            gap = self._gap(x.float().flatten(1))  # [n]
            return x.float() * torch.sqrt(self.usual_gap.float() / gap)[:, None, None]

    def take(self, embeddings: Tensor) -> None:
        """Make these embeddings [k,c], one of each person, the cohort."""
        self.cohort.copy_(F.normalize(embeddings.float(), dim=1))
        # The nearest of the cohort to one of its own is itself: it is left out.
        found = self.cohort @ self.cohort.T
        found.fill_diagonal_(-1.0)
        near = found.topk(min(self.near, len(found) - 1), 1).values.mean(1)
        self.usual_gap.fill_(float((1.0 - near).clamp_min(LEAST_GAP).mean()))

    def _gap(self, x: Tensor) -> Tensor:
        alike = x @ self.cohort.float().T  # [n,k]
        return (1.0 - alike.topk(self.near, 1).values.mean(1)).clamp_min(LEAST_GAP)


def check_cohort(people: object) -> None:
    """Check how many people a cohort has; ValueError says what is wrong."""
    if isinstance(people, bool) or not isinstance(people, int) or not 0 <= people <= LARGEST:
        raise ValueError(f"cohort must lie in 0..{LARGEST}, got {people!r}")
    if people == 1:
        raise ValueError("a cohort of 1 has nobody who is near: 2 or more, or 0 for none")
