"""Writing an evaluation: tables as Markdown and CSV, plots as PNG, all figures as metrics.json.

All is made in a hidden folder and then moved into place, `metrics.json` last: a folder that holds
one holds a whole report.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.errors import InputError, OutputExistsError, ResourceError
from stages.embed.evaluation.evaluate import Evaluation, MethodResult
from stages.embed.evaluation.plots import DPI, plots_of
from stages.embed.evaluation.tables import Table, label_of, metrics_of, tables_of

METRICS_FILE = "metrics.json"
REPORT_FILE = "report.md"
TABLES = ("ranks", "views", "view_matrix", "open_set", "lengths", "skipped")
PLOTS = ("cmc", "view_matrix", "lengths", "det", "scores")
OURS = (
    METRICS_FILE,
    REPORT_FILE,
    *(f"{name}.csv" for name in TABLES),
    *(f"{name}.png" for name in PLOTS),
)
# Tables that are too long for a page are files only.
FILES_ONLY = ("view_matrix",)
# Which plots stand below which table.
PLOTS_BELOW = {
    "ranks": ("cmc",),
    "views": ("view_matrix",),
    "open_set": ("det", "scores"),
    "lengths": ("lengths",),
}
CAPTIONS = {
    "cmc": "share of probes whose mate is among the first k",
    "view_matrix": "Rank-1 by probe view and gallery view; grey cells are not counted",
    "det": "misses against false alarms; the band holds 8 of 10 splits",
    "scores": "scores of the right people and of strangers",
    "lengths": "accuracy against window length",
}
SHOWN_SKIPPED = 20


def prepare_report_dir(path: Path, overwrite: bool) -> None:
    """Make sure that a report can be written to the folder `path`; make it if it is not there.

    Raises:
        OutputExistsError: it holds a report and `overwrite` is false.
        InputError: it is a file, or cannot be written to.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"output folder {path} is a file", hint="Give a folder.")
    found = [name for name in OURS if (path / name).exists()]
    if found and not overwrite:
        raise OutputExistsError(
            f"output folder {path} already holds an evaluation ({', '.join(found[:4])})",
            hint="Give another folder, or --overwrite to replace what is there.",
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}") from error


def write_report(
    evaluation: Evaluation, out: Path, on_progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Write tables, plots and metrics to a folder that `prepare_report_dir` has looked at.

    Files of an earlier report are replaced or removed; others are left alone.

    Returns:
        what was written, `metrics.json` last.

    Raises:
        ResourceError: there is no room, or the folder cannot be written to.
    """
    tables, plots = tables_of(evaluation), plots_of(evaluation)
    steps = len(plots) + 1
    try:
        half = Path(tempfile.mkdtemp(prefix=".report-", dir=out))
        try:
            for done, (name, draw) in enumerate(plots.items(), start=1):
                # Fonts and layouts differ between versions of matplotlib: nothing is cut off.
                draw().savefig(
                    half / f"{name}.png",
                    dpi=DPI,
                    bbox_inches="tight",
                    pad_inches=0.1,
                    metadata={"Software": None},
                )
                if on_progress is not None:
                    on_progress(done, steps)
            for table in tables:
                (half / f"{table.name}.csv").write_text(table.csv(), encoding="utf-8")
            text = markdown_of(evaluation, tables, plots)
            (half / REPORT_FILE).write_text(text, encoding="utf-8")
            metrics = json.dumps(metrics_of(evaluation), indent=1, ensure_ascii=False)
            (half / METRICS_FILE).write_text(metrics + "\n", encoding="utf-8")
            written = _move(half, out)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    except OSError as error:
        raise ResourceError(
            f"cannot write the report to {out}: {error.strerror}",
            hint="Free some space, or give another folder.",
        ) from error
    if on_progress is not None:
        on_progress(steps, steps)
    return written


def markdown_of(evaluation: Evaluation, tables: Iterable[Table], plots: Iterable[str]) -> str:
    """Return the report as Markdown; plots lie beside it."""
    drawn = set(plots)
    parts = [f"# Evaluation: {', '.join(label_of(m) for m in evaluation.methods)}\n"]
    parts.append(_facts(evaluation))
    for table in tables:
        if table.name in FILES_ONLY:
            continue
        shown = table
        more = ""
        if table.name == "skipped" and len(table.rows) > SHOWN_SKIPPED:
            rows = table.rows[:SHOWN_SKIPPED]
            shown = Table(table.name, table.title, table.header, rows, table.left)
            more = f"\n… and {len(table.rows) - SHOWN_SKIPPED} more in skipped.csv\n"
        parts.append(f"## {table.title}\n\n{shown.markdown()}{more}")
        for name in PLOTS_BELOW.get(table.name, ()):
            if name in drawn:
                parts.append(f"![{CAPTIONS[name]}]({name}.png)\n")
    parts.append(_method_text(evaluation))
    return "\n".join(parts)


def _facts(evaluation: Evaluation) -> str:
    data, options = evaluation.dataset, evaluation.options
    first = evaluation.methods[0]
    lines = [
        f"- dataset: {data['subjects']} subjects, {data['sequences']} sequences, "
        f"{data['frames']} frames, silhouettes {data['height_px']} pixels high",
        f"- protocol {evaluation.protocol}: {first.gallery} gallery sequences, "
        f"{first.probes} probes; at most {options.max_frames} frames of each",
        f"- distance: {options.metric}, mean over the parts; seed {options.seed}",
    ]
    lines += [f"- {_network(method)}" for method in evaluation.methods]
    lines += [f"- note: {note}" for note in evaluation.notes]
    return "\n".join(lines) + "\n"


def _network(method: MethodResult) -> str:
    facts = {
        name: value for name, value in method.facts.items() if name not in ("network", "trained")
    }
    told = ", ".join(f"{name} {value}" for name, value in facts.items())
    seconds = ", ".join(f"{kind.replace('_', ' ')} {s:.1f} s" for kind, s in method.seconds.items())
    return (
        f"{label_of(method)}: {told}; {method.embedded} sequences embedded, "
        f"{len(method.broken)} skipped; {seconds}"
    )


def _method_text(evaluation: Evaluation) -> str:
    first = evaluation.methods[0]
    text = (
        "## How it was measured\n\n"
        "Closed set: Rank-k is the share of probes whose nearest mate (a gallery sequence of the "
        "same subject) is among the first k; mAP is the mean average precision; mINP the mean of "
        "the number of mates divided by the place of the last one. Probes without a mate are left "
        "out there. In the tables by view each gallery view is searched alone, pairs of one view "
        "are left out, and a probe without a mate is a miss. Ties count against the network.\n"
    )
    if first.open is not None:
        text += (
            f"\nOpen set: {first.open.splits} random splits into {first.open.enrolled} enrolled "
            f"people and {first.open.strangers} strangers; a template is a person's gallery "
            "vectors, fused to one, a score 1 / (1 + distance). TPIR at a FPIR: the share of the "
            "enrolled people's probes that get the right name, at the threshold at which that "
            "share of the strangers' probes gets any. AUROC and EER: telling the enrolled from "
            f"strangers by the best score. A split has {first.open.mated_probes:.0f} and "
            f"{first.open.stranger_probes:.0f} probes of the two in the mean.\n"
        )
    where = "at a random place" if evaluation.options.windows == "random" else "in the middle"
    text += (
        f"\nWindow lengths: each probe is cut to that many consecutive frames {where}, the "
        "gallery stays whole; shorter probes are used whole and counted.\n"
    )
    return text


def _move(half: Path, out: Path) -> list[Path]:
    """Move a whole report into place, the metrics last, and remove what an earlier one left."""
    (out / METRICS_FILE).unlink(missing_ok=True)
    names = sorted(path.name for path in half.iterdir() if path.name != METRICS_FILE)
    for name in set(OURS) - set(names):
        (out / name).unlink(missing_ok=True)
    for name in (*names, METRICS_FILE):
        (half / name).replace(out / name)
    return [out / name for name in (*names, METRICS_FILE)]
