"""Ground truth of a rendered clip: who is where in each frame, seen by several cameras.

One `.npz` without pickled objects. C cameras, N rows (one person in one frame of one camera, in
the order camera, frame, person), P people:

    version           int64, 2; files of version 1 lack what is marked * and are read as well
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
    track             * [N] int64, the same as long as somebody is there without a break, -1 unknown
    theta             * [M, 85] float32, M = N or, where poses are not known, 0: camera 3 (scale,
                      tx, ty), pose 72 (axis-angle, radians), shape 10. The root is in the
                      camera's axes (x right, y down, z away); scale * (xy + t) lies in the square
                      [-1, 1] about bbox_xyxy_px whose side is the box's longer one
    joints_m          * [M, 24, 3] float32, joints of the body in the world
    keypoints_px      * [M, 17, 3] float32, COCO's points x, y, and 1 (0 behind the camera)

A row is there only if the person has a visible pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 2
READABLE = (1, 2)
MAX_ROWS = 10_000_000
MAX_MASK_BYTES = 2**30
Box = tuple[int, int, int, int]


class TruthError(ValueError):
    """The file is no ground truth of this kind: says what was expected and what came."""


@dataclass(frozen=True, eq=False)
class TruePose:
    """How somebody stands in a frame.

    theta [85] and keypoints_px [17, 3] as in the module's table; joints [24, 3] in metres, of the
    world and in the camera's axes (x right, y down, z away, from the camera on).
    """

    theta: NDArray[np.float32]
    joints_world_m: NDArray[np.float32]
    joints_camera_m: NDArray[np.float32]
    keypoints_px: NDArray[np.float32]


@dataclass(frozen=True)
class TruthPerson:
    """One person in one frame. Boxes as in the module's table; mask: [y2 − y1, x2 − x1] bool.

    `track` is -1 and `pose` None where the file does not tell.
    """

    person: int
    name: str
    bbox_xyxy_px: Box
    full_bbox_xyxy_px: Box
    visibility: float
    mask: NDArray[np.bool_]
    track: int = -1
    pose: TruePose | None = None

    def full_mask(self, size_wh: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask in the whole image [H, W]."""
        out = np.zeros(size_wh[::-1], dtype=bool)
        x1, y1, x2, y2 = self.bbox_xyxy_px
        out[y1:y2, x1:x2] = self.mask
        return out


@dataclass(frozen=True)
class FrameTruth:
    """Who is to be seen in one frame of one camera, `time_s` seconds after the first."""

    camera: str
    frame: int
    time_s: float
    people: tuple[TruthPerson, ...]


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


@dataclass
class TruthRows:
    """Collects what a truth file holds, masks packed, so that long recordings fit into memory.

    Rows are added in the order camera, frame, person.
    """

    names: tuple[str, ...]
    cameras: list[TruthCamera] = field(default_factory=list)
    rows: list[tuple[int, int, TruthPerson]] = field(default_factory=list)
    masks: list[NDArray[np.uint8]] = field(default_factory=list)
    frame_counts: list[int] = field(default_factory=list)

    def begin(self, camera: TruthCamera) -> None:
        """The next frames are of this camera; its own frames are not looked at."""
        self.cameras.append(camera)
        self.frame_counts.append(0)

    def add(self, people: tuple[TruthPerson, ...]) -> None:
        """Append one frame."""
        camera, frame = len(self.cameras) - 1, self.frame_counts[-1]
        for person in people:
            self.masks.append(np.packbits(person.mask.ravel()))
            bare = replace(person, mask=np.zeros((0, 0), bool))
            self.rows.append((camera, frame, bare))
        self.frame_counts[-1] += 1

    def save(self, path: str | Path) -> None:
        """Write the file; the same rows give the same bytes.

        Raises:
            ValueError: some rows have a pose and some have none.
        """
        with Path(path).open("wb") as file:  # numpy would add .npz to a name without it
            np.savez_compressed(file, **self._fields())

    def _fields(self) -> dict[str, NDArray[Any]]:
        cameras, people = self.cameras, [person for _, _, person in self.rows]
        integers = {
            "camera": [c for c, _, _ in self.rows],
            "frame": [f for _, f, _ in self.rows],
            "person": [p.person for p in people],
            "track": [p.track for p in people],
            "mask_start": np.cumsum([0, *(len(bits) for bits in self.masks)]),
            "frame_count": self.frame_counts,
        }
        boxes = {
            "bbox_xyxy_px": [p.bbox_xyxy_px for p in people],
            "full_bbox_xyxy_px": [p.full_bbox_xyxy_px for p in people],
        }
        return {
            "version": np.array(VERSION, dtype=np.int64),
            "names": np.array(self.names, dtype=np.str_),
            "camera_names": np.array([c.name for c in cameras], dtype=np.str_),
            "k": np.stack([c.k for c in cameras]),
            "r": np.stack([c.r for c in cameras]),
            "t": np.stack([c.t for c in cameras]),
            "size_wh": np.array([c.size_wh for c in cameras], dtype=np.int64),
            "fps": np.array([c.fps for c in cameras], dtype=np.float64),
            **{name: np.array(values, dtype=np.int64) for name, values in integers.items()},
            **{name: np.array(v, dtype=np.int64).reshape(-1, 4) for name, v in boxes.items()},
            "visibility": np.array([p.visibility for p in people], dtype=np.float32),
            "mask_bits": np.concatenate([np.zeros(0, np.uint8), *self.masks]),
            **_pose_fields([p.pose for p in people]),
        }


def _pose_fields(poses: list[TruePose | None]) -> dict[str, NDArray[np.float32]]:
    known = [pose for pose in poses if pose is not None]
    if known and len(known) < len(poses):
        raise ValueError(f"expected all {len(poses)} rows with a pose or none, got {len(known)}")
    arrays = {
        "theta": ([pose.theta for pose in known], (85,)),
        "joints_m": ([pose.joints_world_m for pose in known], (24, 3)),
        "keypoints_px": ([pose.keypoints_px for pose in known], (17, 3)),
    }
    return {
        name: np.array(rows, dtype=np.float32).reshape(-1, *shape)
        for name, (rows, shape) in arrays.items()
    }


def save_truth(path: str | Path, truth: Truth) -> None:
    """Write `truth`; the same truth gives the same bytes. Raises as `TruthRows.save`."""
    rows = TruthRows(truth.names)
    for camera in truth.cameras:
        rows.begin(camera)
        for people in camera.frames:
            rows.add(people)
    rows.save(path)


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
        track=int(data["track"][row]) if "track" in data else -1,
        pose=_pose(data, row),
    )


def _pose(data: Mapping[str, NDArray[Any]], row: int) -> TruePose | None:
    if not len(data.get("theta", ())):
        return None
    camera, joints = int(data["camera"][row]), data["joints_m"][row]
    seen = joints @ data["r"][camera].T + data["t"][camera]
    return TruePose(data["theta"][row], joints, seen.astype(np.float32), data["keypoints_px"][row])


def _check(path: str | Path, data: Mapping[str, NDArray[Any]]) -> None:
    """Everything `load_truth` relies on, before memory is taken for masks."""

    def want(holds: Any, expected: str, got: Any) -> None:
        if not holds:
            raise TruthError(f"{path}: expected {expected}, got {got}")

    want("version" in data, "an entry 'version'", sorted(data))
    want(int(data["version"]) in READABLE, f"version 1 or {VERSION}", data["version"])
    cameras, rows = "camera_names", "camera"
    for name in ("names", cameras, rows):
        want(name in data, f"an entry {name!r}", sorted(data))
    n, c, people = len(data[rows]), len(data[cameras]), len(data["names"])
    want(n <= MAX_ROWS, f"at most {MAX_ROWS} rows", n)
    shapes: dict[str, tuple[int, ...]] = {"k": (c, 3, 3), "r": (c, 3, 3), "t": (c, 3)}
    shapes |= {"size_wh": (c, 2), "fps": (c,), "frame_count": (c,)}
    shapes |= dict.fromkeys(("camera", "frame", "person", "visibility"), (n,))
    shapes |= {"mask_start": (n + 1,), "bbox_xyxy_px": (n, 4), "full_bbox_xyxy_px": (n, 4)}
    if int(data["version"]) > 1:
        m = n if len(data.get("theta", ())) else 0
        shapes |= {"track": (n,), "theta": (m, 85)}
        shapes |= {"joints_m": (m, 24, 3), "keypoints_px": (m, 17, 3)}
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
    bad = np.flatnonzero(~boxes)
    want(not len(bad), "boxes with an area within the image", f"row {bad[:1].sum()}")
    sizes = ((y2 - y1) * (x2 - x1) + 7) // 8
    want(sizes.sum() <= MAX_MASK_BYTES, f"at most {MAX_MASK_BYTES} bytes of masks", sizes.sum())
    starts = np.concatenate([[0], np.cumsum(sizes)])
    fits = (data["mask_start"] == starts).all() and len(data["mask_bits"]) == starts[-1]
    want(fits, "mask_start and mask_bits that match the boxes", "others")
