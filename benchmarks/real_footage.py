"""Real people through the real pipeline: is a track's second half known by its first?

Each track is cut in time at its own middle. Of every track that has two windows or more in each
half, the first half makes a template and the second is named among all such tracks of the
recording: by the nearest template, and with one name for each. Tracks stand for different people,
but for those that `--same` says are one person's, who walked out and came back: each of their
templates is right then, and no pair of theirs counts as strangers. Several recordings are searched
each for itself and counted together.

`python -m benchmarks.real_footage --source vtest.avi --weights FILE ... --cache DIR \
    --same 2,20 4,19 5,18 6,15 13,16 14,21`

In vtest.avi eight people make the fourteen tracks that are long enough: six of them come twice,
told by their clothes and faces.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from scipy.optimize import linear_sum_assignment

from benchmarks.harness import machine_facts, write_results
from benchmarks.recorded_people import FIRST, SECOND, Recording, half_of, half_windows, look
from benchmarks.sections import print_table, table
from pipeline.fusing import fuse_vectors
from pipeline.messages import Embeddings
from stages.embed.config import Config
from stages.embed.evaluation.bootstrap import Estimate, draw_people, share
from stages.embed.evaluation.contestants import (
    Contestant,
    contestants_of,
    fusions,
    untrained_embedder,
)
from stages.embed.evaluation.distances import TIE, Measure, Metric, distance_matrix
from stages.embed.evaluation.open_set import equal_error_rate
from stages.embed.gei import GaitEnergyImage
from stages.embed.interface import Embedder
from stages.embed.stage import EmbedStage
from stages.identify.records import weight_of

MIN_WINDOWS = 2
DRAWS = 2000
# Without weights an untrained network of this kind stands beside the baseline.
DEFAULT_NETWORK = "joined"


@dataclass(slots=True, eq=False)
class Half:
    """One half of a track: its windows' vectors and weights."""

    vectors: list[np.ndarray] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    @property
    def windows(self) -> int:
        """How many there are."""
        return len(self.vectors)

    def add(self, vector: np.ndarray, weight: float) -> None:
        """Take one more window."""
        self.vectors.append(vector)
        self.weights.append(weight)

    def fused(self) -> np.ndarray:
        """Return the fused vector, float32 [c,p], as the identify stage has it."""
        return fuse_vectors(np.stack(self.vectors), np.array(self.weights))


Halves = dict[tuple[int, int], Half]  # by track and half


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one network said of one recording. t tracks.

    Attributes:
        tracks: int64 [t], numbers. windows: int64 [t,2], of each half.
        distances: float32 [t,t], second halves against first halves.
        people: int64 [t], one number for all tracks of a person; None: everybody has one track.
    """

    tracks: np.ndarray
    windows: np.ndarray
    distances: np.ndarray
    people: np.ndarray | None = None

    @property
    def own(self) -> np.ndarray:
        """bool [t,t]: both are of one person."""
        people = self.tracks if self.people is None else self.people
        return np.asarray(people[:, None] == people[None, :])

    def nearest(self) -> np.ndarray:
        """Return bool [t]: an own first half is the nearest, and by more than a rounding."""
        own = np.where(self.own, self.distances, np.inf).min(axis=1, initial=np.inf)
        others = np.where(self.own, np.inf, self.distances).min(axis=1, initial=np.inf)
        return own * (1 + TIE) < others

    def one_each(self) -> np.ndarray:
        """Return bool [t]: an own first half, if each may be named once, by the least sum."""
        rows, columns = linear_sum_assignment(self.distances)
        right = np.zeros(len(self.tracks), bool)
        right[rows] = self.own[rows, columns]
        return right


def main() -> None:
    """Run, print the tables, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, nargs="+", type=Path, help="recordings")
    parser.add_argument("--weights", nargs="+", type=Path, default=[], help=".safetensors")
    parser.add_argument("--cache", type=Path, required=True, help="folder for who was found")
    parser.add_argument(
        "--same",
        nargs="+",
        type=_numbers,
        default=[],
        metavar="TRACK,TRACK",
        help="tracks of one person; of the only --source",
    )
    parser.add_argument("--metric", choices=("euclidean", "cosine"), default="euclidean")
    parser.add_argument("--seeds", type=int, default=3, help="untrained networks of each shape")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--name", help="of the results file; default: the first recording's")
    args = parser.parse_args()
    if args.same and len(args.source) > 1:
        parser.error("--same is for one --source")
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(args.threads)
    console = Console(highlight=False)
    contestants = chosen_contestants(args.weights, args.seeds)
    runs = [(each.label, [each.load(run) for run in range(each.runs)]) for each in contestants]
    recordings, answers = measure(args, runs)
    for labels in fusions(contestants):
        parts = [answers[label][0] for label in labels]
        answers[" + ".join(labels)] = [[fused(each) for each in zip(*parts, strict=True)]]
    known = {
        label: [[with_people(each, args.same) for each in run] for run in runs_of]
        for label, runs_of in answers.items()
    }
    results = report(recordings, known, args.metric)
    for shown in results["tables"]:
        print_table(console, shown)
    name = args.name or f"real_footage-{args.source[0].stem}"
    facts = {"machine": machine_facts(), "networks": _facts(runs)}
    console.print("written to", write_results(name, {**results, **facts}))


def measure(
    args: argparse.Namespace, runs: Sequence[tuple[str, Sequence[Embedder]]]
) -> tuple[list[Recording], dict[str, list[list[Answer]]]]:
    """Return the recordings, and by label the answers of each run, of each recording."""
    embedders = [one for _, each in runs for one in each]
    recordings, found = [], []
    with Progress(console=Console(stderr=True)) as progress:
        for source in args.source:
            task = progress.add_task(f"finding people in {source.name}", total=None)
            recordings.append(look(source, args.cache, args.set, _shown(progress, task)))
            task = progress.add_task(f"naming people in {source.name}", total=None)
            found.append(answers_of(recordings[-1], embedders, args.metric, _shown(progress, task)))
    in_order = iter(zip(*found, strict=True))
    answers = {label: [list(next(in_order)) for _ in each] for label, each in runs}
    return recordings, answers


def answers_of(
    recording: Recording,
    embedders: Sequence[Embedder],
    metric: Metric = "euclidean",
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Return what each network says of a recording; all read the same windows, in one pass."""
    halves: list[Halves] = [{} for _ in embedders]
    stages = [EmbedStage(Config(), load=lambda _, one=one: one) for one in embedders]  # type: ignore[misc]
    for stage in stages:
        stage.setup()
    for done, message in enumerate(half_windows(recording), start=1):
        for stage, found in zip(stages, halves, strict=True):
            for answer in stage.process(message):
                _gather(answer, found)
        if on_progress is not None:
            on_progress(done, recording.frames)
    return [answer_of(found, Measure(metric)) for found in halves]


def fused(answers: Sequence[Answer]) -> Answer:
    """Return the mean of several networks' distances, each divided by its mean between tracks.

    Over the tracks that all of them could read.
    """
    tracks = answers[0].tracks
    for answer in answers[1:]:
        tracks = np.intersect1d(tracks, answer.tracks)
    total = np.zeros((len(tracks), len(tracks)), np.float32)
    for answer in answers:
        rows = np.searchsorted(answer.tracks, tracks)
        found = answer.distances[np.ix_(rows, rows)]
        apart = found[~np.eye(len(found), dtype=bool)]
        scale = float(apart.mean()) if len(apart) else 1.0
        total += found / (scale * len(answers))
    rows = np.searchsorted(answers[0].tracks, tracks)
    return Answer(tracks, answers[0].windows[rows], total)


def with_people(answer: Answer, same: Sequence[Sequence[int]]) -> Answer:
    """Return the answer, knowing which tracks are one person's: each group by its first."""
    first = {track: group[0] for group in same for track in group}
    people = np.array([first.get(int(track), int(track)) for track in answer.tracks], np.int64)
    return replace(answer, people=people)


def answer_of(halves: Halves, measure: Measure) -> Answer:
    """Compare the halves of the tracks that have enough windows in both."""
    tracks = sorted({track for track, _ in halves})
    counts = np.array(
        [[halves.get((t, h), Half()).windows for h in (FIRST, SECOND)] for t in tracks], np.int64
    ).reshape(-1, 2)
    long = (counts >= MIN_WINDOWS).all(axis=1)
    chosen = np.array(tracks, np.int64)[long]
    if len(chosen) == 0:
        return Answer(chosen, counts[long], np.empty((0, 0), np.float32))
    first, second = (np.stack([halves[t, h].fused() for t in chosen]) for h in (FIRST, SECOND))
    return Answer(chosen, counts[long], distance_matrix(second, first, measure))


def report(
    recordings: Sequence[Recording], answers: dict[str, list[list[Answer]]], metric: str
) -> dict[str, Any]:
    """Return tables and figures as plain data, fit for `evaluate --include`.

    Args:
        answers: by label, of each run (several for an untrained network), of each recording.
    """
    rows, figures = [], {}
    for label, runs in answers.items():
        figures[label] = [_figures(run) for run in runs]
        rows.append(_row(label, figures[label]))
    names = ", ".join(recording.label for recording in recordings)
    header = ("network", "tracks", "right, nearest", "%", "right, one name each", "%", "EER, %")
    tables = [table(f"Second halves named by first halves: {names}", header, rows)]
    tables += [_track_table(r, i, answers) for i, r in enumerate(recordings)]
    return {
        "title": "Real footage through the whole pipeline",
        "text": f"Tracks of {names} with {MIN_WINDOWS} windows or more in each half of their "
        "time: the first half is enrolled, the second is named among all of the recording, by "
        f"`python -m benchmarks.real_footage`. {_who(answers)}Distance {metric}. Intervals are "
        "over tracks; of untrained networks the mean over the seeds stands with the lowest and "
        "the highest.",
        "tables": tables,
        "metric": metric,
        "figures": figures,
    }


def _gather(answer: Embeddings, halves: Halves) -> None:
    for one in answer.embeddings:
        half = halves.setdefault(half_of(one.track_id), Half())
        half.add(one.vector, weight_of(one.frames, one.quality))


def _figures(run: Sequence[Answer]) -> dict[str, Any]:
    """Return one run's figures over all recordings."""
    nearest = np.concatenate([answer.nearest() for answer in run])
    one_each = np.concatenate([answer.one_each() for answer in run])
    own = np.concatenate([answer.distances[answer.own] for answer in run])
    others = np.concatenate([answer.distances[~answer.own] for answer in run])
    draws = draw_people(max(len(nearest), 1), DRAWS, 0)
    ones = np.ones(len(nearest))
    return {
        "tracks": len(nearest),
        "nearest": int(nearest.sum()),
        "nearest_share": _plain(share(nearest, ones, draws) if len(nearest) else None),
        "one_each": int(one_each.sum()),
        "one_each_share": _plain(share(one_each, ones, draws) if len(nearest) else None),
        "eer": equal_error_rate(-own, -others) if len(own) and len(others) else None,
    }


def _row(label: str, runs: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    cells = [label, str(runs[0]["tracks"])]
    for name in ("nearest", "one_each"):
        values = [run[name] for run in runs]
        shares = runs[0][f"{name}_share"]
        if len(runs) > 1:
            cells += [f"{np.mean(values):.1f} ({min(values)} to {max(values)})", ""]
        elif shares is None:
            cells += ["0", "–"]
        else:
            value, low, high = (100 * number for number in shares)
            cells += [str(values[0]), f"{value:.0f} ({low:.0f} to {high:.0f})"]
    errors = [run["eer"] for run in runs if run["eer"] is not None]
    return (*cells, f"{100 * np.mean(errors):.1f}" if errors else "–")


def _track_table(
    recording: Recording, place: int, answers: dict[str, list[list[Answer]]]
) -> dict[str, Any]:
    """Return each track with whom each network took it for (a network's first run)."""
    first = {label: runs[0][place] for label, runs in answers.items()}
    rows = []
    for track in sorted({int(t) for answer in first.values() for t in answer.tracks}):
        life = recording.lives[track]
        cells = [str(track), f"{life.first_ns / 1e9:.1f} to {life.last_ns / 1e9:.1f}"]
        counts = ""
        for answer in first.values():
            (row,) = np.flatnonzero(answer.tracks == track).tolist() or (None,)
            if row is None:
                cells.append("–")
                continue
            counts = counts or " + ".join(map(str, answer.windows[row].tolist()))
            taken = int(answer.tracks[int(np.argmin(answer.distances[row]))])
            cells.append("right" if answer.nearest()[row] else f"taken for {taken}")
        rows.append((*cells[:2], counts, *cells[2:]))
    header = ("track", "seen, s", "windows", *first)
    return table(f"{recording.label}, track by track", header, rows)


def chosen_contestants(weights: Sequence[Path], seeds: int) -> list[Contestant]:
    """Return what is compared; without weights the baseline and an untrained network."""
    if weights:
        return contestants_of(weights, Config(), seeds=seeds, without_smpl=True)
    baseline = Contestant("gei", "baseline", lambda run: GaitEnergyImage(), network="gei")
    load = partial(untrained_embedder, DEFAULT_NETWORK, {}, device="auto")
    label = f"untrained {DEFAULT_NETWORK}"
    untrained = Contestant(label, "untrained", load, seeds, DEFAULT_NETWORK)
    return [baseline, untrained] if seeds else [baseline]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _who(answers: dict[str, list[list[Answer]]]) -> str:
    """Say which tracks count as one person's, if any do."""
    longest = max(
        (run[0] for runs in answers.values() for run in runs), key=lambda a: len(a.tracks)
    )
    people = longest.tracks if longest.people is None else longest.people
    groups = [longest.tracks[people == one].tolist() for one in np.unique(people)]
    twice = [" and ".join(map(str, group)) for group in groups if len(group) > 1]
    if not twice:
        return ""
    return (
        f"The {len(longest.tracks)} tracks are {len(groups)} people's, told by their clothes: "
        f"{', '.join(twice)} are one person's each, and any template of theirs is right. "
    )


def _shown(progress: Progress, task: TaskID) -> Callable[[int, int], None]:
    return lambda done, of: progress.update(task, completed=done, total=of or None)


def _facts(runs: Sequence[tuple[str, Sequence[Embedder]]]) -> dict[str, Any]:
    return {label: dict(each[0].describe()) for label, each in runs}


def _plain(found: Estimate | None) -> list[float] | None:
    return None if found is None else [found.value, found.low, found.high]


if __name__ == "__main__":
    main()
