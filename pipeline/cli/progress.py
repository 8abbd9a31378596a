"""Progress of a run on the terminal; plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.plans import StageStats
from pipeline.run_state import RunState
from pipeline.telemetry import LatencyHistogram

LINE_EVERY_S = 10.0
RATE_OVER_S = 5.0


class RunProgress:
    """A bar with frames, frames a second, latency, drops and time left. Use as a context."""

    def __init__(self, console: Console, label: str, *, quiet: bool = False) -> None:
        self._console = console
        self._label = label
        self._quiet = quiet
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=None, facts="")
        self._line_at = time.monotonic()
        self._seen: list[tuple[float, int]] = []

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, state: RunState) -> None:
        """Show how far a run is."""
        sink = state.stats.get("sink", StageStats())
        source = state.stats.get("source", StageStats())
        done = int(sink.report.get("frames", 0))
        expected = sum(opened.frames_expected for opened in state.opened.values())
        facts = self._facts(done, sink, source)
        self._bar.update(self._task, completed=done, total=expected or None, facts=facts)
        now = time.monotonic()
        if not self._console.is_terminal and not self._quiet and now - self._line_at > LINE_EVERY_S:
            self._line_at = now
            self._console.print(f"{self._label}: {done}/{expected or '?'} frames, {facts}")

    def _facts(self, done: int, sink: StageStats, source: StageStats) -> str:
        age = LatencyHistogram(sink.age_ns.get("identities", {})).percentile_ms(50)
        latency = "" if age is None else f", {age:.0f} ms to a name"
        return f"{self._rate(done):.1f} frames/s{latency}, {source.dropped} dropped"

    def _rate(self, done: int) -> float:
        now = time.monotonic()
        self._seen = [entry for entry in self._seen if now - entry[0] <= RATE_OVER_S]
        self._seen.append((now, done))
        span = now - self._seen[0][0]
        return (done - self._seen[0][1]) / span if span > 0 else 0.0
