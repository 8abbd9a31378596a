"""Which sequences and frames make up a training step.

A step's choice is a function of the seed and the step's number alone, so that a training that was
killed goes on with the very batches that it would have seen. Nothing is remembered between steps.

Of a subject's sequences a batch takes each equally often, or with `views` or `kinds` those that
differ most: what training must learn to overlook should differ within a subject, else it becomes a
cue.

An epoch is as many steps as it takes to draw every subject once. Subjects come in an order drawn
for each epoch; what does not fill the epoch's last step is drawn from the same order's beginning.
Told who is like whom, an epoch's steps are groups of subjects who are alike (after Liao and Shao,
"Graph Sampling Based Deep Metric Learning", CVPR 2022): the next of the order with those most like
them of all who are left. So each is still drawn once, and the last groups are of people who have
little in common.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import InputError
from stages.embed.data.interface import Entry

# Streams of random numbers that must not meet.
SUBJECTS, SEQUENCES, FRAMES, LENGTHS, SPREAD = range(5)
RUN_NUMBER = re.compile(r"[-_]\d+$")  # what tells nm-01 from nm-02


class SamplerConfig(BaseModel):
    """How a training batch is drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subjects: int = Field(8, ge=1, le=4096, description="subjects in a batch")
    sequences: int = Field(4, ge=1, le=4096, description="sequences of each subject in a batch")
    frames: int = Field(30, ge=1, le=1024, description="frames of each sequence")
    frames_min: int = Field(
        0, ge=0, le=1024, description="draw a number of frames from here to `frames`; 0: fixed"
    )
    unequal: bool = Field(
        False, description="draw the number of frames anew for each sequence, not for each batch"
    )
    order: Literal["ordered", "unordered"] = Field(
        "ordered", description="neighbouring frames in their order, or frames drawn from anywhere"
    )
    skip: int = Field(
        0, ge=0, le=64, description="ordered: frames that may be left out of the stretch drawn from"
    )

    views: Literal["any", "spread"] = Field(
        "any",
        description="spread: a subject's sequences in a batch come from views far apart, one from "
        "each of `sequences` equal stretches of its views in their order (degrees, else names)",
    )
    alike: int = Field(
        0,
        ge=0,
        le=4096,
        description="draw subjects together whom the weights in `init` confuse, by this many "
        "sequences of each, embedded before the first step; 0: any subjects",
    )
    kinds: Literal["any", "spread"] = Field(
        "any",
        description="spread: of as many kinds as there are, first of those that differ by more "
        "than a number at the end (nm-01 and cl-01 before nm-01 and nm-02)",
    )

    @model_validator(mode="after")
    def _check(self) -> SamplerConfig:
        if self.frames_min > self.frames:
            raise ValueError(f"frames_min {self.frames_min} is more than frames {self.frames}")
        if self.unequal and not self.frames_min:
            raise ValueError("unequal needs frames_min, from where the numbers are drawn")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Pick:
    """A sequence of a batch: its place in the store, its label, and int64 [s] frames of it."""

    index: int
    label: int
    frames: np.ndarray


class Sampler:
    """Draws batches from the sequences that have labels."""

    def __init__(
        self, entries: Sequence[Entry], labels: Mapping[int, int], config: SamplerConfig, seed: int
    ) -> None:
        """Prepare.

        Args:
            labels: by place in `entries`, of the sequences to draw from.

        Raises:
            InputError: fewer subjects than a batch wants.
        """
        self.config = config
        self._entries = entries
        self._seed = seed
        self._by_label: dict[int, list[int]] = {}
        for index, label in sorted(labels.items()):
            self._by_label.setdefault(label, []).append(index)
        self._labels = sorted(self._by_label)
        self._means: NDArray[np.float32] | None = None
        self._grouped: tuple[int, list[NDArray[np.intp]]] | None = None
        if len(self._labels) < config.subjects:
            raise InputError(
                f"a batch wants {config.subjects} subjects, the training data hold "
                f"{len(self._labels)}",
                hint="Lower sampler.subjects, or give more data.",
            )

    def group_alike(self, means: NDArray[np.float32]) -> None:
        """Draw subjects together who are alike.

        Args:
            means: [n,c], a row a label: its sequences' mean embedding, of length 1.
        """
        self._means = means[self._labels]
        self._grouped = None

    @property
    def steps_an_epoch(self) -> int:
        """Steps in which every subject is drawn once."""
        return -(-len(self._labels) // self.config.subjects)

    def batch_plan(self, step: int, rank: int = 0, world: int = 1) -> list[Pick]:
        """Return the batch of a step, or one process's share of it.

        Args:
            step: from 0.
            rank, world: this process and how many there are: each gets its own subjects.

        Raises:
            ValueError: the subjects of a batch do not divide among the processes.
        """
        if self.config.subjects % world:
            raise ValueError(f"{self.config.subjects} subjects do not divide among {world}")
        same = self._frame_count(np.random.default_rng((self._seed, LENGTHS, step)))
        share = self.config.subjects // world
        picks = []
        for label in self._subjects(step)[rank * share : (rank + 1) * share]:
            for place, index in enumerate(self._sequences(step, label)):
                rng = np.random.default_rng((self._seed, FRAMES, step, label, place))
                total = self._entries[index].frames
                frames = self._frame_count(rng) if self.config.unequal else same
                picks.append(Pick(index, label, draw_frames(total, frames, self.config, rng)))
        return picks

    def substitutes(self, pick: Pick, step: int) -> list[Pick]:
        """Return other sequences of the same subject to take where a sequence cannot be read."""
        others = [index for index in self._by_label[pick.label] if index != pick.index]
        rng = np.random.default_rng((self._seed, FRAMES, step, pick.label, pick.index))
        return [
            Pick(
                others[i],
                pick.label,
                draw_frames(self._entries[others[i]].frames, len(pick.frames), self.config, rng),
            )
            for i in rng.permutation(len(others))
        ]

    def _subjects(self, step: int) -> list[int]:
        """Return the step's labels."""
        epoch, place = divmod(step, self.steps_an_epoch)
        rng = np.random.default_rng((self._seed, SUBJECTS, epoch))
        order = rng.permutation(len(self._labels))
        if self._means is not None:
            grouped = self._grouped  # read once: batches are drawn by several threads
            if grouped is None or grouped[0] != epoch:
                groups = alike_groups(self._means, order, self.config.subjects)
                grouped = epoch, [groups[i] for i in rng.permutation(len(groups))]
                self._grouped = grouped
            return [self._labels[i] for i in grouped[1][place]]
        first = place * self.config.subjects
        chosen = np.arange(first, first + self.config.subjects) % len(order)
        return [self._labels[i] for i in order[chosen]]

    def _sequences(self, step: int, label: int) -> list[int]:
        """Return a subject's sequences for a step."""
        if "spread" in (self.config.views, self.config.kinds):
            return self._spread(step, label)
        return self._in_turn(step, label)

    def _spread(self, step: int, label: int) -> list[int]:
        """Return sequences whose views, kinds or both differ as much as they can.

        None comes twice as long as the subject has others.
        """
        rng = np.random.default_rng((self._seed, SPREAD, step, label))
        wanted, indices = self.config.sequences, self._by_label[label]
        entries = self._entries
        views: list[set[str]] = []
        if self.config.views == "spread":
            in_order = ordered_views({entries[index].view for index in indices})
            views = stretches(in_order, wanted, int(rng.integers(len(in_order))))
        kinds: Counter[str] = Counter()
        drawn: list[int] = []
        for place in range(wanted):
            left = _fewest(indices, drawn.count)
            if views:
                left = [i for i in left if entries[i].view in views[place]] or left
            if self.config.kinds == "spread":
                left = _fewest(left, lambda i: kinds[kind_of(entries[i])])
                left = _fewest(left, lambda i: kinds[entries[i].kind])
            index = left[int(rng.integers(len(left)))]
            drawn.append(index)
            kinds.update({kind_of(entries[index]), entries[index].kind})
        return drawn

    def _in_turn(self, step: int, label: int) -> list[int]:
        """Return the next of a subject's sequences.

        Over the epochs it is an endless row of permutations of the subject's sequences, so that
        each is drawn equally often.
        """
        indices = self._by_label[label]
        wanted = self.config.sequences
        first = step // self.steps_an_epoch * wanted
        drawn: list[int] = []
        for round_ in range(first // len(indices), (first + wanted - 1) // len(indices) + 1):
            rng = np.random.default_rng((self._seed, SEQUENCES, label, round_))
            drawn.extend(indices[i] for i in rng.permutation(len(indices)))
        start = first % len(indices)
        return drawn[start : start + wanted]

    def _frame_count(self, rng: np.random.Generator) -> int:
        """Return how many frames a sequence, or all of a batch, have."""
        low, high = self.config.frames_min, self.config.frames
        return int(rng.integers(low, high + 1)) if low else high


def alike_groups(
    means: NDArray[np.float32], order: NDArray[np.intp], size: int
) -> list[NDArray[np.intp]]:
    """Return groups of `size` subjects: the next of the order and whoever is left most like them.

    Each subject is in one group; who fills up the last one is in another too.

    Args:
        means: [n,c] of length 1; the larger the product, the more alike. size: n at most.
        order: a permutation of 0 to n - 1.
    """
    free = np.ones(len(means), bool)
    groups = []
    for first in order:
        if not free[first]:
            continue
        likeness = means @ means[first]
        likeness[first] = np.inf
        if free.sum() >= size:
            likeness[~free] = -np.inf
        else:  # the last: all who are left, then others
            likeness[free] = np.inf
        group = np.argsort(-likeness, kind="stable")[:size]
        free[group] = False
        groups.append(group)
    return groups


def ordered_views(views: Iterable[str]) -> list[str]:
    """Return views in the order of their degrees if all are numbers, else of their names."""
    distinct = sorted(set(views))
    try:
        degrees = {view: float(view) for view in distinct}
    except ValueError:
        return distinct
    return sorted(distinct, key=lambda view: degrees[view])


def stretches(views: Sequence[str], count: int, first: int) -> list[set[str]]:
    """Cut a circle of views, beginning at place `first`, into `count` stretches as equal as can be.

    With fewer views than stretches, some views stand in several.
    """
    size = len(views)
    bounds = [place * size // count for place in range(count + 1)]
    return [
        {views[(first + i) % size] for i in range(low, max(high, low + 1))}
        for low, high in pairwise(bounds)
    ]


def kind_of(entry: Entry) -> str:
    """Return a sequence's kind without the number that tells its repetitions apart."""
    return RUN_NUMBER.sub("", entry.kind)


def _fewest(indices: Sequence[int], times: Callable[[int], int]) -> list[int]:
    """Return those that occurred the fewest times."""
    least = min(times(index) for index in indices)
    return [index for index in indices if times(index) == least]


def draw_frames(
    total: int, count: int, config: SamplerConfig, rng: np.random.Generator
) -> np.ndarray:
    """Return int64 [count] frames of a sequence of `total`; what is too short is repeated."""
    if config.order == "unordered":
        if total >= count:
            return np.sort(rng.permutation(total)[:count])
        return np.sort(rng.integers(0, total, count))
    stretch = count + (int(rng.integers(0, config.skip + 1)) if config.skip else 0)
    if total < stretch:
        stretch = max(count, min(stretch, total))
    # What is too short is walked round, beginning anywhere.
    start = int(rng.integers(0, total - stretch + 1 if total >= stretch else total))
    kept = np.sort(rng.permutation(stretch)[:count])
    return ((start + kept) % total).astype(np.int64)
