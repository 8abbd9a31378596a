"""What the commands that make new weights from old ones share."""

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
    from stages.embed.data.interface import SequenceStore
    from stages.embed.evaluation.embedding import EmbeddedSet
    from stages.embed.networks.interface import GaitNetwork

SKIPPED_SHOWN = 20


def add_out_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the new weights go."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the new weights, .safetensors"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")


def check_out(args: argparse.Namespace) -> None:
    """Check that the new weights can be written; UsageError if not."""
    if args.out.is_dir() or not args.out.parent.is_dir() or args.out.suffix != ".safetensors":
        raise UsageError(
            f"cannot write {args.out}: it must be a .safetensors file in a folder that exists"
        )
    if args.out.exists() and not args.overwrite:
        raise OutputExistsError(f"{args.out} exists", hint="Give --overwrite to replace it.")


def add_training_set_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the weights, the data they were trained on, and how to embed those."""
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help=".safetensors")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR|FILE",
        help="what the network was trained on: a folder of id/type/view/ or a packed file",
    )
    parser.add_argument(
        "--partition", type=Path, metavar="JSON", help="take its TRAIN_SET only; default: everybody"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="to embed in; bfloat16 is faster where the processor has AMX (%(default)s)",
    )


def people_of(store: SequenceStore, partition: Path | None) -> list[int]:
    """Return the places of the sequences to learn from; InputError if there are none."""
    chosen = list(range(len(store.entries)))
    if partition is not None:
        from stages.embed.data.partition import load_partition

        people = set(load_partition(partition, store, ("TRAIN_SET",)).train)
        chosen = [i for i in chosen if store.entries[i].subject in people]
    if not chosen:
        raise InputError("the data hold nobody to learn from")
    return chosen


def embedded(
    args: argparse.Namespace,
    network: GaitNetwork,
    weights_hash: str,
    store: SequenceStore,
    indices: Sequence[int],
    console: Console,
) -> EmbeddedSet:
    """Embed these sequences, with a progress bar, and name those that cannot be.

    Args:
        network: is taken over.
    """
    import torch

    from stages.embed.devices import choose_device
    from stages.embed.embedder import torch_embedder
    from stages.embed.evaluation.embedding import EmbeddingLimits, embed_store, first_frames

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("embedding", total=len(indices))
        device = choose_device(args.device)
        lower = args.precision == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16, enabled=lower):
            found = embed_store(
                torch_embedder(network, weights_hash, device),
                store,
                indices,
                first_frames(),
                EmbeddingLimits(),
                lambda done, total: progress.update(task, completed=done, total=total),
            )
    for name, reason in found.broken[:SKIPPED_SHOWN]:
        console.print(printable(f"skipped {name}: {reason}"), markup=False, soft_wrap=True)
    return found
