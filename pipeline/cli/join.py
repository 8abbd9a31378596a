"""`join`: make one network of several, whose embeddings stand side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.new_weights import add_out_arguments, check_out
from pipeline.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from stages.embed.networks.joined import Joined

HELP = "make one network of several, whose embeddings stand side by side"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        f"{HELP}: a joined similarity is the members' similarities averaged by their shares. The "
        "weights are new ones: people must be enrolled anew."
    )
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="of the members, .safetensors: smplgait, gaitgln or smplrows, two or more",
    )
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=[],
        metavar="SHARE",
        help="what each counts in the joined similarity; default: all the same",
    )
    add_out_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Write the new weights; 0.

    Raises:
        UsageError: options that do not fit each other, or FILE exists.
        WeightsError: weights cannot be read or joined.
    """
    if args.shares and len(args.shares) != len(args.weights):
        raise UsageError(f"{len(args.weights)} weights want as many shares, got {args.shares}")
    check_out(args)
    from stages.embed.checkpoint import save_network

    network = joined(args.weights, args.shares)
    new_hash = save_network(args.out, network)
    members = ", ".join(
        f"{share:.0%} {path.name}"
        for path, share in zip(args.weights, network.config.shares, strict=True)
    )
    print(f"{members}: {args.out}, {network.vector_shape[0]} numbers, weights {new_hash}")
    return 0


def joined(weights: list[Path], shares: list[float]) -> Joined:
    """Return the network of these members.

    Raises:
        WeightsError: weights cannot be read, or not be joined.
    """
    from stages.embed.checkpoint import embedding_only, load_network
    from stages.embed.networks.joined import Joined, JoinedConfig
    from stages.embed.weights import network_of

    members = [embedding_only(load_network(path, network_of(path))[0]) for path in weights]
    plain = tuple({"network": m.name, "config": m.export_config()} for m in members)
    try:
        network = Joined(JoinedConfig(members=plain, shares=tuple(shares)))
    except ValueError as error:
        raise WeightsError(f"these weights cannot be joined: {error}") from error
    network.load_state_dict(
        {
            f"members.{place}.{key}": tensor
            for place, member in enumerate(members)
            for key, tensor in member.state_dict().items()
        }
    )
    return network.eval()
