"""The trace: slices that do not overlap, arrows that begin and end at slices; the report."""

from __future__ import annotations

import json
from collections import defaultdict
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
from made_up_runs import STAGES, records

from pipeline.telemetry.charts import bars_ms
from pipeline.telemetry.findings import profile_findings
from pipeline.telemetry.report import report_of
from pipeline.telemetry.timeline import timeline_of
from pipeline.telemetry.trace import trace_of

PIDS = {"source": 11, "detect": 12, "sink": 13}


def test_golden_slices_and_arrows() -> None:
    line = timeline_of(records(30, work_ms=30))
    trace = json.loads(json.dumps(trace_of(line, PIDS, title="run")))
    rows: dict[int, list[tuple[float, float]]] = defaultdict(list)
    arrows: dict[str, list[tuple[str, float, int]]] = defaultdict(list)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            rows[event["pid"]].append((event["ts"], event["ts"] + event["dur"]))
        elif event["ph"] in "stf":
            arrows[event["id"]].append((event["ph"], event["ts"], event["pid"]))
    assert set(rows) == set(PIDS.values())
    for slices in rows.values():
        slices.sort()
        assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(slices))
    assert len(arrows) == 30
    for way in arrows.values():
        assert [phase for phase, _, _ in way] == ["s", "t", "f"]
        for _, at, pid in way:
            assert any(begin <= at <= end for begin, end in rows[pid])
    names = {e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"}
    assert names == {f"{stage} run" for stage in STAGES}


def test_golden_bars_are_what_stays_consist_of() -> None:
    line = timeline_of(records(400, work_ms=20))
    for percent in (50, 95, 99):
        found = bars_ms(line, percent)
        assert found.shape == (3, 3) and (found >= 0).all()
        stay = found.sum(1)[1]
        np.testing.assert_allclose(stay, 20.1, rtol=0.12)
    assert bars_ms(line, 95)[1].sum() > bars_ms(line, 50)[1].sum()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "br", "path", "use", "rect", "line"}:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "href"} and value]

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_smoke_the_report_needs_no_network() -> None:
    line = timeline_of(records(60))
    facts = {"cores": 0.5, "memory_mb": 100.0, "queues": {"sink": 2}, "frames": 1, "dropped": 0}
    sample = {
        "at_ns": int(line.capture_ns[0]),
        "busy_cores": 1.0,
        "run_cores": 0.9,
        "run_memory_mb": 300.0,
        "stages": dict.fromkeys(STAGES, facts),
    }
    findings = {
        "title": "Profile of <a & b>",
        "asked": {"warmup_s": 5.0},
        **profile_findings(line, [sample, sample], cores=2, dropped=0, paced=True),
        "drops": [{"what": "frames", "count": 0, "reason": "none"}],
        "incidents": [{"stage": "body", "kind": "restart", "text": "<it> died"}],
        "facts": {"python": "3"},
        "config": {"run": {}},
    }
    page = report_of(findings, line, [sample, sample])
    reader = _Reader()
    reader.feed(page)
    assert reader.open == []
    assert "Profile of &lt;a &amp; b&gt;" in page
    assert page.count("<svg") == 4
    assert all(link.startswith("#") for link in reader.links)
