"""What happens to a live run that is given three times the frames it can take?

A clip is written whose pictures come at half the rate that a replay of it reaches, then at three
times that rate, then at half of it again, and is played as a camera would. Told are the latencies
of each part, how soon they are back to usual when the load falls, what was dropped, and the memory.
`python -m benchmarks.overload`
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.harness import machine_facts, write_results
from pipeline.clock import NS_PER_S
from pipeline.config import PipelineConfig, load_config
from pipeline.run_state import RunState
from pipeline.supervisor import run_pipeline
from pipeline.telemetry.sampler import Sampler
from pipeline.telemetry.spans import FrameSpans, read_spans

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("before", "overload", "after")
TICKS_PER_S = 90_000
WARM_UP_S = 5.0
# Latency is usual again when a frame's is below this percentile of the frames before.
USUAL = 99


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=str(ROOT / "demo" / "camera_b.mp4"))
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part")
    parser.add_argument("--load", type=float, default=3.0, help="times what a replay reaches")
    args = parser.parse_args()
    facts = machine_facts()
    with tempfile.TemporaryDirectory() as folder:
        sustained_hz = replay_rate(args.source, Path(folder) / "replay")
        clip = Path(folder) / "load.mp4"
        rates = [0.5 * sustained_hz, args.load * sustained_hz, 0.5 * sustained_hz]
        print(f"a replay reaches {sustained_hz:.1f} frames/s; parts of {args.seconds:g} s at")
        print("  " + ", ".join(f"{rate:.1f}" for rate in rates) + " frames/s")
        write_clip(Path(args.source), clip, rates, args.seconds)
        records, sampler = play(clip, Path(folder))
    found = {
        "machine": facts,
        "source": Path(args.source).name,
        "sustained_hz": sustained_hz,
        "load": args.load,
        **outcome(records, sampler, args.seconds),
    }
    for part in PARTS:
        print(f"{part:10}", found[part])
    print(
        f"p99 under load is {found['p99_ratio']:.2f} times the usual; latency is usual again "
        f"{found['recovered_s']:.2f} s after the load fell; memory {found['memory_mb']}"
    )
    print("written to", write_results("overload", found))


def replay_rate(source: str, out: Path) -> float:
    """Return the frames a second of a replay."""
    state = run_pipeline(config_of(source, out, live=False), live=False)
    return state.stats["sink"].frames / 3 / state.wall_s  # three messages a frame


def config_of(source: str, out: Path, *, live: bool) -> PipelineConfig:
    """Return the settings of a run."""
    settings: dict[str, Any] = {"source.uri": source, "sink.out_dir": str(out)}
    if live:
        settings |= {"source.live": True, "source.realtime": True}
    return load_config(None, settings)


def write_clip(source: Path, path: Path, rates: Sequence[float], seconds: float) -> None:
    """Write the pictures of `source`, over and over, at one rate after another."""
    with av.open(str(source)) as given:
        pictures = [frame.to_ndarray(format="yuv420p") for frame in given.decode(video=0)]
    height, width = pictures[0].shape[0] * 2 // 3, pictures[0].shape[1]
    times = [
        part * seconds + index / rate
        for part, rate in enumerate(rates)
        for index in range(int(seconds * rate))
    ]
    with av.open(str(path), "w") as made:
        stream = made.add_stream("libx264", rate=30, options={"crf": "20", "preset": "ultrafast"})
        stream.codec_context.width, stream.codec_context.height = width, height
        stream.codec_context.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, TICKS_PER_S)
        stream.codec_context.max_b_frames = 0
        for at_s, picture in zip(times, itertools.cycle(pictures), strict=False):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = round(at_s * TICKS_PER_S), Fraction(1, TICKS_PER_S)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))


def play(clip: Path, folder: Path) -> tuple[Sequence[FrameSpans], Sampler]:
    """Run the clip as a camera; return the frames' ways and what was used meanwhile."""
    sampler = Sampler()

    def look(state: RunState) -> None:
        sampler(state)

    spans = folder / "spans.bin"
    run_pipeline(
        config_of(str(clip), folder / "live", live=True), live=True, on_progress=look, spans=spans
    )
    return read_spans(spans), sampler


def outcome(records: Sequence[FrameSpans], sampler: Sampler, seconds: float) -> dict[str, Any]:
    """Return what became of each part."""
    at_s = np.array([each.time_ns for each in records]) / NS_PER_S
    latency_ms = np.array([each.spans[-1][1] - each.capture_ns for each in records]) / 1e6
    begin_ns = min(each.capture_ns for each in records) - round(at_s.min() * NS_PER_S)
    found: dict[str, Any] = {}
    for part, name in enumerate(PARTS):
        low, high = part * seconds + (WARM_UP_S if part == 0 else 1.0), (part + 1) * seconds
        chosen = latency_ms[(at_s >= low) & (at_s < high)]
        inside = [
            each
            for each in sampler.samples
            if part * seconds <= (each["at_ns"] - begin_ns) / NS_PER_S < (part + 1) * seconds
        ]
        dropped = [each["stages"]["source"]["dropped"] for each in inside]
        found[name] = {
            "frames": len(chosen),
            "frames_per_s": round(len(chosen) / (high - low), 1),
            "dropped": dropped[-1] - dropped[0] if dropped else 0,
            **{f"p{q}_ms": round(float(np.percentile(chosen, q)), 1) for q in (50, 95, 99)},
        }
    usual_ms = found["before"][f"p{USUAL}_ms"]
    fell_s = 2 * seconds
    late = at_s[(at_s >= fell_s) & (latency_ms > usual_ms)]
    first = late[late < fell_s + seconds / 2]
    memory = [each["run_memory_mb"] for each in sampler.samples]
    third = max(1, len(memory) // 3)
    found["p99_ratio"] = round(found["overload"]["p99_ms"] / usual_ms, 3)
    # Single late frames happen without any load: what counts is the first that is not.
    usual_again = at_s[(at_s >= fell_s) & (latency_ms <= usual_ms)]
    found["recovered_s"] = round(float(usual_again.min() - fell_s), 3)
    found["late_after"] = len(first)
    found["memory_mb"] = {
        "first third": round(float(np.median(memory[:third]))),
        "last third": round(float(np.median(memory[-third:]))),
    }
    return found


if __name__ == "__main__":
    main()
