"""What a stage's runner is told, and what it tells: plain data between supervisor and stages."""

from __future__ import annotations

from typing import Any

import msgspec


class LinkPlan(msgspec.Struct, frozen=True):
    """One link: from which stage to which, where, and how many messages may wait on it."""

    topic: str
    sender: str
    receiver: str
    address: str
    window: int


class NodePlan(msgspec.Struct, frozen=True):
    """Everything one stage needs to run.

    Attributes:
        config: the stage's own block of the configuration, JSON-safe.
        inputs, outputs: its links.
        control: address of the supervisor.
        stores: descriptor of each frame store by name.
        frame_store_bytes, max_frames: how much of the source may be in flight.
    """

    stage: str
    config: dict[str, Any]
    inputs: tuple[LinkPlan, ...]
    outputs: tuple[LinkPlan, ...]
    control: str
    stores: dict[str, int]
    frame_store_bytes: int
    max_frames: int


class StageStats(msgspec.Struct):
    """What a stage counts. Sent twice a second and once at the end.

    Attributes:
        frames: messages handled (a source: frames sent).
        newest_frame: the stage's progress mark, -1 before the first.
        bad_frames: messages it could not handle and passed over.
        bad_messages: what came over a link and was no message of ours.
        dropped: frames that a live source had to leave out.
        in_flight: frames sent and not yet let go of (source only).
        service_ns, wait_ns: histograms (bucket to count) of the time in the stage and of the time
            on the way to it.
        age_ns: histogram by topic of the time since capture at arrival, for messages that carry
            something.
        items: by topic, how many things arrived.
        report: what the stage itself counts.
    """

    frames: int = 0
    newest_frame: int = -1
    bad_frames: int = 0
    bad_messages: int = 0
    dropped: int = 0
    in_flight: int = 0
    service_ns: dict[int, int] = {}
    wait_ns: dict[int, int] = {}
    age_ns: dict[str, dict[int, int]] = {}
    items: dict[str, int] = {}
    report: dict[str, Any] = {}


class Ready(msgspec.Struct, tag=True):
    """The stage has loaded and connected."""

    stage: str


class Opened(msgspec.Struct, tag=True):
    """A source is open."""

    stage: str
    source_id: str
    label: str
    width: int
    height: int
    rate_hz: float
    frames_expected: int
    live: bool


class Progress(msgspec.Struct, tag=True):
    """Counts so far."""

    stage: str
    stats: StageStats


class Log(msgspec.Struct, tag=True):
    """A line for the log."""

    stage: str
    level: int
    text: str


class StopWanted(msgspec.Struct, tag=True):
    """A stage asks for an orderly end (the window on screen was closed)."""

    stage: str
    reason: str


class Failed(msgspec.Struct, tag=True):
    """The stage cannot go on. `trace` is empty for errors that explain themselves."""

    stage: str
    reason: str
    hint: str
    where: str
    trace: str
    exit_code: int


class Finished(msgspec.Struct, tag=True):
    """The stage has handled everything and closed."""

    stage: str
    stats: StageStats
    ended: dict[str, str]
    """Why each source ended, "" for a plain end."""


Event = Ready | Opened | Progress | Log | StopWanted | Failed | Finished


class Go(msgspec.Struct, tag=True):
    """Begin: everyone is ready."""


class Stop(msgspec.Struct, tag=True):
    """End early but orderly: sources stop, the rest drains."""


class Abort(msgspec.Struct, tag=True):
    """Close now, whatever is under way."""


Order = Go | Stop | Abort

encode = msgspec.msgpack.encode
decode_event = msgspec.msgpack.Decoder(Event).decode
decode_order = msgspec.msgpack.Decoder(Order).decode
decode_plan = msgspec.json.Decoder(NodePlan).decode
encode_plan = msgspec.json.encode
