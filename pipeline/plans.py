"""What a stage's runner is told, and what it tells: plain data between supervisor and stages."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.telemetry.spans import FrameSpans


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
        spans: file that a sink writes the spans of every frame to, "" for none.
        snapshots: descriptor of the memory for what the stage goes on from if it dies, -1: it
            keeps nothing.
        again: it takes the place of a process that had begun to work, and may have died before it
            kept anything.
        nice: how far its process makes way for others at work, as the command `nice` counts it.
    """

    stage: str
    config: dict[str, Any]
    inputs: tuple[LinkPlan, ...]
    outputs: tuple[LinkPlan, ...]
    control: str
    stores: dict[str, int]
    frame_store_bytes: int
    max_frames: int
    spans: str = ""
    snapshots: int = -1
    nice: int = 0
    again: bool = False


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
        queue_ns, transport_ns: histograms of the two parts of `wait_ns`, see `messages.Span`.
        busy_ns: all time in the stage.
        blocked_ns: all time in which its output waited for those after it.
        queues: by receiver, messages sent and not yet acknowledged.
        age_ns: histogram by topic of the time since capture at arrival, for messages that carry
            something.
        items: by topic, how many things arrived.
        report: what the stage itself counts.
        newest_way: the newest frame's way through all stages (the last stage only).
    """

    frames: int = 0
    newest_frame: int = -1
    bad_frames: int = 0
    bad_messages: int = 0
    dropped: int = 0
    in_flight: int = 0
    service_ns: dict[int, int] = {}
    wait_ns: dict[int, int] = {}
    queue_ns: dict[int, int] = {}
    transport_ns: dict[int, int] = {}
    busy_ns: int = 0
    blocked_ns: int = 0
    queues: dict[str, int] = {}
    age_ns: dict[str, dict[int, int]] = {}
    items: dict[str, int] = {}
    report: dict[str, Any] = {}
    newest_way: FrameSpans | None = None


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


class Ending(msgspec.Struct, tag=True):
    """A source has ended, and what is to be done for that may take long (files are finished)."""

    stage: str


class Log(msgspec.Struct, tag=True):
    """A line for the log."""

    stage: str
    level: int
    text: str


class Incident(msgspec.Struct, tag=True, frozen=True):
    """Something happened to the run itself: a camera was lost, a stage was started again.

    Attributes:
        stage: the one that it happened to.
        kind: one word for machines, such as `source_lost` or `restart`.
        text: a sentence for people.
        facts: numbers and names that belong to it, JSON-safe.
    """

    stage: str
    kind: str
    text: str
    facts: dict[str, Any] = {}


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


Event = Ready | Opened | Progress | Ending | Log | Incident | StopWanted | Failed | Finished


class Go(msgspec.Struct, tag=True):
    """Begin: everyone is ready."""


class Stop(msgspec.Struct, tag=True):
    """End early but orderly: sources stop, the rest drains."""


class Abort(msgspec.Struct, tag=True):
    """Close now, whatever is under way."""


class Gone(msgspec.Struct, tag=True):
    """A stage has finished: all that was ever sent to it is safe, and nobody will say so again."""

    stage: str


# A sink of a live run is also told what happens to it.
Order = Go | Stop | Abort | Gone | Incident

encode = msgspec.msgpack.encode
decode_event = msgspec.msgpack.Decoder(Event).decode
decode_order = msgspec.msgpack.Decoder(Order).decode
decode_plan = msgspec.json.Decoder(NodePlan).decode
encode_plan = msgspec.json.encode
