"""Two cameras, one gallery: who was enrolled at the first is named at the second.

Both clips go through the whole pipeline. The first camera's tracks are enrolled under the names
that the truth gives them, the second camera's are named by the program, with its thresholds; beside
that stands who of the gallery is nearest, whatever the threshold. A person counts by the longest of
their tracks. A scene is a folder with truth.npz and a clip `<camera>.mp4` of each camera.

`python -m benchmarks.two_cameras --scene demo --weights FILE ...`
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.harness import machine_facts, write_results
from benchmarks.sections import print_table, table
from pipeline.cli.demo import assign_tracks, judge, read_tracks
from pipeline.cli.enroll import new_run_id, sighting_settings
from pipeline.cli.running import run_to_its_end
from pipeline.config import load_config
from pipeline.errors import InputError
from stages.embed.checkpoint import save_network
from stages.embed.evaluation.distances import Measure, distance_matrix
from stages.embed.networks.catalogue import build_network
from stages.embed.weights import network_of
from stages.human.truth import Truth, TruthCamera, load_truth
from stages.identify.enrol import MIN_WINDOWS, enrol_from_sightings, mean_vector
from stages.identify.gallery import Gallery
from stages.identify.sightings import sighting_vectors, sightings

GEI = "gei"
UNTRAINED = "untrained"


@dataclass(frozen=True, slots=True)
class TrackVerdict:
    """A track of the second camera.

    Attributes:
        truth: who it is. answer: the program's last word, a name, `unknown` or `pending`.
        nearest: whose template is nearest, "" if the track gave no window.
    """

    truth: str
    track_id: int
    seconds: float
    answer: str
    nearest: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Two clips and who walks in them."""

    name: str
    clips: tuple[Path, Path]
    cameras: tuple[TruthCamera, TruthCamera]


def main() -> None:
    """Run, print the tables, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scene", type=Path, default=Path("demo"), help="folder of the scene")
    parser.add_argument("--cameras", nargs=2, metavar="NAME", help="default: the first two")
    parser.add_argument("--weights", nargs="+", type=Path, default=[], help=".safetensors")
    parser.add_argument("--untrained", metavar="NETWORK", help="one with weights as first drawn")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--name", help="of the results file; default: the scene's")
    args = parser.parse_args()
    console = Console(highlight=False)
    scene = open_scene(args.scene, args.cameras)
    verdicts: dict[str, list[TrackVerdict]] = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen: dict[str, dict[str, Any]] = {GEI: {"embed.network": GEI}}
        if args.untrained:
            path = Path(folder) / f"{UNTRAINED}.safetensors"
            save_network(path, build_network(args.untrained, {}).eval())
            chosen[f"{UNTRAINED} {args.untrained}"] = _embedding(args.untrained, path)
        chosen |= {path.stem: _embedding(network_of(path), path) for path in args.weights}
        for number, (label, settings) in enumerate(chosen.items()):
            out = Path(folder) / str(number)
            verdicts[label] = run_scene(scene, out, settings, args.set, console)
    results = report(scene, verdicts)
    for shown in results["tables"]:
        print_table(console, shown)
    name = args.name or f"two_cameras-{scene.name}"
    path = write_results(name, {**results, "machine": machine_facts()})
    console.print("written to", path)


def open_scene(folder: Path, names: Sequence[str] | None = None) -> Scene:
    """Return two cameras of a scene; InputError if clips or cameras are missing."""
    path = folder / "truth.npz"
    if not path.is_file():
        raise InputError(f"{folder} is no scene: it has no truth.npz")
    truth: Truth = load_truth(path)
    known = {camera.name: camera for camera in truth.cameras}
    wanted = list(names) if names else list(known)[:2]
    if len(wanted) < 2 or not set(wanted) <= set(known):
        raise InputError(f"{path} has the cameras {', '.join(known)}; two of them are needed")
    first, second = (folder / f"{name}.mp4" for name in wanted)
    for clip in (first, second):
        if not clip.is_file():
            raise InputError(f"the clip {clip} of the scene is missing")
    return Scene(folder.resolve().name, (first, second), (known[wanted[0]], known[wanted[1]]))


def run_scene(
    scene: Scene, out: Path, embedding: dict[str, Any], settings: Sequence[str], console: Console
) -> list[TrackVerdict]:
    """Enrol at the first camera, name at the second; return what was said of each track."""
    out.mkdir()
    gallery = out / "people.db"
    runs = [new_run_id(camera.name) for camera in scene.cameras]
    summaries = []
    for number, (clip, run_id) in enumerate(zip(scene.clips, runs, strict=True)):
        folder = out / str(number)
        given = {
            "source.uri": str(clip),
            "identify.gallery": str(gallery),
            "sink.out_dir": str(folder),
            "sink.video": False,
            "sink.thumbnails": False,
        }
        given |= sighting_settings(run_id, folder) | embedding
        config = load_config(None, given, settings)
        summaries.append(run_to_its_end(config, live=False, label=clip.stem, console=console))
        if number == 0:
            names = assign_tracks(read_tracks(folder), scene.cameras[0])
            templates = enrol(gallery, run_id, names)
    nearest = nearest_names(gallery, runs[1], templates)
    return [
        TrackVerdict(
            one.truth, one.track_id, one.seconds, one.answer, nearest.get(one.track_id, "")
        )
        for one in judge(out / "1", scene.cameras[1], summaries[1])
    ]


def enrol(gallery: Path, run_id: str, names: dict[int, str]) -> list[tuple[str, np.ndarray]]:
    """Enrol a run's tracks under their names; return name and template of each."""
    templates = []
    with Gallery.open(gallery) as people:
        for seen in sightings(people, run_id):
            name = names.get(seen.track_id)
            if name is None or seen.windows < MIN_WINDOWS:
                continue
            templates.append((name, mean_vector(sighting_vectors(people, seen))))
            enrol_from_sightings(people, run_id, seen.track_id, name, add=people.has(name))
    return templates


def nearest_names(
    gallery: Path, run_id: str, templates: Sequence[tuple[str, np.ndarray]]
) -> dict[int, str]:
    """Return whose template is nearest to each track of a run, by the mean of its windows."""
    with Gallery.open(gallery) as people:
        vectors = {
            seen.track_id: mean_vector(sighting_vectors(people, seen))
            for seen in sightings(people, run_id)
        }
    if not vectors or not templates:
        return {}
    stacked = np.stack([template for _, template in templates])
    found = distance_matrix(np.stack(list(vectors.values())), stacked, Measure())
    return {
        track: templates[int(place)][0]
        for track, place in zip(vectors, found.argmin(axis=1), strict=True)
    }


def by_person(scene: Scene, verdicts: Sequence[TrackVerdict]) -> dict[str, TrackVerdict | None]:
    """Return the longest track of everybody whom the second camera saw, None without a track."""
    seen = {one.name for frame in scene.cameras[1].frames for one in frame}
    longest: dict[str, TrackVerdict | None] = dict.fromkeys(sorted(seen))
    for verdict in verdicts:
        best = longest[verdict.truth]
        if best is None or verdict.seconds > best.seconds:
            longest[verdict.truth] = verdict
    return longest


def report(scene: Scene, verdicts: dict[str, list[TrackVerdict]]) -> dict[str, Any]:
    """Return tables and figures as plain data, fit for `evaluate --include`."""
    rows, figures = [], {}
    for label, tracks in verdicts.items():
        people = by_person(scene, tracks)
        found = figures[label] = {
            "people": len(people),
            "named_right": sum(v is not None and v.answer == n for n, v in people.items()),
            "nearest_right": sum(v is not None and v.nearest == n for n, v in people.items()),
            "tracks": len(tracks),
            "tracks_right": sum(v.answer == v.truth for v in tracks),
            "tracks_wrong": sum(v.answer not in (v.truth, "unknown", "pending") for v in tracks),
        }
        of = f" of {found['people']}"
        people_cells = [f"{found['named_right']}{of}", f"{found['nearest_right']}{of}"]
        track_cells = [f"{found['tracks_right']} of {found['tracks']}", str(found["tracks_wrong"])]
        rows.append([label, *people_cells, *track_cells])
    header = (
        *("network", "people named right", "nearest is right"),
        *("tracks named right", "tracks named wrong"),
    )
    names = " and ".join(camera.name for camera in scene.cameras)
    details = [
        [v.truth, str(v.track_id), f"{v.seconds:.1f}", label, v.answer, v.nearest or "–"]
        for label, tracks in verdicts.items()
        for v in tracks
    ]
    return {
        "title": f"Two cameras: {scene.name}",
        "text": f"Enrolled at {scene.cameras[0].name}, named at {scene.cameras[1].name} by the "
        f"whole pipeline (`python -m benchmarks.two_cameras --scene {scene.name}`). A person "
        "counts by the longest of their tracks; the nearest is told without any threshold.",
        "tables": [
            table(f"{scene.name}: {names}", header, rows),
            table(
                f"{scene.name}, track by track",
                ("who", "track", "seen, s", "network", "answer", "nearest"),
                details,
            ),
        ],
        "figures": figures,
        "verdicts": {label: [asdict(v) for v in tracks] for label, tracks in verdicts.items()},
    }


def _embedding(network: str, weights: Path) -> dict[str, Any]:
    return {"embed.network": network, "embed.weights": str(weights.resolve())}


if __name__ == "__main__":
    main()
