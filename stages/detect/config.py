"""What can be set about finding and following people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class TrackingConfig(BaseModel):
    """How people are followed from frame to frame."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_s: float = Field(
        default=1.5, gt=0, le=60, description="seconds that a track outlives its last sighting"
    )
    first_hits: int = Field(
        default=3, ge=1, le=50, description="sightings before a track is shown and gets its number"
    )
    reach_heights: float = Field(
        default=0.5,
        gt=0,
        le=5,
        description="how far from its predicted place a person is still the same, body heights",
    )
    appearance_weight: float = Field(
        default=1.0, ge=0, le=10, description="weight of clothing colours against place, 0 for none"
    )


class _CommonConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="worker threads; 0: one more than there are cores, at most 8 (one on one core)",
    )
    max_crops_per_frame: int = Field(
        default=0,
        ge=0,
        le=256,
        description="network runs a frame in a live stream, 0 for no limit; people take turns",
    )
    min_height_px: float = Field(
        default=48.0, ge=16, le=4096, description="shortest person to report, pixels of the frame"
    )
    min_score: float = Field(
        default=0.45,
        ge=0,
        le=1,
        description="least score of a person, mean visibility of the joints",
    )
    tracking: TrackingConfig = TrackingConfig()


class MediapipeConfig(_CommonConfig):
    """MediaPipe alone: background subtraction proposes, pose networks find and segment."""

    variant: Literal["mediapipe"] = "mediapipe"
    motion_width_px: int = Field(
        default=480, ge=64, le=1920, description="width at which motion is looked for, pixels"
    )
    background_s: float = Field(
        default=20.0, gt=0, le=3600, description="seconds after which a still object is background"
    )
    scan_s: float = Field(
        default=0.5,
        gt=0,
        le=60,
        description="seconds between searches of the picture that do not rely on motion",
    )
    min_detection: float = Field(
        default=0.5, ge=0, le=1, description="least score of MediaPipe's person detector"
    )


class YoloConfig(_CommonConfig):
    """An ultralytics segmentation model finds and segments, MediaPipe gives the landmarks."""

    variant: Literal["yolo"]
    weights: Path = Field(description="segmentation weights (.pt or .onnx); never downloaded")
    min_detection: float = Field(
        default=0.4, ge=0, le=1, description="least score of a detected person"
    )
    image_size_px: int = Field(
        default=640,
        ge=64,
        le=4096,
        multiple_of=32,
        description="side of the network's input, pixels",
    )
    device: str = Field(default="auto", description="torch device: auto, cpu, cuda, cuda:0 ...")


# The first variant is the default.
Config = Annotated[MediapipeConfig | YoloConfig, Field(discriminator="variant")]
