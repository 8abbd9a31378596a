"""`enroll`: learn how a person walks, from a recording or from a track of a run."""

from __future__ import annotations

import argparse
import tempfile
import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.cli.options import (
    add_config_options,
    add_metrics_option,
    add_source_options,
    common_settings,
    read_config,
    start_logging,
)
from pipeline.cli.running import print_summary, run_to_its_end
from pipeline.config import PipelineConfig
from pipeline.errors import GalleryConflictError, UsageError
from stages.identify.enrol import Enrolled, enrol_from_sightings
from stages.identify.gallery import Gallery
from stages.identify.sightings import sightings
from stages.sink import prepare_out_dir

HELP = "learn how a person walks, from a recording or from a track that a run has seen"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--name", required=True, help="the person's name")
    parser.add_argument("--gallery", required=True, type=Path, metavar="FILE", help="gallery file")
    add_source_options(
        parser, "recording to learn from; without it, a track of an earlier run is taken"
    )
    parser.add_argument("--track", type=int, metavar="ID", help="which track, if there are several")
    parser.add_argument("--run", metavar="ID", help="which earlier run (default: the newest)")
    parser.add_argument(
        "--add", action="store_true", help="add to a person who is in the gallery already"
    )
    parser.add_argument("--consent", default="", metavar="TEXT", help="what was agreed, and when")
    parser.add_argument("--note", default="", metavar="TEXT", help="any other note")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="keep video, tracks and pictures of the recording"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a former run in DIR")
    add_metrics_option(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    console = start_logging(args.quiet)
    if args.source is None and not args.check_config:
        enrolled = _from_earlier_run(args)
        _tell(console, enrolled, args.gallery)
        return 0
    run_id = new_run_id("enroll")
    folder = tempfile.TemporaryDirectory() if args.out is None else nullcontext(str(args.out))
    with folder as out_dir:
        settings = common_settings(args) | sighting_settings(run_id, Path(out_dir))
        settings |= {"sink.out_dir": out_dir, "sink.video": args.out is not None}
        config = read_config(args, settings)
        if config is None:
            return 0
        _refuse_conflicts(args.gallery, args.name, args.add)
        prepare_out_dir(Path(out_dir), args.overwrite)
        summary = run_to_its_end(
            config, live=False, label="enroll", console=console, quiet=args.quiet
        )
        print_summary(console, summary, args.out, quiet=args.quiet)
        enrolled = _promote(args, config, run_id)
    _tell(console, enrolled, args.gallery)
    return 0


def new_run_id(command: str) -> str:
    """Return a name for a run that no other run has."""
    return f"{command}-{uuid.uuid4().hex[:12]}"


def sighting_settings(run_id: str, out_dir: Path | None) -> dict[str, Any]:
    """Return the settings that make a run keep the vectors of the tracks it sees."""
    return {
        "identify.create_gallery": True,
        "identify.sightings": True,
        "identify.run_id": run_id,
        "identify.run_dir": None if out_dir is None else str(out_dir.resolve()),
    }


def _from_earlier_run(args: argparse.Namespace) -> Enrolled:
    with Gallery.open(args.gallery) as gallery:
        run_id = args.run
        if run_id is None:
            seen = sightings(gallery)
            if not seen:
                raise UsageError(
                    f"{args.gallery} holds no tracks of an earlier run",
                    hint="give --source VIDEO, or run `live` with --keep-sightings",
                )
            run_id = max(seen, key=lambda one: one.created_unix_ns).run_id
        return _enrol(gallery, args, run_id)


def _promote(args: argparse.Namespace, config: PipelineConfig, run_id: str) -> Enrolled:
    try:
        with Gallery.open(args.gallery) as gallery:
            return _enrol(gallery, args, run_id)
    except UsageError as error:
        if args.out is None and args.track is None:
            error.hint = (
                f"choose one: enroll --gallery {args.gallery} --name {args.name!r} --track ID; "
                "with --out DIR the video with the numbers is kept"
            )
        raise


def _enrol(gallery: Gallery, args: argparse.Namespace, run_id: str) -> Enrolled:
    return enrol_from_sightings(
        gallery, run_id, args.track, args.name, args.consent, args.add, note=args.note
    )


def _refuse_conflicts(path: Path, name: str, add: bool) -> None:
    """Say that a name is taken (or not there) before a long recording is worked through."""
    if not path.exists():
        if add:
            raise GalleryConflictError(f"{path} is not there, so nobody can be added to")
        return
    with Gallery.open(path, "read") as gallery:
        if gallery.has(name) and not add:
            raise GalleryConflictError(
                f"{name!r} is in {path} already",
                hint="--add teaches this person another walk; or choose another name",
            )
        if add and not gallery.has(name):
            raise GalleryConflictError(f"{name!r} is not in {path}", hint="leave out --add")


def _tell(console: Console, enrolled: Enrolled, path: Path) -> None:
    track = enrolled.sighting
    verb = "learned another walk of" if enrolled.added else "enrolled"
    console.print(
        f"{verb} {enrolled.person.name} from track {track.track_id} "
        f"({track.length_s:.1f} s, {track.windows} windows) in {path}",
        markup=False,
        highlight=False,
    )
