"""Cut a small fixture from an evaluation suite, and write the table of what networks reach on it.

    python scripts/make_accuracy_fixture.py --suite DIR    a new fixture, and the table
    python scripts/make_accuracy_fixture.py                the table alone, on the fixture there is

Writes tests/unit/embed/accuracy_suite.npz and accuracy_table.json, which the tests compare with.
Every shipped weights file has a row in the table, and gait energy images as the baseline.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Runs from a checkout that is not installed, too; the fixture's own code lies with its test.
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit" / "embed")]

from accuracy_fixture import write_fixture  # noqa: E402
from accuracy_table import FIXTURE, TABLE, shipped_weights, write_table  # noqa: E402

from stages.embed.evaluation.joined_store import open_parts  # noqa: E402
from stages.embed.sequences import natural_key  # noqa: E402

KINDS = ("nm-01", "nm-02")
VIEWS = ("000", "090", "180")


def main() -> None:
    """Write the fixture and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", type=Path, help="evaluation suite, as evaluate --suite takes it")
    parser.add_argument("--people", type=int, default=12, help="the first ones")
    parser.add_argument("--frames", type=int, default=10, help="of each sequence")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--views", nargs="+", default=list(VIEWS))
    args = parser.parse_args()
    if args.suite is not None:
        cut(args)
        print(f"{FIXTURE.relative_to(ROOT)}: {FIXTURE.stat().st_size / 1000:.0f} kB")
    write_table(TABLE, FIXTURE, shipped_weights())
    print(TABLE.read_text(encoding="utf-8"))


def cut(args: argparse.Namespace) -> None:
    """Write the fixture from the suite's first people who have all that is asked for."""
    store = open_parts(args.suite)
    wanted = {(kind, view) for kind in args.kinds for view in args.views}
    of_person: dict[str, list[int]] = {}
    for index, entry in enumerate(store.entries):
        if (entry.kind, entry.view) in wanted and entry.frames >= args.frames:
            of_person.setdefault(entry.subject, []).append(index)
    whole = [name for name, found in of_person.items() if len(found) == len(wanted)]
    people = sorted(whole, key=natural_key)[: args.people]
    if len(people) < args.people or not {"theta", "keypoints"} <= store.has:
        sys.exit(
            f"error: {args.suite} has {len(people)} people with {len(wanted)} sequences of "
            f"{args.frames} frames each, and {', '.join(sorted(store.has))}; "
            f"{args.people} people with theta and keypoints are wanted"
        )
    indices = [index for name in people for index in of_person[name]]
    write_fixture(FIXTURE, store, indices, args.frames)


if __name__ == "__main__":
    main()
