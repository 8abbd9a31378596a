"""What a stage is: a config, pure functions and one class with these methods.

A stage takes and returns messages. It never touches a socket, a clock or another stage; the runner
does (`pipeline/runner.py`). So a stage is tested by calling it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pipeline.messages import Output, StreamStart


class Stage(Protocol):
    """An inner stage or a sink.

    `setup` loads what is heavy and raises a `GaitError` if it cannot; it runs before the first
    frame. `start` and `end` frame each source. `process` answers each message of its input topics
    with exactly one message (a sink: with `Release` for each frame whose pixels it no longer
    needs), and may raise `FrameError` for a message that it cannot handle; then `skip` gives the
    empty answer. `end` may return last messages. `report` gives counts for `summary.json`. A stage
    that wants the run to end in order puts the reason into `stop_wanted`.
    A `batch_limit` over 1 says that it is a `BatchingStage`.
    `snapshot` gives what the stage goes on from in another process, anything that can be pickled;
    `restore`, called after `setup`, takes it up; `resumed` is set before `setup` of such a process.
    `note` tells a sink of a live run what happened to the run: by which part of it, of what kind,
    a sentence and facts.
    """

    stop_wanted: str
    batch_limit: int
    resumed: bool

    def setup(self) -> None: ...

    def start(self, stream: StreamStart) -> None: ...

    def process(self, message: Any) -> Iterable[Output]: ...

    def skip(self, message: Any) -> Iterable[Output]: ...

    def end(self, source_id: str) -> Iterable[Output]: ...

    def report(self) -> Mapping[str, Any]: ...

    def snapshot(self) -> Any: ...

    def restore(self, state: Any) -> None: ...

    def note(self, stage: str, kind: str, text: str, facts: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class BatchingStage(Stage, Protocol):
    """A stage that does better with several messages at once.

    From live sources it is handed up to `batch_limit` of them: those that wait already, and those
    that come within `batch_wait_s` of the first that carries something. `process_batch` answers
    each as `process` would. A recording's messages come one by one, so that its results do not
    depend on timing.
    """

    batch_wait_s: float

    def process_batch(self, messages: Sequence[Any]) -> Iterable[Iterable[Output]]: ...


class StageBase:
    """The parts of `Stage` that many stages leave empty."""

    stop_wanted: str = ""
    batch_limit: int = 1
    resumed: bool = False

    def setup(self) -> None:
        """Nothing to load."""

    def start(self, stream: StreamStart) -> None:
        """Nothing to prepare."""

    def skip(self, message: Any) -> Iterable[Output]:
        """Nothing to say about a bad message."""
        return ()

    def end(self, source_id: str) -> Iterable[Output]:
        """Nothing kept."""
        return ()

    def report(self) -> Mapping[str, Any]:
        """Nothing counted."""
        return {}

    def snapshot(self) -> Any:
        """Nothing kept from message to message."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing to go on from."""

    def note(self, stage: str, kind: str, text: str, facts: Mapping[str, Any]) -> None:
        """Nothing to tell anybody."""

    def close(self) -> None:
        """Nothing held."""


@dataclass(frozen=True, slots=True, eq=False)
class RawFrame:
    """A picture as a source reads it: uint8 [h,w,3] BGR, with its times."""

    pixels: np.ndarray
    time_ns: int
    capture_ns: int
    capture_unix_ns: int


class SourceStage(Protocol):
    """A source.

    `open` gives the stream's facts or raises `SourceError`. `read` gives the next frame, None when
    none came within `timeout_s`, and raises `EndOfSource` after the last. A live source keeps only
    the newest frame between two calls and counts the others in `report()["dropped"]`.
    `take_incidents` gives what happened since it was last asked, each as kind, sentence and facts.
    `snapshot` gives where it is, anything that can be pickled; `restore`, called before `open`,
    lets `open` go on there: the next frame is the one after.
    """

    def open(self) -> StreamStart: ...

    def read(self, timeout_s: float) -> RawFrame | None: ...

    def take_incidents(self) -> list[tuple[str, str, dict[str, Any]]]: ...

    def report(self) -> Mapping[str, Any]: ...

    def snapshot(self) -> Any: ...

    def restore(self, state: Any) -> None: ...

    def close(self) -> None: ...


class EndOfSource(Exception):
    """Raised by `SourceStage.read` after the last frame; `reason` is "" if all is well."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
