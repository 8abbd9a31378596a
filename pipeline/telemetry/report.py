"""A profile as one page that opens without a network: `report.html`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipeline.telemetry.charts import (
    frame_lanes,
    latency_over_time,
    sample_frames,
    samples_over_time,
    stage_bars,
)
from pipeline.telemetry.timeline import PARTS, Timeline

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:980px;margin:24px auto;padding:0 16px;color:#222}
h1{font-size:24px}h2{font-size:18px;margin-top:32px}
.said{background:#eef4fa;border-left:4px solid #2471a3;padding:10px 14px;font-size:16px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
td,th{padding:3px 9px;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}
svg{width:100%;height:auto}svg.lanes text{font-size:11px;fill:#444}
.key{display:inline-block;width:12px;height:12px;margin:0 4px 0 12px;vertical-align:-1px}
pre{background:#f6f6f6;padding:10px;overflow:auto;font-size:12px}
"""


def report_of(
    findings: Mapping[str, Any], timeline: Timeline, samples: Sequence[Mapping[str, Any]]
) -> str:
    """Return the page.

    Args:
        findings: what goes into `latency.json`, with `title`, `asked`, `drops`, `incidents`,
            `facts`, `config`.
    """
    whole, named = findings["capture_to_sink_ms"], findings["capture_to_identity_ms"]
    begin_ns = int(timeline.capture_ns.min()) if len(timeline) else 0
    parts = [
        f"<h1>{escape(findings['title'])}</h1>",
        f'<p class="said">{escape(findings["bottleneck"]["sentence"])}</p>',
        _table(
            ("", "p50", "p95", "p99", "mean", "max"),
            [
                ("capture to sink, every frame, ms", *_row(whole)),
                ("capture to sink, frames with a name, ms", *_row(named)),
                ("of it waiting and transport, ms", *_row(findings["beyond_models_ms"])),
            ],
        ),
        f"<p>{findings['frames']} frames in {findings['seconds']:.1f} s "
        f"({findings['rate_hz']:.1f} a second), {findings['frames_dropped']} dropped; warm-up of "
        f"{findings['asked']['warmup_s']:g} s left out.</p>",
    ]
    if len(timeline):
        parts += [
            "<h2>Frames on their way</h2>",
            frame_lanes(timeline, sample_frames(timeline)),
            "<h2>Stages</h2>",
            "<p>What a stay consists of, around the percentile of stays: waiting for the stage, on "
            "the way (encoding, ZeroMQ, decoding), at work.</p>",
            stage_bars(timeline),
            _stages(findings["stages"]),
            "<h2>Latency over time</h2>",
            latency_over_time(timeline),
        ]
    if samples:
        parts += [
            "<h2>Queues, drops, processor, memory</h2>",
            samples_over_time(samples, begin_ns),
        ]
    parts += [
        "<h2>Drops</h2>",
        _table(
            ("what", "count", "reason"),
            [(d["what"], str(d["count"]), d["reason"]) for d in findings["drops"]],
        ),
        *_incidents(findings["incidents"]),
        "<h2>Machine and versions</h2>",
        _table(("", ""), [(key, str(value)) for key, value in findings["facts"].items()]),
        "<details><summary>Configuration</summary><pre>"
        f"{escape(json.dumps(findings['config'], indent=2))}</pre></details>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(findings['title'])}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _incidents(incidents: Sequence[Mapping[str, Any]]) -> list[str]:
    """What happened to the run, if anything did."""
    if not incidents:
        return []
    rows = [(each["stage"], each["kind"], each["text"]) for each in incidents]
    return ["<h2>What happened to the run</h2>", _table(("stage", "kind", ""), rows)]


def _stages(stages: Mapping[str, Mapping[str, Any]]) -> str:
    header = ["stage"]
    header += [f"{word} {p}, ms" for word in PARTS for p in ("p50", "p95", "p99")]
    header += ["at work", "cores", "memory, MB"]
    rows = []
    for stage, found in stages.items():
        cells = [_ms(found[f"{part}_ms"][p]) for part in PARTS for p in ("p50", "p95", "p99")]
        used = ["–" if found[key] is None else f"{found[key]:g}" for key in ("cores", "memory_mb")]
        rows.append((stage, *cells, f"{found['busy_share']:.0%}", *used))
    return _table(header, rows)


def _row(values: Mapping[str, float | None]) -> list[str]:
    return [_ms(values[key]) for key in ("p50", "p95", "p99", "mean", "max")]


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
