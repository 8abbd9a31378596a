"""`keys`: makes the keys that a link needs when it leaves the host, and says who may come in."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

HELP = "make keys for links between hosts, show them, and say which clients a server lets in"
DEFAULT_FOLDER = Path.home() / ".config" / "gaitstream" / "keys"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their options."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    make = _command(commands, "make", "make a key pair, for a server or a client")
    make.add_argument("name", metavar="NAME", help="what to call it, such as server or desk")
    make.add_argument("--overwrite", action="store_true", help="replace the pair of that name")

    _command(commands, "show", "print the public keys, and those of the clients that may come in")

    allow = _command(commands, "allow", "let a client in from now on")
    allow.add_argument("file", metavar="FILE", type=Path, help="the client's NAME.public")
    allow.add_argument("--name", metavar="NAME", help="call it so, not as its file does")
    allow.add_argument("--overwrite", action="store_true", help="replace the key of that name")

    forbid = _command(commands, "forbid", "let a client in no more")
    forbid.add_argument("name", metavar="NAME", help="as `show` lists it")


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        default=DEFAULT_FOLDER,
        help="where the keys are, mode 0700 (default: %(default)s)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Run one subcommand. Raises `GaitError` for everything that goes wrong."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "make": _make,
        "show": _show,
        "allow": _allow,
        "forbid": _forbid,
    }
    return actions[args.action](args)


# Imports are made when a subcommand runs: `--help` of another command is not to wait for ZeroMQ.


def _make(args: argparse.Namespace) -> int:
    from pipeline.transport.keys import make_pair

    pair = make_pair(args.folder, args.name, overwrite=args.overwrite)
    print(f"{pair.name} {pair.public.decode()}")
    print(f"the other side gets {args.folder / args.name}.public; the secret one stays here")
    return 0


def _show(args: argparse.Namespace) -> int:
    from pipeline.transport.keys import AllowList, load_pair, pair_names

    names, clients = pair_names(args.folder), AllowList(args.folder).clients()
    print(f"key pairs in {args.folder}:" if names else f"no key pairs in {args.folder}")
    for name in names:
        print(f"  {name} {load_pair(args.folder, name).public.decode()}")
    print("clients that may come in:" if clients else "no client may come in")
    for name, key in clients.items():
        print(f"  {name} {key.decode()}")
    return 0


def _allow(args: argparse.Namespace) -> int:
    from pipeline.transport.keys import AllowList, read_public

    name, key = read_public(args.file)
    AllowList(args.folder).allow(args.name or name, key, overwrite=args.overwrite)
    print(f"{args.name or name} may come in from its next connection on")
    return 0


def _forbid(args: argparse.Namespace) -> int:
    from pipeline.transport.keys import AllowList

    AllowList(args.folder).forbid(args.name)
    print(f"{args.name} may come in no more; what it has open stays until it breaks off")
    return 0
