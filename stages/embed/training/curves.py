"""The course of a training on disk: `curve.csv`, `evaluation.csv`, and the picture of both."""

from __future__ import annotations

import csv
import io
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import InputError
from stages.embed.training.run_folder import cannot_write

log = logging.getLogger(__name__)

# One row is the mean over the steps since the row before. `skipped` counts steps that float16's
# loss scaling left out; distances are in the embedding's own unit; frames_per_s is of all ranks.
CURVE_COLUMNS = (
    "step",
    "phase",
    "lr",
    "loss",
    "triplet_loss",
    "contrastive_loss",
    "softmax_loss",
    "nonzero_share",
    "positive_distance",
    "negative_distance",
    "nearest_right",
    "accuracy",
    "grad_norm",
    "loss_scale",
    "skipped",
    "frames_per_s",
)
EVALUATION_COLUMNS = ("step", "phase", "subjects", "sequences", "rank1", "mAP", "eer")
LOSSES = ("loss", "triplet_loss", "contrastive_loss", "softmax_loss")
SHARES = ("nonzero_share", "nearest_right", "accuracy")
TRIED = ("rank1", "mAP", "eer")
PICTURE_INCHES = (10, 7)

Value = float | int | str | None


class Course:
    """A CSV file that grows by rows and can be cut back to a step.

    Numbers are written so that they read back as the same; what is None is left empty.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = tuple(columns)
        self.rows = 0

    def open_at(self, step: int, rows: int | None = None) -> None:
        """Keep the rows up to a step and drop the rest, half rows included.

        Args:
            rows: how many there should be, None if nobody knows. Fewer are said in the log.

        Raises:
            InputError: the file has other columns. ResourceError: it cannot be written.
        """
        kept = [row for row in self.read() if int(row["step"]) <= step]
        if rows is not None and len(kept) < rows:
            log.warning("%s has lost rows: %d of %d are there", self.path.name, len(kept), rows)
        self.rows = len(kept)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([row[column] for column in self.columns] for row in kept)
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            part.write_text(text.getvalue(), encoding="utf-8")
            part.replace(self.path)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def append(self, row: Mapping[str, Value]) -> None:
        """Add a row; ResourceError if it cannot be written."""
        cells = ["" if row.get(column) is None else str(row[column]) for column in self.columns]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text.getvalue())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.rows += 1

    def sync(self) -> None:
        """Make sure that the rows outlast the machine; before a checkpoint that counts on them."""
        try:
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def read(self) -> list[dict[str, str]]:
        """Return the whole rows of the file, none if it is not there.

        Columns that the file does not have yet, because later versions added them, are empty.

        Raises:
            InputError: the file has columns that are not known, or in another order.
        """
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        whole = [line for line in lines if line.endswith("\n")]
        table = list(csv.reader(whole))
        if not table:
            return []
        there = table[0]
        if there != [name for name in self.columns if name in there] or there[:1] != ["step"]:
            raise InputError(
                f"{self.path} has columns {there}, expected {list(self.columns)}",
                hint="Was it changed, or written by another version? Begin in another folder.",
            )
        rows = [row for row in table[1:] if len(row) == len(there) and row[0].isdecimal()]
        empty = dict.fromkeys(self.columns, "")
        return [empty | dict(zip(there, row, strict=True)) for row in rows]


def points_of(rows: Sequence[Mapping[str, str]], column: str) -> list[tuple[int, float]]:
    """A column over the steps, with a gap wherever another number of people was tried.

    The same network has other figures then, and a line would show a leap that is none.
    """
    points: list[tuple[int, float]] = []
    before = None
    for row in rows:
        people = row.get("subjects")
        if points and people != before:
            points.append((int(row["step"]), math.nan))
        if row[column]:
            points.append((int(row["step"]), float(row[column])))
        before = people
    return points


def draw(
    path: Path, curve: Sequence[Mapping[str, str]], tried: Sequence[Mapping[str, str]]
) -> None:
    """Draw losses, rates and evaluations over the steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=PICTURE_INCHES, layout="constrained")
    axes = figure.subplots(2, 2)
    panels = (
        ("loss", curve, LOSSES, "log"),
        ("shares", curve, SHARES, "linear"),
        ("learning rate", curve, ("lr",), "log"),
        ("evaluation (lines join figures of the same people)", tried, TRIED, "linear"),
    )
    for axis, (title, rows, columns, scale) in zip(axes.flat, panels, strict=True):
        shown = 0
        for column in columns:
            points = points_of(rows, column)
            if scale == "log":
                points = [point for point in points if point[1] > 0]
            if points:
                mark = "." if len(points) < 50 else ""
                axis.plot(*zip(*points, strict=True), marker=mark, label=column)
                shown += 1
        if shown:
            axis.set_yscale(scale)
            axis.legend(loc="best", fontsize="small")
        else:
            axis.text(0.5, 0.5, "nothing yet", ha="center", va="center", transform=axis.transAxes)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    part = path.with_name(f".{path.name}.part")
    try:
        FigureCanvasAgg(figure).print_png(str(part))
        part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
