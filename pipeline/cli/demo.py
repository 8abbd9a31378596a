"""`demo`: enrol four walkers from one camera's clip and name them in another's."""

from __future__ import annotations

import argparse
import csv
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.cli.enroll import new_run_id, sighting_settings
from pipeline.cli.options import add_config_options, read_config, start_logging
from pipeline.cli.running import latency_table, run_to_its_end, write_json
from pipeline.errors import InputError, OutputExistsError
from stages.human.truth import Box, TruthCamera, load_truth
from stages.identify.enrol import enrol_from_sightings
from stages.identify.gallery import Gallery
from stages.identify.sightings import remove_sightings, sightings
from stages.sink import prepare_out_dir

HELP = "enrol the four walkers of the bundled clip from camera A and name them in camera B"
CLIPS = Path(__file__).resolve().parents[2] / "demo"
SAME_PERSON_IOU = 0.5
MIN_FRAMES = 15
CONSENT = "rendered figure, nobody's data"


@dataclass(frozen=True, slots=True)
class TrackRow:
    """One line of tracks.csv."""

    frame_id: int
    track_id: int
    box: tuple[float, float, float, float]
    name: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A track of camera B: who it is, and what the pipeline said at its end."""

    truth: str
    track_id: int
    seconds: float
    answer: str
    score: float

    @property
    def right(self) -> bool:
        return self.truth == self.answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--out", type=Path, default=Path("demo-out"), metavar="DIR", help="folder for the results"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a former demo in DIR")
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    console = start_logging(args.quiet)
    paths = [CLIPS / name for name in ("camera_a.mp4", "camera_b.mp4", "truth.npz")]
    for path in paths:
        if not path.exists():
            raise InputError(
                f"the demo clip is not here: {path}", hint="the demo runs from a clone of the repo"
            )
    clip_a, clip_b, truth_path = paths
    camera_a, camera_b = load_truth(truth_path).cameras
    gallery = args.out / "gallery.db"
    seen, known = args.out / "enrol", args.out / "identify"
    run_id = new_run_id("demo")
    settings_a = {
        "source.uri": str(clip_a),
        "source.source_id": "camera_a",
        "identify.gallery": str(gallery),
        "sink.out_dir": str(seen),
        "sink.overwrite": True,
    } | sighting_settings(run_id, seen)
    settings_b = {
        "source.uri": str(clip_b),
        "source.source_id": "camera_b",
        "identify.gallery": str(gallery),
        "sink.out_dir": str(known),
        "sink.overwrite": True,
    }
    config_a = read_config(args, settings_a)
    if config_a is None:
        return 0
    config_b = read_config(args, settings_b)
    assert config_b is not None
    _prepare(args.out, gallery, args.overwrite)

    run_to_its_end(config_a, live=False, label="camera A", console=console, quiet=args.quiet)
    _enrol(console, gallery, run_id, assign_tracks(read_tracks(seen), camera_a))
    summary = run_to_its_end(
        config_b, live=False, label="camera B", console=console, quiet=args.quiet
    )
    verdicts = judge(known, camera_b, summary)
    _show(console, verdicts, summary, known)
    write_json(args.out / "verdicts.json", [_row(verdict) for verdict in verdicts])
    return 0


def _prepare(out_dir: Path, gallery: Path, overwrite: bool) -> None:
    if out_dir.exists() and any(out_dir.iterdir()) and not overwrite:
        raise OutputExistsError(
            f"{out_dir} is not empty", hint="give --overwrite, or another folder with --out"
        )
    for folder in (out_dir / "enrol", out_dir / "identify"):
        prepare_out_dir(folder, overwrite)
    for suffix in ("", "-wal", "-shm"):
        gallery.with_name(gallery.name + suffix).unlink(missing_ok=True)


def read_tracks(folder: Path) -> list[TrackRow]:
    """Read a run's tracks.csv."""
    with (folder / "tracks.csv").open(newline="", encoding="utf-8") as file:
        return [
            TrackRow(
                int(row["frame_id"]),
                int(row["track_id"]),
                (float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"])),
                row["name"],
            )
            for row in csv.DictReader(file)
        ]


def assign_tracks(rows: list[TrackRow], camera: TruthCamera) -> dict[int, str]:
    """Return who each track is, by the frames in which it covers a person of the truth."""
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for person in camera.frames[row.frame_id]:
            if _iou(row.box, person.bbox_xyxy_px) > SAME_PERSON_IOU:
                votes[row.track_id][person.name] += 1
    winners = {track: counts.most_common(1)[0] for track, counts in votes.items()}
    return {track: name for track, (name, frames) in winners.items() if frames >= MIN_FRAMES}


def _iou(a: tuple[float, float, float, float], b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _enrol(console: Console, path: Path, run_id: str, people: dict[int, str]) -> None:
    """Name camera A's tracks, as an operator who knows these people would."""
    with Gallery.open(path) as gallery:
        evidence = {one.track_id: one.windows for one in sightings(gallery, run_id)}
        for track, name in sorted(people.items()):
            if evidence.get(track, 0) < 2:
                continue
            enrol_from_sightings(gallery, run_id, track, name, CONSENT, add=gallery.has(name))
        remove_sightings(gallery, run_id)
        names = ", ".join(person.name for person in gallery.people())
    console.print(f"enrolled from camera A: {names}", markup=False, highlight=False)


def judge(folder: Path, camera: TruthCamera, summary: dict[str, Any]) -> list[Verdict]:
    """Compare the pipeline's last word on each track with the truth."""
    rows = read_tracks(folder)
    people = assign_tracks(rows, camera)
    frames = Counter(row.track_id for row in rows)
    facts = {one["track_id"]: one for one in summary["stages"]["sink"]["per_track"]}
    verdicts = []
    for track, name in sorted(people.items(), key=lambda item: (item[1], item[0])):
        fact = facts[track]
        verdicts.append(
            Verdict(
                name,
                track,
                frames[track] / camera.fps,
                fact["name"] or fact["state"],
                float(fact["score"]),
            )
        )
    return verdicts


def _show(console: Console, verdicts: list[Verdict], summary: dict[str, Any], folder: Path) -> None:
    table = Table(title="camera B: who walks there?", title_justify="left")
    for column in ("who it is", "track", "seen", "pipeline's answer", ""):
        table.add_column(column)
    for verdict in verdicts:
        table.add_row(
            verdict.truth,
            str(verdict.track_id),
            f"{verdict.seconds:.1f} s",
            f"{verdict.answer} ({verdict.score:.2f})",
            "right" if verdict.right else "WRONG",
        )
    console.print(latency_table(summary))
    console.print(table)
    right = sum(verdict.right for verdict in verdicts)
    console.print(
        f"{right} of {len(verdicts)} tracks named right; {summary['fps']:.1f} frames/s; "
        f"watch {folder / 'annotated.mp4'}",
        markup=False,
        highlight=False,
    )


def _row(verdict: Verdict) -> dict[str, Any]:
    return {
        "truth": verdict.truth,
        "track_id": verdict.track_id,
        "seconds": round(verdict.seconds, 2),
        "answer": verdict.answer,
        "score": round(verdict.score, 4),
        "right": verdict.right,
    }
