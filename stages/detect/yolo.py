"""People from an ultralytics segmentation model, landmarks from MediaPipe.

The only file that imports ultralytics, which is AGPL-3.0: whoever passes on a program that uses
this variant owes its users the whole source under that licence. It is the extra `yolo`, never
installed by default, and weights are never downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from pipeline.errors import FrameError, ResourceError, WeightsError
from pipeline.extras import install_command
from stages.detect.boxes import pixel_slices
from stages.detect.config import YoloConfig
from stages.detect.masks import cut_to_box, share_out, without_doubles
from stages.detect.observation import Expected, Observation
from stages.detect.pool import PosePool
from stages.detect.pose import PoseNetworks, Roi, roi_from_box

PERSON = "person"
NO_LANDMARKS = np.zeros((0, 4))


@dataclass(slots=True)
class YoloState:
    """What is kept for one source: nothing but whose turn it is."""

    live: bool
    read_from: int = 0


def load_model(config: YoloConfig) -> Any:
    """Return the ultralytics model of the given weights.

    Raises:
        WeightsError: the file is missing, unreadable, or not a segmentation model of people.
        ResourceError: ultralytics is not installed.
    """
    if not config.weights.is_file():
        raise WeightsError(
            f"detect.weights: no such file: {config.weights}",
            hint="give an ultralytics segmentation model (*-seg.pt); nothing is downloaded",
        )
    yolo = load_ultralytics()
    try:
        model = yolo(str(config.weights), task="segment", verbose=False)
        names = dict(model.names)
    except Exception as error:  # whatever the library raises for a bad file
        raise WeightsError(f"detect.weights: cannot read {config.weights}: {error}") from error
    if PERSON not in names.values():
        raise WeightsError(
            f"detect.weights: {config.weights} knows no class {PERSON!r}, only "
            f"{sorted(names.values())[:8]}"
        )
    return model


def load_ultralytics() -> Any:
    """Return ultralytics' class of models.

    Raises:
        ResourceError: the extra `yolo` is missing.
    """
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    try:
        from ultralytics import YOLO
    except ImportError as error:
        raise ResourceError(
            f"detect.variant yolo needs ultralytics: {error}",
            hint=f"{install_command('yolo')} (ultralytics is AGPL-3.0), or use "
            "detect.variant=mediapipe",
        ) from error
    return YOLO


class YoloWatcher:
    """Finds everybody in a frame with one run of a segmentation model.

    In: a frame uint8 [h,w,3] BGR. Out: observations whose boxes, scores and masks are the model's
    and whose landmarks are MediaPipe's, read in the square of each box; somebody in whom MediaPipe
    sees no body has no landmarks. Keeps nothing of the picture between frames. A frame costs one
    model run plus 20 ms of one core for each person.
    """

    def __init__(self, config: YoloConfig, pool: PosePool, count: Callable[[str], None]) -> None:
        self._config = config
        self._pool = pool
        self._count = count  # called from several threads
        self._model = load_model(config)
        wanted = [index for index, name in self._model.names.items() if name == PERSON]
        device = None if config.device == "auto" else config.device
        self._options = {
            "classes": wanted,
            "conf": config.min_detection,
            "imgsz": config.image_size_px,
            "device": device,
            "retina_masks": True,
            "verbose": False,
        }

    def new_state(self, rate_hz: float, live: bool) -> YoloState:
        """Return the state of a source that has shown nothing yet."""
        return YoloState(live)

    def observe(
        self, state: YoloState, pixels: np.ndarray, expected: Sequence[Expected]
    ) -> tuple[list[Observation], set[int]]:
        """Return who is seen; a model run sees everybody, so no track is skipped.

        In a live stream with `max_crops_per_frame`, only so many people get landmarks a frame, in
        turn; the others come without.
        """
        if min(pixels.shape[:2]) < 16:
            return [], set()
        self._count("searches")
        try:
            result = self._model.predict(np.ascontiguousarray(pixels), **self._options)[0]
        except (RuntimeError, ValueError) as error:
            raise FrameError(f"the segmentation model failed: {error}") from error
        seen = without_doubles(self._observations(result, (pixels.shape[0], pixels.shape[1])))
        turns = self._turns(state, len(seen))
        read = self._pool.map(
            lambda networks, index: self._with_landmarks(networks, pixels, seen[index]), turns
        )
        for index, one in zip(turns, read, strict=True):
            seen[index] = one
        return share_out(seen), set()

    def _turns(self, state: YoloState, people: int) -> list[int]:
        most = self._config.max_crops_per_frame
        if not state.live or most == 0 or people <= most:
            return list(range(people))
        turns = [(state.read_from + step) % people for step in range(most)]
        state.read_from = (state.read_from + most) % people
        for _ in range(people - most):
            self._count("skipped_turns")
        return turns

    def _observations(self, result: Any, shape: tuple[int, int]) -> list[Observation]:
        if result.masks is None or not len(result.boxes):
            return []
        boxes = result.boxes.xyxy.cpu().numpy().astype(float)
        scores = result.boxes.conf.cpu().numpy()
        masks = result.masks.data.cpu().numpy()
        out = []
        for row in np.argsort(-scores, kind="stable"):
            one = observation_of_mask(masks[row], boxes[row], float(scores[row]), shape)
            if one is not None and one.height >= self._config.min_height_px:
                out.append(one)
        return out

    def _with_landmarks(
        self, networks: PoseNetworks, pixels: np.ndarray, one: Observation
    ) -> Observation:
        self._count("readings")
        try:
            reading = networks.read(pixels, one.roi)
        except FrameError:
            self._count("failed_crops")
            return one
        if reading is None or not same_place(reading.roi, one.roi):
            return one
        return Observation(
            one.box,
            one.score,
            one.mask,
            one.mask_xy,
            one.strength,
            reading.landmarks,
            reading.world,
            one.roi,
        )


def same_place(found: Roi, asked: Roi) -> bool:
    """Say whether the person read fills about the square of the box that was asked for."""
    near = abs(found.x - asked.x) <= 0.3 * asked.side and abs(found.y - asked.y) <= 0.3 * asked.side
    return near and 0.5 <= found.side / max(asked.side, 1e-6) <= 2.0


def observation_of_mask(
    mask: np.ndarray, box: np.ndarray, score: float, shape: tuple[int, int]
) -> Observation | None:
    """Return the observation of one detected person, without landmarks; None for an empty mask.

    Args:
        mask: [h,w], the model's mask of the whole picture, 0..1, of any size.
        box: float [4], pixels of the frame.
        score: 0..1.
        shape: height and width of the frame.
    """
    height, width = shape
    if mask.shape != shape:
        mask = cv2.resize(mask.astype(np.float32), (width, height))
    rows, columns = pixel_slices(box, (width, height))
    part = mask[rows, columns] > 0.5
    at = cut_to_box(part)
    if at is None:
        return None
    x, y = columns.start + at[1].start, rows.start + at[0].start
    h, w = part[at].shape
    own = np.array([x, y, x + w, y + h], float)
    return Observation(
        box=own,
        score=score,
        mask=part[at],
        mask_xy=(x, y),
        strength=part[at].astype(np.float32) * np.float32(score),
        landmarks=NO_LANDMARKS,
        world=NO_LANDMARKS.astype(np.float32),
        roi=roi_from_box(own),
    )
