"""Who of a recording's first half is known again in its second half?

The people of the first half are enrolled, each track under its number in a run over the whole
recording; the second half is then replayed against that gallery. A track of the second half should
be given the number of the whole run's track that it covers, if that one was enrolled, and `unknown`
if not. The tracker's own mistakes count as the program's. Nothing here is labelled by hand.

`python -m benchmarks.halves --source vtest.avi --cut 39.8`
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.harness import machine_facts, write_results
from pipeline.cli.demo import TrackRow, read_tracks
from pipeline.cli.enroll import new_run_id, sighting_settings
from pipeline.cli.running import run_to_its_end
from pipeline.config import load_config
from stages.detect.boxes import iou
from stages.identify.enrol import enrol_from_sightings
from stages.identify.gallery import Gallery
from stages.identify.sightings import sightings

SAME_IOU = 0.5
MIN_FRAMES = 10

Key = int  # time in milliseconds, the same in every run


def main() -> None:
    """Run, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--cut", type=float, required=True, help="where the second half begins, s")
    parser.add_argument("--threshold", type=float, help="score from which a person is known")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        rows, counts = measure(args, Path(folder), console)
    for row in rows:
        console.print("  ".join(f"{key} {value}" for key, value in row.items()), highlight=False)
    console.print(counts)
    results = {"machine": machine_facts(), "source": Path(args.source).name, "cut_s": args.cut}
    path = write_results(f"halves-{Path(args.source).stem}", {**results, **counts, "tracks": rows})
    console.print("written to", path)


def measure(
    args: argparse.Namespace, folder: Path, console: Console
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Do the three runs and compare."""
    gallery, run_id = folder / "people.db", new_run_id("halves")
    base = {"source.uri": args.source, "sink.video": False, "sink.thumbnails": False}
    first = base | {"source.end_s": args.cut, "identify.gallery": str(gallery)}
    first |= sighting_settings(run_id, folder / "first")
    second = base | {"source.start_s": args.cut, "identify.gallery": str(gallery)}
    second |= {"identify.threshold": args.threshold} if args.threshold else {}
    _run(base, args.set, folder / "whole", console)
    _run(first, args.set, folder / "first", console)
    whole = _by_time(folder / "whole")
    in_first = _match(_by_time(folder / "first"), whole)
    with Gallery.open(gallery) as people:
        enrolled = set()
        for one in sightings(people, run_id):
            person = in_first.get(one.track_id)
            if person is not None and one.windows >= 2:
                name = f"P{person}"
                enrol_from_sightings(people, run_id, one.track_id, name, add=people.has(name))
                enrolled.add(name)
    summary = _run(second, args.set, folder / "second", console)
    in_second = _match(_by_time(folder / "second"), whole)
    return _judge(summary, in_second, enrolled)


def _run(
    settings: dict[str, Any], overrides: Sequence[str], out: Path, console: Console
) -> dict[str, Any]:
    config = load_config(None, settings | {"sink.out_dir": str(out)}, overrides)
    return run_to_its_end(config, live=False, label=out.name, console=console)


def _by_time(out: Path) -> dict[Key, list[TrackRow]]:
    times = _times(out)
    found: dict[Key, list[TrackRow]] = defaultdict(list)
    for row in read_tracks(out):
        found[times[row.frame_id]].append(row)
    return found


def _times(out: Path) -> dict[int, Key]:
    """Return each frame's time from tracks.csv: frame numbers differ between the runs."""
    lines = (out / "tracks.csv").read_text(encoding="utf-8").splitlines()[1:]
    cells = [line.split(",")[1:3] for line in lines]
    return {int(frame): round(float(time) * 1000) for frame, time in cells}


def _match(part: dict[Key, list[TrackRow]], whole: dict[Key, list[TrackRow]]) -> dict[int, int]:
    """Return for each track of a part the whole run's track that it covers most often."""
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    for key, rows in part.items():
        for row in rows:
            for other in whole.get(key, []):
                overlap = iou(np.array([row.box]), np.array([other.box]))[0, 0]
                if overlap > SAME_IOU:
                    votes[row.track_id][other.track_id] += 1
    winners = {track: counts.most_common(1)[0] for track, counts in votes.items()}
    return {track: person for track, (person, frames) in winners.items() if frames >= MIN_FRAMES}


def _judge(
    summary: dict[str, Any], truth: dict[int, int], enrolled: set[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows = []
    for fact in summary["stages"]["sink"]["per_track"]:
        if fact["track_id"] not in truth or fact["state"] == "pending":
            continue
        name = f"P{truth[fact['track_id']]}"
        expected = name if name in enrolled else "unknown"
        rows.append(
            {
                "track": fact["track_id"],
                "expected": expected,
                "answer": fact["name"],
                "score": fact["score"],
                "right": expected == fact["name"],
            }
        )
    known = [row for row in rows if row["expected"] != "unknown"]
    strangers = [row for row in rows if row["expected"] == "unknown"]
    return rows, {
        "enrolled": len(enrolled),
        "known": len(known),
        "known_right": sum(row["right"] for row in known),
        "known_called_unknown": sum(row["answer"] == "unknown" for row in known),
        "strangers": len(strangers),
        "strangers_right": sum(row["right"] for row in strangers),
    }


if __name__ == "__main__":
    main()
