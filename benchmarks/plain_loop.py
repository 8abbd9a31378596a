"""The program without its machinery: one process, one loop, the same models one after another.

What a careful person would write in an afternoon; the limit that `benchmarks/pipeline.py` compares
with. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from pipeline.clock import monotonic_ns
from pipeline.config import load_config
from pipeline.messages import Frame, Message, Release, Span, Stamp
from pipeline.runner import build_stage
from pipeline.stage import EndOfSource

INNER = ("detect", "body", "sequence", "embed", "identify")


def main() -> None:
    """Run the loop over one recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--end", type=float)
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    config = load_config(
        None,
        {
            "source.uri": args.source,
            "source.end_s": args.end,
            "detect.threads": 1,
            "sink.out_dir": str(args.out),
            "sink.overwrite": True,
        },
    ).to_dict()
    source = build_stage("source", config["source"])
    stages = {name: build_stage(name, config[name]) for name in (*INNER, "sink")}
    for stage in stages.values():
        stage.setup()
    stream = source.open()
    for stage in stages.values():
        stage.start(stream)
    begin = time.monotonic()
    frames = _loop(source, stages, stream.source_id)
    for stage in stages.values():
        stage.close()
    wall_s = time.monotonic() - begin
    memory_mb = psutil.Process().memory_info().rss / 1e6
    print(json.dumps({"frames": frames, "wall_s": wall_s, "memory_mb": memory_mb}))


def _loop(source: Any, stages: dict[str, Any], source_id: str) -> int:
    frames = 0
    while True:
        try:
            raw = source.read(1.0)
        except EndOfSource:
            break
        stamp = Stamp(source_id, frames, raw.time_ns, raw.capture_ns, raw.capture_unix_ns)
        message: Message = Frame(stamp, pixels=raw.pixels)
        _feed_sink(stages, message)
        for name in INNER:
            message = _step(stages, name, message)
        _feed_sink(stages, message)
        frames += 1
    for name in INNER:
        for last in stages[name].end(source_id):
            for later in INNER[INNER.index(name) + 1 :]:
                last = _step(stages, later, last)  # noqa: PLW2901 - it travels on
            _feed_sink(stages, last)
    for _ in stages["sink"].end(source_id):
        pass
    return frames


def _step(stages: dict[str, Any], name: str, message: Message) -> Message:
    enter_ns = monotonic_ns()
    (answer,) = stages[name].process(message)
    if name == "body":
        _feed_sink(stages, answer)
    return replace(answer, spans=(*message.spans, Span(name, enter_ns, monotonic_ns())))


def _feed_sink(stages: dict[str, Any], message: Message) -> None:
    for output in stages["sink"].process(message):
        assert isinstance(output, Release)


if __name__ == "__main__":
    main()
