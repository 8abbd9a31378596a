"""What a run leaves behind about itself: `summary.json`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline import __version__
from pipeline.plans import Incident, StageStats
from pipeline.run_state import RunState
from pipeline.telemetry.histogram import LatencyHistogram

SUMMARY_VERSION = 1
PACKAGES = ("av", "mediapipe", "numpy", "opencv-python", "pyzmq", "torch")


def build_summary(state: RunState, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of `summary.json`, JSON-safe.

    `latency_ms` is the time inside each stage, `waiting_ms` the time on the way to it (queue and
    transport); `capture_to_identity_ms` runs from the moment a frame came in until what was said
    about it reached the sinks.
    """
    stats = {name: state.stats.get(name, StageStats()) for name in state.stats}
    sink, source = stats.get("sink", StageStats()), stats.get("source", StageStats())
    processed = sink.frames and sink.report.get("frames", 0)
    age = LatencyHistogram(sink.age_ns.get("identities", {}))
    warnings = [reason for reason in state.reasons.values() if reason and reason != "stopped"]
    return {
        "summary_version": SUMMARY_VERSION,
        "outcome": state.outcome,
        "warnings": warnings,
        "sources": {
            key: {
                "label": opened.label,
                "size_wh": [opened.width, opened.height],
                "rate_hz": opened.rate_hz,
                "frames_expected": opened.frames_expected,
                "live": opened.live,
            }
            for key, opened in state.opened.items()
        },
        "frames_read": source.frames + source.dropped,
        "frames_processed": processed,
        "frames_dropped": source.dropped,
        "bad_frames": sum(stage.bad_frames for stage in stats.values()),
        "bad_messages": sum(stage.bad_messages for stage in stats.values()),
        "restarts": dict(state.restarts),
        "incidents": [incident_facts(incident) for incident in state.incidents],
        "tracks": sink.report.get("tracks", 0),
        "windows": stats.get("embed", StageStats()).items.get("windows", 0),
        "identities": sink.report.get("identities", 0),
        "load_s": round(state.load_s, 3),
        "first_frame_s": None if state.first_frame_s is None else round(state.first_frame_s, 3),
        "wall_s": round(state.wall_s, 3),
        "fps": round(processed / state.wall_s, 2) if state.wall_s else 0.0,
        "peak_memory_mb": round(state.peak_memory_bytes / 1e6),
        "latency_ms": {
            name: LatencyHistogram(stage.service_ns).summary() for name, stage in stats.items()
        },
        "waiting_ms": {
            name: LatencyHistogram(stage.wait_ns).summary()
            for name, stage in stats.items()
            if stage.wait_ns
        },
        "capture_to_identity_ms": age.summary(),
        "stages": {name: stage.report for name, stage in stats.items()},
        "versions": _versions(),
        "config": config,
    }


def incident_facts(incident: Incident) -> dict[str, Any]:
    """Return what happened to a run as plain data, with its time."""
    said = {"stage": incident.stage, "kind": incident.kind, "text": incident.text}
    return {**said, **incident.facts}


def _versions() -> dict[str, str]:
    found = {"gaitstream": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
