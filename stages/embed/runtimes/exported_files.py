"""A network as ONNX files: their names, and what each says of itself. Needs neither torch nor onnx.

A network that pools is two files, `<stem>.frames.onnx` and `<stem>.head.onnx`; any other is only
the head. What a file says of itself is its ONNX `metadata_props`, all of it text:

    format_version  of this list
    network         its name
    config          JSON, as in the weights file
    weights_hash    of the weights file it was made from
    part            frames or head
    precision       float32 or float16: of weights and arithmetic
    use_smpl        true, or false where the network has a body branch and does without it
    inputs          JSON [[name, dtype, shape]...]; m n s in a shape are free
    outputs         likewise
    content_sha256  of all the rest of the file

The last one matters: a damaged number among the weights would be read as good, and would embed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import WeightsError

FORMAT_VERSION = 1
FRAMES, HEAD = "frames", "head"
PRECISIONS = ("float32", "float16")
MAX_BYTES = 1 << 30
# Of an ONNX file (a ModelProto): the number of the field that holds its metadata.
METADATA_FIELD = 14
HINT = "Make it again: run_pipeline.py export --network NETWORK --weights FILE"

Shape = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its name, dtype as numpy calls it, and shape with letters where free."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What an exported file says of itself; see the head of this file."""

    network: str
    config: Mapping[str, Any]
    weights_hash: str
    part: str
    precision: str
    use_smpl: bool
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class ExportedFiles:
    """Where the two parts lie. `frames` is None for a network that does not pool."""

    frames: Path | None
    head: Path

    def parts(self) -> dict[str, Path]:
        """Return the files by part."""
        return {FRAMES: self.frames, HEAD: self.head} if self.frames else {HEAD: self.head}


@dataclass(frozen=True, slots=True, eq=False)
class PartFile:
    """An exported file in memory, checked."""

    path: Path
    data: bytes
    facts: PartFacts

    @property
    def sha256(self) -> str:
        """Of the whole file, in hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What exported files must be of, to be used.

    Attributes:
        weights_hash: of the weights file.
        precision: float32 or float16.
        use_smpl: false where the network has a body branch and does without it.
    """

    network: str
    weights_hash: str
    precision: str = "float32"
    use_smpl: bool = True


def stem_of(weights: Path, precision: str = "float32", use_smpl: bool = True) -> str:
    """Return what the names of weights' exported files begin with: W, W.no-smpl, W.fp16 ..."""
    return weights.stem + ("" if use_smpl else ".no-smpl") + (".fp16" * (precision == "float16"))


def files_in(folder: Path, stem: str, pools: bool) -> ExportedFiles:
    """Return where the exported files of a network are to be."""
    frames = folder / f"{stem}.{FRAMES}.onnx" if pools else None
    return ExportedFiles(frames, folder / f"{stem}.{HEAD}.onnx")


def files_beside(weights: Path, wanted: Wanted, pools: bool) -> ExportedFiles:
    """Return where the exported files of these weights are to be: beside them."""
    return files_in(weights.parent, stem_of(weights, wanted.precision, wanted.use_smpl), pools)


def read_parts(files: ExportedFiles, wanted: Wanted | None = None) -> dict[str, PartFile]:
    """Return the files by part, each checked, and checked against each other and `wanted`.

    Raises:
        WeightsError: a file is missing, damaged, of another format version, or of another network,
            weights file, precision or part.
    """
    parts = {part: read_part(path) for part, path in files.parts().items()}
    for part, file in parts.items():
        if file.facts.part != part:
            raise WeightsError(
                f"{file.path} holds the {file.facts.part} part of a network, expected the {part}",
                hint=HINT,
            )
    first = next(iter(parts.values())).facts
    both = wanted or Wanted(
        first.network, first.weights_hash, first.precision, use_smpl=first.use_smpl
    )
    for file in parts.values():
        _check_wanted(file, both)
    return parts


def read_part(path: Path) -> PartFile:
    """Read one exported file; WeightsError as `read_parts`."""
    data = _read(path)
    try:
        entries = metadata_of(data)
        if not entries:
            raise ValueError("it carries no metadata of ours")
    except ValueError as error:
        raise WeightsError(
            f"exported network {path} is damaged, or no export of this program: {error}", hint=HINT
        ) from error
    if entries.get("format_version") != str(FORMAT_VERSION):
        raise WeightsError(
            f"exported network {path} has format_version {entries.get('format_version')!r}, "
            f"this program reads {FORMAT_VERSION!r}",
            hint=HINT,
        )
    if entries.get("content_sha256") != content_sha256(data):
        raise WeightsError(
            f"exported network {path} is damaged: its content does not match its own checksum",
            hint=HINT,
        )
    try:
        return PartFile(path, data, _facts_of(entries))
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"exported network {path} is damaged: its metadata does not read: {error!r}", hint=HINT
        ) from error


def entries_of(facts: PartFacts) -> dict[str, str]:
    """Return what a file is to say of itself, all but its checksum."""
    return {
        "format_version": str(FORMAT_VERSION),
        "network": facts.network,
        "config": json.dumps(dict(facts.config), sort_keys=True),
        "weights_hash": facts.weights_hash,
        "part": facts.part,
        "precision": facts.precision,
        "use_smpl": json.dumps(facts.use_smpl),
        "inputs": json.dumps([[p.name, p.dtype, p.shape] for p in facts.inputs]),
        "outputs": json.dumps([[p.name, p.dtype, p.shape] for p in facts.outputs]),
    }


def content_sha256(data: bytes) -> str:
    """Return the SHA-256 of all fields of an ONNX file but its metadata; ValueError if cut off."""
    digest = hashlib.sha256()
    view = memoryview(data)
    for number, _, start, end in _fields(view):
        if number != METADATA_FIELD:
            digest.update(view[start:end])
    return digest.hexdigest()


def metadata_of(data: bytes) -> dict[str, str]:
    """Return the `metadata_props` of an ONNX file; ValueError if it is cut off or no such file."""
    entries = {}
    view = memoryview(data)
    for number, value, _, end in _fields(view):
        if number == METADATA_FIELD:
            pair = view[value:end]
            key, text = (
                next((bytes(pair[v:e]).decode() for n, v, _, e in _fields(pair) if n == want), "")
                for want in (1, 2)
            )
            entries[key] = text
    return entries


def _fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, start of value, start and end of each field of a protobuf message.

    By hand, since a machine that only runs networks has no `onnx`, and the file is to be checked
    before any library's parser sees it.
    """
    at = 0
    while at < len(view):
        start = at
        tag, at = _varint(view, at)
        kind = tag & 7
        if kind == 0:
            value = at
            _, at = _varint(view, at)
        elif kind == 2:
            size, value = _varint(view, at)
            at = value + size
        elif kind in (1, 5):
            value, at = at, at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"byte {start} begins no field")
        if at > len(view):
            raise ValueError(f"cut off: a field ends at byte {at} of {len(view)}")
        yield tag >> 3, value, start, at


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where the next thing begins."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise ValueError(f"cut off at byte {at}")
        byte = view[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError(f"byte {at} ends no number")


def _facts_of(entries: Mapping[str, str]) -> PartFacts:
    config = json.loads(entries["config"])
    if not isinstance(config, dict):
        raise ValueError(f"config is {type(config).__name__}")
    if entries["precision"] not in PRECISIONS or entries["part"] not in (FRAMES, HEAD):
        raise ValueError(f"precision {entries['precision']!r}, part {entries['part']!r}")
    return PartFacts(
        network=entries["network"],
        config=config,
        weights_hash=entries["weights_hash"],
        part=entries["part"],
        precision=entries["precision"],
        use_smpl=json.loads(entries["use_smpl"]) is True,
        inputs=_ports_of(entries["inputs"]),
        outputs=_ports_of(entries["outputs"]),
    )


def _ports_of(text: str) -> tuple[Port, ...]:
    return tuple(
        Port(str(name), str(dtype), tuple(shape)) for name, dtype, shape in json.loads(text)
    )


def _check_wanted(file: PartFile, wanted: Wanted) -> None:
    facts = file.facts
    differing = [
        f"{name} {getattr(facts, name)}, expected {getattr(wanted, name)}"
        for name in ("network", "weights_hash", "precision", "use_smpl")
        if getattr(facts, name) != getattr(wanted, name)
    ]
    if differing:
        raise WeightsError(
            f"exported network {file.path} was made from something else: {'; '.join(differing)}",
            hint=HINT,
        )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise WeightsError(f"exported network {path} is missing: no such file", hint=HINT) from None
    except OSError as error:
        raise WeightsError(f"exported network {path} cannot be read: {error.strerror}") from error
    if not data:
        raise WeightsError(f"exported network {path} is empty: 0 bytes", hint=HINT)
    if len(data) > MAX_BYTES:
        raise WeightsError(f"exported network {path} is larger than {MAX_BYTES} bytes")
    return data
