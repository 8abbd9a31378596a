"""A picture to look at: a frame of each of some scenes, with the truth drawn over it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from pipeline.errors import InputError
from stages.human.joints import COCO_EDGES
from stages.human.scenes.coco import ANNOTATIONS, IMAGES
from stages.human.scenes.video import TRUTH
from stages.human.truth import TruthPerson, load_truth

MAX_SCENES, MAX_CAMERAS = 6, 3
WIDTH_PX = 420
HEAD_PX = 20
# A frame is looked for among the first of a recording: it is decoded up to there.
SEARCHED_FRAMES = 500
PAPER, INK = (250, 250, 250), (40, 40, 40)
BOX, LINE = (60, 200, 60), (40, 160, 255)
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.4


@dataclass(frozen=True, slots=True)
class Shown:
    """Somebody in a frame: name, bbox_xyxy_px, and keypoints [17,3] whose third number is not 0."""

    name: str
    bbox_xyxy_px: tuple[float, float, float, float]
    keypoints_px: np.ndarray


def video_sheet(out: Path, scenes: Sequence[str]) -> np.ndarray:
    """Return BGR uint8 [h,w,3]: rows are scenes, columns cameras, each the fullest frame."""
    rows = []
    for scene in scenes[:MAX_SCENES]:
        cells = []
        for camera in load_truth(out / scene / TRUTH).cameras[:MAX_CAMERAS]:
            frames = camera.frames[:SEARCHED_FRAMES]
            index = max(range(len(frames)), key=lambda place: _fullness(frames[place]))
            picture = _frame(out / scene / f"{camera.name}.mp4", index)
            people = [
                Shown(p.name, p.bbox_xyxy_px, p.pose.keypoints_px)
                for p in frames[index]
                if p.pose is not None
            ]
            cells.append(_cell(picture, people, f"{scene} {camera.name} frame {index}"))
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows)


def coco_sheet(out: Path) -> np.ndarray:
    """Return BGR uint8 [h,w,3]: the fullest pictures of the set."""
    content = json.loads((out / ANNOTATIONS).read_text(encoding="utf-8"))
    people: dict[int, list[Shown]] = {image["id"]: [] for image in content["images"]}
    for found in content["annotations"]:
        x, y, w, h = found["bbox"]
        points = np.array(found.get("keypoints", [0.0] * 51), np.float32).reshape(17, 3)
        people[found["image_id"]].append(Shown(found["name"], (x, y, x + w, y + h), points))
    chosen = _apart(content["images"], {image: len(shown) for image, shown in people.items()})
    cells = []
    for image in chosen:
        picture = cv2.imread(str(out / IMAGES / image["file_name"]))
        if picture is None:
            raise InputError(f"{image['file_name']} cannot be read back", hint="Make it again.")
        cells.append(_cell(picture, people[image["id"]], image["file_name"]))
    while len(cells) % MAX_CAMERAS:
        cells.append(np.full_like(cells[0], PAPER))
    rows = [cells[place : place + MAX_CAMERAS] for place in range(0, len(cells), MAX_CAMERAS)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _apart(images: Sequence[dict[str, Any]], counts: dict[int, int]) -> list[dict[str, Any]]:
    """Return the fullest picture of each of some stretches of the set."""
    stretches = np.array_split(np.arange(len(images)), min(len(images), MAX_SCENES * MAX_CAMERAS))
    return [images[max(stretch, key=lambda k: counts[images[k]["id"]])] for stretch in stretches]


def _fullness(people: Sequence[TruthPerson]) -> float:
    return sum(person.visibility for person in people)


def _frame(path: Path, index: int) -> np.ndarray:
    """Return a recording's frame, BGR uint8 [h,w,3]."""
    with av.open(str(path)) as container:
        for place, frame in enumerate(container.decode(video=0)):
            if place == index:
                return np.asarray(frame.to_ndarray(format="bgr24"))
    raise InputError(f"{path} ends before frame {index}", hint="Make it again.")


def _cell(picture: np.ndarray, people: Sequence[Shown], label: str) -> np.ndarray:
    """Return a picture made small, with people's boxes, names and keypoints."""
    scale = WIDTH_PX / picture.shape[1]
    size = (WIDTH_PX, max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    for person in people:
        x1, y1, x2, y2 = (round(float(v) * scale) for v in person.bbox_xyxy_px)
        cv2.rectangle(small, (x1, y1), (x2, y2), BOX, 1)
        cv2.putText(small, person.name, (x1, max(10, y1 - 3)), FONT, FONT_SCALE, BOX, 1)
        points = np.rint(person.keypoints_px[:, :2] * scale)
        for first, second in COCO_EDGES:
            if person.keypoints_px[[first, second], 2].all():
                start, end = points[[first, second]].astype(int).tolist()
                cv2.line(small, start, end, LINE, 1, cv2.LINE_AA)
    head = np.full((HEAD_PX, WIDTH_PX, 3), PAPER, np.uint8)
    cv2.putText(head, label, (4, HEAD_PX - 6), FONT, FONT_SCALE, INK, 1, cv2.LINE_AA)
    return np.concatenate([head, small])
