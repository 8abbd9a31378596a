"""Tries a network that is being trained on subjects it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stages.embed.checkpoint import embedding_only
from stages.embed.data.interface import SequenceStore
from stages.embed.embedder import torch_embedder
from stages.embed.evaluation.evaluate import quick_evaluation
from stages.embed.networks.interface import GaitNetwork


def embedding_network(network: GaitNetwork, averaged: Mapping[str, Tensor] | None) -> GaitNetwork:
    """Return a copy on the processor, in eval mode, without classifiers.

    Args:
        averaged: weights to take in place of the network's own.
    """
    slim = embedding_only(network)
    if averaged is not None:
        slim.load_state_dict({name: averaged[name] for name in slim.state_dict()})
    return slim


def try_network(
    network: GaitNetwork,
    store: SequenceStore,
    indices: Sequence[int],
    device: torch.device,
    label: str,
) -> dict[str, float | None]:
    """Return rank1, mAP and eer, 0..1, None where the people are too few to tell.

    Args:
        network: is taken over.
        label: stands for the weights' hash, which only a file has.
    """
    embedder = torch_embedder(network, label, device)
    figures = quick_evaluation(embedder, store, indices)
    if device.type == "cuda":
        del embedder
        torch.cuda.empty_cache()  # graphs and features of the evaluation, which training needs
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
