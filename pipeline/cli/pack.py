"""`pack`: a data set's thousands of small files as one that training reads fast."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.cli.options import printable
from pipeline.errors import InputError, OutputExistsError, UsageError

if TYPE_CHECKING:
    from stages.embed.data.folders import Skipped
    from stages.embed.data.interface import SequenceStore

HELP = "pack a data set of silhouette sequences into one file"
SPLITS = ("all", "train", "test")
NAMED = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        f"{HELP}. The data lie as id/type/view/, as OpenGait prepares them. Interrupted, it goes "
        "on where it was when it is run again. Sequences that cannot be used are named and left "
        "out."
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of id/type/view/")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the packed file, .gaitpack"
    )
    parser.add_argument(
        "--partition", type=Path, metavar="JSON", help="TRAIN_SET and TEST_SET, for --split"
    )
    parser.add_argument("--split", choices=SPLITS, default="all", help="whom to pack")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    parser.add_argument(
        "--verify", action="store_true", help="only read FILE whole and check its content"
    )


def run(args: argparse.Namespace) -> int:
    """Pack or verify; 0 if all is well, 1 if content is damaged.

    Raises:
        UsageError: options that do not go together, or FILE exists.
        InputError: the data cannot be used.
        ResourceError: the disk is full.
    """
    console = Console(stderr=True, highlight=False)
    if args.verify:
        return _verify(args.out, console)
    if args.data is None:
        raise UsageError("pack needs --data DIR", hint="or --verify, to check a packed file")
    if (args.split == "all") != (args.partition is None):
        raise UsageError("--partition and --split train or test go together")
    if args.out.is_dir() or not args.out.parent.is_dir():
        raise UsageError(f"cannot write {args.out}: its folder must exist and it must be a file")
    if args.out.exists() and not args.overwrite:
        raise OutputExistsError(f"{args.out} exists", hint="Give --overwrite to replace it.")
    return _pack(args, console)


def _pack(args: argparse.Namespace, console: Console) -> int:
    from stages.embed.data.folders import FolderStore
    from stages.embed.data.packing import pack

    with _progress(console) as progress:
        task = progress.add_task("looking at", total=None)
        store = FolderStore(
            args.data, on_progress=lambda done, of: progress.update(task, completed=done, total=of)
        )
        indices = _chosen(store, args)
        task = progress.add_task("packing", total=len(indices))
        packed = pack(
            store, indices, args.out, lambda done, _: progress.update(task, completed=done)
        )
    _say_skipped([*store.skipped, *packed.skipped], console)
    resumed = f", {packed.resumed} of them by an earlier run" if packed.resumed else ""
    console.print(
        f"{packed.sequences} sequences{resumed}, {packed.frames} frames, "
        f"{args.out.stat().st_size / 1e6:.1f} MB: {args.out}",
        markup=False,
        soft_wrap=True,
    )
    return 0


def _chosen(store: SequenceStore, args: argparse.Namespace) -> list[int]:
    """Return the places in the store of the sequences to pack."""
    if args.partition is None:
        return list(range(len(store.entries)))
    from stages.embed.data.partition import load_partition

    partition = load_partition(args.partition, store, (f"{args.split.upper()}_SET",))
    subjects = set(partition.train if args.split == "train" else partition.test)
    chosen = [i for i, entry in enumerate(store.entries) if entry.subject in subjects]
    if not chosen:
        raise InputError(f"the data hold nobody of the partition's {args.split} set")
    return chosen


def _verify(path: Path, console: Console) -> int:
    from stages.embed.data.packed import PackedStore

    with _progress(console) as progress:
        store = PackedStore(path)
        task = progress.add_task("checking", total=len(store.entries))
        damaged = store.verify(lambda done, _: progress.update(task, completed=done))
    for name in damaged[:NAMED]:
        console.print(f"damaged: {printable(name)}", markup=False, soft_wrap=True)
    console.print(f"{len(store.entries)} sequences, {len(damaged)} damaged: {path}", markup=False)
    return 1 if damaged else 0


def _say_skipped(skipped: Sequence[Skipped], console: Console) -> None:
    for one in skipped[:NAMED]:
        text = f"skipped {one.name}: {one.reason}"
        console.print(printable(text), markup=False, soft_wrap=True)
    if len(skipped) > NAMED:
        console.print(f"and {len(skipped) - NAMED} more", markup=False)
    if skipped:
        console.print(f"{len(skipped)} sequences skipped", markup=False)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)
