"""What an evaluation shows on the terminal: progress bars, and a table at the end."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table as TerminalTable
from rich.text import Text

from pipeline.cli.options import printable

if TYPE_CHECKING:
    from stages.embed.evaluation.tables import Table


class Bars(AbstractContextManager["Bars"]):
    """Progress bars on the terminal, one for each kind of work that takes more than one step."""

    def __init__(self, console: Console, quiet: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bars = Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Show how far a kind of work is."""
        if what not in self._tasks:
            if done >= total:
                return
            self._tasks[what] = self._bars.add_task(what, total=total)
        self._bars.update(self._tasks[what], completed=done, total=total)


def print_table(table: Table) -> None:
    """Print a table to standard output."""
    console = Console(highlight=False)
    say(console, table.title)
    shown = TerminalTable(box=None, pad_edge=False)
    for i, name in enumerate(table.header):
        shown.add_column(name, justify="left" if i < table.left else "right", no_wrap=i == 0)
    for row in table.rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    console.print(shown)


def say(console: Console, text: str) -> None:
    """Print text in which names of files occur."""
    console.print(printable(text), markup=False, soft_wrap=True, highlight=False)
