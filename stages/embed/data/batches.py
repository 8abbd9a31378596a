"""Batches for training: drawn, read, augmented and loaded ahead."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from stages.embed.data.augmentation import AugmentationConfig, augment
from stages.embed.data.folders import FIELDS
from stages.embed.data.interface import SequenceStore, StoredClip, TrainingBatch
from stages.embed.data.sampling import Pick, Sampler, SamplerConfig

log = logging.getLogger(__name__)

AUGMENTATION = 7  # the stream of random numbers; see `sampling`


class Batches:
    """The training data as a function of the step's number.

    Attributes:
        replaced: by name, how often a sequence could not be read and another of its subject took
            its place.
    """

    def __init__(
        self,
        store: SequenceStore,
        labels: Mapping[int, int],
        sampler: SamplerConfig,
        augmentation: AugmentationConfig,
        reads: tuple[str, ...],
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Prepare.

        Args:
            labels: by place in the store, of the sequences to draw from.
            reads: what the network reads.
            rank, world: this process and how many there are.

        Raises:
            InputError: the store lacks what the network reads, or has too few subjects.
        """
        lacking = [name for name in reads if name not in store.has]
        if lacking:
            raise InputError(
                f"the network reads {', '.join(reads)}; not every sequence of the training data "
                f"has {', '.join(lacking)}",
                hint="Add smpls.npy or keypoints.npy to each sequence, or choose another network.",
            )
        self._store = store
        self._sampler = Sampler(store.entries, labels, sampler, seed)
        self._augmentation = augmentation
        self._reads = reads
        self._seed = seed
        self._rank, self._world = rank, world
        self.replaced: Counter[str] = Counter()

    def group_alike(self, means: NDArray[np.float32]) -> None:
        """Draw subjects together who are alike; see `Sampler.group_alike`."""
        self._sampler.group_alike(means)

    @property
    def steps_an_epoch(self) -> int:
        """Steps in which every subject is drawn once."""
        return self._sampler.steps_an_epoch

    def names_at(self, step: int) -> list[str]:
        """Return the names of a step's sequences, for error messages."""
        picks = self._sampler.batch_plan(step, self._rank, self._world)
        return [self._store.entries[pick.index].name for pick in picks]

    def batch_at(self, step: int) -> TrainingBatch:
        """Return the batch of a step: the same one whenever it is asked for.

        Raises:
            InputError: no sequence of one of the step's subjects can be read.
        """
        picks = self._sampler.batch_plan(step, self._rank, self._world)
        # Counted over all processes, so that they see the noise that one would.
        first = self._rank * len(picks)
        clips = [self._clip(pick, step, place) for place, pick in enumerate(picks, first)]
        lengths = tuple(len(pick.frames) for pick in picks)
        equal = len(set(lengths)) == 1
        return TrainingBatch(
            inputs={name: _joined(clips, FIELDS[name], equal) for name in self._reads},
            labels=np.array([pick.label for pick in picks], np.int64),
            lengths=None if equal else lengths,
        )

    def prefetched(self, first: int, last: int, workers: int) -> Iterator[TrainingBatch]:
        """Yield the batches of steps first to last - 1, in order.

        Args:
            workers: threads that load ahead, two batches each at most; 0 loads when asked.
        """
        if not workers:
            yield from (self.batch_at(step) for step in range(first, last))
            return
        with ThreadPoolExecutor(workers, thread_name_prefix="batches") as pool:
            ahead: list[Future[TrainingBatch]] = []
            try:
                for step in range(first, last):
                    ahead.append(pool.submit(self.batch_at, step))
                    if len(ahead) >= 2 * workers:
                        yield ahead.pop(0).result()
                while ahead:
                    yield ahead.pop(0).result()
            finally:
                for future in ahead:
                    future.cancel()

    def _clip(self, pick: Pick, step: int, place: int) -> StoredClip:
        """Read and augment one sequence, or another of its subject if it cannot be read."""
        for tried in (pick, *self._sampler.substitutes(pick, step)):
            try:
                clip = self._store.read(tried.index, tried.frames, frozenset(self._reads))
            except (InputError, OSError) as error:
                name = self._store.entries[tried.index].name
                if name not in self.replaced:
                    log.warning("%s cannot be read, another one takes its place: %s", name, error)
                self.replaced[name] += 1
                continue
            rng = np.random.default_rng((self._seed, AUGMENTATION, step, place))
            return augment(clip, self._augmentation, rng)
        subject = self._store.entries[pick.index].subject
        raise InputError(f"step {step}: no sequence of subject {subject} can be read")


def _joined(clips: list[StoredClip], field: str, equal: bool) -> np.ndarray:
    """Return [n,s,...] of clips of equal length, else [1,sum of lengths,...]."""
    arrays = [getattr(clip, field) for clip in clips]
    return np.stack(arrays) if equal else np.concatenate(arrays)[None]
