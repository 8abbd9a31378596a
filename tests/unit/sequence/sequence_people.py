"""Made-up bodies for the sequence stage's tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.messages import Bodies, Body, Mask, Person, Stamp

RATE_HZ = 25.0


def person_mask(height: int = 100, width: int = 40) -> np.ndarray:
    """A head on a trunk on two legs, bool [h,w]."""
    mask = np.zeros((height, width), bool)
    mask[: height // 6, width * 3 // 8 : width * 5 // 8] = True
    mask[height // 6 : height // 2, width // 4 : width * 3 // 4] = True
    mask[height // 2 :, width // 8 : width * 3 // 8] = True
    mask[height // 2 :, width * 5 // 8 : width * 7 // 8] = True
    return mask


def make_body(
    track_id: int = 1,
    at: tuple[float, float] = (100.0, 50.0),
    mask: np.ndarray | None = None,
    quality: float = 0.9,
    theta: float = 0.25,
    **flags: Any,
) -> Body:
    """A body whose box has its corner at `at` and the size of its mask."""
    mask = person_mask() if mask is None else mask
    height, width = mask.shape
    x, y = at
    person = Person(
        track_id=track_id,
        bbox_xyxy_px=np.array([x, y, x + width, y + height], np.float32),
        score=0.9,
        mask=Mask.pack(mask, int(x), int(y)),
        keypoints_px=np.full((17, 3), 0.5, np.float32),
        world_landmarks_m=np.zeros((0, 4), np.float32),
        **flags,
    )
    return Body(
        person=person,
        theta=np.full(85, theta, np.float32),
        joints_m=np.zeros((24, 3), np.float32),
        quality=quality,
    )


def stamp_of(frame_id: int, time_s: float | None = None, source: str = "cam") -> Stamp:
    """The stamp of a frame at `RATE_HZ`, or at a given time."""
    time_s = frame_id / RATE_HZ if time_s is None else time_s
    return Stamp(source, frame_id, round(time_s * 1e9), 10**12 + frame_id, 10**18 + frame_id)


def frame_of(
    frame_id: int,
    *bodies: Body,
    time_s: float | None = None,
    ended: tuple[int, ...] = (),
    source: str = "cam",
) -> Bodies:
    """One message."""
    return Bodies(stamp_of(frame_id, time_s, source), tuple(bodies), ended)


def with_person(body: Body, **changes: Any) -> Body:
    """The body with changes to its person."""
    return replace(body, person=replace(body.person, **changes))
