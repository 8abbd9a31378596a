"""How long is nobody named after a stage was killed, and what is lost?

A live run of a recording that starts over; `kill -9` goes to one stage after the other. Counted is
the time from the kill until the first frame captured after it has its answer at the sink; with the
spare process (`run.spare`) and without. `python -m benchmarks.recovery --kills 6`
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness import machine_facts, spread, write_results
from pipeline.clock import NS_PER_S, monotonic_ns
from pipeline.config import load_config
from pipeline.graph import STAGES
from pipeline.run_state import RunState
from pipeline.spare import SPARE_NAME
from pipeline.supervisor import run_pipeline
from pipeline.telemetry.spans import FrameSpans, read_spans

ROOT = Path(__file__).resolve().parents[1]
PEER = "videoflow publishes 62 s for a killed worker"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=str(ROOT / "demo" / "camera_b.mp4"))
    parser.add_argument("--rate", type=float, default=10.0, help="frames a second")
    parser.add_argument("--kills", type=int, default=6, help="of each stage")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills")
    args = parser.parse_args()
    results: dict[str, Any] = {"machine": machine_facts(), "rate_hz": args.rate, "peer": PEER}
    print(f"{'':22}seconds until the next answer           frames   frames")
    print(f"{'killed':12}{'spare':10}median (quartiles)   p95     most  lost   doubled")
    for spare in (True, False):
        killer = Killer(args.kills if spare else max(2, args.kills // 3), args.every, spare=spare)
        records = run(args, killer)
        for stage, found in outcome(records, killer.kills).items():
            key = f"{stage}, {'spare' if spare else 'no spare'}"
            results[key] = found
            print(
                f"{stage:12}{'yes' if spare else 'no':10}{found['recovery_s']!s:21}"
                f"{found['p95_s']:<8.2f}{found['most_s']:<6.2f}{found['lost']:<7.1f}"
                f"{found['doubled']}"
            )
    print("written to", write_results("recovery", plain(results)))


class Killer:
    """Kills one stage after another; to be called with the run's state."""

    def __init__(self, each: int, every_s: float, *, spare: bool) -> None:
        self._left = [spec.name for _ in range(each) for spec in STAGES]
        self._every_s = every_s
        self._next_at = 0.0
        self.spare = spare
        self.kills: list[tuple[str, int]] = []

    @property
    def patience_s(self) -> float:
        """After so many seconds everything should be over."""
        return 90.0 + (self._every_s + 10.0) * (len(self._left) + 2)

    def __call__(self, state: RunState) -> None:
        """Kill whoever is next, if it is time."""
        now = time.monotonic()
        if not self._next_at:
            if state.missing or (self.spare and not _spare_is_ready()):
                return
            self._next_at = now + self._every_s
        if state.missing:  # the next one is killed when all has been calm for a while
            self._next_at = now + self._every_s
        if now < self._next_at:
            return
        if not self._left:
            os.kill(os.getpid(), signal.SIGINT)
            self._next_at = now + 3600
            return
        stage = self._left.pop(0)
        self._next_at = now + self._every_s
        self.kills.append((stage, monotonic_ns()))
        os.kill(state.pids[stage], signal.SIGKILL)


def run(args: argparse.Namespace, killer: Killer) -> Sequence[FrameSpans]:
    """Return the frames' ways of a run in which `killer` was at work."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(
            None,
            {
                "source.uri": args.source,
                "source.live": True,
                "source.realtime": True,
                "source.loop": True,
                "source.rate_hz": args.rate,
                "sink.out_dir": str(Path(folder) / "out"),
                "run.spare": killer.spare,
            },
        )
        spans = Path(folder) / "spans.bin"
        run_pipeline(config, live=True, on_progress=killer, spans=spans, limit_s=killer.patience_s)
        return read_spans(spans)


def outcome(
    records: Sequence[FrameSpans], kills: Sequence[tuple[str, int]]
) -> dict[str, dict[str, Any]]:
    """Return, by stage, recovery in seconds and what was lost around its kills.

    Lost are frame numbers that never reached the sink; what a live source leaves out for lack of
    room has no number, and is counted as the frames that should have been captured meanwhile.
    """
    answered = sorted((each.capture_ns, each.spans[-1][1]) for each in records)
    steps = [(b[0] - a[0]) / NS_PER_S for a, b in itertools.pairwise(answered)]
    usual_s = statistics.median(steps)
    seen = Counter((each.source_id, each.frame_id) for each in records)
    doubled = sum(count - 1 for count in seen.values())
    found: dict[str, list[tuple[float, float]]] = {}
    for stage, at_ns in kills:
        after = [(entered, captured) for captured, entered in answered if captured > at_ns]
        if not after:
            raise SystemExit(f"after the kill of {stage} nothing more came")
        entered, _ = min(after)
        around = [
            (a, b)
            for a, b in itertools.pairwise(answered)
            if a[0] <= entered and b[0] >= at_ns - NS_PER_S
        ]
        gaps_s = sum(max(0.0, (b[0] - a[0]) / NS_PER_S - 1.5 * usual_s) for a, b in around)
        found.setdefault(stage, []).append(((entered - at_ns) / NS_PER_S, gaps_s / usual_s))
    return {
        stage: {
            "recovery_s": spread([seconds for seconds, _ in each]),
            "p95_s": percentile([seconds for seconds, _ in each], 0.95),
            "most_s": max(seconds for seconds, _ in each),
            "lost": statistics.median(lost for _, lost in each),
            "doubled": doubled,
        }
        for stage, each in found.items()
    }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all do not exceed, between neighbours if need be."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def plain(results: dict[str, Any]) -> dict[str, Any]:
    """Return results with spreads as plain data, one level down too."""
    return {
        key: {
            name: {"median": one.median, "low": one.low, "high": one.high, "repeats": one.repeats}
            if hasattr(one, "repeats")
            else one
            for name, one in value.items()
        }
        if isinstance(value, dict)
        else value
        for key, value in results.items()
    }


def _spare_is_ready() -> bool:
    for child in psutil.Process().children():
        try:
            if child.name() == SPARE_NAME:
                return True
        except psutil.Error:
            continue
    return False


if __name__ == "__main__":
    main()
