"""The pipeline in two tables: which stages there are, and what travels between them.

A newcomer reads these first. Adding a stage means a row here, its package under `stages/`, its
message in `pipeline/messages.py`, its block in the YAML files and its test; nothing else.

    source -frames-> detect -people-> body -bodies-> sequence -windows-> embed
           -embeddings-> identify -identities-> sink;   the sink also reads frames and bodies

Every topic carries exactly one message for each frame, with whatever there is to say about it
(often nothing), so the frame_id of the newest message is the stage's progress mark.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.messages import Bodies, Embeddings, Frame, Identities, Message, People, Windows


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage.

    Attributes:
        module: its package. It exports `Config` (a pydantic model, or a union of variants told
            apart by the word `variant`) and `build(config) -> Stage`; if what its `setup` imports
            takes long, also `preload(config)`, which imports it ahead (`pipeline/spare.py`).
        reads, writes: topics; a source reads none, a sink writes none.
        sets_pace: takes most of a run's time. In a recording those after it make way for it.
        holds_frames: keeps frames beyond `process` and answers `Release` when done with one.
        task: what it does, for `--help` and the log.
    """

    name: str
    module: str
    reads: tuple[str, ...]
    writes: str | None
    task: str
    sets_pace: bool = False
    holds_frames: bool = False


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One kind of message.

    Attributes:
        message: its class; the wire knows it by the topic's name.
        rate: how often one is expected.
        carries: the field with what it is about, whose items are counted.
        queue: messages that may wait on a link. When it is full the sender waits; in a live run
            the wait ends at the source, which drops its oldest frame, counts it and says so.
            None: as many as the frame store has slots, for links that only carry handles.
    """

    name: str
    message: type[Message]
    rate: str
    carries: str
    queue: int | None


STAGES: tuple[StageSpec, ...] = (
    StageSpec("source", "stages.source", (), "frames", "reads frames from a video or a camera"),
    StageSpec(
        "detect",
        "stages.detect",
        ("frames",),
        "people",
        "finds, segments, tracks people",
        sets_pace=True,
    ),
    StageSpec("body", "stages.body", ("people",), "bodies", "gives each person a body in 3D"),
    StageSpec("sequence", "stages.sequence", ("bodies",), "windows", "cuts tracks into windows"),
    StageSpec("embed", "stages.embed", ("windows",), "embeddings", "turns windows into vectors"),
    StageSpec("identify", "stages.identify", ("embeddings",), "identities", "names the tracks"),
    StageSpec(
        "sink",
        "stages.sink",
        ("frames", "bodies", "identities"),
        None,
        "writes video, events and tables",
        holds_frames=True,
    ),
)

TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec("frames", Frame, "the camera's", "", None),
    TopicSpec("people", People, "one a frame", "people", 4),
    TopicSpec("bodies", Bodies, "one a frame", "bodies", 8),
    TopicSpec("windows", Windows, "one a frame; a window a track every stride", "windows", 8),
    TopicSpec("embeddings", Embeddings, "one a frame", "embeddings", 8),
    TopicSpec("identities", Identities, "one a frame", "identities", 8),
)

LAST_TOPIC = TOPICS[-1].name


def stage_spec(name: str) -> StageSpec:
    """Return the row of stage `name`; KeyError if there is none."""
    return {spec.name: spec for spec in STAGES}[name]


def topic_spec(name: str) -> TopicSpec:
    """Return the row of topic `name`; KeyError if there is none."""
    return {spec.name: spec for spec in TOPICS}[name]


def readers_of(topic: str) -> tuple[str, ...]:
    """Return the names of the stages that read `topic`, in the table's order."""
    return tuple(spec.name for spec in STAGES if topic in spec.reads)
