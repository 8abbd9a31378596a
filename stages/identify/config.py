"""What can be set of the identify stage."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Config(BaseModel):
    """Identify: names tracks by comparing their vectors with a gallery."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gallery: Path | None = Field(
        None, description="gallery file; without one everybody is `unknown`"
    )
    create_gallery: bool = Field(False, description="make the gallery if it is not there")
    calibration: Path | None = Field(
        None,
        description="file that `calibrate` has written: what scores are worth; none: the one that "
        "comes with the weights, if there is one",
    )
    false_alarm_rate: float | None = Field(
        None,
        gt=0.0,
        le=0.5,
        description="with a calibration, of the strangers who walk by, the share that may be given "
        "somebody's name; none: 0.01, or the lowest that is vouched for with so large a gallery",
    )
    metric: Literal["auto", "euclidean", "cosine"] = Field(
        "auto",
        description="distance of two vectors, a mean over their body parts; auto: the "
        "calibration's, euclidean without one",
    )
    nearest: int = Field(
        1,
        ge=1,
        le=100,
        description="a person's distance is the mean of this many nearest templates",
    )
    threshold: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="score 1/(1+distance) from which a person is known, whatever the calibration; "
        "none: by false_alarm_rate, without a calibration the network's own",
    )
    contrast: float = Field(
        0.85,
        gt=0.0,
        le=1.0,
        description="nearest person's distance over the second nearest's, above which nobody is "
        "named; 1: no such test; asked only where a threshold decides, not a calibration",
    )
    margin: float = Field(
        0.03,
        ge=0.0,
        le=0.5,
        description="score by which a held name may fall below the threshold, and by which "
        "another has to lead to replace it; with a calibration it is level_margin",
    )
    level_margin: float = Field(
        3.0,
        ge=1.0,
        le=1000.0,
        description="times that a held name's false-alarm level may exceed false_alarm_rate, and "
        "by which another's has to be lower to replace it",
    )
    min_windows: int = Field(
        2, ge=1, le=1000, description="windows of a track before it is known or unknown"
    )
    switch_windows: int = Field(
        3, ge=1, le=1000, description="consecutive windows for which another name has to lead"
    )
    memory_windows: int = Field(
        64, ge=1, le=100_000, description="windows of a track after which older ones fade"
    )
    sightings: bool = Field(
        False,
        description="keep the vectors of seen tracks in the gallery, so that one can be enrolled "
        "afterwards; they are biometric data of whoever passed by",
    )
    sightings_minutes: float | None = Field(
        60.0,
        gt=0.0,
        le=525_600.0,
        description="minutes after which sightings are deleted; none: never",
    )
    run_dir: Path | None = Field(
        None, description="folder of the run, noted with sightings to find their pictures"
    )
    run_id: str = Field("", max_length=256, description="name of the run, noted with sightings")

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.sightings and self.gallery is None:
            raise ValueError("sightings are kept in a gallery: set gallery, or sightings to false")
        if self.sightings and not self.run_id:
            raise ValueError("sightings are told apart by run: set run_id, or sightings to false")
        if self.create_gallery and self.gallery is None:
            raise ValueError("create_gallery needs a gallery")
        if self.metric == "cosine" and self.threshold is None and self.calibration is None:
            raise ValueError(
                "the networks' own thresholds are euclidean: set threshold for cosine, or give a "
                "calibration"
            )
        return self
