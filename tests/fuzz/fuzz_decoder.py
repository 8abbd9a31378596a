"""Coverage-guided fuzzing of what reads messages: envelope, header, arrays, each kind of message.

    make fuzz SECONDS=300

The first byte says which kind of message is tried, the next two how long the header is; header and
blob follow. Anything but a message or a `MessageError` is a find, and so is a message that does not
come out as it went in.
"""

from __future__ import annotations

import contextlib
import random
import struct
import sys
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["pipeline.codec", "pipeline.messages"]):
    from pipeline.codec import Decoder, encode
    from pipeline.errors import MessageError
from pipeline.transport import wire
from tests import message_mutations
from tests.message_samples import samples

HEAD = struct.Struct("<BH")
KINDS = sorted({type(message) for message in samples().values()}, key=lambda kind: kind.__name__)
DECODERS = [Decoder(kind) for kind in KINDS]
open_envelope = atheris.instrument_func(wire.open_envelope)


def seeds() -> dict[str, bytes]:
    """Return inputs to begin with: the samples."""
    made = {}
    for name, message in samples().items():
        header, blob = encode(message)
        made[name] = HEAD.pack(KINDS.index(type(message)), len(header)) + header + bytes(blob)
    return made


def try_one(content: bytes) -> None:
    """Decode one input; atheris calls this."""
    if len(content) < HEAD.size:
        return
    with contextlib.suppress(MessageError):
        open_envelope(content)
    which, length = HEAD.unpack_from(content)
    rest = content[HEAD.size :]
    decoder: Decoder[Any] = DECODERS[which % len(DECODERS)]
    try:
        message = decoder.decode(rest[:length], rest[length:])
    except MessageError:
        return
    # What was believed can be sent on, and is then believed again.
    decoder.decode(*encode(message))


def mutate(content: bytes, limit: int, seed: int) -> bytes:
    """Change fields half of the time, which keeps the rest readable; else let libFuzzer do it."""
    chance = random.Random(seed)
    if len(content) < HEAD.size or chance.random() < 0.5:
        return bytes(atheris.Mutate(content, limit))
    which, length = HEAD.unpack_from(content)
    rest = content[HEAD.size :]
    header, blob = message_mutations.mutate(rest[:length], rest[length:], chance)
    return (HEAD.pack(which, min(len(header), 0xFFFF)) + header + blob)[:limit]


def main() -> None:
    """Run with libFuzzer's options; a corpus folder gets the samples first."""
    for argument in sys.argv[1:]:
        if not argument.startswith("-"):
            folder = Path(argument)
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in seeds().items():
                (folder / f"sample-{name}").write_bytes(content)
            break
    atheris.Setup(sys.argv, try_one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
