"""A scene as pictures with annotations, in the form of COCO: boxes, masks and keypoints.

    images/<scene>_<camera>_<frame>.jpg
    annotations.json    info, licenses, images, annotations, categories

Masks are run lengths, not compressed (counts down the columns, background first), which the COCO
tools read. Beyond COCO's fields an image carries `camera` (k, r, t), and an annotation `name`,
`track`, `visibility` and, for body regressors, `theta` and `joints_camera_m`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from stages.human.joints import COCO_EDGES, COCO_KEYPOINT_NAMES
from stages.human.scenes.scene import Scene
from stages.human.scenes.video import Progress
from stages.human.truth import TruthPerson

ANNOTATIONS = "annotations.json"
IMAGES = "images"
JPEG_QUALITY = 92
MIN_AREA_PX = 40  # fewer pixels of somebody are nobody to be found
PERSON = 1
# COCO's words for keypoints: not in the picture, hidden, seen.
OUTSIDE, HIDDEN, SEEN = 0, 1, 2


def write_coco(
    scene: Scene, out: Path, name: str, every_s: float = 1.0, progress: Progress | None = None
) -> Path:
    """Write a scene's pictures into out/images and their annotations into out/.<name>.json.

    A scene whose annotations are there already is not made again. `join_coco` makes one file of
    all scenes.

    Args:
        name: of the scene; begins the names of its pictures.
        every_s: time between two pictures, seconds.

    Returns:
        The annotations' file.
    """
    part = out / f".{name}.json"
    if part.exists():
        return part
    folder = out / IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    step = max(1, round(every_s * scene.fps))
    frames = range(0, scene.frame_count, step)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    total = len(frames) * len(scene.cameras)
    for number, camera in enumerate(scene.cameras):
        for index in frames:
            pixels, truth = scene.frame(number, index)
            file_name = f"{name}_{camera.name}_{index:06d}.jpg"
            _write_picture(folder / file_name, pixels)
            images.append(_image(len(images), file_name, scene, number, index))
            for person in truth.people:
                if int(person.mask.sum()) >= MIN_AREA_PX:
                    annotations.append(_annotation(len(annotations), images[-1], person))
            if progress is not None:
                progress(len(images), total)
    half = part.with_name(f"{part.name}.part")
    half.write_text(json.dumps({"images": images, "annotations": annotations}))
    half.replace(part)
    return part


def join_coco(out: Path, parts: Iterable[Path]) -> Path:
    """One annotations.json of the scenes' parts, numbered through; then the parts go.

    Raises:
        InputError: a part is missing or damaged.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    parts = list(parts)
    for part in parts:
        try:
            content = json.loads(part.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{part} cannot be read: {error}", hint="Make it again.") from error
        first_image, first = len(images), len(annotations)
        images += [image | {"id": image["id"] + first_image} for image in content["images"]]
        annotations += [
            a | {"id": a["id"] + first, "image_id": a["image_id"] + first_image}
            for a in content["annotations"]
        ]
    whole = {
        "info": {"description": "People who do not exist, rendered", "version": "1"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [_category()],
    }
    half = out / f".{ANNOTATIONS}.part"
    half.write_text(json.dumps(whole))
    half.replace(out / ANNOTATIONS)
    for part in parts:
        part.unlink()
    return out / ANNOTATIONS


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of a mask [H,W] down its columns, background first; they sum to H * W."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [not mask[-1, -1]]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(n) for n in np.diff(np.concatenate([[0], changes]))]


def _write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    good, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not good:
        raise ValueError(f"{path.name}: the picture cannot be encoded")
    path.write_bytes(data.tobytes())  # tells what is wrong with the disk; OpenCV would not


def _image(number: int, file_name: str, scene: Scene, camera: int, index: int) -> dict[str, Any]:
    lens = scene.cameras[camera].lens
    width, height = lens.size_wh
    calibration = {name: getattr(lens, name).round(9).tolist() for name in ("k", "r", "t")}
    return {
        "id": number,
        "file_name": file_name,
        "width": width,
        "height": height,
        "frame": index,
        "camera": calibration,
    }


def _annotation(number: int, image: dict[str, Any], person: TruthPerson) -> dict[str, Any]:
    size_wh = (image["width"], image["height"])
    mask = person.full_mask(size_wh)
    x1, y1, x2, y2 = person.bbox_xyxy_px
    out: dict[str, Any] = {
        "id": number,
        "image_id": image["id"],
        "category_id": PERSON,
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": {"counts": run_lengths(mask), "size": [image["height"], image["width"]]},
        "name": person.name,
        "track": person.track,
        "visibility": round(person.visibility, 4),
    }
    if person.pose is not None:
        keypoints, count = _keypoints(person.pose.keypoints_px, mask)
        out |= {"keypoints": keypoints, "num_keypoints": count}
        out["theta"] = [round(float(v), 5) for v in person.pose.theta]
        joints = person.pose.joints_camera_m
        out["joints_camera_m"] = [[round(float(v), 4) for v in joint] for joint in joints]
    return out


def _keypoints(points: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[list[float], int]:
    """COCO's flat list x, y, v. A point counts as seen within a few pixels of the visible mask."""
    height, width = mask.shape
    near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    flat: list[float] = []
    for x, y, in_front in points:
        column, row = int(np.floor(x)), int(np.floor(y))
        if not in_front or not (0 <= column < width and 0 <= row < height):
            flat += [0.0, 0.0, OUTSIDE]
        else:
            seen = SEEN if near[row, column] else HIDDEN
            flat += [round(float(x), 2), round(float(y), 2), seen]
    return flat, sum(v != OUTSIDE for v in flat[2::3])


def _category() -> dict[str, Any]:
    return {
        "id": PERSON,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO_KEYPOINT_NAMES),
        "skeleton": [[a + 1, b + 1] for a, b in COCO_EDGES],
    }
