"""Evaluating a network on a dataset: closed set, open set, window lengths, and GEI beside it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from pipeline import __version__
from pipeline.errors import InputError
from stages.embed.data.interface import SequenceStore
from stages.embed.evaluation.closed_set import ClosedSet, Probes, search_closed_set
from stages.embed.evaluation.distances import Measure, Metric
from stages.embed.evaluation.embedding import (
    EmbeddedSet,
    EmbeddingLimits,
    FrameChoice,
    Progress,
    check_store,
    embed_store,
    first_frames,
)
from stages.embed.evaluation.lengths import (
    LengthResult,
    WindowPlace,
    count_shorter,
    window_frames,
)
from stages.embed.evaluation.open_set import OpenSet, Splits, search_open_set
from stages.embed.evaluation.protocols import GENERIC, Protocol, Roles
from stages.embed.gei import GaitEnergyImage
from stages.embed.interface import Embedder
from stages.embed.sequences import MAX_FRAMES

# Frames of a sequence that an evaluation during training looks at, and its splits.
QUICK_FRAMES = 120
QUICK_SPLITS = 10


class EvaluationOptions(BaseModel):
    """How a network is evaluated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: Metric = Field("euclidean", description="mean over the parts of L2, or of 1 - cosine")
    lengths: tuple[int, ...] = Field(
        (7, 16, 30, 60), description="window lengths to try besides whole sequences, frames"
    )
    windows: WindowPlace = Field("random", description="where in a sequence a window lies")
    open_set_splits: int = Field(
        50, ge=0, le=10_000, description="random splits into enrolled and strangers, 0 for none"
    )
    stranger_share: float = Field(
        0.5, gt=0, lt=1, description="share of the people who are strangers in a split"
    )
    seed: int = Field(0, ge=0, description="of splits and windows")
    max_frames: int = Field(
        MAX_FRAMES, ge=1, description="frames of a sequence that are used, the first ones"
    )
    baseline: bool = Field(True, description="evaluate gait energy images too")
    device: str = Field("cpu", description="where distances are computed: cpu, cuda or cuda:N")
    stripe_mb: int = Field(512, ge=1, description="memory for distances, MB")
    vectors_mb: int = Field(2048, ge=1, description="vectors beyond this go to a file, MB")
    batch_frames: int = Field(2048, ge=1, description="frames embedded together")
    scratch: Path | None = Field(None, description="folder of that file; default: the system's")

    def measure(self) -> Measure:
        """Return how distances are taken."""
        return Measure(self.metric, self.device, self.stripe_mb)

    def limits(self) -> EmbeddingLimits:
        """Return how much an embedding may hold."""
        return EmbeddingLimits(self.batch_frames, self.vectors_mb, self.scratch)

    def splits(self) -> Splits:
        """Return how people are split."""
        return Splits(self.open_set_splits, self.stranger_share, self.seed)


@dataclass(frozen=True, slots=True, eq=False)
class MethodResult:
    """What came of one network.

    Attributes:
        name: as in tables.
        facts: what the embedder says of itself.
        embedded: sequences. broken: name and reason of those that could not be embedded.
        gallery, probes: sequences of each part. subjects: people in either.
        closed, open: of whole sequences; open is None without splits or with one person.
        lengths: in ascending order, whole sequences last.
        seconds: by kind of work.
    """

    name: str
    facts: Mapping[str, Any]
    embedded: int
    broken: tuple[tuple[str, str], ...]
    gallery: int
    probes: int
    subjects: int
    closed: ClosedSet
    open: OpenSet | None
    lengths: tuple[LengthResult, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        protocol: its name. groups: of probes, in the order of tables.
        methods: the network, then GEI.
        notes: what the reader should know.
        unreadable: name and reason of sequences that no network was given.
        dataset: subjects, sequences, height and what each sequence has.
        versions: of the program and what it counts with.
    """

    protocol: str
    groups: tuple[str, ...]
    options: EvaluationOptions
    methods: tuple[MethodResult, ...]
    notes: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    dataset: Mapping[str, Any]
    versions: Mapping[str, str]


def evaluate(
    embedder: Embedder,
    store: SequenceStore,
    protocol: Protocol,
    options: EvaluationOptions,
    *,
    indices: Sequence[int] | None = None,
    unreadable: Sequence[tuple[str, str]] = (),
    on_progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a network on sequences of a store, and gait energy images beside it.

    Memory: one network's vectors at a time (mapped from a file beyond `vectors_mb`), `stripe_mb`
    for distances, and the frames of two batches.

    Args:
        indices: which sequences; all by default.
        unreadable: name and reason of sequences that did not come into the store, for the report.
        on_progress: told of what is done, steps and steps in all.

    Raises:
        InputError: the data lack what the network reads, or do not fit the protocol.
    """
    chosen = np.arange(len(store.entries)) if indices is None else np.unique(np.array(indices))
    entries = [store.entries[i] for i in chosen]
    roles = protocol.roles(entries)
    check_store(embedder, store)
    notes = list(roles.notes)
    methods = [embedder]
    if options.baseline and embedder.name != GaitEnergyImage.name:
        baseline = GaitEnergyImage()
        try:
            check_store(baseline, store)
            methods.append(baseline)
        except InputError as error:
            notes.append(f"no gait energy images beside it: {error.message}")
    results = [_method(each, store, chosen, roles, options, on_progress) for each in methods]
    if len({entry.subject for entry in entries}) == 1:
        notes.append("all sequences are of one person: there is nobody to be mistaken for")
    if unreadable:
        notes.append(f"{len(unreadable)} sequences of the dataset are broken and were left out")
    return Evaluation(
        protocol=protocol.name,
        groups=roles.group_names,
        options=options,
        methods=tuple(results),
        notes=(*notes, *_notes(results)),
        unreadable=tuple(unreadable),
        dataset={
            "subjects": len({entry.subject for entry in entries}),
            "sequences": len(entries),
            "frames": sum(entry.frames for entry in entries),
            "height_px": store.height,
            "has": sorted(store.has),
        },
        versions={
            "program": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
    )


def quick_evaluation(
    embedder: Embedder,
    store: SequenceStore,
    indices: Sequence[int],
    *,
    measure: Measure | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Return rank1, mAP and eer, 0..1, of some sequences: cheap enough to ask while training.

    By the generic protocol, from the first 120 frames of each; eer is the mean over 10 splits, nan
    where the people are too few to split. 1,000 sequences cost their frames' forward passes and
    0.1 s. It draws from `seed` alone: torch's and numpy's own streams stay untouched.

    Raises:
        InputError: no subject among `indices` has two kinds of sequences.
    """
    chosen = np.unique(np.array(indices))
    roles = GENERIC.roles([store.entries[i] for i in chosen])
    choose = first_frames(QUICK_FRAMES)
    embedded = embed_store(embedder, store, chosen.tolist(), choose, EmbeddingLimits())
    roles = roles.within(np.isin(chosen, embedded.indices))
    probes = Probes(embedded, roles.probes, roles.groups)
    measure = measure or Measure()
    closed = search_closed_set(probes, embedded, roles, measure)
    opened = search_open_set(probes, embedded, roles, measure, Splits(QUICK_SPLITS, seed=seed))
    everyone = closed.groups[-1]
    return {
        "rank1": everyone.rank(1),
        "mAP": everyone.mean_ap,
        "eer": float("nan") if opened is None else opened.eer.mean,
    }


def _method(
    embedder: Embedder,
    store: SequenceStore,
    chosen: np.ndarray,
    roles: Roles,
    options: EvaluationOptions,
    on_progress: Progress | None,
) -> MethodResult:
    work = _Work(embedder, store, options, on_progress)
    whole = work.embed("sequences", chosen.tolist(), first_frames(options.max_frames))
    roles = roles.within(np.isin(chosen, whole.indices))
    group_of = dict(zip(whole.indices[roles.probes].tolist(), roles.groups, strict=True))
    probes = Probes(whole, roles.probes, roles.groups)
    closed, opened = work.search("", probes, whole, roles)
    lengths = []
    for length in sorted(set(options.lengths)):
        choose = window_frames(length, options.windows, options.seed, options.max_frames)
        cut = work.embed(f"{length}-frame windows", sorted(group_of), choose)
        groups = tuple(group_of[int(i)] for i in cut.indices)
        part = Probes(cut, np.arange(len(cut)), groups)
        found = work.search(f", {length} frames", part, whole, roles)
        shorter = count_shorter(store.entries, cut.indices, length)
        lengths.append(LengthResult(length, len(cut), shorter, *found))
    lengths.append(LengthResult(None, len(roles.probes), 0, closed, opened))
    people = {whole.subjects[i] for i in (*roles.gallery, *roles.probes)}
    return MethodResult(
        name=embedder.name,
        facts=embedder.describe(),
        embedded=len(whole),
        broken=whole.broken,
        gallery=len(roles.gallery),
        probes=len(roles.probes),
        subjects=len(people),
        closed=closed,
        open=opened,
        lengths=tuple(lengths),
        seconds={kind: round(spent, 3) for kind, spent in work.seconds.items()},
    )


class _Work:
    """One network's work, with its progress and the seconds it took."""

    def __init__(
        self,
        embedder: Embedder,
        store: SequenceStore,
        options: EvaluationOptions,
        on_progress: Progress | None,
    ) -> None:
        self._embedder = embedder
        self._store = store
        self._options = options
        self._on_progress = on_progress
        self.seconds = {"embedding": 0.0, "closed_set": 0.0, "open_set": 0.0}

    def embed(self, what: str, indices: Sequence[int], choose: FrameChoice) -> EmbeddedSet:
        begin = time.perf_counter()
        limits, told = self._options.limits(), self._told(what)
        found = embed_store(self._embedder, self._store, indices, choose, limits, told)
        self.seconds["embedding"] += time.perf_counter() - begin
        return found

    def search(
        self, what: str, probes: Probes, gallery: EmbeddedSet, roles: Roles
    ) -> tuple[ClosedSet, OpenSet | None]:
        begin = time.perf_counter()
        measure, splits = self._options.measure(), self._options.splits()
        closed = search_closed_set(probes, gallery, roles, measure, self._told(f"closed set{what}"))
        between = time.perf_counter()
        told = self._told(f"open set{what}")
        opened = search_open_set(probes, gallery, roles, measure, splits, told)
        self.seconds["closed_set"] += between - begin
        self.seconds["open_set"] += time.perf_counter() - between
        return closed, opened

    def _told(self, what: str) -> Callable[[int, int], None] | None:
        if self._on_progress is None:
            return None
        on_progress, label = self._on_progress, f"{self._embedder.name}: {what}"
        return lambda done, total: on_progress(label, done, total)


def _notes(results: list[MethodResult]) -> list[str]:
    """Return what the figures do not say of themselves."""
    notes = []
    for result in results:
        if result.broken:
            notes.append(f"{result.name}: {len(result.broken)} sequences could not be embedded")
        everyone = result.closed.groups[-1]
        if everyone.mated < everyone.probes:
            alone = everyone.probes - everyone.mated
            notes.append(
                f"{result.name}: {alone} of {everyone.probes} probes have no sequence of their "
                "subject in the gallery and are left out of the rank table"
            )
        opened = result.open
        if opened is not None and opened.stranger_probes * min(opened.tpir) < 1:
            notes.append(
                f"{result.name}: {opened.stranger_probes:.0f} strangers' probes in a split cannot "
                f"show a FPIR below {1 / max(opened.stranger_probes, 1):.2%}: TPIR at less is that "
                "without any false alarm"
            )
    return notes
