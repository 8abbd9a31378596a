"""How a stage's runner goes on after its process died: what it keeps, and how often.

A snapshot holds the stage's own state, which messages it was made from, and what the stage had sent
that nobody has called safe. With it another process takes the place: senders send again what came
after, receivers pass over what they know. So a replay that was killed anywhere ends with the same
events as one that was not (docs/decisions/013-recovery.md).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from pipeline.messages import Frame, FrameHandle
from pipeline.plans import StageStats
from pipeline.transport.wire import Kept

# Messages handled between two snapshots, as a rule: what is done again after a death.
EVERY = 8
# Of a stage's time at most this share goes into snapshots: a large state is kept less often ...
COST_SHARE = 0.05
# ... but after so many messages in any case.
AT_LEAST_EVERY = 64
# A message during which so many processes died is passed over.
DEATHS = 3


class InputState(msgspec.Struct, frozen=True, array_like=True):
    """A receiver: the last message taken, those of them not yet handled."""

    last: int
    open: tuple[int, ...]


class OutputState(msgspec.Struct, frozen=True, array_like=True):
    """A sender: the next message's number, and what was sent and is not safe."""

    next_number: int
    kept: tuple[Kept, ...]


class NodeState(msgspec.Struct, frozen=True):
    """All that a stage's runner goes on from.

    Attributes:
        stage: pickled by the stage's own process, for itself alone, in memory nobody else can name.
        inputs: by topic. outputs: by receiver.
        starts, ends: how often each source has begun and ended.
        ended: why each source ended.
        live: sources that are.
        held: frames that a sink has not let go of: source, frame, topic, number.
        spans_bytes: what of a profile's file of spans belongs to this.
    """

    stage: bytes
    inputs: dict[str, InputState]
    outputs: dict[str, OutputState]
    starts: dict[str, int]
    ends: dict[str, int]
    ended: dict[str, str]
    live: tuple[str, ...]
    held: tuple[tuple[str, int, str, int], ...]
    stats: StageStats
    spans_bytes: int = 0


def freeze(state: Any, *, frames: bool) -> bytes:
    """Return a stage's state as bytes for `thaw`.

    Args:
        frames: whether frames are among it. Their pixels stay in the frame store.
    """
    if not frames:
        return pickle.dumps(state, protocol=5)
    out = io.BytesIO()
    _Pickler(out, protocol=5).dump(state)
    return out.getvalue()


def thaw(content: bytes, view: Callable[[FrameHandle], np.ndarray]) -> Any:
    """Return the state that `freeze` was given; `view` gives a frame's pixels."""
    return _Unpickler(io.BytesIO(content), view).load()


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Frame) and obj.handle is not None:
            return obj.stamp, obj.handle, obj.spans
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, view: Callable[[FrameHandle], np.ndarray]) -> None:
        super().__init__(file)
        self._view = view

    def persistent_load(self, pid: Any) -> Frame:
        stamp, handle, spans = pid
        return Frame(stamp, handle, self._view(handle), spans)


encode_state = msgspec.msgpack.Encoder().encode
decode_state = msgspec.msgpack.Decoder(NodeState).decode
