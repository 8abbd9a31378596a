"""What a profile says: percentiles of every stage, what limits the run, what would relieve it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.telemetry.timeline import PARTS, Timeline, parts_ms, summary_ms, whole_ms

PROFILE_VERSION = 1
# A stage that works this share of the time sets the pace.
PACED_FROM = 0.85
# The machine is used up when so much of the cores is busy.
CORES_FROM = 0.9
# With so much of them taken by other programs, how busy a stage is tells how long it waits for one.
OTHERS_FROM = 0.25
SOURCE = "source"

RELIEF = {
    "source": "a smaller picture (scale the video down), a recording that decodes faster, or a "
    "lower rate",
    "detect": "fewer frames a second (--rate), a smaller picture, or detect.variant=yolo on a GPU",
    "body": "fewer frames a second (--rate)",
    "sequence": "a longer stride (sequence.stride), or fewer frames a second",
    "embed": "a GPU (embed.runtime), a longer stride (sequence.stride), or embed.runtime=onnx",
    "identify": "a smaller gallery, or a longer stride (sequence.stride)",
    "sink": "no video (sink.video=false), or a faster sink.video_preset",
}


def stage_findings(
    timeline: Timeline, samples: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return for each stage its percentiles and how busy it was.

    `busy_share` is the share of the time in which it worked on a frame, one frame at a time;
    `cores` and `memory_mb` are medians over the samples, None where stages share a process.
    """
    parts = parts_ms(timeline)
    seconds = timeline.seconds
    found: dict[str, dict[str, Any]] = {}
    for s, stage in enumerate(timeline.stages):
        busy_s = float(parts["service"][:, s].sum()) / 1000
        used = [each["stages"][stage] for each in samples if stage in each["stages"]]
        found[stage] = {
            **{f"{part}_ms": summary_ms(parts[part][:, s]) for part in PARTS},
            "busy_share": round(min(1.0, busy_s / seconds), 3) if seconds else 0.0,
            "cores": _median([each["cores"] for each in used]),
            "memory_mb": _median([each["memory_mb"] for each in used]),
            "queued": _queued(samples, stage),
        }
    return found


def _queued(samples: Sequence[Mapping[str, Any]], stage: str) -> dict[str, float]:
    """Messages under way to a stage, by who sends them: the mean over the samples."""
    found: dict[str, list[int]] = {}
    for sample in samples:
        for sender, facts in sample["stages"].items():
            if stage in facts["queues"]:
                found.setdefault(sender, []).append(facts["queues"][stage])
    return {sender: round(float(np.mean(each)), 2) for sender, each in found.items()}


def _median(values: Sequence[float | None]) -> float | None:
    told = [each for each in values if each is not None]
    return round(float(np.median(told)), 2) if told else None


def bottleneck(
    stages: Mapping[str, Mapping[str, Any]],
    samples: Sequence[Mapping[str, Any]],
    cores: int,
    *,
    dropped: int,
    paced: bool,
) -> dict[str, Any]:
    """Say what limits a run.

    Args:
        stages: of `stage_findings`.
        cores: that the run may use.
        dropped: frames that the source had to leave out.
        paced: frames come at their own speed, not as fast as they are taken.

    Returns:
        `stage`, the busiest; `limited`, whether anything limits the run; `by`, "stage", "cores" or
        "source"; and `sentence`, for people.
    """
    if not stages:
        return {"stage": "", "limited": False, "by": "", "sentence": "No frame came through."}
    order = sorted(stages, key=lambda name: -stages[name]["busy_share"])
    first = order[0]
    share, mean_ms = stages[first]["busy_share"], stages[first]["service_ms"]["mean"]
    busy = f"{first} is at work {share:.0%} of the time, {mean_ms:.1f} ms a frame"
    if len(order) > 1:
        busy += f"; next is {order[1]} with {stages[order[1]]['busy_share']:.0%}"
    ours = float(np.median([each["run_cores"] for each in samples])) if samples else 0.0
    all_busy = float(np.median([each["busy_cores"] for each in samples])) if samples else 0.0
    used = f"the run uses {ours:.1f} of {cores} cores"
    others = all_busy - ours
    if others > 0.1 * cores:
        used += f", other programs {others:.1f}"
    full = all_busy >= CORES_FROM * cores
    crowded = full and others >= OTHERS_FROM * cores
    keeps_up = paced and not dropped
    if keeps_up:
        limited, by = False, "source"
        said = f"Nothing limits the run at this rate: no frame was dropped. {busy}; {used}."
    elif crowded or (full and share < PACED_FROM):
        limited, by = True, "cores"
        more = "fewer programs beside it, more cores" if crowded else "more cores"
        said = (
            f"The cores are the bottleneck: {used}. {busy}. What would relieve it: {more}, or less "
            f"work: {RELIEF[first]}."
        )
    else:
        limited, by = True, "stage"
        said = f"{first} is the bottleneck: {busy}; {used}. What would relieve it: {RELIEF[first]}."
        if full:
            said += " The cores are used up as well, so what other stages save helps too."
    return {"stage": first, "limited": limited, "by": by, "sentence": said[0].upper() + said[1:]}


def beyond_models_ms(timeline: Timeline) -> np.ndarray:
    """Return float64 [F]: of a frame's way to the sink, all that is not a stage's own work.

    Waiting and transport of every stage, the sink's as well; of the source, the time until its
    newest picture was taken up.
    """
    parts = parts_ms(timeline)
    return np.asarray((parts["queue"] + parts["transport"]).sum(-1), np.float64)


def profile_findings(
    timeline: Timeline,
    samples: Sequence[Mapping[str, Any]],
    *,
    cores: int,
    dropped: int,
    paced: bool,
) -> dict[str, Any]:
    """Return what goes into `latency.json` of a run's frames, JSON-safe.

    Args:
        timeline: warm-up left out already.
        samples: likewise.
    """
    stages = stage_findings(timeline, samples)
    whole = whole_ms(timeline)
    seconds = timeline.seconds
    return {
        "profile_version": PROFILE_VERSION,
        "frames": len(timeline),
        "frames_not_whole": timeline.left_out,
        "frames_dropped": dropped,
        "seconds": round(seconds, 3),
        "rate_hz": round(len(timeline) / seconds, 2) if seconds else 0.0,
        "capture_to_sink_ms": summary_ms(whole),
        "capture_to_identity_ms": summary_ms(whole[timeline.carried > 0]),
        "beyond_models_ms": summary_ms(beyond_models_ms(timeline)),
        "stages": stages,
        "bottleneck": bottleneck(stages, samples, cores, dropped=dropped, paced=paced),
    }
