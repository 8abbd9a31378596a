"""A link: one sender, one receiver, ordered, bounded by explicit credits, and mended when one dies.

ZeroMQ's high-water mark counts messages inside its own pipes, so it can neither protect pixels in
shared memory nor tell what the other side has really handled. Here every message has a number, and
the receiver acknowledges it once it has done with it. A sender has as many credits as its `window`;
a message holds one until it is acknowledged.

Handled is not safe: who has handled a message may die with what came of it. So a sender keeps each
message until the receiver has said that it is safe (what came of it survives the receiver), and
what hangs on a message (a slot in the frame store) is freed then. A receiver says hello with the
number of the last message that it knows, when it begins and whenever nothing comes; a sender talks
to the newest receiver that has said so, and sends again what that one does not know. A receiver
takes each number once and in order, whatever comes twice or too early. So either side can be
replaced by one that goes on from its snapshot, and no message is lost or doubled.

On the wire a message is three parts: envelope (magic, version, kind, number), header, blob; the
others are an envelope alone. The sender is a ROUTER, which can tell a new receiver from one that is
dead and not yet missed; the receiver is a DEALER. It works over inproc, ipc and tcp alike. Start
and end of a stream have reserved room: they may pass the window.

What comes from outside is looked at before it is believed, and what is no message of ours is
counted and dropped. A tcp address that others can reach needs keys (`transport.door`), an ipc one a
folder that is ours alone (`transport.addresses`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import zmq

from pipeline.codec import MAX_BLOB_BYTES, Decoder
from pipeline.errors import MessageError
from pipeline.messages import EndOfStream, StreamStart
from pipeline.transport.door import ClientSecurity, ServerSecurity, Watch
from pipeline.transport.sockets import bind, make_socket
from pipeline.transport.wire import Encoded, Kept, Kind, envelope, open_answer, open_envelope

# A receiver to which nothing comes says hello so often.
HELLO_EVERY_NS = 100_000_000
# Another receiver may take the place of one that has not spoken for so long.
SILENT_NS = 2_000_000_000
# A receiver says an envelope; the rest is room for ZeroMQ's own greetings, encrypted ones too.
ANSWER_BYTES = 4096
ENCRYPTION_BYTES = 256
# Taken at once, so that a flood does not keep a stage from its other work.
MESSAGES_AT_ONCE = 10_000
# Plain numbers: putting two of pyzmq's enums together takes longer than handing over a part.
_READABLE = int(zmq.POLLIN)
_LAST = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


class Sender:
    """The sending end. Binds `address`.

    Args:
        next_number: of the first message to be sent.
        kept: what an earlier sender of this link had sent, and nobody has called safe.
        security: keys, and the door through which receivers come.

    Raises:
        ConfigError: others could reach the address, see `transport.addresses`.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        topic: str,
        window: int,
        *,
        next_number: int = 1,
        kept: Iterable[Kept] = (),
        security: ServerSecurity | None = None,
    ) -> None:
        self.topic = topic
        self.window = window
        self.bad_answers = 0  # what came and was no answer of a receiver
        self.socket = make_socket(context, zmq.ROUTER, address, ANSWER_BYTES, security)
        self._watch = None if security is None else Watch(self.socket)
        # A receiver that is gone is an error here, not a message that vanishes.
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        bind(self.socket, address)
        self._next = next_number
        self._kept = {
            each.number: Encoded(Kind(each.kind), each.header, each.blob) for each in kept
        }
        self._unhandled = set(self._kept)
        self._on_safe: dict[int, Callable[[], None]] = {}
        self._peer = b""
        self._met = False
        self._released = False
        self._heard_ns = 0  # when the receiver spoke last
        self._told = next_number - 1  # the last number that was put on the wire
        self._known = -1  # what the receiver said last that it knows

    @property
    def credits(self) -> int:
        """How many more data messages may be sent now."""
        return self.window - len(self._unhandled)

    @property
    def in_flight(self) -> int:
        """Messages sent and not yet acknowledged."""
        return len(self._unhandled)

    @property
    def met(self) -> bool:
        """Whether a receiver is known to be there."""
        return self._met

    @property
    def keyless(self) -> int:
        """Connections that were refused because they did not have the keys to ask to come in."""
        return 0 if self._watch is None else self._watch.count

    @property
    def unsafe(self) -> int:
        """Messages that are kept."""
        return len(self._kept)

    @property
    def next_number(self) -> int:
        """The number of the next message."""
        return self._next

    def kept(self) -> list[Kept]:
        """Return what is kept, oldest first, for a sender that takes this one's place."""
        return [
            Kept(number, each.kind, each.header, bytes(each.blob))
            for number, each in self._kept.items()
        ]

    def when_safe(self, number: int, on_safe: Callable[[], None]) -> None:
        """Call `on_safe` when message `number`, one of those kept, is safe."""
        assert number in self._kept, f"message {number} is not kept"
        self._on_safe[number] = on_safe

    def release(self) -> None:
        """The receiver has finished: what it was sent, or would be, is safe."""
        self._released = True
        self._forget(self._next - 1)

    def send(self, message: Encoded, on_safe: Callable[[], None] | None = None) -> None:
        """Send. The caller has looked at `credits` first; start and end need none."""
        assert message.kind != Kind.DATA or self.credits > 0, f"no credit left on {self.topic}"
        number = self._next
        self._next += 1
        if self._released:
            if on_safe is not None:
                on_safe()
            return
        if not self._met:
            self.take_answers()
        self._kept[number] = message
        self._unhandled.add(number)
        if on_safe is not None:
            self._on_safe[number] = on_safe
        if self._met:
            self._put(number, message)

    def take_answers(self) -> None:
        """Read what the receiver has said."""
        if self._watch is not None:
            self._watch.look()
        for _ in range(MESSAGES_AT_ONCE):
            # Asking first costs a third of an error that says that nothing is there.
            if not int(self.socket.get(zmq.EVENTS)) & _READABLE:
                break
            peer, *parts = self.socket.recv_multipart(_LAST)
            try:
                kind, number = open_answer(parts)
            except MessageError:
                self.bad_answers += 1  # whoever sent this is not our receiver
                continue
            now = time.monotonic_ns()
            if peer == self._peer:
                self._heard_ns = now
            # The later receiver counts; of hosts whose clocks do not compare, the one that speaks.
            silent = now - self._heard_ns > SILENT_NS
            if kind == Kind.HELLO and (peer >= self._peer or silent):
                self._heard_ns = now
                self._greet(peer, number)
            elif peer != self._peer:
                continue  # an earlier receiver's
            elif kind == Kind.ACK:
                self._unhandled.discard(number)
            elif kind == Kind.SAFE:
                self._forget(number)

    def close(self) -> None:
        """Close; what is unsent has a second to leave."""
        if self._watch is not None:
            self._watch.close()
        self.socket.close()

    def _greet(self, peer: bytes, known: int) -> None:
        """A new receiver gets what it does not know; so does one that says twice that it waits."""
        lost = self._known == known < self._told
        self._known = known
        if peer == self._peer and self._met and not lost:
            return
        self._peer, self._met = peer, True
        self._unhandled -= {number for number in self._unhandled if number <= known}
        for number, message in self._kept.items():
            if number > known:
                self._unhandled.add(number)
                self._put(number, message)

    def _forget(self, safe: int) -> None:
        for number in [number for number in self._kept if number <= safe]:
            del self._kept[number]
            self._unhandled.discard(number)
            on_safe = self._on_safe.pop(number, None)
            if on_safe is not None:
                on_safe()

    def _put(self, number: int, message: Encoded) -> None:
        try:
            for part in (self._peer, envelope(message.kind, number), message.header):
                self.socket.send(part, _MORE)
            self.socket.send(message.blob, _LAST)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self._met = False  # nobody is there; it is kept
        else:
            self._told = max(self._told, number)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A received message and the number to acknowledge it by."""

    number: int
    message: Any


class Receiver:
    """The receiving end. Connects to `address`.

    Args:
        last: number of the last message that an earlier receiver of this link has taken and kept.
        open_numbers: those up to it that are not handled yet.
        durable: messages are safe when `tell_safe` says so, not as soon as they are handled.
        security: our keys, and the sender's public one.

    Raises:
        ConfigError: the address is not of this host, and there are no keys.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        topic: str,
        message_type: type[Any],
        *,
        last: int = 0,
        open_numbers: Iterable[int] = (),
        durable: bool = False,
        security: ClientSecurity | None = None,
    ) -> None:
        self.topic = topic
        self.last = last
        self.doubles = 0
        self.too_early = 0
        largest = MAX_BLOB_BYTES + ENCRYPTION_BYTES
        self.socket = make_socket(context, zmq.DEALER, address, largest, security)
        # Of two receivers of a link the later one counts. (A leading 0 is ZeroMQ's own.)
        self.socket.setsockopt(zmq.IDENTITY, _identity())
        self.socket.connect(address)
        self._durable = durable
        self._open = set(open_numbers)
        self._safe = self.handled
        self._said_ns = 0
        self._decoders = {
            Kind.START: Decoder(StreamStart),
            Kind.DATA: Decoder(message_type),
            Kind.END: Decoder(EndOfStream),
        }
        self.attend()

    @property
    def open_numbers(self) -> tuple[int, ...]:
        """Numbers of what was taken and is not handled yet."""
        return tuple(sorted(self._open))

    @property
    def handled(self) -> int:
        """The number up to which everything is handled."""
        return min(self._open) - 1 if self._open else self.last

    def receive(self) -> Delivery | None:
        """Return the next message, or None if none is waiting.

        Raises:
            MessageError: the message is malformed. It has been acknowledged and dropped.
        """
        for _ in range(MESSAGES_AT_ONCE):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return None
            kind, number = open_envelope(parts[0].buffer)
            if kind not in self._decoders or len(parts) != 3:
                raise MessageError(
                    f"on topic {self.topic}: unexpected wire message: kind {kind}, {len(parts)} "
                    "parts"
                )
            if not self._is_next(number):
                continue
            self._said_ns = time.monotonic_ns()
            self.last = number
            self._open.add(number)
            try:
                message = self._decoders[Kind(kind)].decode(parts[1].buffer, parts[2].buffer)
            except MessageError as error:
                self.acknowledge(number)
                raise MessageError(f"on topic {self.topic}: {error}") from error
            return Delivery(number, message)
        return None  # there is more of what is passed over, but others want their turn too

    def attend(self) -> None:
        """Say hello, if nothing has come for a while and nothing waits here.

        To be called ten times a second or so.
        """
        now = time.monotonic_ns()
        if int(self.socket.get(zmq.EVENTS)) & _READABLE:
            return  # something has come, and waits for us: whoever sent it need not do so again
        if now - self._said_ns >= HELLO_EVERY_NS:
            self._said_ns = now
            self._say(Kind.HELLO, self.last)
            self._say(Kind.SAFE, self._safe)

    def acknowledge(self, number: int) -> None:
        """Tell the sender that message `number` is done with."""
        self._open.discard(number)
        if not self._durable:
            self.tell_safe(self.handled)
        if number > self._safe:  # what is safe is handled: one message says both
            self._say(Kind.ACK, number)

    def tell_safe(self, number: int) -> None:
        """Tell the sender that nothing up to `number` will ever be wanted again."""
        assert number <= self.handled, "what is not handled may be wanted again"
        if number > self._safe:
            self._safe = number
            self._say(Kind.SAFE, number)

    def close(self) -> None:
        """Close; what was said last has a second to leave."""
        self.socket.close()

    def _is_next(self, number: int) -> bool:
        if number == self.last + 1:
            return True
        if number <= self.last:
            # Another sender begins where its snapshot was: it must hear again what we had told.
            self.doubles += 1
            if number not in self._open:
                self._say(Kind.ACK, number)
                self._say(Kind.SAFE, self._safe)
        else:
            self.too_early += 1
        return False

    def _say(self, kind: Kind, number: int) -> None:
        with contextlib.suppress(zmq.Again):
            self.socket.send(envelope(kind, number), zmq.NOBLOCK)


def _identity() -> bytes:
    return b"r" + time.monotonic_ns().to_bytes(8, "big")
