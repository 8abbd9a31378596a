"""How much faster is the pipeline than one plain loop over the same models?

Both in fresh processes, in turns, so that what else the machine does hits both alike. Loading is
left out on both sides. `python -m benchmarks.pipeline --source vtest.avi --repeats 3`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import machine_facts, spread, write_results

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=str(ROOT / "demo" / "camera_b.mp4"))
    parser.add_argument("--end", type=float, help="only the first seconds")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    facts = machine_facts()
    plain, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.repeats):
            plain.append(_plain(args, Path(folder) / f"plain{turn}"))
            ours.append(_ours(args, Path(folder) / f"ours{turn}"))
            walls = plain[-1]["wall_s"], ours[-1]["wall_s"]
            print(f"turn {turn + 1}: plain {walls[0]:.1f} s, ours {walls[1]:.1f} s")
    assert plain[0]["frames"] == ours[0]["frames"], "both must see the same frames"
    ratios = [a["wall_s"] / b["wall_s"] for a, b in zip(plain, ours, strict=True)]
    results: dict[str, Any] = {
        "machine": facts,
        "source": Path(args.source).name,
        "frames": plain[0]["frames"],
        "plain_wall_s": spread([one["wall_s"] for one in plain]),
        "ours_wall_s": spread([one["wall_s"] for one in ours]),
        "speedup": spread(ratios),
        "plain_memory_mb": spread([one["memory_mb"] for one in plain]),
        "ours_memory_mb": spread([one["memory_mb"] for one in ours]),
    }
    for key, value in results.items():
        print(f"{key:18} {value}")
    print("written to", write_results(f"pipeline-{Path(args.source).stem}", results))


def _plain(args: argparse.Namespace, out: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.plain_loop", "--source", args.source]
    command += ["--out", str(out), *(["--end", str(args.end)] if args.end else [])]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


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


if __name__ == "__main__":
    main()
