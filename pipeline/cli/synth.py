"""`synth`: data of people who do not exist, for training and for trying things out."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.cli.options import add_setting_options, printable, start_logging
from pipeline.config import load_model
from pipeline.errors import UsageError
from pipeline.extras import install_command

if TYPE_CHECKING:
    from pipeline.cli.synthesis.config import SynthConfig
    from pipeline.cli.synthesis.mocap import Clips

HELP = "make gait data of people who do not exist"
KINDS = ("silhouettes", "packed", "video", "coco")
CONFIG_HINT = "run_pipeline.py synth --help and docs/synthetic.md explain the keys."
MAX_WORKERS = 1024
LINE_EVERY_S = 10.0
RATE_OVER_S = 30.0
# Option, key of the configuration, what it takes, what it means.
OPTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("--identities", "identities", "N", "how many people (20)"),
    ("--first", "first", "N", "number of the first person (0)"),
    ("--views", "views", "N", "views of a walk, spread evenly over 360 "
     "degrees (8); of video and coco: cameras of a scene (1)"),
    ("--split", "split", "SET", "whose gaits: train or test; no gait is in both (train)"),
    ("--seed", "seed", "S", "of everything that is drawn (0)"),
    ("--conditions", "conditions", "LIST", "walks of each person: nm plain, bg bag, cl coat, "
     "oc partly hidden, frNN at NN frames a second (nm:2,bg:1,cl:1)"),
    ("--frames", "frames", "T", "frames a sequence (30)"),
    ("--frame-rates", "frame_rates_hz", "HZ", "25, or a range such as 7-30 (25)"),
    ("--elevations", "elevations_deg", "DEG", "of the camera above the horizon (0-30)"),
    ("--heights", "heights_px", "PX", "a person's height in the picture (42-130)"),
    ("--noise", "noise", "X", "errors of segmentation and landmarks, 0 to 2, a number or a range: "
     "0 none, 1 as measured (1)"),
    ("--occluded", "occluded", "SHARE", "share of sequences partly hidden (0)"),
    ("--outfits", "outfits", "PER", "clothes drawn per sequence or per walk (sequence)"),
    ("--size", "size", "PX", "height of a silhouette: 64 or 128 (64)"),
    ("--form", "form", "FORM", "of --kind silhouettes: npy or opengait (npy)"),
    ("--mocap", "mocap", "DIR", "take the gaits from this folder of BVH walks"),
    ("--people", "scene.people", "N", "video, coco: people in each scene (4)"),
    ("--seconds", "scene.seconds", "S", "video, coco: length of each scene (20)"),
    ("--every", "scene.every_s", "S", "coco: time between pictures (1)"),
    ("--place", "scene.place", "PLACE", "video, coco: hall, corridor, street, lawn, car_park, yard "
     "or any (any)"),
    ("--backgrounds", "scene.backgrounds", "DIR", "video, coco: pictures that stand in for places"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        f"{HELP}: silhouettes as id/kind/view/ or packed, with SMPL rows and keypoints; video or "
        "pictures in colour with truth. The same options give the same bytes, on any number of "
        "processes. Killed at any moment, the same command goes on where it was."
    )
    parser.add_argument("--kind", choices=KINDS, help="what to write (silhouettes)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR|FILE", help="folder; of --kind packed a .gaitpack file"
    )
    for option, key, takes, meaning in OPTIONS:
        parser.add_argument(option, dest=f"synth_{key}", metavar=takes, help=meaning)
    parser.add_argument(
        "--clean", action="store_true", help="no errors and nothing hidden: --noise 0 --occluded 0"
    )
    parser.add_argument("--no-smpl", action="store_true", help="no SMPL rows; faster")
    parser.add_argument("--workers", type=int, metavar="K", help="processes (one a core)")
    parser.add_argument("--overwrite", action="store_true", help="replace the set in --out")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of the same keys")
    add_setting_options(parser, "distances_m=4-8")


def run(args: argparse.Namespace) -> int:
    """Make the data; 0 when all is there.

    Raises:
        UsageError: wrong options, or an --out in use.
        InputError: the motion clips cannot be used.
        ResourceError: the disk is full, or a process died.
    """
    from pipeline.cli.synthesis.config import SynthConfig

    config = load_model(args.config, SynthConfig, _given(args), args.settings, hint=CONFIG_HINT)
    if args.check_config:
        print(json.dumps(config.to_dict(), indent=2))
        return 0
    if args.out is None:
        raise UsageError("synth needs --out", hint="a folder; of --kind packed a .gaitpack file")
    if args.workers is not None and not 1 <= args.workers <= MAX_WORKERS:
        raise UsageError(f"--workers must lie in 1..{MAX_WORKERS}, got {args.workers}")
    if importlib.util.find_spec("numba") is None:
        raise UsageError("synth needs numba", hint=install_command("synth"))
    workers = args.workers or len(os.sched_getaffinity(0))
    console = start_logging(args.quiet)
    # SIGINT too: a shell that starts this in the background has it ignored.
    stops = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, _stop) for number in stops]
    try:
        return _make(args, config, workers, console)
    except KeyboardInterrupt:
        _say(console, "what is finished is kept: the same command goes on from there")
        raise
    finally:
        for number, handler in zip(stops, before, strict=True):
            signal.signal(number, handler)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options say, by key of the configuration."""
    given = {key: getattr(args, f"synth_{key}") for _, key, _, _ in OPTIONS}
    given["kind"] = args.kind
    if args.clean and (given["noise"] is not None or given["occluded"] is not None):
        raise UsageError("--clean is --noise 0 --occluded 0: leave those two out")
    if args.clean:
        given |= {"noise": 0, "occluded": 0}
    if args.no_smpl:
        given["theta"] = False
    return {key: value for key, value in given.items() if value is not None}


def _make(args: argparse.Namespace, config: SynthConfig, workers: int, console: Console) -> int:
    from pipeline.cli.synthesis.config import SCENE_KINDS
    from pipeline.cli.synthesis.people_set import PeopleSet
    from pipeline.cli.synthesis.places import places_of
    from pipeline.cli.synthesis.scene_set import SceneSet
    from pipeline.cli.synthesis.session import Order, Product, make_set

    places = places_of(args.out, config.kind)
    kind = SceneSet if config.kind in SCENE_KINDS else PeopleSet
    product: Product = kind(config, places)
    with SynthProgress(console, quiet=args.quiet) as progress:
        clips = _clips(config, progress, console, quiet=args.quiet)
        began = time.monotonic()
        order = Order(config, places, workers, args.overwrite)
        outcome = make_set(order, product, clips, progress)
    rate = 60 * outcome.made / (time.monotonic() - began)
    if not args.quiet:
        now = f"{outcome.made} frames now, {rate:,.0f} a minute"
        _say(
            console,
            f"{config.identities} people, {outcome.frames} frames; "
            f"{now if outcome.made else 'all were there already'}: {args.out}",
        )
        _say(console, f"look at {places.side('contact_sheet.png')}")
    return 0


def _clips(
    config: SynthConfig, progress: SynthProgress, console: Console, *, quiet: bool
) -> Clips | None:
    if config.mocap is None:
        return None
    from pipeline.cli.synthesis.mocap import named, read_clips

    clips = read_clips(config.mocap, progress.on_clips)
    count = len(clips.left_out)
    left_out = f", {count} left out:{named(clips.left_out)}" if count else ""
    if left_out or not quiet:
        _say(console, f"{len(clips.strides)} clips of {len(clips.people)} people used{left_out}")
    return clips


def _say(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class SynthProgress:
    """A bar with frames, frames a second and time left; plain lines where there is no terminal."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("getting ready", total=None, facts="")
        self._line_at = time.monotonic()
        self._seen: list[tuple[float, int]] = []

    def __enter__(self) -> SynthProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_clips(self, done: int, total: int) -> None:
        """Show how many motion clips were read."""
        self._bar.update(
            self._task, description="reading clips", completed=done, total=total, facts=""
        )

    def __call__(self, made: int, total: int, before: int) -> None:
        """Show how many frames are made, of how many, and how many there were before."""
        facts = self._facts(made, before)
        self._bar.update(self._task, description="frames", completed=made, total=total, facts=facts)
        now = time.monotonic()
        if not self._console.is_terminal and not self._quiet and now - self._line_at > LINE_EVERY_S:
            self._line_at = now
            _say(self._console, f"{made}/{total} frames, {facts}")

    def _facts(self, made: int, before: int) -> str:
        now = time.monotonic()
        self._seen = [entry for entry in self._seen if now - entry[0] <= RATE_OVER_S]
        self._seen.append((now, made))
        span, frames = now - self._seen[0][0], made - self._seen[0][1]
        rate = frames / span if span > 0 else 0.0
        facts = [f"{rate:,.0f} frames/s" if rate >= 10 else f"{rate:.1f} frames/s"]
        facts += [f"{before} were there"] if before else []
        return ", ".join(facts)
