"""A run's frames as a trace that Perfetto and chrome://tracing open.

The format is the Trace Event Format: one row a stage under its process, a slice for each stay of a
frame, and arrows from each stay to the next. Times are microseconds from the first capture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.telemetry.timeline import Timeline, parts_ms

NS_PER_US = 1e3
FLOW = "frame"


def trace_of(
    timeline: Timeline,
    pids: Mapping[str, int],
    samples: Sequence[Mapping[str, Any]] = (),
    title: str = "",
) -> dict[str, Any]:
    """Return the trace as plain data.

    Args:
        pids: each stage's process; what is missing counts as one process of its own.
        samples: of `sampler.Sampler`, become rows of counters.
        title: shown with each process.
    """
    known = {stage: pids.get(stage) or place + 1 for place, stage in enumerate(timeline.stages)}
    begin = int(timeline.capture_ns.min()) if len(timeline) else 0
    events = [*_names(known, title), *_slices(timeline, known, begin)]
    events += _counters(samples, known, begin)
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _names(pids: Mapping[str, int], title: str) -> Iterator[dict[str, Any]]:
    shared = len(set(pids.values())) < len(pids)
    for place, (stage, pid) in enumerate(pids.items()):
        process = (title or "gaitstream") if shared else f"{stage} {title}".strip()
        facts = {"process_name": process, "thread_name": stage}
        for name, text in facts.items():
            yield _meta(name, pid, place, {"name": text})
        yield _meta("process_sort_index", pid, place, {"sort_index": place})


def _meta(name: str, pid: int, tid: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "args": args}


def _slices(timeline: Timeline, pids: Mapping[str, int], begin: int) -> Iterator[dict[str, Any]]:
    parts = {name: np.round(each, 3) for name, each in parts_ms(timeline).items()}
    last = len(timeline.stages) - 1
    for f in range(len(timeline)):
        number = int(timeline.frame_ids[f])
        name, flow = f"frame {number}", f"{timeline.source_ids[f]}/{number}"
        for s, stage in enumerate(timeline.stages):
            # A source's slice begins when it took the picture up: before, it may be waiting for
            # room while the one before is still being written.
            enter = timeline.ready_ns[f, s] if s == 0 else timeline.enter_ns[f, s]
            at, until = (int(t) - begin for t in (enter, timeline.leave_ns[f, s]))
            place = {"pid": pids[stage], "tid": s, "ts": at / NS_PER_US}
            yield {
                **place,
                "ph": "X",
                "cat": "stage",
                "name": name,
                "dur": max(0, until - at) / NS_PER_US,
                "args": {
                    "source": timeline.source_ids[f],
                    "identities": int(timeline.carried[f]),
                    **{f"{part}_ms": float(each[f, s]) for part, each in parts.items()},
                },
            }
            if last:
                phase = "s" if s == 0 else "f" if s == last else "t"
                ending = {"bp": "e"} if phase == "f" else {}
                yield {**place, "ph": phase, "cat": FLOW, "name": FLOW, "id": flow, **ending}


def _counters(
    samples: Sequence[Mapping[str, Any]], pids: Mapping[str, int], begin: int
) -> Iterator[dict[str, Any]]:
    for sample in samples:
        at = (sample["at_ns"] - begin) / NS_PER_US
        if at < 0:
            continue
        for stage, found in sample["stages"].items():
            if stage not in pids:
                continue
            place = {"ph": "C", "pid": pids[stage], "tid": 0, "ts": at}
            yield {**place, "name": f"{stage} memory, MB", "args": {"MB": found["memory_mb"]}}
            yield {**place, "name": f"{stage} cores", "args": {"cores": found["cores"]}}
