"""What does measuring cost: a message's enter and leave times, spans and histograms, a stage?

The same messages go through the six stages behind a source, once as a runner handles them and once
without anything that is there to measure: no clock, no span, no histogram. What a stage itself does
is left out. In turns, so that what else the machine does hits both alike. Twice over: with all of
it in the processor's cache, and after a copy of a 1080p picture has thrown it out, as a stage's own
work does.

`python -m benchmarks.spans` (about a minute)
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.harness import Spread, machine_facts, spread, write_results
from benchmarks.sections import print_table, table
from pipeline.clock import monotonic_ns
from pipeline.codec import Decoder, encode
from pipeline.graph import STAGES
from pipeline.messages import People, Span, Stamp
from pipeline.telemetry import LatencyHistogram, SpanWriter

SOURCE, *BEHIND = (spec.name for spec in STAGES)
PICTURE_BYTES = 1920 * 1080 * 3
LIMIT_US = 20.0

Wire = tuple[bytes, bytearray]


class Plain:
    """A stage without anything that measures: a message is read and its answer written."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._decoder = Decoder(People)

    def handle(self, wire: Wire) -> Wire:
        """Return the answer to a message."""
        return encode(self._decoder.decode(*wire))


class Measured:
    """A stage with what its runner does to measure it; see `StageNode`."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._decoder = Decoder(People)
        self._free_ns = monotonic_ns()
        names = ("service", "wait", "queue", "transport", "age")
        self._histograms = {name: LatencyHistogram() for name in names}

    def handle(self, wire: Wire) -> Wire:
        """Return the answer to a message."""
        message = self._decoder.decode(*wire)
        enter_ns, ready_ns = monotonic_ns(), self._free_ns
        left_ns = message.spans[-1].leave_ns
        histograms = self._histograms
        histograms["wait"].add(enter_ns - left_ns)
        histograms["queue"].add(max(0, ready_ns - left_ns))
        histograms["transport"].add(enter_ns - max(left_ns, ready_ns))
        histograms["age"].add(enter_ns - message.stamp.capture_ns)
        span = Span(self.stage, enter_ns, monotonic_ns(), ready_ns)
        histograms["service"].add(span.leave_ns - enter_ns)
        answer = encode(replace(message, spans=(*message.spans, span)))
        self._free_ns = monotonic_ns()
        return answer


def main() -> None:
    """Measure, print the table, write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=300, help="messages a round")
    parser.add_argument("--repeats", type=int, default=15, help="rounds")
    args = parser.parse_args()
    console, facts = Console(), machine_facts()
    figures: dict[str, dict[str, Spread]] = {
        name: measure(args.messages, args.repeats, evict)
        for name, evict in (("in the cache", _nothing), ("after other work", _evictor()))
    }
    rows = [
        [f"{what}, {name}", str(value), "yes" if value.median < LIMIT_US else "no"]
        for name, found in figures.items()
        for what, value in found.items()
    ]
    header = ("", "µs, median and quartiles", f"under {LIMIT_US:.0f} µs")
    print_table(console, table("cost of measuring", header, rows))
    results: dict[str, Any] = {"machine": facts, "messages": args.messages, "stages": BEHIND}
    for name, found in figures.items():
        for what, value in found.items():
            results[f"{what}, {name}"] = value
    console.print("written to", write_results("spans", results))


def measure(messages: int, repeats: int, evict: Callable[[], None]) -> dict[str, Spread]:
    """Return µs a message and stage with and without measuring, and what a sink's record costs."""
    found: dict[str, list[float]] = {name: [] for name in ("without", "with", "added", "a record")}
    with tempfile.TemporaryDirectory() as folder:
        writer = SpanWriter(Path(folder) / "spans")
        for _ in range(repeats):
            without, _ = _through([Plain(name) for name in BEHIND], messages, evict)
            taken, last = _through([Measured(name) for name in BEHIND], messages, evict)
            found["without"].append(without)
            found["with"].append(taken)
            found["added"].append(taken - without)
            found["a record"].append(_written(writer, last, messages, evict))
        writer.close()
    names = {"added": "added a message and stage", "a record": "a record for profile, a frame"}
    return {names.get(name, f"a message and stage, {name}"): spread(v) for name, v in found.items()}


def _through(stages: list[Any], messages: int, evict: Callable[[], None]) -> tuple[float, People]:
    """Return the median µs a message and stage, and the last message as it came out."""
    took_ns = []
    measured = isinstance(stages[0], Measured)
    for number in range(messages):
        now = monotonic_ns()
        spans = (Span(SOURCE, now, now, now),) if measured else ()
        wire = encode(People(Stamp("camera", number, number, now, now), spans=spans))
        for stage in stages:
            evict()
            before = time.perf_counter_ns()
            wire = stage.handle(wire)
            took_ns.append(time.perf_counter_ns() - before)
    return float(np.median(took_ns)) / 1e3, Decoder(People).decode(*wire)


def _written(
    writer: SpanWriter, message: People, messages: int, evict: Callable[[], None]
) -> float:
    took_ns = []
    for _ in range(messages):
        evict()
        before = time.perf_counter_ns()
        writer.write(message.stamp, 0, message.spans)
        took_ns.append(time.perf_counter_ns() - before)
    return float(np.median(took_ns)) / 1e3


def _nothing() -> None:
    """Leave the cache as it is."""


def _evictor() -> Callable[[], None]:
    source, target = (np.full(PICTURE_BYTES, value, np.uint8) for value in (1, 2))
    return lambda: np.copyto(target, source)


if __name__ == "__main__":
    main()
