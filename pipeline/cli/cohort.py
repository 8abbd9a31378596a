"""`cohort`: let a network's embeddings say how crowded their place is."""

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
from pipeline.errors import InputError, UsageError, WeightsError

HELP = "let a joined network's embeddings say how crowded their place is"
PEOPLE = 400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        f"{HELP}: distances then count alike where many people are near each other and where few "
        "are (local scaling by a cohort). The weights are new ones: people must be enrolled anew."
    )
    add_training_set_arguments(parser)
    parser.add_argument(
        "--people", type=int, default=PEOPLE, metavar="N", help="of the cohort (%(default)s)"
    )
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        metavar="SHARE",
        help="what each member counts from now on; default: as it was trained",
    )
    add_out_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write the new weights; 0.

    Raises:
        UsageError: options out of range, or FILE exists.
        InputError, WeightsError: the data or the weights cannot be used.
    """
    from stages.embed.networks.local_scaling import LARGEST

    if not 2 <= args.people <= LARGEST:
        raise UsageError(f"--people must lie in 2..{LARGEST}, got {args.people}")
    check_out(args)
    from stages.embed.checkpoint import embedding_only, load_network, save_network
    from stages.embed.data.opening import open_store
    from stages.embed.networks.joined import Joined
    from stages.embed.training.cohort import one_of_each, with_cohort, with_shares
    from stages.embed.weights import network_of

    network, weights_hash = load_network(args.weights, network_of(args.weights))
    if not isinstance(network, Joined):
        raise WeightsError(
            f"the weights {args.weights} are of {network.name}; only joined ones take a cohort",
            hint="Join them with others first: run_pipeline.py join.",
        )
    if network.config.cohort:
        raise InputError(
            f"the weights {args.weights} have a cohort of {network.config.cohort} people",
            hint="Give those of the training itself.",
        )
    try:
        network = with_shares(network, args.shares or network.config.shares)
    except ValueError as error:
        raise UsageError(f"--shares: {error}") from error
    store = open_store(args.data)
    entries = [(i, store.entries[i].subject) for i in people_of(store, args.partition)]
    indices = one_of_each(entries, args.people)
    console = Console(stderr=True, highlight=False)
    found = embedded(args, embedding_only(network), weights_hash, store, indices, console)
    grown = with_cohort(network, found.vectors)
    new_hash = save_network(args.out, grown)
    console.print(
        f"a cohort of {len(found)} people: {args.out}, weights {new_hash}",
        markup=False,
        soft_wrap=True,
    )
    return 0
