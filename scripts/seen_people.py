"""Rendered people beside what the detect and body stages say of them, frame by frame.

Renders walks past a camera (stages/human/scenes/drawing.py), sends them through the real
stages, and keeps for every frame the true and the seen mask, landmarks and body. Letters: N rows
(a person in a frame), h w height and width of the window both masks are cut to.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import Frame, Person, Stamp, StreamStart
from pipeline.stage import StageBase
from stages.body.landmarks import LandmarksBody, LandmarksConfig
from stages.human.joints import MEDIAPIPE_TO_COCO
from stages.human.rasteriser import Camera
from stages.human.rotation import axis_angle_to_matrix
from stages.human.scenes.drawing import PassingBy, draw_walker, passing_by
from stages.human.scenes.routes import Arc
from stages.human.scenes.scene import Passage, Scene
from stages.human.scenes.settings import PLACES
from stages.human.skeleton import load_skeleton
from stages.human.truth import TruthPerson
from stages.human.walkers.gaits import Split
from stages.human.walkers.landmarks import true_landmarks
from stages.human.walkers.people import shipped_population
from stages.human.walkers.wardrobe import DRESSES

EMPTY_S = 0.4  # the background model needs a few frames without anybody
WALKS = 6  # in a scene, one after the other
WALK_S, PAUSE_S = 1.0, 0.24
FPS = 25.0
HEIGHTS_PX = (56.0, 260.0)
DISTANCES_M = (5.0, 14.0)
DRESS_SHARES = (0.6, 0.2, 0.2)
QUALITIES = (0, 21, 28)  # H.264 crf; 0 leaves the frames as drawn
SAME_PERSON_IOU = 0.2
WINDOW_PAD = 0.25  # around the true box, of its height
COCO = list(MEDIAPIPE_TO_COCO)


@dataclass(frozen=True, eq=False)
class Row:
    """One person in one frame. Axes: a camera that looks straight at the person's hips.

    Attributes:
        walk, frame: numbers; a walk is one person's passage.
        height_px: of the whole person in the image.
        dress: number in wardrobe.DRESSES. quality: H.264 crf.
        whole: nobody and no border hides any of them.
        true_mask, seen_mask: bool [h,w] of one window; the seen one empty if not found.
        found: the detect stage reports them. flagged: as cut or occluded.
        track: number the tracker gave, -1 for none.
        true_world, true_px: [33,3] metres from mid-hips and [33,2] pixels.
        seen_world: [33,4]. seen_keypoints: [17,3]. box: [4] seen, pixels.
        true_theta, seen_theta: [85]; the true one's root in the camera's own axes.
        to_hips: [3,3], from the camera's own axes to those that look at the hips.
    """

    walk: int
    frame: int
    height_px: float
    dress: int
    quality: int
    whole: bool
    true_mask: NDArray[np.bool_]
    seen_mask: NDArray[np.bool_]
    found: bool
    flagged: bool
    track: int
    true_world: NDArray[np.float64]
    true_px: NDArray[np.float64]
    seen_world: NDArray[np.float64]
    seen_keypoints: NDArray[np.float64]
    box: NDArray[np.float64]
    true_theta: NDArray[np.float64]
    seen_theta: NDArray[np.float64]
    to_hips: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Walks:
    """A scene in which WALKS people walk past one after the other.

    Attributes:
        scene: the people's passages, in order.
        dresses: number in wardrobe.DRESSES of each walker.
        quality: H.264 crf.
    """

    scene: Scene
    dresses: tuple[int, ...]
    quality: int


def draw_walks(number: int, seed: int) -> Walks:
    """Draw the scene of a number: one place and camera, since these cost most to draw."""
    rng = np.random.default_rng((seed, number))
    height_px = float(np.exp(rng.uniform(*np.log(HEIGHTS_PX))))
    distance_m = float(np.exp(rng.uniform(*np.log(DISTANCES_M))))
    wanted = PassingBy(
        number=number * WALKS,
        height_px=height_px,
        elevation_deg=float(20 * rng.beta(1.1, 1.6)),
        distance_m=distance_m,
        fps=FPS,
        noise_levels=float(rng.uniform(0.5, 4.0)),
        place=PLACES[int(rng.integers(len(PLACES)))],
        seed=number,
    )
    empty = passing_by(wanted)
    walkers, passages, dresses = [], [], []
    for place in range(WALKS):
        split: Split = "train" if rng.random() < 0.5 else "test"
        dress = int(rng.choice(len(DRESSES), p=DRESS_SHARES))
        who = number * WALKS + place
        walker = draw_walker(f"walker {place}", split, who, DRESSES[dress], seed)
        gait = walker.person.walk(rng, shipped_population(split, planted=True))
        heading = rng.uniform(0, 2 * np.pi)
        way_m = gait.pace_hz * walker.person.leg_m * WALK_S
        half = 0.5 * way_m * np.array([np.cos(heading), np.sin(heading)])
        # Nearer or farther than the middle, so that one camera gives several heights.
        middle = np.array([0.0, distance_m * rng.uniform(-0.25, 0.1)])
        start, end = middle - half, middle + half
        arc = Arc((float(start[0]), float(start[1])), (float(end[0]), float(end[1])))
        starts_s = EMPTY_S + place * (WALK_S + PAUSE_S)
        walkers.append(walker)
        passages.append(Passage(place, starts_s, arc, gait, float(rng.random())))
        dresses.append(dress)
    frames = round((EMPTY_S + WALKS * (WALK_S + PAUSE_S)) * FPS)
    scene = Scene(empty.cameras, empty.stage, tuple(walkers), tuple(passages), FPS, frames, number)
    return Walks(scene, tuple(dresses), int(rng.choice(QUALITIES)))


def recompressed(frames: list[NDArray[np.uint8]], crf: int) -> list[NDArray[np.uint8]]:
    """Frames BGR as they come back from an H.264 stream."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(round(FPS)))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def watch(detect: StageBase, number: int, seed: int) -> Iterator[Row]:
    """Send the walks of one scene through the stages; `detect` is set up."""
    walks = draw_walks(number, seed)
    drawn = [walks.scene.frame(0, i) for i in range(walks.scene.frame_count)]
    pixels = [frame for frame, _ in drawn]
    pixels = recompressed(pixels, walks.quality) if walks.quality else pixels
    lens, name = walks.scene.cameras[0].lens, f"walks{number}"
    body = LandmarksBody(load_skeleton(), LandmarksConfig())
    detect.start(StreamStart(name, name, lens.size_wh, FPS, 0, False, 0))
    for index, (frame, (_, truth)) in enumerate(zip(pixels, drawn, strict=True)):
        stamp = Stamp(name, index, round(index * 1e9 / FPS), 0, 0)
        message = next(iter(detect.process(Frame(stamp, pixels=np.ascontiguousarray(frame)))))
        for somebody in truth.people:
            labels = (
                number * WALKS + somebody.track,
                walks.dresses[somebody.track],
                walks.quality,
            )
            yield _row(somebody, message.people, lens, body, stamp, labels)
    detect.end(name)


def _row(
    true: TruthPerson,
    people: tuple[Person, ...],
    lens: Camera,
    body: LandmarksBody,
    stamp: Stamp,
    labels: tuple[int, int, int],
) -> Row:
    assert true.pose is not None
    x1, y1, x2, y2 = true.full_bbox_xyxy_px
    pad = round(WINDOW_PAD * (y2 - y1)) + 4
    window = (x1 - pad, y1 - pad, x2 + pad, y2 + pad)
    true_mask = placed_mask(true.mask, true.bbox_xyxy_px[:2], window)
    best, seen_mask = None, np.zeros_like(true_mask)
    overlap = SAME_PERSON_IOU
    for one in people:
        left, top = (int(v) for v in one.bbox_xyxy_px[:2])
        mask = placed_mask(one.mask.unpack(), (left, top), window)
        iou = float((mask & true_mask).sum() / max((mask | true_mask).sum(), 1))
        if iou > overlap:
            best, seen_mask, overlap = one, mask, iou
    world, px, to_hips = true_points(true.pose.theta, true.pose.joints_camera_m, lens)
    width, height = lens.size_wh
    inside = x1 > 2 and y1 > 2 and x2 < width - 2 and y2 < height - 2
    seen_theta = np.zeros(85)
    if best is not None:
        estimate = body.estimate(
            best.track_id,
            stamp.time_ns,
            best.world_landmarks_m,
            best.keypoints_px,
            best.bbox_xyxy_px,
        )
        seen_theta = estimate.theta.astype(np.float64)
    walk, dress, quality = labels
    return Row(
        walk=walk,
        frame=stamp.frame_id,
        height_px=float(y2 - y1),
        dress=dress,
        quality=quality,
        whole=bool(inside and true.visibility > 0.98),
        true_mask=true_mask,
        seen_mask=seen_mask,
        found=best is not None,
        flagged=best is not None and (best.cut_by_border or best.occluded),
        track=-1 if best is None else best.track_id,
        true_world=world,
        true_px=px,
        seen_world=np.zeros((33, 4)) if best is None else np.array(best.world_landmarks_m, float),
        seen_keypoints=np.zeros((17, 3)) if best is None else np.array(best.keypoints_px, float),
        box=np.zeros(4) if best is None else np.array(best.bbox_xyxy_px, float),
        true_theta=true.pose.theta.astype(np.float64),
        seen_theta=seen_theta,
        to_hips=to_hips,
    )


def placed_mask(
    mask: NDArray[np.bool_], at_xy: tuple[int, int], window: tuple[int, int, int, int]
) -> NDArray[np.bool_]:
    """A mask whose corner lies at `at_xy`, cut to a window (x1, y1, x2, y2) of the image."""
    x1, y1, x2, y2 = window
    out = np.zeros((y2 - y1, x2 - x1), bool)
    dx, dy = at_xy[0] - x1, at_xy[1] - y1
    height, width = mask.shape
    top, left = max(0, dy), max(0, dx)
    bottom, right = min(len(out), dy + height), min(out.shape[1], dx + width)
    if top < bottom and left < right:
        out[top:bottom, left:right] = mask[top - dy : bottom - dy, left - dx : right - dx]
    return out


def true_points(
    theta: NDArray[Any], joints_camera_m: NDArray[Any], lens: Camera
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """True landmarks: from mid-hips along axes that look at them, in pixels, and those axes."""
    rotations = axis_angle_to_matrix(theta[3:75].astype(np.float64).reshape(1, 24, 3))
    rest = load_skeleton().rest_joints(theta[75:].astype(np.float64))
    points = true_landmarks(rotations, rest)[0]
    points = points - 0.5 * (points[23] + points[24])
    hips = 0.5 * (joints_camera_m[1] + joints_camera_m[2]).astype(np.float64)
    image = (points + hips) @ lens.k.T
    ahead = hips / np.linalg.norm(hips)
    right = np.cross([0.0, 1.0, 0.0], ahead)
    right /= np.linalg.norm(right)
    to_hips = np.stack([right, np.cross(ahead, right), ahead])
    return points @ to_hips.T, image[:, :2] / image[:, 2:], to_hips


def save_rows(path: Path, rows: list[Row]) -> None:
    """Write rows as an npz; masks packed one after another."""
    masks = {"true_mask": "true_bits", "seen_mask": "seen_bits"}
    table: dict[str, Any] = {
        field.name: np.array([getattr(row, field.name) for row in rows])
        for field in fields(Row)
        if field.name not in masks
    }
    table["mask_hw"] = np.array([row.true_mask.shape for row in rows])
    for name, bits in masks.items():
        packed = [np.packbits(getattr(row, name).ravel()) for row in rows]
        table[bits] = np.concatenate(packed)
    np.savez_compressed(path, **table)


def load_rows(path: Path) -> list[Row]:
    """Read what `save_rows` wrote."""
    with np.load(path, allow_pickle=False) as file:
        table = {name: file[name] for name in file.files}
    sizes = table.pop("mask_hw")
    bits = {name: table.pop(f"{name}_bits") for name in ("true", "seen")}
    rows, start = [], 0
    for place, (height, width) in enumerate(sizes):
        length = (height * width + 7) // 8
        masks = {
            f"{name}_mask": np.unpackbits(packed[start : start + length], count=height * width)
            .reshape(height, width)
            .astype(bool)
            for name, packed in bits.items()
        }
        start += length
        values = {name: column[place] for name, column in table.items()}
        rows.append(Row(**values, **masks))
    return rows
