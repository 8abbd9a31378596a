"""Several networks on one suite: their figures, with the baseline and untrained ones beside."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from pipeline import __version__
from pipeline.errors import InputError
from stages.embed.evaluation.contestants import Contestant, Role, fusions
from stages.embed.evaluation.distances import Measure, Metric
from stages.embed.evaluation.embedding import EmbeddingLimits, Progress, check_store, embed_store
from stages.embed.evaluation.lengths import count_shorter, window_frames
from stages.embed.evaluation.open_set import Splits
from stages.embed.evaluation.pair_distances import Distances, fused, measure_distances
from stages.embed.evaluation.suite import Layout, Suite
from stages.embed.evaluation.suite_figures import Counting, Figures, figures_of
from stages.embed.interface import Embedder
from stages.embed.sequences import MAX_FRAMES


class AccuracyOptions(BaseModel):
    """How networks are evaluated on a suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: int = Field(30, ge=1, le=100_000, description="frames of a window of the main figures")
    lengths: tuple[int, ...] = Field(
        (7, 16, 60), description="further window lengths to try with normal walks, frames"
    )
    metric: Metric = Field("euclidean", description="mean over the parts of L2, or of 1 - cosine")
    gallery_people: int = Field(
        100, ge=2, le=1_000_000, description="people enrolled that the figures are stated for"
    )
    open_set_splits: int = Field(
        50, ge=0, le=10_000, description="random splits into enrolled and strangers, 0 for none"
    )
    draws: int = Field(
        1000, ge=0, le=100_000, description="draws of people for the intervals, 0 for none"
    )
    seed: int = Field(0, ge=0, description="of windows, splits and draws")
    device: str = Field("cpu", description="where distances are computed: cpu, cuda or cuda:N")
    stripe_mb: int = Field(256, ge=1, description="memory for distances, MB")
    vectors_mb: int = Field(1024, ge=1, description="vectors beyond this go to a file, MB")
    batch_frames: int = Field(2048, ge=1, description="frames embedded together")
    scratch: Path | None = Field(None, description="folder of that file; default: the system's")

    def measure(self) -> Measure:
        """Return how distances are taken."""
        return Measure(self.metric, self.device, self.stripe_mb)

    def limits(self) -> EmbeddingLimits:
        """Return how much an embedding may hold."""
        return EmbeddingLimits(self.batch_frames, self.vectors_mb, self.scratch)

    def counting(self) -> Counting:
        """Return how figures are counted."""
        splits = Splits(self.open_set_splits, seed=self.seed)
        return Counting(self.gallery_people, splits, self.draws, self.seed)


@dataclass(frozen=True, slots=True, eq=False)
class LengthFigures:
    """Normal walks cut to windows of `frames`; `shorter` of them have fewer and are used whole."""

    frames: int
    shorter: int
    figures: Figures


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came of one contestant.

    Attributes:
        runs: figures of each; several for an untrained network.
        lengths: ascending, the main window's among them; of networks and the baseline alone.
        facts: what the embedder says of itself. broken: name and reason of what it could not read.
    """

    label: str
    role: Role
    runs: tuple[Figures, ...]
    lengths: tuple[LengthFigures, ...] = ()
    facts: Mapping[str, Any] | None = None
    broken: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Accuracy:
    """What an evaluation on a suite found; `facts` are of the suite."""

    suite: str
    layout: Layout
    facts: Mapping[str, Any]
    options: AccuracyOptions
    results: tuple[Result, ...]
    notes: tuple[str, ...]
    versions: Mapping[str, str]

    def of(self, label: str) -> Result | None:
        """Return a contestant's result."""
        return next((each for each in self.results if each.label == label), None)


def evaluate_suite(
    suite: Suite,
    contestants: Sequence[Contestant],
    options: AccuracyOptions,
    on_progress: Progress | None = None,
) -> Accuracy:
    """Evaluate networks on a suite, one after another, then fusions of the trained ones.

    A contestant that reads what the suite lacks is left out with a note, unless none is left.
    Memory: one network with its vectors (mapped from a file beyond `vectors_mb`), and the distances
    of those that are fused (likewise).

    Raises:
        InputError: the suite holds what not one of the networks can read.
        ResourceError: no room for vectors or distances.
    """
    work = _Work(suite, options, on_progress)
    results: list[Result] = []
    notes = list(suite.notes)
    kept: dict[str, Distances] = {}
    fusable = {label for labels in fusions(contestants) for label in labels}
    for each in contestants:
        try:
            result, distances = work.contestant(each)
        except InputError as error:
            notes.append(f"{each.label} is left out: {error.message}")
            continue
        results.append(result)
        if each.label in fusable:
            kept[each.label] = distances
    if not results:
        raise InputError("no network can read this suite: " + "; ".join(notes))
    for labels in fusions([c for c in contestants if c.label in kept]):
        results.append(work.fusion(labels, [kept[label] for label in labels]))
    return Accuracy(
        suite=suite.name,
        layout=suite.layout,
        facts=_suite_facts(suite, options),
        options=options,
        results=tuple(results),
        notes=(*notes, *_length_notes(suite, options), *_notes(results)),
        versions={
            "program": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
    )


class _Work:
    """The work on one suite, with its progress."""

    def __init__(self, suite: Suite, options: AccuracyOptions, told: Progress | None) -> None:
        self._suite = suite
        self._options = options
        self._told = told
        self._counting = options.counting()
        layout = suite.layout
        everything = np.concatenate([layout.gallery, layout.probes])
        normal = layout.probes[layout.of_condition(layout.conditions[0])]
        self._indices = np.unique(everything).tolist()
        self._normal = np.unique(np.concatenate([layout.gallery, normal])).tolist()

    def contestant(self, contestant: Contestant) -> tuple[Result, Distances]:
        """Return the result, and the last run's distances."""
        runs: list[Figures] = []
        lengths: list[LengthFigures] = []
        facts: dict[str, Any] = {}
        broken: tuple[tuple[str, str], ...] = ()
        for run in range(contestant.runs):
            label = contestant.label + (f", seed {run}" if contestant.runs > 1 else "")
            embedder = contestant.load(run)
            check_store(embedder, self._suite.store)
            facts = dict(embedder.describe())
            distances, broken = self._measured(label, embedder, self._options.window, False)
            groupings = self._suite.groupings if contestant.role == "network" else ()
            runs.append(figures_of(distances, self._suite.layout, self._counting, groupings))
            if contestant.role in ("baseline", "network"):
                lengths = self._lengths(label, embedder, runs[0])
        result = Result(
            contestant.label, contestant.role, tuple(runs), tuple(lengths), facts, broken
        )
        return result, distances

    def fusion(self, labels: Sequence[str], parts: Sequence[Distances]) -> Result:
        """Return the result of several networks' distances taken together."""
        layout = self._suite.layout
        together = fused(parts, layout, self._options.limits())
        figures = figures_of(together, layout, self._counting)
        return Result(" + ".join(labels), "fusion", (figures,))

    def _lengths(self, label: str, embedder: Embedder, main: Figures) -> list[LengthFigures]:
        options, store = self._options, self._suite.store
        found = []
        for frames in sorted({*options.lengths, options.window}):
            shorter = count_shorter(store.entries, np.array(self._normal), frames)
            if frames > options.window and shorter == len(self._normal):
                continue  # `_length_notes` says so
            if frames == options.window:
                found.append(LengthFigures(frames, shorter, main))
                continue
            distances, _ = self._measured(label, embedder, frames, True)
            found.append(
                LengthFigures(
                    frames, shorter, figures_of(distances, self._suite.layout, self._counting)
                )
            )
        return found

    def _measured(
        self, label: str, embedder: Embedder, frames: int, normal: bool
    ) -> tuple[Distances, tuple[tuple[str, str], ...]]:
        options, suite = self._options, self._suite
        choose = window_frames(frames, "random", options.seed, MAX_FRAMES)
        indices = self._normal if normal else self._indices
        told = self._progress(f"{label}: {frames}-frame windows")
        embedded = embed_store(embedder, suite.store, indices, choose, options.limits(), told)
        found = measure_distances(embedded, suite.layout, options.measure(), options.limits())
        return found, embedded.broken

    def _progress(self, what: str) -> Callable[[int, int], None] | None:
        told = self._told
        return None if told is None else (lambda done, total: told(what, done, total))


def _suite_facts(suite: Suite, options: AccuracyOptions) -> dict[str, Any]:
    entries, layout = suite.store.entries, suite.layout
    used = np.concatenate([layout.gallery, layout.probes])
    return {
        "people": len(layout.people),
        "views": list(layout.views),
        "conditions": {name: int(layout.of_condition(name).sum()) for name in layout.conditions},
        "sequences": len(used),
        "gallery": len(layout.gallery),
        "probes": len(layout.probes),
        "height_px": suite.store.height,
        "has": sorted(suite.store.has),
        "shorter": count_shorter(entries, used, options.window),
        "gallery_people": min(options.gallery_people, len(layout.people)),
    }


def _length_notes(suite: Suite, options: AccuracyOptions) -> list[str]:
    longest = max(entry.frames for entry in suite.store.entries)
    beyond = [frames for frames in options.lengths if frames > max(longest, options.window)]
    return [f"no sequence has {frames} frames: that length is left out" for frames in beyond]


def _notes(results: Sequence[Result]) -> list[str]:
    return [
        f"{each.label}: {len(each.broken)} sequences could not be embedded, such as "
        f"{each.broken[0][0]}: {each.broken[0][1]}"
        for each in results
        if each.broken
    ]
