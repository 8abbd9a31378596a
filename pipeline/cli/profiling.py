"""What `profile` shows while it runs, and the clip that it profiles where no camera is at hand."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.errors import ConfigError
from pipeline.graph import STAGES
from pipeline.run_state import RunState
from pipeline.stage import EndOfSource
from pipeline.telemetry import LatencyHistogram

CLIP = "source.mp4"
# Longer clips start over: rendering takes several times as long as watching.
CLIP_S = 20.0
LINE_EVERY_S = 10.0


class LiveTable:
    """A table of the stages that is drawn anew four times a second. Use as a context."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._shown = not quiet and console.is_terminal
        self._line_at = time.monotonic()
        self._begun_at = time.monotonic()

    def __enter__(self) -> LiveTable:
        if self._shown:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._live.stop()

    def __call__(self, state: RunState) -> None:
        """Show how a run is doing."""
        now = time.monotonic()
        if self._shown:
            self._live.update(_table(state, now - self._begun_at))
        elif not self._quiet and now - self._line_at > LINE_EVERY_S:
            self._line_at = now
            source = state.stats.get("source")
            sink = state.stats.get("sink")
            done = int(sink.report.get("frames", 0)) if sink else 0
            dropped = source.dropped if source else 0
            self._console.print(f"profile: {done} frames, {dropped} dropped")


def _table(state: RunState, seconds: float) -> Table:
    table = Table(title=f"profile, {seconds:.0f} s", title_justify="left")
    table.add_column("stage")
    columns = ("frames", "wait p50", "p95", "work p50", "p95", "p99, ms", "under way", "dropped")
    for column in columns:
        table.add_column(column, justify="right")
    for spec in STAGES:
        stats = state.stats.get(spec.name)
        if stats is None:
            continue
        wait, work = LatencyHistogram(stats.wait_ns), LatencyHistogram(stats.service_ns)
        cells = [wait.percentile_ms(50), wait.percentile_ms(95)]
        cells += [work.percentile_ms(percent) for percent in (50, 95, 99)]
        table.add_row(
            spec.name,
            str(stats.frames),
            *("" if cell is None else f"{cell:.1f}" for cell in cells),
            str(sum(stats.queues.values())),
            str(stats.dropped) if stats.dropped else "",
        )
    return table


def rendered_clip(
    uri: str, rate_hz: float, seconds: float, folder: Path, console: Console, *, quiet: bool
) -> Path:
    """Render a scene of people who do not exist to a video in `folder`; return its path.

    A scene takes as long to render as the pipeline takes to watch it, so that a profile of both at
    once would be one of the renderer.

    Raises:
        ConfigError: `uri` is no scene's address.
        SourceError: the extra `synth` is missing.
        ResourceError: there is no room.
    """
    from stages.sink.video import VideoWriter
    from stages.source.synthetic import SyntheticReader

    address = uri.partition(":")[2]
    keys = {part.partition("=")[0] for part in address.split(",")}
    if "fps" in keys:
        raise ConfigError("a scene's fps is the profile's --rate", hint="leave fps=N out")
    more = [f"fps={rate_hz:g}"]
    if "seconds" not in keys:
        more.append(f"seconds={min(seconds, CLIP_S):g}")
    reader = SyntheticReader(",".join([*filter(None, [address]), *more]))
    path = folder / CLIP
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet) as progress:
        task = progress.add_task("rendering", total=reader.facts.frames_expected)
        writer = VideoWriter(
            path, reader.facts.size_wh, rate_hz, crf=20, preset="veryfast", threads=1
        )
        try:
            while True:
                picture = reader.read()
                assert picture.time_ns is not None
                writer.write(picture.pixels, picture.time_ns)
                progress.advance(task)
        except EndOfSource:
            writer.finish()
        finally:
            writer.close()
    return path
