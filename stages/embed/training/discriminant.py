"""Learns how the parts of an embedding go together, from the embeddings of a training set.

Linear discriminant analysis in three steps: the principal directions of all embeddings; the spread
within a person whitened, pulled a little towards a ball; and of what is left the directions in
which people differ most, each as long as the share of its variance that is the person (see
`stages.embed.networks.projection`). All of it is arithmetic: the same embeddings give the same
numbers.

Letters: N embeddings of S people, D = c*p numbers of an embedding, d principal directions, k
numbers that are left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, solve_triangular

from pipeline.errors import InputError
from stages.embed.networks.catalogue import build_network
from stages.embed.networks.interface import GaitNetwork

LEAST_PEOPLE = 10
# Principal directions: more than these, or more than a thirtieth of the embeddings, learn noise.
PRINCIPAL = 600
EMBEDDINGS_A_DIRECTION = 30
LEAST_PRINCIPAL = 16
# How far the spread within a person is pulled towards one that is the same in all directions.
SHRINK = 0.1
LEAST_SHARE = 1e-6
BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Discriminant:
    """weight float32 [k,D], bias float32 [k]; shares float64 [k]: of the variance, the person's."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    shares: NDArray[np.float64]


def fit_discriminant(
    vectors: NDArray[np.float32],
    people: Sequence[str],
    numbers: int,
    principal: int | None = None,
    shrink: float = SHRINK,
) -> Discriminant:
    """Return the discriminant of embeddings.

    Args:
        vectors: [N,D]; may be mapped from a file, it is read in blocks.
        people: whose each is, N.
        numbers: k, fewer where there are fewer directions.
        principal: d; None: as many as the embeddings bear, at most 600.
        shrink: 0..1, how far the spread within a person is pulled towards a ball.

    Raises:
        InputError: fewer than 10 people, or nobody has two embeddings.
    """
    names, codes = np.unique(np.asarray(people), return_inverse=True)
    count, people_count = len(vectors), len(names)
    if people_count < LEAST_PEOPLE or count == people_count:
        raise InputError(
            f"a projection is learnt from {LEAST_PEOPLE} people or more with several sequences "
            f"each, got {people_count} people and {count} sequences",
            hint="Give the data that the network was trained on.",
        )
    mean = vectors.mean(axis=0, dtype=np.float64)
    if principal is None:
        principal = min(PRINCIPAL, max(LEAST_PRINCIPAL, count // EMBEDDINGS_A_DIRECTION))
    basis = _principal(vectors, mean, min(principal, count - people_count, vectors.shape[1]))
    starts = range(0, count, BLOCK)
    reduced = np.concatenate([(vectors[i : i + BLOCK] - mean) @ basis for i in starts])  # [N,d]
    d = reduced.shape[1]
    each = np.bincount(codes)
    means = np.zeros((people_count, d))
    np.add.at(means, codes, reduced)
    means /= each[:, None]
    apart = reduced - means[codes]
    within = apart.T @ apart / (count - people_count)
    between = np.cov(means.T).reshape(d, d) - within * float(np.mean(1.0 / each))
    ball = np.eye(d) * (np.trace(within) / d)
    root = cholesky((1.0 - shrink) * within + shrink * ball, lower=True)
    # In axes where the spread within is 1: root^-1 between root^-T.
    half = solve_triangular(root, between, lower=True)
    whitened = solve_triangular(root, half.T, lower=True)
    kept = min(numbers, d, people_count - 1)
    strength, turned = eigh(0.5 * (whitened + whitened.T), subset_by_index=(d - kept, d - 1))
    strength, turned = np.maximum(strength[::-1], LEAST_SHARE), turned[:, ::-1]
    shares = strength / (1.0 + strength)
    directions = solve_triangular(root.T, turned, lower=False) * np.sqrt(shares)  # [d,k]
    weight = (basis @ directions).T
    return Discriminant(
        weight.astype(np.float32), (-weight @ mean).astype(np.float32), np.asarray(shares)
    )


def rows_of(network: GaitNetwork, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a network's projection reads [N,D] of embeddings [N,c,p]."""
    return vectors[:, :, 0] if network.parts_are_views else vectors.reshape(len(vectors), -1)


def with_projection(network: GaitNetwork, found: Discriminant) -> GaitNetwork:
    """Return the network with the discriminant behind it, in eval mode.

    Raises:
        ValueError: the network has a projection or classes, or other embeddings.
    """
    config = network.config
    if config.projection or config.class_num or getattr(config, "cohort", 0):
        raise ValueError("a projection goes behind a network that has none, no classes, no cohort")
    config = {
        field.name: getattr(network.config, field.name)
        for field in dataclasses.fields(network.config)
    }
    grown = build_network(network.name, {**config, "projection": len(found.weight)})
    state = dict(network.state_dict())
    state["projection.linear.weight"] = torch.from_numpy(found.weight)
    state["projection.linear.bias"] = torch.from_numpy(found.bias)
    try:
        grown.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the projection is of other embeddings: {error}") from error
    return grown.eval()


def _principal(
    vectors: NDArray[np.float32], mean: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """The principal directions [D,count], the largest first."""
    size = vectors.shape[1]
    covariance = np.zeros((size, size))
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK] - mean
        covariance += block.T @ block
    _, basis = eigh(covariance, subset_by_index=(size - count, size - 1), overwrite_a=True)
    return np.ascontiguousarray(basis[:, ::-1])
