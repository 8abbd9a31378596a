"""From a configuration to what a training works with: data, labels, a network."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.errors import ConfigError, InputError, WeightsError
from stages.embed import weights as weights_file
from stages.embed.checkpoint import embedding_only, load_any
from stages.embed.data.batches import Batches
from stages.embed.data.folders import FolderStore
from stages.embed.data.interface import SequenceStore
from stages.embed.data.opening import open_store
from stages.embed.data.partition import Partition, labels_of, load_partition, split_subjects
from stages.embed.evaluation.protocols import GENERIC
from stages.embed.networks.catalogue import build_network
from stages.embed.networks.interface import SILHOUETTES, THETA, GaitNetwork
from stages.embed.training.config import Phase, TrainConfig

log = logging.getLogger(__name__)

NAMED = 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """Sequences and who is trained on.

    Attributes:
        name: the folder's or file's name, without where it lies.
        subjects: the training subjects, in the order of their labels.
        labels: by place in `store`, of the training sequences.
        test_store: where the test sequences lie; the same store unless they have their own.
        test_subjects: whom the network is tried on.
    """

    name: str
    store: SequenceStore
    subjects: tuple[str, ...]
    labels: Mapping[int, int]
    test_store: SequenceStore
    test_subjects: tuple[str, ...]

    def test_indices(self, share: float = 1.0) -> list[int]:
        """Return the places of the sequences of a share of the test subjects, two at least.

        The same subjects every time, evenly from the list.
        """
        subjects = self.test_subjects
        count = min(len(subjects), max(2, round(len(subjects) * share)))
        chosen = {subjects[i * len(subjects) // count] for i in range(count)}
        entries = self.test_store.entries
        return [index for index, entry in enumerate(entries) if entry.subject in chosen]

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint and a model card say of the data; no path."""
        training = [self.store.entries[index] for index in sorted(self.labels)]
        text = "\n".join(f"{entry.name} {entry.frames}" for entry in training)
        return {
            "name": self.name,
            "height_px": self.store.height,
            "training_subjects": len(self.subjects),
            "training_sequences": len(training),
            "training_frames": sum(entry.frames for entry in training),
            "test_subjects": len(self.test_subjects),
            "test_sequences": len(self.test_indices()),
            # Names and lengths of what is trained on: another course would follow from others.
            "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16],
        }


def open_data(config: TrainConfig, on_progress: Progress | None = None) -> Data:
    """Open the data and tell training from test subjects. Says in the log what is left out.

    Raises:
        ConfigError: no data were named.
        InputError: they cannot be used, nobody is left to train on, or the test subjects cannot be
            evaluated.
    """
    where = config.data
    if where.path is None:
        raise ConfigError(
            "no training data were given", hint="Say --data DIR, or data.path in the configuration."
        )
    store = _opened(where.path, on_progress)
    test_store = store if where.test_path is None else _opened(where.test_path, on_progress)
    partition = _partition(config, store, test_store)
    data = Data(
        name=where.path.resolve().name,
        store=store,
        subjects=partition.train,
        labels=labels_of(store, partition.train),
        test_store=test_store,
        test_subjects=partition.test,
    )
    _check_test(config, data)
    return data


def _opened(path: Path, on_progress: Progress | None) -> SequenceStore:
    """Open a store and say in the log which of its sequences cannot be used."""
    store = open_store(path, on_progress=on_progress)
    skipped = store.skipped if isinstance(store, FolderStore) else []
    for one in skipped[:NAMED]:
        log.warning("skipped %s: %s", one.name, one.reason)
    if skipped:
        log.warning("%d of %d sequences skipped", len(skipped), len(skipped) + len(store.entries))
    return store


def _partition(config: TrainConfig, store: SequenceStore, test_store: SequenceStore) -> Partition:
    """Tell training from test subjects; InputError if they overlap or nobody is left."""
    where = config.data
    if where.test_path is not None:
        partition = Partition(train=_subjects_of(store), test=_subjects_of(test_store))
    elif where.partition is not None:
        partition = load_partition(where.partition, store)
    else:
        partition = split_subjects(store, where.test_share, where.split_seed)
    if partition.missing:
        log.warning(
            "%d subjects of the partition are not in the data: %s",
            len(partition.missing),
            ", ".join(partition.missing[:NAMED]),
        )
    both = sorted(set(partition.train) & set(partition.test))
    if both:
        raise InputError(
            f"{len(both)} subjects are both trained on and tested: {', '.join(both[:NAMED])}"
        )
    if len(partition.train) < 2:
        raise InputError(
            f"{len(partition.train)} subjects are left to train on, at least 2 are needed",
            hint="Check the partition, or lower data.test_share.",
        )
    return partition


def _subjects_of(store: SequenceStore) -> tuple[str, ...]:
    """Return a store's subjects in the order of its entries."""
    return tuple(dict.fromkeys(entry.subject for entry in store.entries))


def _check_test(config: TrainConfig, data: Data) -> None:
    """Fail before the first step, not at the first evaluation."""
    if not data.test_subjects:
        log.warning("no subject is kept for testing: the network is not evaluated")
        return
    for share in _evaluated_shares(config):
        entries = [data.test_store.entries[index] for index in data.test_indices(share)]
        try:
            GENERIC.roles(entries)
        except InputError as error:
            raise InputError(
                f"the test subjects cannot be evaluated: {error.message}",
                hint="Give another partition, or train without: data.test_share=0, or "
                "evaluation.every=0 and evaluation.final=false.",
            ) from error


def _evaluated_shares(config: TrainConfig) -> list[float]:
    """Return which shares of the test subjects the network will be tried on."""
    shares = [1.0] if config.evaluation.final else []
    return shares + ([config.evaluation.share] if config.evaluation.every else [])


def make_network(config: TrainConfig, data: Data) -> GaitNetwork:
    """Return the network to train, its weights drawn from the seed or read from `init`.

    Raises:
        ConfigError: the network cannot take its config.
        InputError: the data do not fit what it reads.
        WeightsError: `init` does not fit; another count of classes is said in words.
    """
    classes = len(data.subjects) if config.has_classes else 0
    given = config.network.config.get("class_num")
    if given is not None and given != classes:
        raise ConfigError(
            f"network.config.class_num is {given}, the data hold {classes} training subjects"
            + ("" if config.has_classes else " to classify, as no phase has a softmax loss"),
            hint="Leave class_num out: it is filled in.",
        )
    torch.manual_seed(config.seed)
    try:
        network = build_network(config.network.name, config.network.config | {"class_num": classes})
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"network.config: {config.network.name} cannot take it: {error}"
        ) from error
    _check_reads(network, data.store, "training")
    if _evaluated_shares(config) and data.test_subjects:
        _check_reads(network, data.test_store, "test")
    if config.init is not None:
        _start_from(network, config.init, new_classifier=config.init_classifier == "new")
    for phase in config.phases:
        names_of_frozen(network, phase)
    return network


def make_batches(
    config: TrainConfig, data: Data, reads: tuple[str, ...], rank: int, world: int
) -> Batches:
    """Return one rank's share of the training batches.

    Raises:
        ConfigError: a batch's subjects do not divide among the ranks, or shall be alike and there
            are no weights to tell.
        InputError: the data lack what the network reads, or have too few subjects.
    """
    if config.sampler.subjects % world:
        raise ConfigError(
            f"sampler.subjects = {config.sampler.subjects}: they do not divide among {world} "
            "processes"
        )
    if config.sampler.alike and config.init is None:
        raise ConfigError(
            "sampler.alike needs weights that know who is like whom",
            hint="Give --init FILE, or sampler.alike=0.",
        )
    return Batches(
        data.store,
        data.labels,
        config.sampler,
        config.augmentation,
        reads,
        config.seed,
        rank,
        world,
    )


def names_of_frozen(network: GaitNetwork, phase: Phase) -> set[str]:
    """Return the modules and parameters that a phase keeps as they are, by their full names.

    Raises:
        ConfigError: a name that the network does not have.
    """
    names = [name for name, _ in network.named_modules() if name]
    names += [name for name, _ in network.named_parameters()]
    frozen: set[str] = set()
    for prefix in phase.frozen:
        found = {name for name in names if name == prefix or name.startswith(f"{prefix}.")}
        if not found:
            raise ConfigError(
                f"phase {phase.name}: frozen names {prefix!r}, which {network.name} does not have",
                hint="Its parts are: " + ", ".join(name for name, _ in network.named_children()),
            )
        frozen |= found
    return frozen


def _check_reads(network: GaitNetwork, store: SequenceStore, which: str) -> None:
    """Check that sequences are of the network's size and have what it reads; InputError."""
    size = network.silhouette_hw
    if SILHOUETTES in network.reads and size is not None and size[0] != store.height:
        raise InputError(
            f"{network.name} is built for silhouettes of height {size[0]}, the {which} data have "
            f"{store.height}",
            hint=f"Say --set network.config.height={store.height}, or make the data anew.",
        )
    lacking = [name for name in network.reads if name not in store.has]
    if lacking:
        without = ""
        if lacking == [THETA] and hasattr(network.config, "use_smpl"):
            without = " or train without SMPL rows: --set network.config.use_smpl=false,"
        raise InputError(
            f"{network.name} reads {', '.join(network.reads)}; not every sequence of the {which} "
            f"data has {', '.join(lacking)}",
            hint=f"Add them to each sequence,{without} or choose another network.",
        )


def _start_from(network: GaitNetwork, path: Path, *, new_classifier: bool) -> None:
    """Load weights into a new network; WeightsError if they do not fit."""
    height = None if network.silhouette_hw is None else network.silhouette_hw[0]
    loaded, weights_hash = load_any(path, network.name, height)
    wanted, found = plain(network.config), plain(loaded.config)
    if new_classifier:
        wanted.pop("class_num")
    elif found["class_num"] != wanted["class_num"]:
        raise WeightsError(
            f"weights {path} were trained to tell {found['class_num']} identities apart, the "
            f"training data hold {wanted['class_num']}",
            hint="Say init_classifier: new to keep all but the classifier, which is then drawn "
            "anew, or start from weights of the same class list.",
        )
    weights_file.check_config(
        weights_file.Weights(path, network.name, found, {}, weights_hash), wanted
    )
    if new_classifier:
        kept = embedding_only(loaded).state_dict()
        network.load_state_dict(network.state_dict() | kept)
    else:
        network.load_state_dict(loaded.state_dict())
    log.info("starting from weights %s (%s)", path.name, weights_hash)


def plain(config: Any) -> dict[str, Any]:
    """Return a network's config as a mapping of its fields."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


def step_seed(seed: int, rank: int, step: int) -> int:
    """Return what dropout is drawn from in a step: like the batch, a function of these alone."""
    state = np.random.SeedSequence((seed, rank, step)).generate_state(1, np.uint64)
    return int(state[0]) >> 1
