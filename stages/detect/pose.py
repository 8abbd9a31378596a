"""MediaPipe's two pose networks, each called on its own.

`mp.solutions.pose.Pose` always runs detector and landmarks together (30 ms) or keeps the last
person in its own state (20 ms, but then the answer depends on which instance saw what before).
The same two networks in two small graphs give the best of both: `find` names every person in a
picture (13 ms), `read` gives landmarks and mask of the person inside a given square (20 ms). The
square is an argument, so neither graph has a memory, and the same input gives the same bits on any
instance: measured, and kept by a test.

The networks come with the wheel of mediapipe 0.10.21 (Apache-2.0): BlazePose detector and
BlazePose GHUM full (Bazarevsky et al. 2020; Xu et al. 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from pipeline.errors import FrameError

FIND_SIDE_PX = 448  # the detector's input is 224 square: twice that loses nothing
READ_SIDE_PX = 512  # the landmark network's input is 256 square
ROI_SCALE = 1.25  # MediaPipe's own margin around the circle of hip centre and body end

FIND_GRAPH = """
input_stream: "image"
output_stream: "detections"
node {
  calculator: "PoseDetectionCpu"
  input_stream: "IMAGE:image"
  output_stream: "DETECTIONS:detections"
}
"""

READ_GRAPH = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "model_complexity"
input_side_packet: "enable_segmentation"
output_stream: "landmarks"
output_stream: "world_landmarks"
output_stream: "mask"
output_stream: "next_roi"
node {
  calculator: "ImagePropertiesCalculator"
  input_stream: "IMAGE:image"
  output_stream: "SIZE:size"
}
node {
  calculator: "PoseLandmarkByRoiCpu"
  input_side_packet: "MODEL_COMPLEXITY:model_complexity"
  input_side_packet: "ENABLE_SEGMENTATION:enable_segmentation"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  output_stream: "LANDMARKS:landmarks"
  output_stream: "AUXILIARY_LANDMARKS:auxiliary"
  output_stream: "WORLD_LANDMARKS:world_landmarks"
  output_stream: "SEGMENTATION_MASK:mask"
}
node {
  calculator: "PoseLandmarksToRoi"
  input_stream: "LANDMARKS:auxiliary"
  input_stream: "IMAGE_SIZE:size"
  output_stream: "ROI:next_roi"
}
"""


@dataclass(frozen=True, slots=True)
class Roi:
    """The square that a person fills, as MediaPipe wants it: around the hips, turned upright.

    Attributes:
        x, y: centre, pixels of the frame.
        side: pixels.
        angle: how far the person leans clockwise, radians.
    """

    x: float
    y: float
    side: float
    angle: float

    def box(self) -> np.ndarray:
        """Return the upright box [4] around the turned square, pixels."""
        half = self.side / 2 * (abs(math.cos(self.angle)) + abs(math.sin(self.angle)))
        return np.array([self.x - half, self.y - half, self.x + half, self.y + half])


@dataclass(frozen=True, slots=True)
class Reading:
    """What the landmark network says of one square, in pixels of the frame.

    Attributes:
        landmarks: float64 [33,4]: x, y, z (pixels), visibility 0..1.
        world: float32 [33,4]: x, y, z metres from the hip centre, visibility.
        mask: float32 [h,w], 0..1, of the part of the frame that was read.
        mask_xy: left and top of the mask in the frame.
        asked: the square that was read.
        roi: the square that fits the person found.
    """

    landmarks: np.ndarray
    world: np.ndarray
    mask: np.ndarray
    mask_xy: tuple[int, int]
    asked: Roi
    roi: Roi


@dataclass(frozen=True, slots=True)
class Found:
    """A person as the detector sees it: the square to read and a score 0..1."""

    roi: Roi
    score: float


def roi_from_points(hip: tuple[float, float], end: tuple[float, float]) -> Roi:
    """Return the square of a person with hip centre `hip`, whose body reaches as far as `end`."""
    dx, dy = end[0] - hip[0], end[1] - hip[1]
    angle = math.pi / 2 - math.atan2(-dy, dx)
    angle -= 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))
    return Roi(hip[0], hip[1], 2 * math.hypot(dx, dy) * ROI_SCALE, angle)


def roi_from_box(box: np.ndarray) -> Roi:
    """Return the square of an upright person that fills box [4]: hips a little above the middle."""
    x1, y1, x2, y2 = (float(side) for side in box)
    return Roi((x1 + x2) / 2, y1 + 0.53 * (y2 - y1), (y2 - y1) * ROI_SCALE, 0.0)


def cut(pixels: np.ndarray, box: np.ndarray, side_px: int) -> tuple[np.ndarray, int, int, float]:
    """Cut box [4] out of a frame, shrunk to `side_px` if it is larger.

    Returns:
        uint8 [h,w,3] RGB, its left and top in the frame, and picture pixels per frame pixel.
    """
    height, width = pixels.shape[:2]
    x1, y1 = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    x2, y2 = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    if x2 - x1 < 2 or y2 - y1 < 2:
        raise FrameError(f"cannot cut {box.round(1).tolist()} out of a {width}x{height} frame")
    part = pixels[y1:y2, x1:x2]
    scale = min(1.0, side_px / max(x2 - x1, y2 - y1))
    if scale < 1.0:
        size = (max(2, round((x2 - x1) * scale)), max(2, round((y2 - y1) * scale)))
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(part, cv2.COLOR_BGR2RGB), x1, y1, scale


def load_mediapipe() -> Any:
    """Import what of MediaPipe is used: a second of work that only a running stage wants."""
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from mediapipe.framework import calculator_pb2
    from mediapipe.framework.formats import rect_pb2
    from mediapipe.python.solution_base import SolutionBase

    return text_format, calculator_pb2, rect_pb2, SolutionBase


class PoseNetworks:
    """One instance of both graphs, for one thread at a time.

    A call costs 13 ms (`find`) or 20 ms (`read`) on one core of a small server. The first instance
    takes about 200 MB of memory, each further one 120 MB.
    """

    def __init__(self, min_detection: float) -> None:
        self._min_detection = min_detection
        self._open()

    def _open(self) -> None:
        text_format, calculator_pb2, rect_pb2, solution_base = load_mediapipe()

        def graph(text: str, outputs: list[str], **side_inputs: Any) -> Any:
            config = text_format.Parse(text, calculator_pb2.CalculatorGraphConfig())
            return solution_base(graph_config=config, side_inputs=side_inputs, outputs=outputs)

        self._rect = rect_pb2.NormalizedRect
        self._find = graph(FIND_GRAPH, ["detections"])
        self._read = graph(
            READ_GRAPH,
            ["landmarks", "world_landmarks", "mask", "next_roi"],
            model_complexity=1,
            enable_segmentation=True,
        )

    def find(self, pixels: np.ndarray, box: np.ndarray) -> list[Found]:
        """Return everybody in box [4] of frame [h,w,3] BGR, best score first."""
        image, left, top, scale = cut(pixels, box, FIND_SIDE_PX)
        height, width = image.shape[:2]
        answer = self._run(self._find, {"image": image})
        found = []
        for detection in answer.detections or ():
            score = float(detection.score[0])
            points = [
                (left + point.x * width / scale, top + point.y * height / scale)
                for point in detection.location_data.relative_keypoints[:2]
            ]
            if score >= self._min_detection and points[0] != points[1]:
                found.append(Found(roi_from_points(*points), score))
        return found

    def read(self, pixels: np.ndarray, roi: Roi) -> Reading | None:
        """Return the person in `roi` of frame [h,w,3] BGR; None for nobody."""
        image, left, top, scale = cut(pixels, roi.box(), READ_SIDE_PX)
        height, width = image.shape[:2]
        asked = self._rect(
            x_center=(roi.x - left) * scale / width,
            y_center=(roi.y - top) * scale / height,
            width=roi.side * scale / width,
            height=roi.side * scale / height,
            rotation=roi.angle,
        )
        answer = self._run(self._read, {"image": image, "roi": asked})
        if not answer.landmarks or answer.mask is None or not answer.next_roi:
            return None
        sides = np.array([width, height, width], float) / scale
        marks = np.array([(m.x, m.y, m.z, m.visibility) for m in answer.landmarks.landmark])
        marks[:, :3] = marks[:, :3] * sides + [left, top, 0]
        world = [(m.x, m.y, m.z, m.visibility) for m in answer.world_landmarks.landmark]
        mask = np.asarray(answer.mask)
        if scale < 1.0:
            mask = cv2.resize(mask, (round(width / scale), round(height / scale)))
        turned = answer.next_roi
        fitting = Roi(
            left + turned.x_center * width / scale,
            top + turned.y_center * height / scale,
            turned.width * width / scale,
            turned.rotation,
        )
        reading = Reading(
            marks, np.array(world, np.float32), np.array(mask), (left, top), roi, fitting
        )
        finite = np.isfinite(marks).all() and np.isfinite(reading.world).all()
        return reading if finite and math.isfinite(fitting.side) else None

    def _run(self, graph: Any, inputs: dict[str, Any]) -> Any:
        try:
            return graph.process(inputs)
        except (RuntimeError, ValueError) as error:
            # A graph that has failed once refuses all further work: start afresh.
            self.close()
            self._open()
            raise FrameError(f"MediaPipe failed: {str(error).splitlines()[0]}") from error

    def close(self) -> None:
        """Free both graphs."""
        for graph in (self._find, self._read):
            try:
                graph.close()
            except (RuntimeError, ValueError):
                continue  # it has failed before; that error has been reported
