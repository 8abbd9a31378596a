"""Embeddings of the latest steps, for a loss that compares within more than a batch.

A batch that fits a processor holds a dozen people, among whom hardly anybody is like somebody else.
What the network said of others a hundred steps ago is near enough to what it would say now, and
costs a product of matrices (Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020;
written from the paper).

Letters: k sequences, c numbers for each of p body parts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Memory:
    """The latest `size` sequences, the oldest first; none in the beginning, or if `size` is 0."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: tuple[Tensor, Tensor] | None = None

    def recall(self) -> tuple[Tensor, Tensor] | None:
        """Return embeddings float32 [k,c,p] without a gradient and labels int [k], if any."""
        return self._kept

    def add(self, embeddings: Tensor, labels: Tensor) -> None:
        """Keep a step's embeddings [n,c,p] and labels [n], and forget what is too old."""
        if not self.size:
            return
        new = embeddings.detach().float(), labels.detach()
        if self._kept is not None:
            new = torch.cat([self._kept[0], new[0]]), torch.cat([self._kept[1], new[1]])
        # Copies, so that no step's whole tensor stays alive behind a part of it.
        self._kept = new[0][-self.size :].clone(), new[1][-self.size :].clone()

    def state(self) -> dict[str, Tensor] | None:
        """Return what a checkpoint keeps."""
        if self._kept is None:
            return None
        return {"embeddings": self._kept[0], "labels": self._kept[1]}

    def restore(self, state: Mapping[str, Tensor] | None, device: torch.device) -> None:
        """Go on from what `state` returned."""
        self._kept = (
            None if state is None else (state["embeddings"].to(device), state["labels"].to(device))
        )
