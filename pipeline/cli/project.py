"""`project`: learn from a training set how the parts of a network's embeddings go together."""

from __future__ import annotations

import argparse

from rich.console import Console

from pipeline.cli.new_weights import (
    add_out_arguments,
    add_training_set_arguments,
    check_out,
    embedded,
    people_of,
)
from pipeline.errors import InputError, UsageError

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
    add_training_set_arguments(parser)
    parser.add_argument(
        "--numbers", type=int, default=NUMBERS, metavar="N", help="of an embedding (%(default)s)"
    )
    add_out_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write the new weights; 0.

    Raises:
        UsageError: options out of range, or FILE exists.
        InputError, WeightsError: the data or the weights cannot be used.
    """
    from stages.embed.networks.projection import LARGEST

    if not 1 <= args.numbers <= LARGEST:
        raise UsageError(f"--numbers must lie in 1..{LARGEST}, got {args.numbers}")
    check_out(args)
    return _project(args, Console(stderr=True, highlight=False))


def _project(args: argparse.Namespace, console: Console) -> int:
    from stages.embed.checkpoint import embedding_only, load_network, save_network
    from stages.embed.data.opening import open_store
    from stages.embed.training.discriminant import (
        fit_discriminant,
        rows_of,
        with_projection,
    )
    from stages.embed.weights import network_of

    network, weights_hash = load_network(args.weights, network_of(args.weights))
    for name, unit in (("projection", "numbers"), ("cohort", "people")):
        if count := getattr(network.config, name, 0):
            raise InputError(
                f"the weights {args.weights} have a {name} of {count} {unit}",
                hint="Give those of the training itself.",
            )
    store = open_store(args.data)
    indices = people_of(store, args.partition)
    indices = indices[:: max(1, -(-len(indices) // MAX_SEQUENCES))]  # evenly from all
    found = embedded(args, embedding_only(network), weights_hash, store, indices, console)
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
