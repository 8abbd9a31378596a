"""Tables that a measurement prints, and that `evaluate --include` sets on the accuracy page.

A table is plain data: title, header and rows of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return a table as it stands in a results file."""
    assert all(len(row) == len(header) for row in rows), title
    return {"title": title, "header": list(header), "rows": [list(row) for row in rows]}


def print_table(console: Console, shown: dict[str, Any]) -> None:
    """Print a table, wide as it is: results are read, and cut-off figures say nothing."""
    console.print(shown["title"], markup=False, soft_wrap=True)
    rows = [shown["header"], *shown["rows"]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print("  " + line.rstrip(), markup=False, soft_wrap=True)
