"""Reading a folder of stored silhouette sequences.

A sequence is a folder with one of: PNG masks of any size, `sils.npy`, or one `.pkl` of uint8
[T,H,H] already aligned (H 64 or 128). Beside it may lie `smpls.npy` [T,85] and `keypoints.npy`
[T,17,3]; a pickle whose name begins with `smpls` (as Gait3D has it) serves as the former.
"""

from __future__ import annotations

import os
import re
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.messages import MAX_SIDE_PX
from stages.embed.clips import THETA_SIZE
from stages.human import safe_pickle
from stages.human.silhouette import align, as_grey, cut_sides

MAX_FRAMES = 720
MAX_STORED_FRAMES = 1_000_000
SIDES = (64, 128)
NPY_START = b"\x93NUMPY"
PNG_START = b"\x89PNG\r\n\x1a\n"
# numpy reads a header with Python's own parser, and in older 3.11 and 3.12 that counts its depth
# for all threads together: now and then one fails with a SystemError (CPython's gh-106905).
_ONE_HEADER_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class SilhouetteSequence:
    """A stored sequence; a `Clip` for any network.

    Attributes:
        name: its folder, relative to the one that was given.
        silhouettes: uint8 [s,h,w], aligned, sides cut off.
        theta: float32 [s,85], finite, or [0,85]. keypoints_px: float32 [s,17,3] or [0,17,3].
        notes: what was done to it that its owner should know.
    """

    name: str
    silhouettes: np.ndarray
    theta: np.ndarray
    keypoints_px: np.ndarray
    notes: tuple[str, ...] = ()


def find_sequences(root: Path) -> list[Path]:
    """Return the folders under `root` that hold sequences, in the order of names.

    An empty folder counts, so that it is named and not passed over. `root` itself counts if there
    is nothing below it.

    Raises:
        InputError: `root` is no folder or holds no sequence.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder", hint="Sequences lie in a folder of folders.")
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        if any(_is_data(name) for name in files) or not subfolders:
            found.append(Path(folder))
    if len(found) > 1:
        found = [folder for folder in found if folder != root]
    if found == [root] and not any(_is_data(path.name) for path in root.iterdir()):
        raise InputError(
            f"{root} holds no sequences",
            hint="Each sequence is a folder with PNG masks, sils.npy or one .pkl.",
        )
    return sorted(found, key=lambda folder: natural_key(folder.as_posix()))


def read_sequence(
    folder: Path, name: str, silhouette_hw: tuple[int, int], max_frames: int = MAX_FRAMES
) -> SilhouetteSequence:
    """Read one sequence for a network that reads silhouettes of `silhouette_hw`.

    Raises:
        InputError: it holds no silhouettes, damaged ones, or other rows of another length.
    """
    files = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: natural_key(p.name))
    theta_file = next((p for p in files if _is_theta(p)), None)
    keypoints_file = next((p for p in files if p.name == "keypoints.npy"), None)
    images = [p for p in files if p.suffix.lower() == ".png"]
    stored = [p for p in files if p.name == "sils.npy" or (p.suffix == ".pkl" and not _is_theta(p))]
    if bool(images) + len(stored) != 1:
        raise InputError(
            f"expected PNG masks or one of sils.npy and a .pkl, got {len(images)} PNG files and "
            f"{[p.name for p in stored]}"
        )
    notes: list[str] = []
    height = silhouette_hw[0]
    if images:
        total = len(images)
        aligned, kept = _read_images(images[:max_frames], height)
        if len(kept) < min(total, max_frames):
            notes.append(f"{min(total, max_frames) - len(kept)} masks too faint, left out")
    else:
        array = _load(stored[0])
        total = _check_aligned(array)
        aligned, kept = np.array(array[:max_frames]), np.arange(min(total, max_frames))
        aligned = _to_height(_full_range(aligned), height, notes)
    if total > max_frames:
        notes.append(f"{total} frames, only the first {max_frames} are used")
    silhouettes = np.ascontiguousarray(cut_sides(aligned))
    if not silhouettes.any():
        raise InputError("every silhouette is empty")
    theta = _rows(theta_file, total, (THETA_SIZE,), kept)
    keypoints = _rows(keypoints_file, total, (17, 3), kept)
    return SilhouetteSequence(name, silhouettes, theta, keypoints, tuple(notes))


def stored_height(folder: Path) -> int:
    """Return the height at which a folder's silhouettes are stored; 64 for PNG masks.

    Raises:
        InputError: there is no aligned silhouette file, or it is damaged.
    """
    for path in sorted(file for file in folder.iterdir() if file.is_file()):
        if path.name == "sils.npy" or (path.suffix == ".pkl" and not _is_theta(path)):
            array = _load(path)
            _check_aligned(array)
            return int(array.shape[1])
        if path.suffix.lower() == ".png":
            return SIDES[0]
    raise InputError(f"{folder.name} holds no silhouettes")


def natural_key(text: str) -> list[tuple[int, str]]:
    """Return a key by which `2.png` comes before `10.png`."""
    pieces = re.split(r"(\d+)", text)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def _is_theta(path: Path) -> bool:
    return path.name == "smpls.npy" or (path.suffix == ".pkl" and path.name.startswith("smpls"))


def _is_data(name: str) -> bool:
    return name.lower().endswith(".png") or name.endswith((".pkl", ".npy"))


def _read_images(paths: list[Path], height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return aligned uint8 [s,height,height] and which of the files they are of."""
    kept, silhouettes = [], []
    for index, path in enumerate(paths):
        silhouette = align(_read_png(path), height)
        if silhouette is not None:
            kept.append(index)
            silhouettes.append(silhouette)
    if not kept:
        raise InputError(f"none of its {len(paths)} masks shows anybody: all are empty or faint")
    return np.stack(silhouettes), np.array(kept)


def _read_png(path: Path) -> np.ndarray:
    """Return uint8 [h,w]; the size is looked at before the picture is unpacked."""
    data = path.read_bytes()
    if len(data) < 24 or not data.startswith(PNG_START):
        raise InputError(f"{path.name} is not a PNG file")
    width, height = struct.unpack(">II", data[16:24])
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise InputError(f"{path.name} is {width}x{height} pixels, allowed are {MAX_SIDE_PX}")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise InputError(f"{path.name} is damaged")
    return image


def _load(path: Path) -> np.ndarray:
    """Return the array of a .npy or .pkl file; nothing that the file says is run."""
    if path.suffix == ".pkl":
        value = safe_pickle.load(path)
        if isinstance(value, list):  # one array a frame
            value = _stack(path, value)
        if not isinstance(value, np.ndarray):
            raise InputError(f"{path.name}: expected one array, got {type(value).__name__}")
        return value
    with path.open("rb") as file:
        if file.read(len(NPY_START)) != NPY_START:
            raise InputError(f"{path.name} is not a .npy file of one array")
    try:
        with _ONE_HEADER_AT_A_TIME:
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, OverflowError) as error:
        raise InputError(f"{path.name} is damaged: {error}") from error


def _stack(path: Path, items: list[object]) -> np.ndarray:
    arrays = [item for item in items if isinstance(item, np.ndarray)]
    if not arrays or len(arrays) != len(items) or len({a.shape for a in arrays}) != 1:
        raise InputError(f"{path.name}: expected one array, got a list that does not stack")
    return np.stack(arrays)


def _check_aligned(array: np.ndarray) -> int:
    """Return the number of frames; InputError unless uint8 [T,H,H] with H 64 or 128."""
    fits = array.dtype == np.uint8 and array.ndim == 3 and array.shape[1] == array.shape[2]
    if not (fits and array.shape[1] in SIDES):
        raise InputError(
            "silhouettes: expected uint8[T, 64, 64] or uint8[T, 128, 128], got "
            f"{array.dtype}{list(array.shape)}"
        )
    if not 0 < len(array) <= MAX_STORED_FRAMES:
        raise InputError(f"silhouettes: expected 1..{MAX_STORED_FRAMES} frames, got {len(array)}")
    return len(array)


def _full_range(aligned: np.ndarray) -> np.ndarray:
    """Return 0..255 for silhouettes that were stored as 0 and 1."""
    return as_grey(aligned.reshape(len(aligned), -1)).reshape(aligned.shape)


def _to_height(aligned: np.ndarray, height: int, notes: list[str]) -> np.ndarray:
    """Halve 128 to 64 by the mean of 2x2 pixels; InputError for the other way."""
    stored = aligned.shape[1]
    if stored == height:
        return aligned
    if stored < height:
        raise InputError(
            f"silhouettes are {stored} pixels high and {height} are wanted; "
            "enlarging them would make up what was not seen"
        )
    notes.append(f"{stored} pixels high, halved to {height}")
    cells = aligned.reshape(len(aligned), height, 2, height, 2).astype(np.uint16)
    return ((cells.sum(axis=(2, 4)) + 2) // 4).astype(np.uint8)


def _rows(path: Path | None, total: int, shape: tuple[int, ...], kept: np.ndarray) -> np.ndarray:
    """Return float32 rows of the kept frames, [0,...] without a file."""
    if path is None:
        return np.zeros((0, *shape), np.float32)
    rows = _load(path)
    if rows.shape != (total, *shape) or rows.dtype.kind not in "fiu":
        raise InputError(
            f"{path.name}: expected numbers of shape {[total, *shape]} as there are {total} "
            f"silhouettes, got {rows.dtype}{list(rows.shape)}"
        )
    with np.errstate(over="ignore"):  # what does not fit float32 is found by the next line
        chosen = np.asarray(rows[kept], np.float32)
    if not np.isfinite(chosen).all():
        raise InputError(f"{path.name}: some numbers are not finite")
    return chosen
