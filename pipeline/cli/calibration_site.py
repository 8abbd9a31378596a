"""`calibrate --gallery --source`: a calibration for a place, from footage of strangers there.

The real pipeline runs over the footage. What it keeps of the passers-by lies in a temporary gallery
that is gone afterwards; the user's own gallery is only read.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from pipeline.cli.enroll import new_run_id, sighting_settings
from pipeline.cli.evaluation_output import say
from pipeline.cli.options import common_settings, read_config
from pipeline.cli.running import run_to_its_end
from pipeline.config import PipelineConfig
from pipeline.errors import CalibrationError, GalleryError, UsageError
from pipeline.messages import Embedding
from stages.identify.calibration import Calibration
from stages.identify.calibration_file import read_calibration, write_calibration
from stages.identify.calibrations import Calibrations, rate_of
from stages.identify.comparing import Comparer, compare_track, make_comparer
from stages.identify.decision import Evidence, gather
from stages.identify.gallery import Gallery
from stages.identify.records import Sighting, Snapshot, TemplateSet
from stages.identify.sightings import sighting_vectors, sightings
from stages.identify.site import FEW_TRACKS, adapt
from stages.identify.snapshot import take_snapshot
from stages.source.config import is_always_live

# A track that a stranger would match so rarely is most likely no stranger's.
SUSPICIOUS_LEVEL = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Passers:
    """What was seen of the footage: a row for each track that was long enough."""

    tracks: tuple[int, ...]
    scores: np.ndarray
    frames: np.ndarray
    quality: np.ndarray
    nearest: tuple[str, ...]
    too_short: int


def calibrate_site(args: argparse.Namespace, console: Console) -> int:
    """Run the footage, fit, write; returns 0.

    Raises:
        GalleryError: an empty gallery, or one of other weights.
        CalibrationError: no calibration to start from, one of other weights, too few tracks.
    """
    with tempfile.TemporaryDirectory(prefix="gaitstream-calibrate-") as folder:
        seen_in, run_id = Path(folder) / "seen.db", new_run_id("calibrate")
        config = read_config(args, _settings(args, seen_in, run_id))
        if config is None:
            return 0
        snapshot = _known_people(args)
        # Whatever can be told before the footage is worked through is told before.
        prior = _prior(config, snapshot)
        comparer = _comparer(prior, snapshot, args.gallery)
        path = _out_path(args, prior)
        live = is_always_live(config.stages["source"].uri)
        run_to_its_end(config, live=live, label="strangers", console=console, quiet=args.quiet)
        passers = _passers(seen_in, run_id, config, comparer, snapshot)
    asked = rate_of(comparer, config.stages["identify"])
    adapted = adapt(
        *(prior, passers.scores, passers.frames, passers.quality, comparer.count, asked),
        footage=Path(args.source).name,
    )
    write_calibration(path, adapted.calibration)
    _tell(console, prior, passers, comparer, args)
    say(
        console,
        f"{adapted.named_before} of {len(passers.scores)} tracks would be named before, "
        f"{adapted.named_after} with this calibration, at a false-alarm rate of {asked:g}",
    )
    from pipeline.cli.calibrate import show

    show(console, replace(adapted.calibration, checks=()), path)
    say(console, f"use it: run_pipeline.py replay --gallery {args.gallery} --calibration {path} …")
    return 0


def _settings(args: argparse.Namespace, seen_in: Path, run_id: str) -> dict[str, object]:
    if args.report is not None:
        raise UsageError("--report is for labelled walks", hint="Leave it out.")
    settings: dict[str, object] = common_settings(args)
    # The run itself names nobody: it only keeps what it sees, in a gallery of its own.
    settings.pop("identify.calibration", None)
    settings.pop("sink.out_dir", None)
    settings |= sighting_settings(run_id, None)
    settings |= {"identify.gallery": str(seen_in), "identify.sightings_minutes": None}
    settings |= {"sink.video": False, "sink.thumbnails": False}
    if args.calibration is not None:
        settings["identify.calibration"] = str(args.calibration)
    return settings


def _known_people(args: argparse.Namespace) -> Snapshot:
    """Return the gallery without those who may be in the footage."""
    with Gallery.open(args.gallery, "read") as gallery:
        away = {gallery.id_of(name) for name in args.known}
        snapshot = take_snapshot(gallery)
    sets = tuple(kept for one in snapshot.sets if (kept := _without(one, away)) is not None)
    if not sets:
        raise GalleryError(
            f"{args.gallery} holds no templates to compare strangers with"
            + (" beside those of --known" if away and snapshot.sets else ""),
            hint="Enrol people first: run_pipeline.py enroll --help",
        )
    return replace(snapshot, sets=sets)


def _without(one: TemplateSet, away: set[str]) -> TemplateSet | None:
    rows = [row for row, owner in enumerate(one.owners) if owner not in away]
    if not rows:
        return None
    owners = tuple(one.owners[row] for row in rows)
    return TemplateSet(one.network, one.weights_hash, owners, one.vectors[rows])


def _prior(config: PipelineConfig, snapshot: Snapshot) -> Calibration:
    """Return the calibration to start from."""
    identify, network = config.stages["identify"], config.stages["embed"].network
    if identify.calibration is not None:
        return read_calibration(identify.calibration)
    calibrations = Calibrations(identify)
    for one in snapshot.sets:
        if one.network == network:
            found = calibrations.find(one.network, one.weights_hash)
            if found is not None:
                return found
    raise CalibrationError(
        f"there is no calibration of {network} to start from: a place's footage alone is too "
        "little to tell rare false alarms from",
        hint="Make one of labelled walks (calibrate --data), and give it with --calibration.",
    )


def _comparer(prior: Calibration, snapshot: Snapshot, gallery: Path) -> Comparer:
    for one in snapshot.sets:
        if (one.network, one.weights_hash) == (prior.network, prior.weights_hash):
            return make_comparer(one, prior.metric, replace(prior, site=None))
    held = ", ".join(f"{one.network}/{one.weights_hash}" for one in snapshot.sets)
    raise CalibrationError(
        f"the calibration is of {prior.network}/{prior.weights_hash}, {gallery} holds templates "
        f"of {held}",
        hint="Choose the network that the gallery was enrolled with, and its calibration.",
    )


def _out_path(args: argparse.Namespace, prior: Calibration) -> Path:
    from pipeline.cli.calibrate import out_path

    return out_path(args, prior.network, prior.weights_hash)


def _passers(
    seen_in: Path, run_id: str, config: PipelineConfig, comparer: Comparer, snapshot: Snapshot
) -> Passers:
    """Compare the tracks of the run with the gallery."""
    identify = config.stages["identify"]
    calibration = comparer.calibration
    assert calibration is not None
    rows: list[tuple[int, float, float, float, str]] = []
    too_short = 0
    with Gallery.open(seen_in, "read") as gallery:
        for one in sightings(gallery, run_id):
            evidence = _evidence(gallery, one, calibration, identify.memory_windows)
            if one.windows < identify.min_windows or evidence is None:
                too_short += 1
                continue
            if (one.network, one.weights_hash) != (calibration.network, calibration.weights_hash):
                raise CalibrationError(
                    f"the footage's vectors are of {one.network}/{one.weights_hash}, the "
                    f"calibration is of {calibration.network}/{calibration.weights_hash}"
                )
            seen = (evidence.mean, evidence.frames, evidence.quality)
            found = compare_track(*seen, comparer, identify.nearest)
            person = snapshot.names.get(comparer.index.people[found.nearest], "")
            rows.append((one.track_id, found.best, evidence.frames, evidence.quality, person))
    numbers = np.array([row[1:4] for row in rows], np.float64).reshape(-1, 3)
    return Passers(
        tracks=tuple(row[0] for row in rows),
        scores=numbers[:, 0],
        frames=numbers[:, 1],
        quality=numbers[:, 2],
        nearest=tuple(row[4] for row in rows),
        too_short=too_short,
    )


def _evidence(
    gallery: Gallery, one: Sighting, calibration: Calibration, memory_windows: int
) -> Evidence | None:
    """Return what the stage would have gathered of a track; None without vectors."""
    evidence: Evidence | None = None
    for seen in sighting_vectors(gallery, one):
        window = Embedding(
            *(one.track_id, seen.vector, one.network, one.weights_hash),
            *(seen.start_ns, seen.end_ns, seen.frames, seen.quality),
        )
        evidence = gather(evidence, window, memory_windows, calibration.weighing)
    return evidence


def _tell(
    console: Console,
    prior: Calibration,
    passers: Passers,
    comparer: Comparer,
    args: argparse.Namespace,
) -> None:
    """Say what the calibration rests on, and what looks wrong."""
    say(
        console,
        f"{len(passers.scores)} tracks compared with {comparer.count} templates"
        + (f", {passers.too_short} were too short" if passers.too_short else ""),
    )
    if len(passers.scores) < FEW_TRACKS:
        say(
            console,
            f"warning: {len(passers.scores)} tracks move the prior a little and prove no rate: "
            f"1 % takes hundreds of strangers ({FEW_TRACKS} and more are worth having)",
        )
    levels = prior.levels(passers.scores, comparer.count, passers.frames, passers.quality)
    for track, level, name in zip(passers.tracks, levels, passers.nearest, strict=True):
        if level < SUSPICIOUS_LEVEL:
            say(
                console,
                f"warning: track {track} is much like {name} (one stranger in "
                f"{1 / max(level, 1e-6):.0f} is): if {name} is in the footage, say --known {name}",
            )
