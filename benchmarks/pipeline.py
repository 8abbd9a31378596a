"""How much faster is the pipeline than one plain loop over the same models, and what does it cost?

Both in fresh processes, in turns, so that what else the machine does hits both alike. Loading is
left out on both sides. The limit is what the machine gives for as many plain loops at once as it
has cores. `python -m benchmarks.pipeline --source vtest.avi --repeats 3`

With `--cameras 1 2 4 8`: so many live runs side by side, each of a camera of its own at a low rate,
and what a frame costs beyond the models' own time (waiting and transport, of all stages together).
The limit is that many of ZeroMQ's bare hops, at the rate of one camera on the idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.bare_hop import bare_hop_ms
from benchmarks.harness import machine_facts, spread, write_results
from pipeline.graph import STAGES
from pipeline.runner import child_environment

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=str(ROOT / "demo" / "camera_b.mp4"))
    parser.add_argument("--end", type=float, help="only the first seconds")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--cameras", type=int, nargs="+", metavar="N", help="instead: so many live runs at once"
    )
    parser.add_argument("--rate", type=float, default=2.0, help="frames a second of each camera")
    parser.add_argument("--duration", type=float, default=20.0, help="seconds of each live run")
    args = parser.parse_args()
    if args.cameras:
        _measure_cameras(args)
        return
    facts = machine_facts()
    plain, ours, limits = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.repeats):
            plain.append(_plain(args, Path(folder) / f"plain{turn}"))
            ours.append(_ours(args, Path(folder) / f"ours{turn}"))
            limits.append(_limit(args, Path(folder), plain[-1]["wall_s"]))
            walls = plain[-1]["wall_s"], ours[-1]["wall_s"]
            print(f"turn {turn + 1}: plain {walls[0]:.1f} s, ours {walls[1]:.1f} s", flush=True)
    assert plain[0]["frames"] == ours[0]["frames"], "both must see the same frames"
    ratios = [a["wall_s"] / b["wall_s"] for a, b in zip(plain, ours, strict=True)]
    results: dict[str, Any] = {
        "machine": facts,
        "source": Path(args.source).name,
        "frames": plain[0]["frames"],
        "plain_wall_s": spread([one["wall_s"] for one in plain]),
        "ours_wall_s": spread([one["wall_s"] for one in ours]),
        "speedup": spread(ratios),
        "limit": spread(limits),
        "plain_memory_mb": spread([one["memory_mb"] for one in plain]),
        "ours_memory_mb": spread([one["memory_mb"] for one in ours]),
    }
    for key, value in results.items():
        print(f"{key:18} {value}")
    print("written to", write_results(f"pipeline-{Path(args.source).stem}", results))


def _plain(args: argparse.Namespace, out: Path) -> dict[str, float]:
    return _answer_of(_plain_loop(args, out))


def _limit(args: argparse.Namespace, folder: Path, alone_s: float) -> float:
    """How many times as much the machine does with a plain loop on each core as with one."""
    count = os.cpu_count() or 1
    # One thread a library: the loops themselves fill the cores.
    env = child_environment()
    loops = [_plain_loop(args, folder / f"limit{number}", env) for number in range(count)]
    walls = [_answer_of(loop)["wall_s"] for loop in loops]
    return count * alone_s / statistics.mean(walls)


def _plain_loop(
    args: argparse.Namespace, out: Path, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.plain_loop", "--source", args.source]
    command += ["--out", str(out), *(["--end", str(args.end)] if args.end else [])]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)


def _answer_of(loop: subprocess.Popen[str]) -> dict[str, float]:
    output, _ = loop.communicate()
    if loop.returncode:
        raise SystemExit("a plain loop failed: see above")
    return dict(json.loads(output.splitlines()[-1]))


def _ours(args: argparse.Namespace, out: Path) -> dict[str, float]:
    command = [sys.executable, "run_pipeline.py", "replay", "--source", args.source, "--quiet"]
    command += ["--out", str(out), *(["--end", str(args.end)] if args.end else [])]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return {
        "frames": summary["frames_processed"],
        "wall_s": summary["wall_s"],
        "memory_mb": summary["peak_memory_mb"],
    }


def _measure_cameras(args: argparse.Namespace) -> None:
    results: dict[str, Any] = {"machine": machine_facts(), "rate_hz": args.rate}
    bare_ms, hops = bare_hop_ms(args.rate), len(STAGES) - 1
    results["bare_hops_ms"] = round(hops * bare_ms, 2)
    print(f"the limit: {hops} bare hops of {bare_ms:.2f} ms, {hops * bare_ms:.2f} ms")
    columns = ("cameras", "frames/s", "dropped", "p50 ms", "p95 ms", "beyond models", "cores", "MB")
    print("".join(f"{column:>15}" for column in columns))
    for count in args.cameras:
        with tempfile.TemporaryDirectory() as folder:
            found = _watch(args, count, Path(folder))
        results[f"{count} cameras"] = found
        print(f"{count:15}" + "".join(f"{value:>15}" for value in found.values()))
    name = f"cameras-{Path(args.source).stem}"
    print("written to", write_results(name, results))


def _watch(args: argparse.Namespace, count: int, folder: Path) -> dict[str, float]:
    """Run `count` live runs at once; return medians over them, and sums of what they use."""
    command = [sys.executable, "run_pipeline.py", "profile", "--source", args.source, "--quiet"]
    command += ["--rate", f"{args.rate:g}", "--duration", f"{args.duration:g}", "--warmup", "5"]
    command += ["--set", "run.spare=false"]
    outs = [folder / str(number) for number in range(count)]
    runs = [
        subprocess.Popen(
            [*command, "--out", str(out)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for out in outs
    ]
    for each in runs:
        _, errors = each.communicate()
        if each.returncode:
            raise SystemExit(f"a run failed:\n{errors.decode()}")
    profiles = [json.loads((out / "latency.json").read_text("utf-8")) for out in outs]
    return {
        "frames_per_s": round(sum(one["rate_hz"] for one in profiles), 1),
        "dropped": sum(one["frames_dropped"] for one in profiles),
        "p50_ms": _middle(one["capture_to_sink_ms"]["p50"] for one in profiles),
        "p95_ms": _middle(one["capture_to_sink_ms"]["p95"] for one in profiles),
        "beyond_models_p50_ms": _middle(one["beyond_models_ms"]["p50"] for one in profiles),
        "cores": round(sum(_sampled(one, "run_cores") for one in profiles), 2),
        "memory_mb": round(sum(_sampled(one, "run_memory_mb") for one in profiles)),
    }


def _middle(values: Iterable[float]) -> float:
    return round(statistics.median(values), 2)


def _sampled(profile: dict[str, Any], name: str) -> float:
    return statistics.median(sample[name] for sample in profile["samples"])


if __name__ == "__main__":
    main()
