"""Lines of `events.jsonl`.

Each line is one JSON object with `type` and, but for incidents, `source_id`:

    start        the stream's facts
    track_start  a track's first frame
    identity     a decision about a track that is new or the last one
    track_end    a track is over, with its last decision
    end          the stream is over; missing when the run was aborted
    incident     of a live run: a camera was lost or found, a stage was started again

Lines of a live stream also tell `unix_time` (seconds, UTC) and decisions `latency_ms`, from capture
to decision. Lines of a recording hold nothing of the wall clock: a replay gives the same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pipeline.messages import Identities, Identity, Stamp, StreamStart
from stages.sink.tracks import Track

EVENTS_VERSION = 1


def event_line(event: dict[str, Any]) -> str:
    """Return `event` as a line of strict JSON, newline included."""
    return json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(", ", ": ")) + "\n"


def start_event(stream: StreamStart) -> dict[str, Any]:
    """Return the first line of a stream."""
    event = {
        "type": "start",
        "version": EVENTS_VERSION,
        "source_id": stream.source_id,
        "label": stream.label,
        "width": stream.size_wh[0],
        "height": stream.size_wh[1],
        "rate_hz": finite(stream.rate_hz, 3),
        "frames_expected": stream.frames_expected,
        "live": stream.live,
    }
    if stream.live:
        event["unix_time"] = round(stream.start_unix_ns / 1e9, 3)
    return event


def track_start_event(stamp: Stamp, track_id: int, live: bool) -> dict[str, Any]:
    """Return the line of a track's first frame."""
    return {**_moment("track_start", stamp, live), "track_id": track_id}


def identity_event(message: Identities, identity: Identity, live: bool) -> dict[str, Any]:
    """Return the line of a decision."""
    event = {
        **_moment("identity", message.stamp, live),
        "track_id": identity.track_id,
        **_decision(identity),
    }
    if live:
        latency_ns = capture_to_identity_ns(message)
        event["latency_ms"] = None if latency_ns is None else round(latency_ns / 1e6, 3)
    return event


def track_end_event(stamp: Stamp, track: Track, live: bool) -> dict[str, Any]:
    """Return the line of a track's end: the last decision, and when the track was seen."""
    return {
        **_moment("track_end", stamp, live),
        "track_id": track.track_id,
        **_decision(track.identity),
        "first_s": round(track.first_ns / 1e9, 3),
        "last_s": round(track.last_ns / 1e9, 3),
        "frames_seen": track.frames,
    }


def end_event(source_id: str, frames: int, tracks: int, identities: int) -> dict[str, Any]:
    """Return the last line of a stream, with its counts."""
    return {
        "type": "end",
        "source_id": source_id,
        "frames": frames,
        "tracks": tracks,
        "identities": identities,
    }


def incident_event(stage: str, kind: str, text: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of what happened to the run itself; `facts` hold its `unix_time`."""
    return {"type": "incident", "stage": stage, "kind": kind, "text": text, **facts}


def capture_to_identity_ns(message: Identities) -> int | None:
    """Return the time from capture to the end of the last stage, None without spans."""
    if not message.spans:
        return None
    return message.spans[-1].leave_ns - message.stamp.capture_ns


def finite(value: float | None, digits: int) -> float | None:
    """Return `value` rounded, None for what JSON has no number for."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def _moment(kind: str, stamp: Stamp, live: bool) -> dict[str, Any]:
    event: dict[str, Any] = {
        "type": kind,
        "source_id": stamp.source_id,
        "frame_id": stamp.frame_id,
        "time_s": round(stamp.time_ns / 1e9, 3),
    }
    if live:
        event["unix_time"] = round(stamp.capture_unix_ns / 1e9, 3)
    return event


def _decision(identity: Identity | None) -> dict[str, Any]:
    return {
        "state": identity.state if identity else "pending",
        "name": identity.name if identity else "",
        "person_id": identity.person_id if identity else "",
        "score": finite(identity.score, 4) if identity else 0.0,
        "false_alarm_rate": finite(identity.false_alarm_rate, 9) if identity else None,
        "windows": identity.windows if identity else 0,
        "frames": identity.frames if identity else 0,
    }
