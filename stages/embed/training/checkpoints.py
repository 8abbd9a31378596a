"""What a training needs to go on after a kill, on disk.

A checkpoint is two files: `step-N.pt`, tensors and plain data only, read with `weights_only`; and
`step-N.json`, written after it, with its length and SHA-256 and what people may want to read. So a
checkpoint whose JSON is there and fits is whole, whenever the process died.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch

from pipeline.errors import InputError, ResourceError

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
MAX_JSON_BYTES = 1 << 24
CHUNK_BYTES = 1 << 20
_OURS = re.compile(r"\.?step-\d{8,}\.(pt|json)(\.part)?")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """One state of a training.

    Attributes:
        step: how many steps were done.
        facts: plain data for people and for checks: the configuration and the like.
        state: tensors and plain data, on the processor.
    """

    step: int
    facts: Mapping[str, Any]
    state: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint, all or nothing, then remove all but the newest `keep`; return its JSON.

    Raises:
        ResourceError, InputError: the folder cannot be written, or the disk is full.
    """
    name = f"step-{checkpoint.step:08d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest, size = _write_state(folder / f"{name}.pt", checkpoint.state)
        facts = {
            "format_version": FORMAT_VERSION,
            "step": checkpoint.step,
            "sha256": digest,
            "bytes": size,
            "facts": dict(checkpoint.facts),
        }
        path = folder / f"{name}.json"
        _write_whole(path, json.dumps(facts, indent=1).encode())
        _sync_folder(folder)
        _remove_others(folder, checkpoint.step, keep)
    except OSError as error:
        kind = InputError if isinstance(error, PermissionError) else ResourceError
        raise kind(
            f"cannot write a checkpoint to {folder}: {error.strerror}",
            hint="Free some space or give another --out; the checkpoints before it are kept.",
        ) from error
    return path


def load_newest(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint, None if there is none.

    Says in the log which are damaged and passed over.
    """
    for path in _newest_first(folder):
        try:
            return load_checkpoint(path)
        except InputError as error:
            log.warning("%s; going back to the one before", error.message)
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint by its JSON.

    Raises:
        InputError: it is damaged, of another version, or holds more than tensors and plain data.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES} bytes of JSON")
        head = json.loads(path.read_bytes())
        if head["format_version"] != FORMAT_VERSION:
            raise ValueError(
                f"format_version {head['format_version']!r}, this program reads {FORMAT_VERSION}"
            )
        step, facts = int(head["step"]), dict(head["facts"])
        tensors = path.with_suffix(".pt")
        size = tensors.stat().st_size
        if size != head["bytes"]:
            raise ValueError(f"{tensors.name} has {size} bytes, expected {head['bytes']}")
        if _digest_of(tensors) != head["sha256"]:
            raise ValueError(f"{tensors.name} is not what was written: its SHA-256 differs")
        state = torch.load(tensors, map_location="cpu", weights_only=True)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
        pickle.UnpicklingError,
    ) as error:
        raise InputError(f"checkpoint {path} cannot be used: {error}") from error
    if not isinstance(state, dict):
        raise InputError(f"checkpoint {path} cannot be used: it holds a {type(state).__name__}")
    return Checkpoint(step, facts, state)


def remove_checkpoints(folder: Path) -> None:
    """Remove our files in the folder, and the folder if nothing else is in it; OSError."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _newest_first(folder: Path) -> list[Path]:
    paths = [path for path in folder.glob("step-*.json") if _OURS.fullmatch(path.name)]
    return sorted(paths, key=_step_of, reverse=True)


def _step_of(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def _remove_others(folder: Path, step: int, keep: int) -> None:
    """Remove all but the newest `keep` up to `step`, JSON first, and what kills left half written.

    Later ones are of a course that was given up for this one, because they were damaged.
    """
    kept = {path.stem for path in [p for p in _newest_first(folder) if _step_of(p) <= step][:keep]}
    ours = [path for path in folder.iterdir() if _OURS.fullmatch(path.name)]
    for path in sorted(ours, key=lambda path: path.suffix != ".json"):
        if path.stem not in kept:
            path.unlink()


class _Hashing:
    """A file that is hashed while it is written."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self.size += len(data)
        return int(self._file.write(data))

    def flush(self) -> None:
        self._file.flush()


def _write_state(path: Path, state: Mapping[str, Any]) -> tuple[str, int]:
    """Write tensors and plain data; return SHA-256 and length."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        hashing = _Hashing(file)
        torch.save(dict(state), cast("IO[bytes]", hashing))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return hashing.hash.hexdigest(), hashing.size


def _write_whole(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _sync_folder(folder: Path) -> None:
    """Make the new names last through a loss of power, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
