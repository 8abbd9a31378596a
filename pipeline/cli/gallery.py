"""`gallery`: shows and changes who is known."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from stages.identify.gallery import Gallery
    from stages.identify.records import Person

HELP = "list, show, rename, merge, remove, export and import the people of a gallery"

# A file or a pipe has no width: lines there are not to be cut.
PLAIN_WIDTH = 240


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their options."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    listing = _command(commands, "list", "everybody in the gallery")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")

    show = _command(commands, "show", "one person with notes and templates")
    show.add_argument("name", metavar="NAME", help="name or id; case does not matter")

    remove = _command(commands, "remove", "delete a person for good, with every trace in the file")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--yes", action="store_true", help="do not ask")

    rename = _command(commands, "rename", "give a person another name")
    rename.add_argument("old", metavar="OLD")
    rename.add_argument("new", metavar="NEW")

    merge = _command(commands, "merge", "move one person's templates to another, delete the first")
    merge.add_argument("source", metavar="FROM")
    merge.add_argument("into", metavar="INTO")

    export = _command(commands, "export", "write everybody to one file")
    export.add_argument("file", metavar="FILE", type=Path)
    export.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")

    importing = _command(commands, "import", "add everybody from an exported file")
    importing.add_argument("file", metavar="FILE", type=Path)
    importing.add_argument(
        "--on-conflict",
        choices=("refuse", "rename", "merge"),
        default="refuse",
        help="what to do if a name is taken: import nobody, call the newcomer `Name (2)`, "
        "or add the newcomer's templates to who is there (default: %(default)s)",
    )

    seen = _command(commands, "sightings", "tracks of past runs that can still be enrolled")
    seen.add_argument("--run", metavar="ID", help="only this run")
    seen.add_argument("--drop", action="store_true", help="delete them, for good")
    seen.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.add_argument("--gallery", required=True, type=Path, metavar="FILE", help="gallery file")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run one subcommand. Raises `GaitError` for everything that goes wrong."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": _list,
        "show": _show,
        "remove": _remove,
        "rename": _rename,
        "merge": _merge,
        "export": _export,
        "import": _import,
        "sightings": _sightings,
    }
    return actions[args.action](args)


# Imports of stages are made here, when a subcommand runs: `--help` of another command is not to
# wait for numpy.


def _open(args: argparse.Namespace, mode: Any) -> Gallery:
    from stages.identify.gallery import Gallery

    return Gallery.open(args.gallery, mode)


def _list(args: argparse.Namespace) -> int:
    with _open(args, "any") as gallery:
        people = gallery.people()
    if args.json:
        _print_json([_as_dict(person) for person in people])
        return 0
    rows = [
        (
            person.name,
            str(person.templates),
            "yes" if person.has_thumbnail else "",
            _date(person.created_unix_ns),
            person.consent,
            person.note,
        )
        for person in people
    ]
    _print_table(("name", "templates", "picture", "added", "consent", "note"), rows)
    return 0


def _show(args: argparse.Namespace) -> int:
    with _open(args, "any") as gallery:
        person = gallery.person(args.name)
        templates = gallery.templates(person.id)
    _print_pairs(
        (
            ("name", person.name),
            ("id", person.id),
            ("added", _date(person.created_unix_ns)),
            ("changed", _date(person.updated_unix_ns)),
            ("consent", person.consent or "nothing noted"),
            ("note", person.note),
            ("picture", "yes" if person.has_thumbnail else "no"),
        )
    )
    rows = [
        (
            one.network,
            one.weights_hash,
            "x".join(map(str, one.vector.shape)),
            str(one.frames),
            f"{one.quality:.2f}",
            _date(one.created_unix_ns),
            one.source_label,
        )
        for one in templates
    ]
    _print_table(("network", "weights", "vector", "frames", "quality", "added", "from"), rows)
    return 0


def _remove(args: argparse.Namespace) -> int:
    with _open(args, "write") as gallery:
        person = gallery.person(args.name)
        if not args.yes and not _confirmed(person):
            print("nothing was removed")
            return 1
        gallery.remove(person.id)
    print(f"removed {person.name} and {person.templates} templates")
    return 0


def _confirmed(person: Person) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            f"removing {person.name!r} cannot be undone and there is no terminal to ask on",
            hint="give --yes",
        )
    question = f"Delete {person.name} with {person.templates} templates for good? [y/N] "
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _rename(args: argparse.Namespace) -> int:
    with _open(args, "write") as gallery:
        old = gallery.person(args.old)
        gallery.rename(old.id, args.new)
        print(f"{old.name} is now {gallery.person(old.id).name}")
    return 0


def _merge(args: argparse.Namespace) -> int:
    with _open(args, "write") as gallery:
        source, into = gallery.person(args.source), gallery.person(args.into)
        gallery.merge(source.id, into.id)
        merged = gallery.person(into.id)
    print(f"{merged.name} now has {merged.templates} templates; {source.name} is gone")
    return 0


def _export(args: argparse.Namespace) -> int:
    from stages.identify.exchange import export_gallery

    with _open(args, "any") as gallery:
        count = export_gallery(gallery, args.file, overwrite=args.overwrite)
    print(f"wrote {count} people to {args.file}; it is as private as the gallery itself")
    return 0


def _import(args: argparse.Namespace) -> int:
    from stages.identify.archive import read_archive
    from stages.identify.exchange import import_people

    found = read_archive(args.file)  # First: a bad file is not to leave an empty gallery.
    with _open(args, "create") as gallery:
        result = import_people(gallery, found, on_conflict=args.on_conflict)
    print(
        f"added {len(result.added) + len(result.renamed)} people, "
        f"merged {len(result.merged)}, {result.templates} new templates"
    )
    for old, new in result.renamed:
        print(f"  {old} was taken: the newcomer is {new}")
    return 0


def _sightings(args: argparse.Namespace) -> int:
    from stages.identify.sightings import remove_sightings, sightings

    with _open(args, "write" if args.drop else "any") as gallery:
        if args.drop:
            print(f"removed {remove_sightings(gallery, args.run)} sightings")
            return 0
        seen = sightings(gallery, args.run)
        names = {person.id: person.name for person in gallery.people()}
    if args.json:
        _print_json([_as_dict(one) | {"name": names.get(one.person_id, "")} for one in seen])
        return 0
    rows = [
        (
            one.run_id,
            one.source_label or one.source_id,
            str(one.track_id),
            f"{one.length_s:.1f}",
            str(one.windows),
            names.get(one.person_id, ""),
            "never" if one.expires_unix_ns is None else _date(one.expires_unix_ns),
        )
        for one in seen
    ]
    _print_table(("run", "source", "track", "seconds", "windows", "enrolled", "deleted"), rows)
    return 0


# --- printing


def _date(unix_ns: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_ns / 1e9))
    except (OverflowError, OSError, ValueError):
        # An imported file may hold any number.
        return "?"


def _as_dict(record: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(record)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _console() -> Any:
    from rich.console import Console

    return Console(
        width=None if sys.stdout.isatty() else PLAIN_WIDTH, markup=False, highlight=False
    )


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not rows:
        print("nobody")
        return
    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        # Text, not str: a name may look like rich's markup.
        table.add_row(*(Text(cell) for cell in row))
    _console().print(table)


def _print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    for head, value in pairs:
        if value:
            print(f"{head}: {value}")
