"""Brings the three topics of a frame together, however they interleave."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.errors import FrameError, MessageError
from pipeline.messages import Bodies, Frame, Identities, Stamp

Input = Frame | Bodies | Identities


@dataclass(slots=True)
class Moment:
    """All there is about one frame.

    A part is None when it was lost on the way. `late` are further identities for the same frame:
    what the stages before flushed when the stream ended.
    """

    stamp: Stamp
    frame: Frame | None = None
    bodies: Bodies | None = None
    identities: Identities | None = None
    late: list[Identities] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether all three messages came."""
        return None not in (self.frame, self.bodies, self.identities)


class Joiner:
    """Gives out the moments of one source in frame order, the same ones for any interleaving.

    Each topic comes in frame order, so once all three have reached frame f, nothing more can come
    for it: f is settled then, even if a part of it is missing. It keeps the
    moments that are not settled, a few frames.
    """

    def __init__(self) -> None:
        self._reached = {Frame: -1, Bodies: -1, Identities: -1}
        self._waiting: dict[int, Moment] = {}

    def add(self, message: Input) -> list[Moment]:
        """Take `message` and return the moments that it settles, in frame order.

        Raises:
            FrameError: a frame or its bodies come twice or out of order.
            MessageError: this is no message of our topics.
        """
        kind, frame_id = type(message), message.stamp.frame_id
        if kind not in self._reached:
            raise MessageError(f"the sink reads frames, bodies, identities; got {kind.__name__}")
        if frame_id <= self._reached[kind]:
            return self._add_late(message)
        moment = self._waiting.setdefault(frame_id, Moment(message.stamp))
        if isinstance(message, Frame):
            moment.frame = message
        elif isinstance(message, Bodies):
            moment.bodies = message
        else:
            moment.identities = message
        self._reached[kind] = frame_id
        return self._settle(min(self._reached.values()))

    def add_missing(self, message: Input) -> list[Moment]:
        """Take note that `message` came but cannot be used; return the moments this settles."""
        kind, frame_id = type(message), message.stamp.frame_id
        if kind not in self._reached or frame_id <= self._reached[kind]:
            return []
        self._waiting.setdefault(frame_id, Moment(message.stamp))
        self._reached[kind] = frame_id
        return self._settle(min(self._reached.values()))

    def finish(self) -> list[Moment]:
        """Return what is left when the stream has ended."""
        return self._settle(max(self._waiting, default=-1))

    def _add_late(self, message: Input) -> list[Moment]:
        if not isinstance(message, Identities):
            raise FrameError(
                f"{message.stamp}: {type(message).__name__} came twice or out of order, after frame"
                f" {self._reached[type(message)]}"
            )
        waiting = self._waiting.get(message.stamp.frame_id)
        if waiting is None:
            return [Moment(message.stamp, late=[message])]
        waiting.late.append(message)
        return []

    def _settle(self, newest: int) -> list[Moment]:
        return [self._waiting.pop(i) for i in sorted(i for i in self._waiting if i <= newest)]
