"""What does one hop between two processes cost: ours, plain pyzmq, imagezmq, NetGear, a copy?

All ways in one run and in turns, each measurement in two new processes, so that what else the
machine does hits all alike. Every picture is checked: once, in order, whole.

`python -m benchmarks.transport` (about a quarter of an hour on 2 cores)
`python -m benchmarks.transport --payloads 1080p --seconds 0.5 --repeats 3`
imagezmq and NetGear are in the extra `bench`; without them their rows say so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.harness import OthersAtWork, Spread, machine_facts, spread, write_results
from benchmarks.hop_ours import WINDOW
from benchmarks.hop_pictures import PAYLOADS, RING
from benchmarks.hop_run import WAYS, Measured, Way, copies, hop
from benchmarks.sections import print_table, table
from pipeline.extras import install_command

COPY, COPY_BEYOND = "memcpy, the same pictures", "memcpy, beyond the cache"
HEADER = (
    "way",
    "messages/s",
    "GB/s",
    "of memcpy",
    "to the best peer",
    "alone, p50 ms",
    "p99 ms",
)

Row = dict[str, Any]


def main() -> None:
    """Measure, print the tables, write the results."""
    args = _arguments()
    console = Console(stderr=args.json)
    facts = machine_facts()
    missing = {name: way for name, way in WAYS.items() if not _installed(way)}
    found: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    others: list[float] = []
    for repeat in range(args.repeats):
        at_work = OthersAtWork()
        for payload, way in in_turns(args.payloads, [*WAYS, COPY, COPY_BEYOND], repeat):
            if way in missing or (way in WAYS and not _fits(WAYS[way], payload)):
                continue
            measured = _measure(way, payload, args.seconds)
            found[payload, way].append(measured)
            console.print(f"turn {repeat + 1}: {payload}, {way}: {measured.rate_hz:.0f} a second")
        others.append(at_work.share())
    results = {
        payload: rows_of({way: found[payload, way] for p, way in found if p == payload}, payload)
        for payload in args.payloads
    }
    for payload, rows in results.items():
        title = f"{payload}, {PAYLOADS[payload].size / 1e6:.2f} MB a message"
        shown = [cells(row) for row in rows] + [
            [name, *([f"not installed: {install_command('bench')}"] + [""] * (len(HEADER) - 2))]
            for name in missing
        ]
        print_table(console, table(title, HEADER, shown))
    whole = {
        "machine": facts,
        "others_share_of_cores": others,
        "seconds": args.seconds,
        "under_way": WINDOW,
        "pictures_in_turn": RING,
        "versions": _versions(),
        "not_installed": sorted(missing),
        "payloads": {
            payload: {"bytes": PAYLOADS[payload].size, "ways": [_plain(row) for row in rows]}
            for payload, rows in results.items()
        },
    }
    console.print("other programs had", *(f"{share:.0%}" for share in others), "of the cores")
    part = "" if len(args.payloads) == len(PAYLOADS) else "-" + "-".join(args.payloads)
    console.print("written to", write_results(f"transport{part}", whole))
    if args.json:
        print(json.dumps(whole, indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--payloads", nargs="+", choices=list(PAYLOADS), default=list(PAYLOADS))
    parser.add_argument("--seconds", type=float, default=1.0, help="measured time a rate, s")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each figure")
    parser.add_argument("--json", action="store_true", help="results to stdout, tables to stderr")
    return parser.parse_args()


def _installed(way: Way) -> bool:
    return not way.needs or importlib.util.find_spec(way.needs) is not None


def _fits(way: Way, payload: str) -> bool:
    return PAYLOADS[payload].is_frame or not way.frames_only


def _measure(way: str, payload: str, seconds: float) -> Measured:
    if way in WAYS:
        return hop(way, payload, seconds)
    return copies(payload, seconds, beyond_cache=way == COPY_BEYOND)


def in_turns(
    payloads: Sequence[str], ways: Sequence[str], repeat: int
) -> Iterator[tuple[str, str]]:
    """Yield what to measure in one round: each round begins with another way."""
    for payload in payloads:
        first = repeat % len(ways)
        for way in (*ways[first:], *ways[:first]):
            yield payload, way


def rows_of(found: Mapping[str, Sequence[Measured]], payload: str) -> list[Row]:
    """Return a row a way, fastest first: medians over the repeats, and shares of those.

    A share of a copy, or of the best peer, is that of each round, so that a slow moment of the
    machine is on both sides.
    """
    rates = {way: np.array([one.rate_hz for one in all_of]) for way, all_of in found.items()}
    peers = [way for way in rates if way in WAYS and not WAYS[way].ours]
    best = max(peers, key=lambda way: float(np.median(rates[way])), default=None)
    rows: list[Row] = []
    for way, all_of in found.items():
        row: Row = {"way": way, "rate_hz": spread(rates[way].tolist())}
        row["gb_s"] = row["rate_hz"].median * PAYLOADS[payload].size / 1e9
        for name, other in (("of_memcpy", COPY), ("of_memcpy_beyond_cache", COPY_BEYOND)):
            if other in rates:
                row[name] = spread((rates[way] / rates[other]).tolist())
        if best is not None and way in WAYS:
            row["to_best_peer"] = spread((rates[way] / rates[best]).tolist())
        for percent in (50, 99):
            each = [float(np.percentile(one.single_ms, percent)) for one in all_of]
            row[f"p{percent}_ms"] = spread(each)
        rows.append(row)
    return sorted(rows, key=lambda row: -row["rate_hz"].median)


def cells(row: Row) -> list[str]:
    """Return a row as text; a spread is the middle half of the repeats."""
    return [
        row["way"],
        whole_numbers(row["rate_hz"]),
        f"{row['gb_s']:.2f}",
        f"{row['of_memcpy'].median:.2f}" if "of_memcpy" in row else "–",
        f"{row['to_best_peer'].median:.2f}" if "to_best_peer" in row else "–",
        str(row["p50_ms"]),
        str(row["p99_ms"]),
    ]


def whole_numbers(value: Spread) -> str:
    """Return a spread without decimals: `1,984 (1,902–2,011)`."""
    return f"{value.median:,.0f} ({value.low:,.0f}–{value.high:,.0f})"


def _plain(row: Row) -> Row:
    return {
        key: asdict(value) if isinstance(value, Spread) else value for key, value in row.items()
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("numpy", "pyzmq", "imagezmq", "vidgear"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    main()
