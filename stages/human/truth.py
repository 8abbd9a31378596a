"""Ground truth of a rendered clip: who is where in each frame, seen by several cameras.

One `.npz` without pickled objects. C cameras, N rows (one person in one frame of one camera, in
the order camera, frame, person), P people:

    version           int64, 1
    names             [P] str
    camera_names      [C] str; the clip's file is <name>.mp4
    k, r, t           [C, 3, 3], [C, 3, 3], [C, 3] float64: image ~ k @ (r @ world + t), metres
    size_wh           [C, 2] int64 px
    fps               [C] float64
    frame_count       [C] int64
    camera, frame, person   [N] int64 indices
    bbox_xyxy_px      [N, 4] int64, of the visible pixels; right and bottom exclusive
    full_bbox_xyxy_px [N, 4] int64, of the whole person as if nothing hid it; may leave the image
    visibility        [N] float32, visible share of the whole person's pixels
    mask_bits         [B] uint8, the visible masks cut to bbox, row by row, packed one after
                      another (numpy.packbits, each mask begins on a new byte)
    mask_start        [N + 1] int64, where each mask's bytes begin

A row is there only if the person has a visible pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
MAX_ROWS = 10_000_000
MAX_MASK_BYTES = 2**30
Box = tuple[int, int, int, int]


class TruthError(ValueError):
    """The file is no ground truth of this kind: says what was expected and what came."""


@dataclass(frozen=True)
class TruthPerson:
    """One person in one frame. Boxes as in the module's table; mask: [y2 − y1, x2 − x1] bool."""

    person: int
    name: str
    bbox_xyxy_px: Box
    full_bbox_xyxy_px: Box
    visibility: float
    mask: NDArray[np.bool_]

    def full_mask(self, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask in the whole image [H, W]."""
        out = np.zeros(size_wh[::-1], dtype=bool)
        x1, y1, x2, y2 = self.bbox_xyxy_px
        out[y1:y2, x1:x2] = self.mask
        return out


@dataclass(frozen=True)
class TruthCamera:
    """One clip: calibration and the people of every frame (possibly none)."""

    name: str
    k: NDArray[np.float64]
    r: NDArray[np.float64]
    t: NDArray[np.float64]
    size_wh: tuple[int, int]
    fps: float
    frames: tuple[tuple[TruthPerson, ...], ...]


@dataclass(frozen=True)
class Truth:
    """All clips of a recording and the people's names."""

    names: tuple[str, ...]
    cameras: tuple[TruthCamera, ...]


def save_truth(path: str | Path, truth: Truth) -> None:
    """Write `truth`; the same truth gives the same bytes."""
    rows = [
        (c, f, p)
        for c, camera in enumerate(truth.cameras)
        for f, people in enumerate(camera.frames)
        for p in people
    ]
    packed = [np.packbits(p.mask.ravel()) for _, _, p in rows]
    cameras = truth.cameras
    np.savez_compressed(
        path,
        version=np.int64(VERSION),
        names=np.array(truth.names, dtype=np.str_),
        camera_names=np.array([c.name for c in cameras], dtype=np.str_),
        k=np.stack([c.k for c in cameras]),
        r=np.stack([c.r for c in cameras]),
        t=np.stack([c.t for c in cameras]),
        size_wh=np.array([c.size_wh for c in cameras], dtype=np.int64),
        fps=np.array([c.fps for c in cameras], dtype=np.float64),
        frame_count=np.array([len(c.frames) for c in cameras], dtype=np.int64),
        camera=np.array([c for c, _, _ in rows], dtype=np.int64),
        frame=np.array([f for _, f, _ in rows], dtype=np.int64),
        person=np.array([p.person for _, _, p in rows], dtype=np.int64),
        bbox_xyxy_px=np.array([p.bbox_xyxy_px for _, _, p in rows], dtype=np.int64).reshape(-1, 4),
        full_bbox_xyxy_px=np.array(
            [p.full_bbox_xyxy_px for _, _, p in rows], dtype=np.int64
        ).reshape(-1, 4),
        visibility=np.array([p.visibility for _, _, p in rows], dtype=np.float32),
        mask_bits=np.concatenate([np.zeros(0, np.uint8), *packed]),
        mask_start=np.cumsum([0, *(len(b) for b in packed)], dtype=np.int64),
    )


def load_truth(path: str | Path) -> Truth:
    """Read what `save_truth` wrote; raises `TruthError` where the file does not hold together."""
    with np.load(path, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    _check(path, data)
    names = tuple(str(n) for n in data["names"])
    people: list[list[list[TruthPerson]]] = [[[] for _ in range(n)] for n in data["frame_count"]]
    for row in range(len(data["camera"])):
        camera, frame = int(data["camera"][row]), int(data["frame"][row])
        people[camera][frame].append(_person(data, row, names))
    cameras = tuple(
        TruthCamera(
            name=str(data["camera_names"][c]),
            k=data["k"][c],
            r=data["r"][c],
            t=data["t"][c],
            size_wh=(int(data["size_wh"][c][0]), int(data["size_wh"][c][1])),
            fps=float(data["fps"][c]),
            frames=tuple(tuple(frame) for frame in people[c]),
        )
        for c in range(len(data["camera_names"]))
    )
    return Truth(names=names, cameras=cameras)


def _person(data: Mapping[str, NDArray[Any]], row: int, names: tuple[str, ...]) -> TruthPerson:
    x1, y1, x2, y2 = (int(v) for v in data["bbox_xyxy_px"][row])
    fx1, fy1, fx2, fy2 = (int(v) for v in data["full_bbox_xyxy_px"][row])
    start, end = data["mask_start"][row : row + 2]
    bits = np.unpackbits(data["mask_bits"][start:end], count=(y2 - y1) * (x2 - x1))
    person = int(data["person"][row])
    return TruthPerson(
        person=person,
        name=names[person],
        bbox_xyxy_px=(x1, y1, x2, y2),
        full_bbox_xyxy_px=(fx1, fy1, fx2, fy2),
        visibility=float(data["visibility"][row]),
        mask=bits.reshape(y2 - y1, x2 - x1).astype(bool),
    )


def _check(path: str | Path, data: Mapping[str, NDArray[Any]]) -> None:
    """Everything `load_truth` relies on, before memory is taken for masks."""

    def want(holds: Any, expected: str, got: Any) -> None:
        if not holds:
            raise TruthError(f"{path}: expected {expected}, got {got}")

    want("version" in data, "an entry 'version'", sorted(data))
    want(int(data["version"]) == VERSION, f"version {VERSION}", data["version"])
    cameras, rows = "camera_names", "camera"
    for name in ("names", cameras, rows):
        want(name in data, f"an entry {name!r}", sorted(data))
    n, c, people = len(data[rows]), len(data[cameras]), len(data["names"])
    want(n <= MAX_ROWS, f"at most {MAX_ROWS} rows", n)
    shapes: dict[str, tuple[int, ...]] = {"k": (c, 3, 3), "r": (c, 3, 3), "t": (c, 3)}
    shapes |= {"size_wh": (c, 2), "fps": (c,), "frame_count": (c,)}
    shapes |= dict.fromkeys(("camera", "frame", "person", "visibility"), (n,))
    shapes |= {"mask_start": (n + 1,), "bbox_xyxy_px": (n, 4), "full_bbox_xyxy_px": (n, 4)}
    for name, shape in shapes.items():
        want(name in data, f"an entry {name!r}", sorted(data))
        want(data[name].shape == shape, f"{name} of shape {shape}", data[name].shape)
    want("mask_bits" in data, "an entry 'mask_bits'", sorted(data))
    frames = data["frame_count"]
    want((frames >= 0).all() and frames.sum() <= MAX_ROWS, f"at most {MAX_ROWS} frames", frames)
    for name, limit in (("camera", c), ("person", people)):
        want(((data[name] >= 0) & (data[name] < limit)).all(), f"{name} in 0..{limit - 1}", "more")
    inside = (data["frame"] >= 0) & (data["frame"] < frames[data["camera"]])
    want(inside.all(), "frame indices within each clip", "some outside")
    x1, y1, x2, y2 = data["bbox_xyxy_px"].T
    width, height = data["size_wh"][data["camera"]].T
    boxes = (x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2) & (x2 <= width) & (y2 <= height)
    want(boxes.all(), "boxes with an area within the image", f"row {np.argmin(boxes)}")
    sizes = ((y2 - y1) * (x2 - x1) + 7) // 8
    want(sizes.sum() <= MAX_MASK_BYTES, f"at most {MAX_MASK_BYTES} bytes of masks", sizes.sum())
    starts = np.concatenate([[0], np.cumsum(sizes)])
    fits = (data["mask_start"] == starts).all() and len(data["mask_bits"]) == starts[-1]
    want(fits, "mask_start and mask_bits that match the boxes", "others")
