"""TensorRT engines on disk: which is for what, whole, and nobody else's.

A plan is a program: whoever writes it decides what this process does. So the folder and its files
must belong to the user and be writable by nobody else, and a plan is loaded only from there.

A file is `MAGIC`, the header's format version and length (two little-endian uint32), the header as
JSON (key, and the plan's SHA-256 and length), then the plan.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from stages.embed.runtimes.atomic_write import write_atomically

log = logging.getLogger(__name__)

MAGIC = b"GAITPLAN"
FORMAT_VERSION = 1
PREFIX = struct.Struct("<8sII")
MAX_HEADER_BYTES = 1 << 16
MAX_BYTES = 8 << 30
# What may change under an engine: the new one takes the old one's place.
REPLACING = ("version", "driver")


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What an engine is for. A difference in any field asks for another engine.

    Attributes:
        label: network, part and precision, for people: the file's name begins with it.
        onnx_sha256: of the file it is built from, which holds weights and precision.
        flavour, version: of TensorRT.
        gpu, capability: its name and compute capability; "none" and "" where there is no GPU.
        driver: its version.
        profile: the shapes it takes, as text.
    """

    label: str
    onnx_sha256: str
    precision: str
    flavour: str
    version: str
    gpu: str
    capability: str
    driver: str
    profile: str

    @property
    def file_name(self) -> str:
        """The same for all keys of which only one engine can be of use on a machine."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k not in REPLACING}
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        return f"{self.label}-{digest[:16]}.engine"


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """What the cache has for a key.

    Attributes:
        plan: None if there is nothing that can be used.
        why: if so, why not.
        expected: there never was one; else something is wrong or has changed.
    """

    plan: bytes | None
    why: str = ""
    expected: bool = True


class PrivateFolder:
    """A folder of the user's own, for files that could do harm if others wrote them."""

    def __init__(self, path: Path) -> None:
        """Make the folder if it is not there.

        Raises:
            ConfigError: it cannot be made, or others could put files there.
        """
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            problem = _problem(path.stat())
        except OSError as error:
            raise ConfigError(
                f"cannot use the engine folder {path}: {error.strerror}",
                hint="Choose another with --engine-cache DIR, or set XDG_CACHE_HOME.",
            ) from error
        if problem:
            raise ConfigError(
                f"the engine folder {path} {problem}; an engine is a program, so nobody else "
                "may put one there",
                hint=f"Make it yours alone (chmod go-w {path}), or choose another folder.",
            )

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None if there is none.

        Raises:
            PermissionError: it is a link or no file, or others could have written it.
            OSError: it cannot be read.
        """
        path = self.path / name
        try:
            # Not through a link, and looked at once open, so that it cannot be exchanged between.
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return None
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(file.fileno())
            problem = _problem(status) or ("" if stat.S_ISREG(status.st_mode) else "is no file")
            if problem:
                raise PermissionError(1, problem, str(path))
            return file.read(MAX_BYTES)

    def write(self, name: str, data: bytes) -> Path:
        """Write a file, whole or not at all, and return its path; OSError if that fails."""
        path = self.path / name
        write_atomically(path, data, mode=0o600)
        return path


class EngineCache:
    """Engines by key, in a private folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """Take `folder`, or the user's own (`default_folder`); ConfigError as `PrivateFolder`."""
        self.folder = PrivateFolder(folder or default_folder())

    def path_of(self, key: EngineKey) -> Path:
        """Return where the key's engine lies, or would."""
        return self.folder.path / key.file_name

    def find(self, key: EngineKey) -> Lookup:
        """Return the plan for exactly this key, or why there is none."""
        try:
            data = self.folder.read(key.file_name)
        except OSError as error:
            return Lookup(None, f"the kept one cannot be used: {error.strerror}", expected=False)
        if data is None:
            return Lookup(None, "none is kept for this network, GPU and profile")
        try:
            header, plan = _split(data)
            kept = EngineKey(**header["key"])
            whole = (len(plan), hashlib.sha256(plan).hexdigest())
            if whole != (header["bytes"], header["sha256"]):
                raise ValueError("the plan does not match its own checksum")
        except (ValueError, KeyError, TypeError) as error:
            return Lookup(None, f"the kept one is damaged: {error}", expected=False)
        if kept != key:
            return Lookup(None, f"the kept one is for {_changes(kept, key)}", expected=False)
        return Lookup(plan)

    def store(self, key: EngineKey, plan: bytes) -> Path | None:
        """Keep a plan and return where; None, with a warning, if the disk refuses it."""
        header = {
            "key": dataclasses.asdict(key),
            "sha256": hashlib.sha256(plan).hexdigest(),
            "bytes": len(plan),
        }
        text = json.dumps(header, sort_keys=True).encode()
        try:
            return self.folder.write(
                key.file_name, PREFIX.pack(MAGIC, FORMAT_VERSION, len(text)) + text + plan
            )
        except OSError as error:
            log.warning(
                "the engine cannot be kept in %s (%s): the next start builds it again",
                self.folder.path,
                error.strerror,
            )
            return None


def default_folder() -> Path:
    """Return the user's folder for engines: XDG_CACHE_HOME, else ~/.cache, / gaitstream/engines."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".cache"
    return base / "gaitstream" / "engines"


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return header and plan; ValueError if the file is none of ours or cut off."""
    if len(data) < PREFIX.size:
        raise ValueError(f"{len(data)} bytes are too few")
    magic, version, size = PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise ValueError("it is no engine file of this program")
    if version != FORMAT_VERSION:
        raise ValueError(f"its format version is {version}, this program reads {FORMAT_VERSION}")
    if size > min(MAX_HEADER_BYTES, len(data) - PREFIX.size):
        raise ValueError(f"its header of {size} bytes is cut off")
    header = json.loads(data[PREFIX.size : PREFIX.size + size])
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")
    return header, data[PREFIX.size + size :]


def _changes(kept: EngineKey, wanted: EngineKey) -> str:
    """Return in words what differs."""
    return ", ".join(
        f"{field.name} {getattr(kept, field.name)} (now {getattr(wanted, field.name)})"
        for field in dataclasses.fields(EngineKey)
        if getattr(kept, field.name) != getattr(wanted, field.name)
    )


def _problem(status: os.stat_result) -> str:
    """Return why a folder or file is not the user's alone, "" if it is."""
    if not hasattr(os, "getuid"):
        return ""  # Windows: the cache folder lies in the user's own profile
    if status.st_uid != os.getuid():
        return f"belongs to user {status.st_uid}, this is user {os.getuid()}"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written by others (mode {stat.S_IMODE(status.st_mode):o})"
    return ""
