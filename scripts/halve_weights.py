"""Write weights in half the bytes: matrices as float16, which are read as float32 again.

    python scripts/halve_weights.py joined.safetensors --out half.safetensors
    python scripts/halve_weights.py joined.safetensors --member smplgait --out smplgait.safetensors

The second takes one network out of a joined one. They are other weights then, with a hash of their
own: evaluate and calibrate these.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed, too

from pipeline.errors import GaitError, WeightsError  # noqa: E402
from stages.embed.checkpoint import load_network, save_network  # noqa: E402
from stages.embed.networks.interface import GaitNetwork  # noqa: E402
from stages.embed.networks.joined import NAME, Joined  # noqa: E402
from stages.embed.weights import network_of  # noqa: E402


def main() -> None:
    """Read, write, say how many bytes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, help=".safetensors")
    parser.add_argument("--member", help="network of a joined one to take, by its name")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    args = parser.parse_args()
    try:
        network = (
            load_network(args.weights, network_of(args.weights))[0]
            if args.member is None
            else member_of(args.weights, args.member)
        )
        weights_hash = save_network(args.out, network, half=True)
    except GaitError as error:
        sys.exit(f"error: {error}")
    print(f"{args.out}: hash {weights_hash}, {args.out.stat().st_size / 1e6:.1f} MB")


def member_of(weights: Path, name: str) -> GaitNetwork:
    """Return the member of a joined network that is called `name`.

    Raises:
        WeightsError: the weights cannot be read, or have no such member, or several.
    """
    network, _ = load_network(weights, NAME)
    assert isinstance(network, Joined)
    found = [each for each in network.members if isinstance(each, GaitNetwork)]
    named = [each for each in found if each.name == name]
    if len(named) != 1:
        raise WeightsError(
            f"{weights} has {len(named)} members {name}, wanted one; its members: "
            + ", ".join(each.name for each in found)
        )
    return named[0].eval()


if __name__ == "__main__":
    main()
