"""A cohort put behind a joined network: who it is, and the network with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import InputError
from stages.embed.networks.joined import Joined


def one_of_each(entries: Sequence[tuple[int, str]], people: int) -> list[int]:
    """Return places of one sequence of each of so many people, evenly from all of them.

    Of one person the first sequence is taken, of the next the second, and so on, so that all walks
    and views come.

    Args:
        entries: place and person of each sequence.

    Raises:
        InputError: there are fewer people.
    """
    of_person: dict[str, list[int]] = {}
    for place, person in entries:
        of_person.setdefault(person, []).append(place)
    names = sorted(of_person)
    if len(names) < people:
        raise InputError(f"the data hold {len(names)} people, a cohort of {people} was asked for")
    chosen = [names[rank * len(names) // people] for rank in range(people)]
    return [of_person[name][rank % len(of_person[name])] for rank, name in enumerate(chosen)]


def with_shares(network: Joined, shares: Sequence[float]) -> Joined:
    """Return the network, in eval mode, with members that count otherwise; ValueError: cannot."""
    other = Joined(dataclasses.replace(network.config, shares=tuple(shares)))
    other.load_state_dict(network.state_dict())
    return other.eval()


def with_cohort(network: Joined, vectors: NDArray[np.float32]) -> Joined:
    """Return the network, in eval mode, with a cohort of these embeddings [k,c,1] behind it.

    Raises:
        ValueError: it has a cohort or classes, or the embeddings are not its own.
    """
    if network.config.cohort or network.config.class_num:
        raise ValueError("a cohort goes behind a network that has none, and no classes")
    if vectors.shape[1:] != network.vector_shape:
        raise ValueError(f"embeddings of {vectors.shape[1:]}, expected {network.vector_shape}")
    grown = Joined(dataclasses.replace(network.config, cohort=len(vectors)))
    assert grown.local_scaling is not None
    grown.local_scaling.take(torch.from_numpy(np.asarray(vectors[:, :, 0], np.float32)))
    grown.load_state_dict({**grown.state_dict(), **network.state_dict()})
    return grown.eval()
