"""Made-up streams for the sink's tests."""

from __future__ import annotations

import numpy as np

from pipeline.messages import (
    Bodies,
    Body,
    Frame,
    Identities,
    Identity,
    Mask,
    Message,
    Person,
    Span,
    Stamp,
    StreamStart,
)

RATE_HZ = 25.0


def stream(
    size_wh: tuple[int, int] = (160, 120), source_id: str = "cam", live: bool = False
) -> StreamStart:
    return StreamStart(source_id, "walk.mp4", size_wh, RATE_HZ, 0, live, 1_700_000_000 * 10**9)


def stamp(frame_id: int, source_id: str = "cam") -> Stamp:
    time_ns = round(frame_id / RATE_HZ * 1e9)
    return Stamp(source_id, frame_id, time_ns, 10**12 + time_ns, 1_700_000_000 * 10**9 + time_ns)


def frame(frame_id: int, size_wh: tuple[int, int] = (160, 120), source_id: str = "cam") -> Frame:
    height, width = size_wh[1], size_wh[0]
    pixels = np.full((height, width, 3), (40 * frame_id) % 256, np.uint8)
    pixels[: height // 2, :, 1] = 90
    pixels.setflags(write=False)
    return Frame(stamp(frame_id, source_id), pixels=pixels)


def body(
    track_id: int,
    box: tuple[float, float, float, float] = (40, 20, 80, 110),
    *,
    cut_by_border: bool = False,
) -> Body:
    width, height = max(1, int(box[2] - box[0])), max(1, int(box[3] - box[1]))
    inside = np.zeros((height, width), bool)
    inside[:, width // 4 : width // 4 + max(1, width // 2)] = True
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[:, 0] = np.linspace(box[0], box[2], 17)
    keypoints[:, 1] = np.linspace(box[1], box[3], 17)
    keypoints[:, 2] = 0.9
    person = Person(
        track_id,
        np.array(box, np.float32),
        0.875,
        Mask.pack(inside, int(box[0]), int(box[1])),
        keypoints,
        np.zeros((33, 4), np.float32),
        cut_by_border,
    )
    theta = np.full(85, track_id, np.float32)
    return Body(person, theta, np.zeros((24, 3), np.float32), 0.75)


def identity(
    track_id: int, state: str = "known", name: str = "Anna", *, changed: bool = True
) -> Identity:
    known = state == "known"
    return Identity(
        track_id,
        state,  # type: ignore[arg-type]
        name if known else "",
        f"p-{name}" if known else "",
        0.91234567,
        0.01,
        2,
        38,
        changed,
    )


def walk(frames: int = 6, size_wh: tuple[int, int] = (160, 120)) -> list[list[Message]]:
    """Three topics, each in frame order: track 1 is named at frame 2, track 2 comes and goes."""
    pictures: list[Message] = [frame(i, size_wh) for i in range(frames)]
    bodies: list[Message] = []
    identities: list[Message] = []
    for i in range(frames):
        people = [body(1, (40.0 + i, 20, 80.0 + i, 110))]
        if 1 <= i <= 3:
            people.append(body(2, (100, 30, 130, 100)))
        ended = (2,) if i == 4 else ()
        named = {2: (identity(1),), 4: (identity(2, "unknown"),)}.get(i, ())
        spans = (Span("identify", 0, stamp(i).capture_ns + 80_000_000),)
        bodies.append(Bodies(stamp(i), tuple(people), ended))
        identities.append(Identities(stamp(i), named, ended, spans))
    if frames:
        identities.append(Identities(stamp(frames - 1), (identity(1, name="Bea"),), (1,)))
    return [pictures, bodies, identities]


def in_order(topics: list[list[Message]]) -> list[Message]:
    """Frame by frame, as a pipeline without queues would send them."""
    messages = [message for topic in topics for message in topic]
    kinds = (Frame, Bodies, Identities)
    return sorted(messages, key=lambda m: (m.stamp.frame_id, kinds.index(type(m))))  # type: ignore[arg-type]
