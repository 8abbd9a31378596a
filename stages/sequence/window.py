"""What makes a frame fit for a gait window, what ends a stretch, and the ring that holds one.

A stretch is an unbroken run of one track. A window is cut from its last `length` fit frames.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.clock import NS_PER_S
from pipeline.messages import Body, Stamp, Window
from stages.human.silhouette import align, cut_sides


class Config(BaseModel):
    """How tracks are cut into windows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    length: int = Field(30, ge=2, le=1024, description="frames in a window")
    stride: int = Field(8, ge=1, le=1024, description="fit frames from one window to the next")
    min_length: int = Field(
        15, ge=1, le=1024, description="frames that a track must leave to get one short window"
    )
    max_gap_s: float = Field(0.5, gt=0, le=60, description="seconds unseen that end a stretch")
    max_unfit_s: float = Field(
        1.0, gt=0, le=60, description="seconds seen but never fit that end a stretch"
    )
    max_jump: float = Field(
        1.0, gt=0, le=10, description="movement of the box's centre, in box heights, within jump_s"
    )
    jump_s: float = Field(
        0.3, gt=0, le=10, description="seconds between two frames up to which max_jump is asked"
    )
    max_size_change: float = Field(
        1.8, gt=1, le=100, description="factor by which height or area may change between frames"
    )
    min_height_px: int = Field(
        32, ge=1, le=4096, description="smallest mask, pixels from top to toe"
    )
    min_fill: float = Field(0.15, ge=0, le=1, description="mask area over box area, at least")
    max_fill: float = Field(0.95, ge=0, le=1, description="mask area over box area, at most")
    max_fragment: float = Field(
        0.2, gt=0, le=1, description="second largest piece of a mask over the largest, at most"
    )
    min_quality: float = Field(0.0, ge=0, le=1, description="body quality, at least")

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.min_length > self.length:
            raise ValueError(f"min_length {self.min_length} is more than length {self.length}")
        if self.min_fill >= self.max_fill:
            raise ValueError(f"min_fill {self.min_fill} is not below max_fill {self.max_fill}")
        return self


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a person was in a frame.

    Attributes:
        centre_xy, box_height: of the box, pixels.
        height, area: of the mask from its first row to its last, pixels; 0 for an empty mask.
        fill: mask area over box area.
    """

    centre_xy: tuple[float, float]
    box_height: float
    height: int
    area: int
    fill: float


@dataclass(frozen=True, slots=True, eq=False)
class FitFrame:
    """One frame of a window: silhouette uint8 [64,44], theta [85], keypoints [17,3].

    `unfit_before` counts the unfit frames between the fit frame before it and this one.
    """

    silhouette: np.ndarray
    theta: np.ndarray
    keypoints_px: np.ndarray
    time_ns: int
    frame_id: int
    quality: float
    unfit_before: int


def measure(body: Body, inside: np.ndarray) -> Extent:
    """Return the extent of a person whose unpacked mask is bool [h,w]."""
    left, top, right, bottom = (float(edge) for edge in body.person.bbox_xyxy_px)
    rows = np.flatnonzero(inside.any(axis=1))
    area = int(np.count_nonzero(inside))
    box_area = max(0.0, right - left) * max(0.0, bottom - top)
    return Extent(
        centre_xy=((left + right) / 2, (top + bottom) / 2),
        box_height=bottom - top,
        height=int(rows[-1] - rows[0] + 1) if len(rows) else 0,
        area=area,
        fill=area / box_area if box_area > 0 else 0.0,
    )


def fragment_ratio(inside: np.ndarray) -> float:
    """Return the area of the second largest connected piece over the largest, 0 for one piece."""
    pieces, _, stats, _ = cv2.connectedComponentsWithStats(inside.view(np.uint8), connectivity=8)
    if pieces < 3:  # the background counts as one
        return 0.0
    areas = np.sort(stats[1:, cv2.CC_STAT_AREA])
    return float(areas[-2] / areas[-1])


def unfit_reason(body: Body, inside: np.ndarray, extent: Extent, config: Config) -> str:
    """Return why a frame is left out of windows, "" if it is fit. The first reason that holds."""
    if body.person.cut_by_border:
        return "cut_by_border"
    if body.person.occluded:
        return "occluded"
    if extent.height < config.min_height_px:
        return "too_small"
    # Written so that a box or a quality that is not a number counts as unfit.
    if not config.min_fill <= extent.fill <= config.max_fill:
        return "bad_mask_area"
    if fragment_ratio(inside) > config.max_fragment:
        return "mask_in_pieces"
    if not (body.quality >= config.min_quality and np.isfinite(body.theta).all()):
        return "bad_body"
    return ""


def aligned(inside: np.ndarray) -> np.ndarray | None:
    """Return the silhouette uint8 [64,44] of a mask bool [h,w], None if it is too faint."""
    square = align(inside)
    return None if square is None else np.ascontiguousarray(cut_sides(square))


@dataclass(slots=True, eq=False)
class Track:
    """What is kept of one track: its stretch and where it was last seen.

    Attributes:
        fit: the newest fit frames of the stretch, `length` at most.
        unfit: unfit frames since the last fit one.
        fresh: fit frames since the stretch's last window.
        in_step: the stretch has given a window, so the next one waits for the stride.
        emitted: the track has given a window.
        withheld: the window that is due was held back, and that has been counted.
        seen_ns, seen: when and where the track was last seen, fit or not.
        fit_extent: where it was when last fit.
    """

    length: int
    fit: deque[FitFrame] = field(init=False)
    unfit: int = 0
    fresh: int = 0
    in_step: bool = False
    emitted: bool = False
    withheld: bool = False
    seen_ns: int | None = None
    seen: Extent | None = None
    fit_extent: Extent | None = None

    def __post_init__(self) -> None:
        self.fit = deque(maxlen=self.length)

    def restart(self) -> None:
        """Forget the stretch; whether the track ever gave a window stays known."""
        self.fit.clear()
        self.unfit = self.fresh = 0
        self.in_step = self.withheld = False
        self.fit_extent = None

    def add(self, frame: FitFrame, extent: Extent) -> None:
        """Take a fit frame into the stretch."""
        self.fit.append(frame)
        self.fit_extent = extent
        self.fresh += 1
        self.unfit = 0

    def is_due(self, stride: int) -> bool:
        """Whether enough new fit frames have come for the next window."""
        return len(self.fit) == self.length and (not self.in_step or self.fresh >= stride)

    def window(self, track_id: int) -> Window | None:
        """Return the stretch as a window, None if more than half of it was unfit."""
        frames = list(self.fit)
        left_out = sum(frame.unfit_before for frame in frames[1:])
        if left_out > len(frames):
            return None
        self.fresh = 0
        self.in_step = self.emitted = True
        self.withheld = False
        return make_window(track_id, frames, left_out)


def break_reason(track: Track, stamp: Stamp, extent: Extent, config: Config) -> str:
    """Return why a track's stretch cannot go on into this frame, "" if it can."""
    if track.seen_ns is None or track.seen is None:
        return ""
    elapsed_ns = stamp.time_ns - track.seen_ns
    if elapsed_ns < 0:
        return "time_went_back"
    if elapsed_ns > config.max_gap_s * NS_PER_S:
        return "gap"
    if elapsed_ns <= config.jump_s * NS_PER_S and jumped(track.seen, extent, config.max_jump):
        return "jump"
    return ""


def jumped(before: Extent, now: Extent, max_jump: float) -> bool:
    """Whether the centre moved by more than `max_jump` of the taller box's height."""
    dx, dy = (b - a for a, b in zip(before.centre_xy, now.centre_xy, strict=True))
    return bool(np.hypot(dx, dy) > max_jump * max(before.box_height, now.box_height))


def size_break_reason(track: Track, time_ns: int, extent: Extent, config: Config) -> str:
    """Return why a fit frame cannot join the fit frames before it, "" if it can.

    Only fit frames are compared: a person who goes behind another changes size in the picture
    without being another person. The area is asked for only over a short time, since it grows with
    the square of nearness.
    """
    if not track.fit or track.fit_extent is None:
        return ""
    elapsed_ns = time_ns - track.fit[-1].time_ns
    if elapsed_ns > config.max_unfit_s * NS_PER_S:
        return "unfit_too_long"
    before = track.fit_extent
    if _changed(before.height, extent.height, config.max_size_change):
        return "size_change"
    if elapsed_ns <= config.max_gap_s * NS_PER_S and _changed(
        before.area, extent.area, config.max_size_change
    ):
        return "size_change"
    return ""


def _changed(before: float, now: float, factor: float) -> bool:
    return max(before, now) > factor * min(before, now)


def make_window(track_id: int, frames: list[FitFrame], left_out: int) -> Window:
    """Return frames, oldest first, as one window."""
    return Window(
        track_id=track_id,
        silhouettes=np.stack([frame.silhouette for frame in frames]),  # [s,64,44]
        theta=np.stack([frame.theta for frame in frames]),  # [s,85]
        keypoints_px=np.stack([frame.keypoints_px for frame in frames]),  # [s,17,3]
        times_ns=np.array([frame.time_ns for frame in frames], np.int64),
        frame_ids=np.array([frame.frame_id for frame in frames], np.int64),
        quality=float(np.mean([frame.quality for frame in frames])),
        left_out=left_out,
    )
