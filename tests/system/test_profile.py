"""`profile` on footage: a page that needs no network, a trace that holds together, a comparison."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.graph import STAGES
from tests.system.conftest import CLIP_B, Program

STAGE_NAMES = [spec.name for spec in STAGES]
ROUNDED_US = 0.01


def test_a_profile_of_a_recording(program: Program, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = ("profile", "--source", CLIP_B, "--out", out, "--warmup", 1)
    assert program.run(*said, "--set", "source.end_s=3.5") == 0, program.output
    found = json.loads((out / "latency.json").read_text("utf-8"))
    assert list(found["stages"]) == STAGE_NAMES
    # Which it is depends on what else the machine does; that it follows from the figures does not.
    busiest = max(STAGE_NAMES, key=lambda name: found["stages"][name]["busy_share"])
    assert found["bottleneck"]["stage"] == busiest and found["bottleneck"]["limited"]
    assert found["bottleneck"]["sentence"] in " ".join(program.output.split())
    assert found["frames"] > 20 and found["frames_dropped"] == 0
    for stage in STAGE_NAMES:
        for part in ("queue", "transport", "service"):
            one = found["stages"][stage][f"{part}_ms"]
            assert 0 <= one["p50"] <= one["p95"] <= one["p99"] <= one["max"]
    page = (out / "report.html").read_text("utf-8")
    assert not re.search(r"<script|<link|<iframe|\bsrc=|@import|url\(['\"]?http", page)
    assert all(target.startswith("#") for target in re.findall(r"href=\"([^\"]*)\"", page))
    assert_holds_together(json.loads((out / "trace.json").read_text("utf-8"))["traceEvents"])
    assert program.run("profile", "--compare", out, out) == 0, program.output
    assert "not told apart" in program.output


def assert_holds_together(events: list[dict[str, Any]]) -> None:
    """One row a stage, slices that do not overlap, arrows from stage to stage in time's order."""
    slices, arrows = defaultdict(list), defaultdict(list)
    names = {}
    for event in events:
        row = (event["pid"], event["tid"])
        if event["ph"] == "X":
            slices[row].append((event["ts"], event["ts"] + event["dur"]))
        elif event["ph"] in "stf":
            arrows[event["id"]].append((event["ts"], event["ph"], row))
        elif event["name"] == "thread_name":
            names[row] = event["args"]["name"]
    assert sorted(names.values()) == sorted(STAGE_NAMES)
    assert len({pid for pid, _ in names}) == len(STAGE_NAMES), "a process each"
    for row in slices.values():
        for before, after in pairwise(sorted(row)):
            assert after[0] >= before[1] - ROUNDED_US
    starts = {(row, begin) for row, each in slices.items() for begin, _ in each}
    assert len(arrows) > 50
    for way in arrows.values():
        assert [names[row] for _, _, row in way] == STAGE_NAMES
        assert "".join(phase for _, phase, _ in way) == "sttttt" + "f"
        assert all(a[0] <= b[0] for a, b in pairwise(way))
        assert all((row, at) in starts for at, _, row in way), "an arrow binds to a slice"
