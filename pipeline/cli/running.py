"""What `replay`, `live`, `enroll` and `demo` have in common: a run, its summary, its last words."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.cli.outlets import outlets
from pipeline.cli.progress import RunProgress
from pipeline.config import PipelineConfig
from pipeline.errors import ConfigError, ResourceError
from pipeline.graph import STAGES
from pipeline.run_state import RunState
from pipeline.supervisor import run_pipeline
from pipeline.telemetry.summary import build_summary, incident_facts

SUMMARY_FILE = "summary.json"
INCIDENTS_FILE = "incidents.jsonl"
STOPPED_EXIT_CODE = 130  # 128 + SIGINT, as shells count

log = logging.getLogger("supervisor")


def run_with_progress(
    config: PipelineConfig, *, live: bool, label: str, console: Console, quiet: bool = False
) -> dict[str, Any]:
    """Run the pipeline and return its summary, which is also written to the output folder.

    Raises:
        GaitError: whatever ended the run.
    """
    if not config.stages["source"].uri:
        raise ConfigError("no source was given", hint="say --source VIDEO, or --source 0")
    out_dir = config.stages["sink"].out_dir
    incidents = IncidentFile(None if out_dir is None else Path(out_dir) / INCIDENTS_FILE)
    with (
        outlets(config, console, quiet=quiet) as tell,
        RunProgress(console, label, quiet=quiet) as progress,
    ):

        def look(state: RunState) -> None:
            tell(state)
            progress(state)
            incidents(state)

        state = run_pipeline(config, live=live, on_progress=look)
    incidents(state)
    summary = build_summary(state, config.to_dict())
    if out_dir is not None:
        write_json(Path(out_dir) / SUMMARY_FILE, summary)
    return summary


class IncidentFile:
    """Writes what happens to a run, a line each, as it happens; no file where nothing does.

    A recording's `events.jsonl` is the same whatever happens, so this is where it stands.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written = 0

    def __call__(self, state: RunState) -> None:
        """Write what is new."""
        new = state.incidents[self._written :]
        self._written += len(new)
        if self._path is None or not new:
            return
        lines = (json.dumps(incident_facts(one), ensure_ascii=False) + "\n" for one in new)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
        except OSError as error:
            log.warning("cannot write %s: %s", self._path, error.strerror)


def run_to_its_end(
    config: PipelineConfig, *, live: bool, label: str, console: Console, quiet: bool = False
) -> dict[str, Any]:
    """As `run_with_progress`, for what must not be made of half a recording.

    Raises:
        KeyboardInterrupt: it was stopped early, by whatever signal. A camera has no end.
    """
    summary = run_with_progress(config, live=live, label=label, console=console, quiet=quiet)
    if exit_code_of(summary):
        told = f"{label}: stopped before the recording's end, so nothing is made of it"
        console.print(told, markup=False, highlight=False)
        raise KeyboardInterrupt
    return summary


def write_json(path: Path, data: Any) -> None:
    """Write a file whole or not at all."""
    half = path.with_name(f".{path.name}.part")
    try:
        half.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise ResourceError(f"cannot write {path}: {error.strerror}") from error


def exit_code_of(summary: dict[str, Any]) -> int:
    """Return 0 for a recording that was read to its end, 130 for one that was stopped early.

    A camera has no end, so stopping it is how it ends.
    """
    live = any(source["live"] for source in summary["sources"].values())
    return STOPPED_EXIT_CODE if summary["outcome"] == "stopped" and not live else 0


def print_summary(
    console: Console, summary: dict[str, Any], out_dir: Path | None, *, quiet: bool = False
) -> None:
    """Print what came of a run: warnings, and unless `quiet` counts, latency and where it is."""
    for warning in summary["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    if quiet:
        return
    stopped = " (stopped early)" if summary["outcome"] == "stopped" else ""
    console.print(
        f"{summary['frames_processed']} frames in {summary['wall_s']:.1f} s "
        f"({summary['fps']:.1f} frames/s), {summary['frames_dropped']} dropped, "
        f"{summary['tracks']} tracks, {summary['windows']} windows, "
        f"{summary['peak_memory_mb']} MB{stopped}",
        highlight=False,
    )
    console.print(latency_table(summary))
    if out_dir is not None:
        console.print(f"results in {out_dir}", markup=False, highlight=False)


def latency_table(summary: dict[str, Any]) -> Table:
    """Return the table of milliseconds inside each stage and on the way to it."""
    table = Table(title="latency, ms", title_justify="left")
    table.add_column("stage")
    for column in ("p50", "p95", "p99", "waiting p50", "waiting p95"):
        table.add_column(column, justify="right")
    for stage, inside in sorted(summary["latency_ms"].items(), key=_place_in_graph):
        waiting = summary["waiting_ms"].get(stage, {})
        cells = [*(inside[key] for key in ("p50", "p95", "p99")), waiting.get("p50")]
        table.add_row(stage, *(_ms(cell) for cell in (*cells, waiting.get("p95"))))
    whole = summary["capture_to_identity_ms"]
    table.add_section()
    table.add_row("capture to identity", *(_ms(whole[key]) for key in ("p50", "p95", "p99")))
    return table


def _place_in_graph(item: tuple[str, Any]) -> int:
    return [spec.name for spec in STAGES].index(item[0])


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
