"""Who was seen in a recording: found once, kept in a file, and read again by halves of a track.

Finding people costs minutes, all that follows costs seconds; so the answers of the detect stage are
kept, one file a recording. From them the pipeline's own body and sequence stages make windows,
anew for each half of each track, so that nothing that they smooth or remember passes from a
track's first half to its second.

    GAITPEOPLE 1\n, then a record a frame: length of header and of blob (uint32 each), both as the
    pipeline's codec writes them; a record of lengths 0, 0 and the number of frames (uint32) ends it
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.codec import Decoder, encode
from pipeline.config import load_config
from pipeline.errors import InputError
from pipeline.messages import Frame, People, Person, Stamp, Windows
from pipeline.runner import build_stage
from pipeline.stage import EndOfSource

MAGIC = b"GAITPEOPLE 1\n"
LENGTHS = struct.Struct("<II")
COUNT = struct.Struct("<I")
# What of the configuration decides who is found.
FINDING = ("source", "detect")
FIRST, SECOND = 0, 1

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Life:
    """When a track was seen, nanoseconds of the recording's clock."""

    first_ns: int
    last_ns: int

    @property
    def middle_ns(self) -> int:
        """Where its second half begins."""
        return (self.first_ns + self.last_ns) // 2 + 1


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording whose people are known.

    Attributes:
        label: its file's name. people: the file that holds who was seen.
        config: the whole configuration, resolved.
        lives: of each track. frames: how many.
    """

    label: str
    people: Path
    config: dict[str, Any]
    lives: dict[int, Life]
    frames: int = 0


def look(
    source: Path, cache: Path, settings: Sequence[str] = (), on_progress: Progress | None = None
) -> Recording:
    """Return a recording's people, from the cache if they were found before.

    Args:
        settings: `key=value` texts, as `--set` takes them.
        on_progress: told of frames done and expected (0: unknown).

    Raises:
        SourceError, ConfigError: the recording or a setting cannot be used.
    """
    config = load_config(None, {"source.uri": str(source)}, settings).to_dict()
    cache.mkdir(parents=True, exist_ok=True)
    people = cache / f"{source.stem}-{_key(source, config)}.people"
    if not people.exists():
        _find(config, people, on_progress)
    lives: dict[int, Life] = {}
    frames = 0
    for message in read_people(people):
        frames += 1
        for person in message.people:
            now = message.stamp.time_ns
            first = lives[person.track_id].first_ns if person.track_id in lives else now
            lives[person.track_id] = Life(first, now)
    return Recording(source.name, people, config, lives, frames)


def half_windows(recording: Recording) -> Iterator[Windows]:
    """Yield each frame's windows of halves of tracks; `half_of` tells them apart."""
    body = build_stage("body", recording.config["body"])
    sequence = build_stage("sequence", recording.config["sequence"])
    body.setup()
    sequence.setup()
    source_id = ""
    for people in read_people(recording.people):
        source_id = people.stamp.source_id
        (bodies,) = body.process(by_halves(people, recording.lives))
        yield from sequence.process(bodies)
    yield from sequence.end(source_id)
    sequence.close()
    body.close()


def half_of(track_id: int) -> tuple[int, int]:
    """Return track and half (`FIRST`, `SECOND`) of a track id that `by_halves` gave."""
    return track_id // 2, track_id % 2


def by_halves(people: People, lives: dict[int, Life]) -> People:
    """Return a frame's people with each half of a track as a track of its own.

    Track t becomes 2 t in its first half and 2 t + 1 in its second.
    """

    def renamed(person: Person) -> Person:
        late = people.stamp.time_ns >= lives[person.track_id].middle_ns
        return replace(person, track_id=2 * person.track_id + late)

    ended = (2 * track + half for track in people.ended_tracks for half in (FIRST, SECOND))
    return replace(people, people=tuple(map(renamed, people.people)), ended_tracks=tuple(ended))


def write_people(path: Path, messages: Iterator[People]) -> None:
    """Write messages to a file, whole or not at all."""
    half = path.with_name(f".{path.name}.part")
    try:
        with half.open("wb") as file:
            file.write(MAGIC)
            count = 0
            for message in messages:
                header, blob = encode(message)
                file.write(LENGTHS.pack(len(header), len(blob)) + header + blob)
                count += 1
            file.write(LENGTHS.pack(0, 0) + COUNT.pack(count))
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def read_people(path: Path) -> Iterator[People]:
    """Yield what `write_people` wrote; InputError if it is damaged."""
    decoder = Decoder(People)
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise _damaged(path, "it does not begin as such a file does")
        count = 0
        while True:
            lengths = file.read(LENGTHS.size)
            if len(lengths) < LENGTHS.size:
                raise _damaged(path, f"it ends after {count} frames")
            header, blob = LENGTHS.unpack(lengths)
            if header == 0:
                break
            data = file.read(header), file.read(blob)
            if (len(data[0]), len(data[1])) != (header, blob):
                raise _damaged(path, f"it ends within frame {count}")
            yield decoder.decode(*data)
            count += 1
        if file.read(COUNT.size) != COUNT.pack(count):
            raise _damaged(path, f"it says another number of frames than {count}")


def _find(config: dict[str, Any], people: Path, on_progress: Progress | None) -> None:
    """Run source and detect over the recording and keep the answers."""
    source = build_stage("source", config["source"])
    detect = build_stage("detect", config["detect"])
    stream = source.open()
    try:
        detect.setup()
        detect.start(stream)
        frames = _frames(source, stream.source_id, stream.frames_expected, on_progress)
        write_people(people, (message for frame in frames for message in detect.process(frame)))
        for _ in detect.end(stream.source_id):
            pass
    finally:
        detect.close()
        source.close()


def _frames(
    source: Any, source_id: str, expected: int, on_progress: Progress | None
) -> Iterator[Frame]:
    count = 0
    while True:
        try:
            raw = source.read(1.0)
        except EndOfSource:
            return
        stamp = Stamp(source_id, count, raw.time_ns, raw.capture_ns, raw.capture_unix_ns)
        yield Frame(stamp, pixels=raw.pixels)
        count += 1
        if on_progress is not None:
            on_progress(count, expected)


def _key(source: Path, config: dict[str, Any]) -> str:
    """Return 12 hex digits that change with the recording and with how people are found."""
    told = {name: config[name] for name in FINDING}
    told["source"] = {**told["source"], "uri": ""}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    if not source.is_file():
        raise InputError(f"{source}: there is no such video file")
    with source.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()[:12]


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is damaged: {why}", hint="Remove it, and it is made anew.")
