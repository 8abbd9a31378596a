"""The sink: writes the annotated video, events, tables, silhouettes and thumbnails of a run.

What it writes into `out_dir` (each can be turned off):

    annotated.mp4                        the pictures with boxes, outlines, names and a strip below
    events.jsonl                         a line for each track's start, decision and end
    tracks.csv                           a row for each person in each frame
    thumbnails/<track_id>.jpg            the best picture of each track so far
    silhouettes/<track_id>/<frame>.png   masks; beside them smpls.npy, keypoints.npy, frames.csv

With `by_source` the video, thumbnails and silhouettes of source S lie under `sources/S/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from stages.sink.outdir import RUN_ENTRIES, prepare_out_dir

if TYPE_CHECKING:
    from stages.sink.stage import SinkStage

__all__ = ["RUN_ENTRIES", "Config", "build", "preload", "prepare_out_dir"]

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"]


class Config(BaseModel):
    """Settings of the sink."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out_dir: Path | None = Field(None, description="folder for all files; none: write nothing")
    overwrite: bool = Field(False, description="remove a former run's files from out_dir first")
    by_source: bool = Field(
        False, description="a folder for each source; needed when there are several sources"
    )
    video: bool = Field(True, description="write annotated.mp4")
    events: bool = Field(True, description="write events.jsonl")
    tracks: bool = Field(True, description="write tracks.csv")
    save_silhouettes: bool = Field(False, description="write each person's mask as a PNG")
    thumbnails: bool = Field(True, description="write the best picture of each track")
    display: bool = Field(False, description="show the pictures in a window; q or Esc stops")
    max_video_side_px: int = Field(
        1920, ge=64, le=8192, description="larger frames are scaled down to this side, pixels"
    )
    crf: int = Field(25, ge=0, le=51, description="x264 quality, 0 (best) to 51 (smallest)")
    video_preset: Preset = Field("veryfast", description="x264 speed against size")
    video_threads: int = Field(0, ge=0, le=64, description="encoder threads, 0: as x264 likes")
    thumbnail_side_px: int = Field(
        256, ge=32, le=1024, description="longer side of a thumbnail, pixels"
    )


def build(config: Config) -> SinkStage:
    """Return the stage; nothing is opened before its `setup`."""
    from stages.sink.stage import SinkStage  # loads OpenCV, PyAV and Pillow

    return SinkStage(config)


def preload(config: Config) -> None:
    """Import what `build` will, so that a stage in place of a dead one need not wait for it."""
    build(config)
