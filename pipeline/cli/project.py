"""`project`: learn from a training set how the parts of a network's embeddings go together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.cli.options import printable
from pipeline.errors import InputError, OutputExistsError, UsageError

if TYPE_CHECKING:
    from stages.embed.data.interface import SequenceStore

HELP = "bring the parts of a network's embeddings together, learnt from its training set"
NUMBERS = 200
MAX_SEQUENCES = 60_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        f"{HELP}: the directions in which people differ most for what one person's walks differ "
        "by (linear discriminant analysis). Embeddings become shorter, and the weights others: "
        "people must be enrolled anew."
    )
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
    parser.add_argument(
        "--numbers", type=int, default=NUMBERS, metavar="N", help="of an embedding (%(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="to embed in; bfloat16 is faster where the processor has AMX (%(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the new weights, .safetensors"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")


def run(args: argparse.Namespace) -> int:
    """Write the new weights; 0.

    Raises:
        UsageError: options out of range, or FILE exists.
        InputError, WeightsError: the data or the weights cannot be used.
    """
    from stages.embed.networks.projection import LARGEST

    if not 1 <= args.numbers <= LARGEST:
        raise UsageError(f"--numbers must lie in 1..{LARGEST}, got {args.numbers}")
    if args.out.is_dir() or not args.out.parent.is_dir() or args.out.suffix != ".safetensors":
        raise UsageError(
            f"cannot write {args.out}: it must be a .safetensors file in a folder that exists"
        )
    if args.out.exists() and not args.overwrite:
        raise OutputExistsError(f"{args.out} exists", hint="Give --overwrite to replace it.")
    return _project(args, Console(stderr=True, highlight=False))


def _project(args: argparse.Namespace, console: Console) -> int:
    import torch

    from stages.embed.checkpoint import embedding_only, load_network, save_network
    from stages.embed.data.opening import open_store
    from stages.embed.devices import choose_device
    from stages.embed.embedder import torch_embedder
    from stages.embed.evaluation.embedding import EmbeddingLimits, embed_store, first_frames
    from stages.embed.training.discriminant import (
        fit_discriminant,
        rows_of,
        with_projection,
    )
    from stages.embed.weights import network_of

    network, weights_hash = load_network(args.weights, network_of(args.weights))
    if network.config.projection:
        raise InputError(
            f"the weights {args.weights} have a projection of {network.config.projection} numbers",
            hint="Give those of the training itself.",
        )
    network = embedding_only(network)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        store = open_store(args.data)
        indices = _chosen(store, args.partition)
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
    for name, reason in found.broken[:20]:
        console.print(printable(f"skipped {name}: {reason}"), markup=False, soft_wrap=True)
    vectors = rows_of(network, found.vectors)
    discriminant = fit_discriminant(vectors, found.subjects, args.numbers)
    network, _ = load_network(args.weights, network.name)
    new_hash = save_network(args.out, with_projection(embedding_only(network), discriminant))
    shares = discriminant.shares
    console.print(
        f"{vectors.shape[1]} numbers brought to {len(shares)}, learnt from {len(found)} sequences "
        f"of {len(set(found.subjects))} people; of the variance along them {shares[0]:.0%} to "
        f"{shares[-1]:.0%} is the person's: {args.out}, weights {new_hash}",
        markup=False,
        soft_wrap=True,
    )
    return 0


def _chosen(store: SequenceStore, partition: Path | None) -> list[int]:
    """Return the places of the sequences to learn from, at most 60,000, evenly from all."""
    chosen = list(range(len(store.entries)))
    if partition is not None:
        from stages.embed.data.partition import load_partition

        people = set(load_partition(partition, store, ("TRAIN_SET",)).train)
        chosen = [i for i in chosen if store.entries[i].subject in people]
    if not chosen:
        raise InputError("the data hold nobody to learn from")
    step = max(1, -(-len(chosen) // MAX_SEQUENCES))
    return chosen[::step]
