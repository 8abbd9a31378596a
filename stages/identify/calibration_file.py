"""Calibrations on disk: JSON, read as if it were hostile, bound to the weights by their hash.

One file holds everything, the cohort's vectors too (half precision, base64, with a checksum), so
that nothing can be lost or mixed up. Those that come with the program lie in
`data/calibrations/NETWORK-HASH.json` and are found by what the vectors say of themselves.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from pipeline.errors import CalibrationError
from stages.identify.calibration import (
    Basis,
    Calibration,
    Check,
    Crowd,
    Evidence,
    Site,
    Weighing,
)
from stages.identify.normalise import Norm
from stages.identify.records import MAX_ABSOLUTE, is_trained
from stages.identify.search import Metric
from stages.identify.tail import Tail

FORMAT = "gaitstream-calibration"
VERSION = 1
MAX_BYTES = 64 << 20
MAX_TABLE = 10_000
MAX_COHORT_NUMBERS = 1 << 25
SHIPPED = Path(__file__).parent / "data" / "calibrations"
HINT = "Give a file that `calibrate` has written."

_SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_Numbers = Annotated[tuple[float, ...], Meta(max_length=MAX_TABLE)]
_Counts = Annotated[tuple[Annotated[int, Meta(ge=0, le=1 << 40)], ...], Meta(max_length=MAX_TABLE)]
_Name = Annotated[str, Meta(max_length=256)]


class _Head(msgspec.Struct, frozen=True):
    format: str
    version: int


class _Cohort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shape: tuple[int, int, int]
    crc32: int
    float16: bytes


class _Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    frames: _Numbers
    middle: _Numbers
    spread: _Numbers
    quality_slope: float
    quality_middle: float
    quality_range: tuple[float, float]


class _Tail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    knots: _Numbers
    shares: _Numbers
    shape: float
    scale: float
    excesses: int


class _Crowd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sizes: _Counts
    effective: _Numbers


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: int
    network: _Name
    weights_hash: _Name
    metric: Metric
    norm: Norm
    evidence: _Evidence
    tail: _Tail
    crowd: _Crowd
    looks: float
    caution: float
    basis: Basis
    weighing: Weighing | None
    site: Site | None
    checks: Annotated[tuple[Check, ...], Meta(max_length=MAX_TABLE)]
    cohort: _Cohort | None


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration, all or nothing.

    Raises:
        CalibrationError: it cannot be written.
    """
    cohort = calibration.cohort
    held = None
    if cohort is not None:
        data = cohort.astype("<f2").tobytes()
        held = _Cohort(cohort.shape, zlib.crc32(data), data)  # type: ignore[arg-type]
    e, t, c = calibration.evidence, calibration.tail, calibration.crowd
    file = _File(
        *(FORMAT, VERSION, calibration.network, calibration.weights_hash, calibration.metric),
        calibration.norm,
        _Evidence(
            frames=tuple(e.frames.tolist()),
            middle=tuple(e.middle.tolist()),
            spread=tuple(e.spread.tolist()),
            quality_slope=e.quality_slope,
            quality_middle=e.quality_middle,
            quality_range=e.quality_range,
        ),
        _Tail(tuple(t.knots.tolist()), tuple(t.shares.tolist()), t.shape, t.scale, t.excesses),
        _Crowd(tuple(c.sizes.tolist()), tuple(c.effective.tolist())),
        *(calibration.looks, calibration.caution, calibration.basis),
        *(calibration.weighing, calibration.site),
        *(calibration.checks, held),
    )
    half = path.with_name(f".{path.name}.part")
    try:
        half.write_bytes(msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n")
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise CalibrationError(f"cannot write calibration {path}: {error.strerror}") from error


def read_calibration(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        CalibrationError: missing, too large, damaged, or of a newer version.
    """
    file = _decode(path, _read(path))
    try:
        calibration = Calibration(
            *(file.network, file.weights_hash, file.metric, file.norm, _cohort(file.cohort)),
            _evidence(file.evidence),
            Tail(
                knots=np.array(file.tail.knots),
                shares=np.array(file.tail.shares),
                shape=file.tail.shape,
                scale=file.tail.scale,
                excesses=file.tail.excesses,
            ),
            Crowd(np.array(file.crowd.sizes, np.int64), np.array(file.crowd.effective)),
            looks=file.looks,
            basis=file.basis,
            weighing=file.weighing,
            site=file.site,
            checks=file.checks,
            caution=file.caution,
        )
        if not is_trained(file.weights_hash):
            raise CalibrationError(f"it is of weights {file.weights_hash!r}, which are none")
    except CalibrationError as error:
        raise CalibrationError(f"calibration {path}: {error.message}", hint=HINT) from error
    return calibration


def shipped_calibration(network: str, weights_hash: str) -> Calibration | None:
    """Return the calibration that comes with the program for these weights, None if none does.

    Raises:
        CalibrationError: it is there and damaged, or of other weights than its name says.
    """
    if not (_SAFE_NAME.fullmatch(network) and _SAFE_NAME.fullmatch(weights_hash)):
        return None
    path = SHIPPED / shipped_name(network, weights_hash)
    if not path.is_file():
        return None
    found = read_calibration(path)
    check_weights(path, found, network, weights_hash)
    return found


def shipped_name(network: str, weights_hash: str) -> str:
    """Return the name of the file that holds the calibration of these weights."""
    return f"{network}-{weights_hash}.json"


def check_weights(path: Path, found: Calibration, network: str, weights_hash: str) -> None:
    """Check that a calibration is of these weights.

    Raises:
        CalibrationError: it is of another network or of other weights.
    """
    if (found.network, found.weights_hash) != (network, weights_hash):
        raise CalibrationError(
            f"calibration {path} is of {found.network}/{found.weights_hash}, the vectors are of "
            f"{network}/{weights_hash}: scores of other weights mean something else",
            hint="Calibrate these weights: run_pipeline.py calibrate --help",
        )


def check_metric(path: Path, found: Calibration, metric: str) -> None:
    """Check that a calibration is of this metric; `auto` takes any.

    Raises:
        CalibrationError: it is of another.
    """
    if metric not in ("auto", found.metric):
        raise CalibrationError(
            f"calibration {path} is of {found.metric} distances, identify.metric is {metric}",
            hint="Leave identify.metric at auto, or calibrate with --metric " + metric + ".",
        )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise CalibrationError(f"calibration {path} is missing: no such file", hint=HINT) from None
    except OSError as error:
        raise CalibrationError(f"calibration {path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise CalibrationError(f"calibration {path} has more than {MAX_BYTES} bytes", hint=HINT)
    return data


def _decode(path: Path, data: bytes) -> _File:
    try:
        # Two steps: a newer version is to be called that, not wrong.
        head = msgspec.json.decode(data, type=_Head)
        if head.format != FORMAT:
            raise CalibrationError(
                f"{path} is no calibration: its format is {head.format[:80]!r}", hint=HINT
            )
        if head.version != VERSION:
            raise CalibrationError(
                f"calibration {path} has version {head.version}, this program reads {VERSION}",
                hint=HINT,
            )
        return msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CalibrationError(f"{path} is no calibration: {error}", hint=HINT) from error


def _evidence(held: _Evidence) -> Evidence:
    return Evidence(
        frames=np.array(held.frames),
        middle=np.array(held.middle),
        spread=np.array(held.spread),
        quality_slope=held.quality_slope,
        quality_middle=held.quality_middle,
        quality_range=held.quality_range,
    )


def _cohort(held: _Cohort | None) -> np.ndarray | None:
    """Return float32 [k,c,p] after size and checksum were found right."""
    if held is None:
        return None
    count = 1
    for side in held.shape:
        count *= max(side, 0)
    if not 0 < count <= MAX_COHORT_NUMBERS or len(held.float16) != 2 * count:
        raise CalibrationError(
            f"its cohort {list(held.shape)} should have {2 * count} bytes, it has "
            f"{len(held.float16)}"
        )
    if zlib.crc32(held.float16) != held.crc32:
        raise CalibrationError("its cohort has changed since it was written")
    vectors = np.frombuffer(held.float16, "<f2").astype(np.float32).reshape(held.shape)
    if not (np.isfinite(vectors).all() and np.abs(vectors).max() <= MAX_ABSOLUTE):
        raise CalibrationError("its cohort holds numbers that are not finite")
    return vectors
