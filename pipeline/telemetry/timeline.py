"""Where the time of a run's frames went: waiting, on the way, in the stages.

Letters: F frames, S stages in the order of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.clock import NS_PER_S
from pipeline.telemetry.spans import FrameSpans

PARTS = ("queue", "transport", "service")
PERCENTILES = (50, 95, 99)
NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """When each frame was in each stage.

    Attributes:
        stages: names, S of them.
        source_ids: F of them.
        frame_ids, capture_ns, carried: int64 [F].
        enter_ns, leave_ns, ready_ns: int64 [F,S], see `messages.Span`.
        left_out: frames whose way is not known from end to end.
    """

    stages: tuple[str, ...]
    source_ids: tuple[str, ...]
    frame_ids: np.ndarray
    capture_ns: np.ndarray
    carried: np.ndarray
    enter_ns: np.ndarray
    leave_ns: np.ndarray
    ready_ns: np.ndarray
    left_out: int

    def __len__(self) -> int:
        return len(self.frame_ids)

    @property
    def seconds(self) -> float:
        """From the first frame's capture to the last one's end."""
        if not len(self):
            return 0.0
        return float(self.leave_ns[:, -1].max() - self.capture_ns.min()) / NS_PER_S


def timeline_of(records: Sequence[FrameSpans], warmup_s: float = 0.0) -> Timeline:
    """Lay records side by side.

    Args:
        warmup_s: frames of the first seconds that are left out.
    """
    begin_ns = min((each.capture_ns for each in records), default=0) + warmup_s * NS_PER_S
    later = [each for each in records if each.capture_ns >= begin_ns]
    stages = max((tuple(s[0] for s in each.spans) for each in later), key=len, default=())
    whole = [each for each in later if tuple(s[0] for s in each.spans) == stages]
    times = np.array([[s[1:] for s in each.spans] for each in whole], np.int64)
    times = times.reshape(len(whole), len(stages), 3)
    return Timeline(
        stages=stages,
        source_ids=tuple(each.source_id for each in whole),
        frame_ids=np.array([each.frame_id for each in whole], np.int64),
        capture_ns=np.array([each.capture_ns for each in whole], np.int64),
        carried=np.array([each.carried for each in whole], np.int64),
        enter_ns=times[..., 0],
        leave_ns=times[..., 1],
        ready_ns=np.where(times[..., 2] > 0, times[..., 2], times[..., 0]),
        left_out=len(later) - len(whole),
    )


def parts_ms(timeline: Timeline) -> dict[str, np.ndarray]:
    """Return float64 [F,S] milliseconds for each of `PARTS`; together a frame's whole way.

    Of a source, whose span begins with the capture, `queue` is until the picture was taken up and
    nothing is transport.
    """
    first = timeline.enter_ns[:, :1]
    left = np.concatenate([first, timeline.leave_ns[:, :-1]], axis=1)
    ready = np.clip(timeline.ready_ns, left, None)
    begun = timeline.enter_ns.copy()
    begun[:, :1] = ready[:, :1]
    ready = np.minimum(ready, begun)
    found = {
        "queue": ready - left,
        "transport": begun - ready,
        "service": timeline.leave_ns - begun,
    }
    return {name: each / NS_PER_MS for name, each in found.items()}


def whole_ms(timeline: Timeline) -> np.ndarray:
    """Return float64 [F], from the capture until the last stage took what was said of the frame."""
    if not len(timeline):
        return np.empty(0)
    return (timeline.enter_ns[:, -1] - timeline.capture_ns) / NS_PER_MS


def summary_ms(values: np.ndarray) -> dict[str, float | None]:
    """Return mean, percentiles and maximum of milliseconds, rounded to microseconds."""
    names = ("mean", *(f"p{percent}" for percent in PERCENTILES), "max")
    if not len(values):
        return dict.fromkeys(names)
    found = (values.mean(), *np.percentile(values, PERCENTILES), values.max())
    return {name: round(float(each), 3) for name, each in zip(names, found, strict=True)}
