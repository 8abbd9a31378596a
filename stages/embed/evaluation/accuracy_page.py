"""Writing an evaluation on a suite: one page for readers, its pictures, and all figures as JSON.

Other measurements can stand on the same page: JSON files with `title`, `text`, and tables of
`title`, `header` and `rows`, as the scripts in benchmarks/ write them.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import InputError, ResourceError
from stages.embed.evaluation.accuracy import Accuracy, Result
from stages.embed.evaluation.accuracy_plots import SMALL_DPI, accuracy_plots
from stages.embed.evaluation.accuracy_tables import TARGETS, accuracy_tables
from stages.embed.evaluation.bootstrap import Estimate
from stages.embed.evaluation.suite_figures import Figures, change_cost
from stages.embed.evaluation.tables import Table, plain

IMAGES = "images"
MAX_SECTION_BYTES = 4 << 20
# What an embedder says of itself that a reader of the page wants to know.
TOLD_FACTS = ("weights_hash", "parameters", "runtime", "device", "precision")
ESTIMATES = (
    *("rank1", "front_side", "front_back", "eer"),
    *("template_rank1", "template_eer", "tpir"),
)
CAPTIONS = {
    "views": "Rank-1 by the view looked for and the view enrolled; grey cells are not counted",
    "errors": "pairs of one person refused against pairs of different people taken",
    "lengths": "accuracy against window length",
}
PLOTS_BELOW = {"angles": "views", "open_set": "errors", "lengths": "lengths"}
CONDITIONS = {
    "nm": "normal walks",
    "bg": "with a bag",
    "cl": "in other clothes",
    "hat": "with a hat",
    "oc": "partly hidden",
}


class SectionTable(BaseModel):
    """A table of another measurement."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: str = Field(description="what it shows, with units")
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Section(BaseModel):
    """Another measurement that stands on the page; other keys of its file are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: str = Field(description="heading of the section")
    text: str = Field(description="what was measured, on what, by which command")
    tables: tuple[SectionTable, ...]


def read_section(path: Path) -> Section:
    """Return a measurement from a JSON file; InputError if it is none."""
    try:
        data = path.read_bytes()[: MAX_SECTION_BYTES + 1]
        return Section.model_validate_json(data)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"{path} is no measurement for the page: {place}: {first['msg']}",
            hint="Expected title, text and tables, as benchmarks/real_footage.py writes them.",
        ) from error


def write_page(
    accuracy: Accuracy,
    page: Path,
    command: str,
    sections: Sequence[Section] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write `page`, `<its name>.json` beside it and its pictures in `images/`.

    Each file is replaced whole, the page last.

    Returns:
        what was written.

    Raises:
        ResourceError: there is no room, or the folder cannot be written to.
    """
    plots = accuracy_plots(accuracy)
    images = page.parent / IMAGES
    written: list[Path] = []
    try:
        images.mkdir(parents=True, exist_ok=True)
        for done, (name, draw) in enumerate(plots.items(), start=1):
            path = images / f"{page.stem}-{name}.png"
            with tempfile.TemporaryDirectory(dir=images) as half:
                drawn = Path(half) / path.name
                draw().savefig(drawn, dpi=SMALL_DPI, bbox_inches="tight", pad_inches=0.1,
                               metadata={"Software": None})  # fmt: skip
                drawn.replace(path)
            written.append(path)
            if on_progress is not None:
                on_progress(done, len(plots))
        metrics = json.dumps(metrics_of(accuracy), indent=1, ensure_ascii=False) + "\n"
        text = page_text(accuracy, page.stem, command, sections, tuple(plots))
        for path, content in ((page.with_suffix(".json"), metrics), (page, text)):
            half_file = path.with_name(f".{path.name}.part")
            half_file.write_text(content, encoding="utf-8")
            half_file.replace(path)
            written.append(path)
    except OSError as error:
        raise ResourceError(f"cannot write {page}: {error.strerror}") from error
    return written


def page_text(
    accuracy: Accuracy,
    stem: str,
    command: str,
    sections: Sequence[Section],
    drawn: Sequence[str],
) -> str:
    """Return the page."""
    parts = ["# Accuracy\n", f"Written by `{command}`; do not edit.\n", _facts(accuracy)]
    for name, table in accuracy_tables(accuracy).items():
        parts.append(f"## {table.title}\n\n{table.markdown()}")
        plot = PLOTS_BELOW.get(name, "")
        if plot in drawn:
            parts.append(f"![{CAPTIONS[plot]}]({IMAGES}/{stem}-{plot}.png)\n")
    for section in sections:
        parts.append(f"## {section.title}\n\n{section.text}\n")
        for each in section.tables:
            shown = Table("", each.title, each.header, each.rows)
            parts.append(f"{each.title}\n\n{shown.markdown()}")
    parts.append(_method_text(accuracy))
    return "\n".join(parts)


def metrics_of(accuracy: Accuracy) -> dict[str, Any]:
    """Return all figures as plain data, shares 0..1, null where there is none."""
    found = {
        "suite": accuracy.suite,
        "facts": dict(accuracy.facts),
        "options": accuracy.options.model_dump(mode="json", exclude={"scratch"}),
        "notes": list(accuracy.notes),
        "versions": dict(accuracy.versions),
        "targets": {t.name: {"bound": t.bound, "above": t.above} for t in TARGETS},
        "networks": {each.label: _result_data(each) for each in accuracy.results},
    }
    return {name: plain(value) for name, value in found.items()}


def _result_data(result: Result) -> dict[str, Any]:
    return {
        "role": result.role,
        **(result.facts or {}),
        "skipped": [{"sequence": name, "reason": reason} for name, reason in result.broken],
        "runs": [_figures_data(run) for run in result.runs],
        "lengths": {str(each.frames): _figures_data(each.figures) for each in result.lengths},
    }


def _figures_data(figures: Figures) -> dict[str, Any]:
    conditions = {}
    for each in figures.conditions:
        if each.pairs:
            conditions[each.condition] = {
                "probes": each.probes,
                "pairs": each.pairs,
                **{name: _estimate(getattr(each, name)) for name in ESTIMATES},
                "angles": {name: _estimate(found) for name, found in each.angles},
                "tpir_by_fpir": None
                if each.open is None
                else {f"{fpir:g}": found.mean for fpir, found in each.open.tpir.items()},
                "auroc": None if each.open is None else each.open.auroc.mean,
            }
    return {
        "conditions": conditions,
        "clothes_cost": change_cost(figures, "cl"),
        "matrix": figures.matrix,
        "groups": [
            {
                "by": group.grouping,
                "group": group.group,
                "people": group.people,
                "rank1": _estimate(group.rank1),
                "eer": _estimate(group.eer),
                "refused": group.refused,
                "taken": group.taken,
            }
            for group in figures.groups
        ],
    }


def _estimate(found: Estimate) -> list[float]:
    """Return value, low and high, to six digits: the rest is noise, and the file stays small."""
    values = (found.value, found.low, found.high)
    return [value if math.isnan(value) else round(value, 6) for value in values]


def _facts(accuracy: Accuracy) -> str:
    facts, options = accuracy.facts, accuracy.options
    kinds = ", ".join(map(_condition_text, facts["conditions"]))
    lines = [
        f"- suite `{accuracy.suite}`: {facts['people']} people, {facts['sequences']} sequences, "
        f"{len(facts['views'])} views; each person's first normal walk is enrolled, "
        f"{facts['probes']} others are looked for",
        f"- conditions: {kinds}",
        f"- windows of {options.window} frames on both sides, pairs of one view left out"
        + (f"; {facts['shorter']} sequences are shorter and used whole" * bool(facts["shorter"])),
        f"- stated for {facts['gallery_people']} people enrolled; distance {options.metric}, mean "
        f"over the parts; seed {options.seed}",
    ]
    lines += [f"- {_network(each)}" for each in accuracy.results if each.facts]
    lines += [f"- note: {note}" for note in accuracy.notes]
    return "\n".join(lines) + "\n"


def _condition_text(name: str) -> str:
    """Return a condition with what it means, such as `fr07 (7 frames a second)`."""
    if name.startswith("fr") and name[2:].isdecimal():
        return f"{name} ({int(name[2:])} frames a second)"
    return f"{name} ({CONDITIONS[name]})" if name in CONDITIONS else name


def _network(result: Result) -> str:
    if result.role == "untrained":
        seeds = len(result.runs)
        told = f"{seeds} seed" + "s" * (seeds > 1)
        return f"{result.label}: weights as drawn before training, {told}"
    facts = result.facts or {}
    return f"{result.label}: " + ", ".join(
        f"{name.replace('_', ' ')} {facts[name]}" for name in TOLD_FACTS if name in facts
    )


def _method_text(accuracy: Accuracy) -> str:
    options = accuracy.options
    return (
        "## How it was measured\n\n"
        "Rank-1: each window looked for is searched in every other view alone, where each enrolled "
        "person has one window; the share of such searches in which the right person comes first. "
        f"With more than {options.gallery_people} people in the suite it is the expected share "
        f"over all galleries of {options.gallery_people} that hold the right one. Ties count "
        "against the network. Front is within 30° of 0°, back of 180°, side of 90° or 270°.\n\n"
        "EER: pairs of a window looked for and one person's window in another view; the rate at "
        "which as many pairs of one person are refused as pairs of two people are taken.\n\n"
        "Enrolled from all other views: a template is a person's windows from all views but that "
        f"of the window looked for, fused to one vector. TPIR at a FPIR: {options.open_set_splits} "
        "random splits of the people into enrolled and strangers. The threshold is set so that "
        "this share of the strangers' windows is given anybody's name; of the enrolled people's "
        "windows, the share that is given the right one. AUROC: telling the enrolled from "
        "strangers by the best score alone.\n\n"
        "Intervals hold the middle 95 % of what comes when the people who are looked for are drawn "
        f"anew with replacement ({options.draws} draws), the gallery staying as it is. For "
        "untrained networks the mean over the seeds stands with the lowest and the highest. A "
        "fusion's distance is the mean of the networks' distances, each divided by its mean over "
        "pairs of different people.\n\n"
        "The aims were set before any of these networks was trained. The earlier trial beside them "
        "is a small network of silhouettes alone, trained for half an hour and tried on other "
        "synthetic people.\n\n"
        "The walkers of the suite are rendered: they stand in for people nobody may hand out, and "
        "how far the figures hold for real people only real footage can say.\n"
    )
