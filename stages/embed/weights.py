"""Weights of our networks on disk: safetensors, checked key by key. Needs no torch.

One metadata entry, `gaitstream`, holds JSON: format_version, network, config. Being one entry it is
written the same way every time, so equal weights make equal files and the hash of the file stands
for the weights.

A file of half the size has its matrices in float16; they are read as float32, so that networks
compute as they always do.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from pipeline.errors import WeightsError

FORMAT_VERSION = 1
METADATA_KEY = "gaitstream"
MAX_BYTES = 1 << 30
MAX_METADATA_BYTES = 1 << 16
DTYPES = {"F32": "float32", "I64": "int64"}
HALF = {"F16": "float16"}  # read as float32
SHOWN = 10
LFS_POINTER = b"version https://git-lfs"
HINT = "Give a .safetensors file that this program has written (train or export), or convert it."

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A weights file in memory.

    Attributes:
        config: the network's config as plain data.
        tensors: float32 or int64 by name; finite.
        hash: first 16 hex digits of the file's SHA-256.
    """

    path: Path
    network: str
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    hash: str


def save(
    path: Path,
    network: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    *,
    half: bool = False,
) -> str:
    """Write weights, all or nothing, and return their hash.

    Args:
        half: matrices become float16. Vectors stay: variances may be too small for it.

    Raises:
        WeightsError: for a dtype that is not stored, a number that is not finite, a full disk.
    """
    stored = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    for name, tensor in stored.items():
        if str(tensor.dtype) not in DTYPES.values():
            raise WeightsError(f"{name} is {tensor.dtype}; weights are stored as float32 or int64")
    if half:
        stored = {name: _halved(tensor) for name, tensor in stored.items()}
    check_finite(path, stored)
    header = {"format_version": FORMAT_VERSION, "network": network, "config": dict(config)}
    data = save_tensors(stored, {METADATA_KEY: json.dumps(header, sort_keys=True)})
    try:
        _write(path, data)
    except OSError as error:
        raise WeightsError(f"cannot write weights {path}: {error.strerror}") from error
    return hash_of(data)


def load(path: Path, network: str) -> Weights:
    """Read the weights of `network`.

    Raises:
        WeightsError: the file is missing, empty, damaged, of another format or version, or holds
            another network.
    """
    data = _read(path)
    entries, header = _header(path, data)
    if header.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"weights {path} have format_version {header.get('format_version')!r}, "
            f"this program reads {FORMAT_VERSION}",
            hint=HINT,
        )
    if header.get("network") != network:
        raise WeightsError(
            f"weights {path} are of network {header.get('network')!r}, expected {network!r}",
            hint=f"Choose --network {header.get('network')} or give other weights.",
        )
    config = header.get("config")
    if not isinstance(config, dict):
        raise WeightsError(f"weights {path} are damaged: no config in their metadata", hint=HINT)
    for name, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("dtype") not in DTYPES | HALF:
            raise WeightsError(
                f"weights {path}: {name} is stored as {_dtype_of(entry)}, "
                f"expected one of {sorted(DTYPES | HALF)}"
            )
    try:
        tensors = load_tensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"weights {path} are damaged: {error}", hint=HINT) from error
    check_finite(path, tensors)
    tensors = {
        name: tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
        for name, tensor in tensors.items()
    }
    return Weights(path, network, config, tensors, hash_of(data))


def network_of(path: Path) -> str:
    """Return the name of the network whose weights a file holds.

    Raises:
        WeightsError: the file is missing, empty or damaged, or does not say it.
    """
    name = _header(path, _read(path))[1].get("network")
    if not isinstance(name, str):
        raise WeightsError(f"weights {path} do not say which network they are of", hint=HINT)
    return name


def check_shapes(weights: Weights, expected: Shapes) -> None:
    """Check that the file holds exactly these tensors.

    Raises:
        WeightsError: naming the first ten keys that differ, with what was expected and what came.
    """
    found = {
        name: (str(tensor.dtype), tuple(tensor.shape)) for name, tensor in weights.tensors.items()
    }
    differing = differences(found, expected)
    if differing:
        raise WeightsError(
            f"weights {weights.path} do not fit network {weights.network} as their config "
            f"describes it; {differing}",
            hint=HINT,
        )


def differences(found: Shapes, expected: Shapes) -> str:
    """Return how many keys differ and the first ten of them, one a line; empty if none does."""
    names = sorted(found.keys() | expected.keys())
    lines = [
        f"{name}: expected {_shape_text(expected.get(name))}, got {_shape_text(found.get(name))}"
        for name in names
        if found.get(name) != expected.get(name)
    ]
    if not lines:
        return ""
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n  ".join([f"{len(lines)} of {len(names)} keys differ:", *lines[:SHOWN], *more])


def check_config(weights: Weights, expected: Mapping[str, Any]) -> None:
    """Check that the weights were made with the settings in `expected` (others may differ).

    Raises:
        WeightsError: naming every setting that differs; `class_num` is said in words.
    """
    differing = {
        name: value for name, value in expected.items() if weights.config.get(name) != value
    }
    if "class_num" in differing:
        raise WeightsError(
            f"weights {weights.path} were trained to tell {weights.config.get('class_num')} "
            f"identities apart, this network is built for {differing['class_num']}",
            hint="For training, start from weights of the same class list; for embedding the "
            "number does not matter.",
        )
    if differing:
        text = ", ".join(
            f"{name} {weights.config.get(name)!r} where {value!r} is asked for"
            for name, value in sorted(differing.items())
        )
        raise WeightsError(f"weights {weights.path} were made with other settings: {text}")


def hash_of(data: bytes) -> str:
    """Return the first 16 hex digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def check_file(path: Path, max_bytes: int, hint: str) -> None:
    """Check that there is a file that may hold weights.

    Raises:
        WeightsError: it is missing, a folder, empty, too large, or only a Git LFS pointer.
    """
    if path.is_dir():
        raise WeightsError(f"weights {path} are a folder, expected a file", hint=hint)
    try:
        with path.open("rb") as file:
            start = file.read(len(LFS_POINTER))
            size = file.seek(0, os.SEEK_END)
    except FileNotFoundError:
        raise WeightsError(f"weights {path} are missing: no such file", hint=hint) from None
    except OSError as error:
        raise WeightsError(f"weights {path} cannot be read: {error.strerror}") from error
    if not size:
        raise WeightsError(f"weights {path} are empty: 0 bytes", hint=hint)
    if size > max_bytes:
        raise WeightsError(f"weights {path} are larger than {max_bytes} bytes: {size}")
    if start == LFS_POINTER:
        raise WeightsError(
            f"weights {path} are only a Git LFS pointer", hint="Fetch the file: git lfs pull."
        )


def _read(path: Path) -> bytes:
    check_file(path, MAX_BYTES, HINT)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {path} cannot be read: {error.strerror}") from error
    # A header of 128 bytes and more may well begin like a pickle; its text never does.
    if data[8:9] != b"{" and data.startswith((b"PK\x03\x04", b"\x80")):
        raise WeightsError(
            f"weights {path} are a pickle or a torch checkpoint, which could run code", hint=HINT
        )
    return data


def _header(path: Path, data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tensor entries and our own metadata; WeightsError if either cannot be read."""
    size = int.from_bytes(data[:8], "little")
    try:
        if len(data) < 8 or size > len(data) - 8:
            raise ValueError(f"its header of {size} bytes ends beyond the file")
        entries = json.loads(data[8 : 8 + size])
        metadata = entries.pop("__metadata__", {})
        text = metadata.get(METADATA_KEY)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise WeightsError(f"weights {path} are damaged: {error}", hint=HINT) from error
    if not isinstance(text, str) or len(text) > MAX_METADATA_BYTES:
        raise WeightsError(
            f"weights {path} do not say which network they are of (no {METADATA_KEY!r} metadata)",
            hint=HINT,
        )
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"weights {path} are damaged: {error}", hint=HINT) from error
    if not isinstance(header, dict):
        raise WeightsError(f"weights {path} are damaged: metadata is no mapping", hint=HINT)
    return entries, header


def check_finite(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Check that all numbers are finite; WeightsError naming the tensors where they are not."""
    bad = sorted(name for name, tensor in tensors.items() if not np.isfinite(tensor).all())
    if bad:
        raise WeightsError(
            f"weights {path} hold numbers that are not finite in {', '.join(bad[:SHOWN])}",
            hint="The training diverged or the file is damaged; take an earlier one.",
        )


def _halved(tensor: np.ndarray) -> np.ndarray:
    if tensor.dtype != np.float32 or tensor.ndim < 2:
        return tensor
    with np.errstate(over="ignore"):  # too large is not finite: told by the check
        return tensor.astype(np.float16)


def _dtype_of(entry: Any) -> Any:
    return entry.get("dtype") if isinstance(entry, dict) else type(entry).__name__


def _shape_text(entry: tuple[str, tuple[int, ...]] | None) -> str:
    return "nothing" if entry is None else f"{entry[0]}{list(entry[1])}"


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
