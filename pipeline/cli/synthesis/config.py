"""What `synth` is asked for, checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from stages.human.scenes.settings import SceneSettings, check_room
from stages.human.walkers.gaits import Split
from stages.human.walkers.people import DAY_SPREAD
from stages.human.walkers.wardrobe import DRESSES

Kind = Literal["silhouettes", "packed", "video", "coco"]
SCENE_KINDS = ("video", "coco")

MAX_IDENTITIES = 1_000_000
MAX_SEED = 2**32 - 1
OCCLUDED = "oc"
# nm, bg, cl: clothes; oc: as nm, behind something; fr07: as nm, at 7 frames a second.
CONDITION = re.compile(rf"(?:{'|'.join(DRESSES)}|{OCCLUDED}|fr(?P<rate>\d\d))")
ALLOWED = f"{', '.join(DRESSES)}, {OCCLUDED} (partly hidden) or frNN (NN frames a second)"
MAX_WALKS = 99


def _range(value: Any) -> Any:
    """`25`, `7-30` and `[7, 30]` as a pair."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([^\s-]+)\s*-\s*([^\s-]+)\s*", value)
        ends = found.groups() if found else (value, value)
        try:
            value = tuple(map(float, ends))
        except ValueError:
            raise ValueError("expected one number, or LOW-HIGH") from None
    return (value, value) if isinstance(value, int | float) else value


def _number(value: Any) -> Any:
    """`128` of the command line as a number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _conditions(value: Any) -> Any:
    """`nm:2,bg:1` as a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition(":") for part in value.split(",") if part.strip()]
    names = [name.strip() for name, _, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("each condition may be named once")
    return {name.strip(): count.strip() or 1 for name, _, count in pairs}


Range = Annotated[tuple[float, float], BeforeValidator(_range)]
Conditions = Annotated[
    dict[str, Annotated[int, Field(ge=1, le=MAX_WALKS)]], BeforeValidator(_conditions)
]
# What each range may hold.
BOUNDS = {
    "frame_rates_hz": (1.0, 120.0),
    "elevations_deg": (0.0, 60.0),
    "distances_m": (2.2, 100.0),
    "heights_px": (24.0, 1000.0),
    "noise": (0.0, 2.0),
    "day_spread": (0.0, 5.0),
}


# What a scene's settings leave to the set's own keys.
SET_FOR_SCENES = {"cameras": "views", "split": "split", "seed": "seed", "first_person": "first"}
# What only silhouettes have.
SILHOUETTES_ONLY = (
    *("conditions", "frames", "frame_rates_hz", "elevations_deg", "azimuth_jitter_deg"),
    *("distances_m", "heights_px", "noise", "occluded", "outfits", "size", "theta", "form"),
    *("day_spread", "mocap"),
)
MAX_CAMERAS = 8


class SceneConfig(SceneSettings):
    """Each scene of a set of videos or pictures."""

    people: int = Field(4, ge=1, le=64, description="people in each scene")
    seconds: float = Field(20.0, gt=0, le=86_400, description="length of each scene, seconds")
    every_s: float = Field(1.0, gt=0, le=3600, description="coco: time between pictures, seconds")

    @model_validator(mode="after")
    def _left_to_the_set(self) -> SceneConfig:
        for name in self.model_fields_set & set(SET_FOR_SCENES):
            raise ValueError(f"{name} is the set's {SET_FOR_SCENES[name]}")
        return self


class SynthConfig(BaseModel):
    """A synthetic data set. Two that are equal give the same bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = Field("silhouettes", description="what to write")
    identities: int = Field(20, ge=1, le=MAX_IDENTITIES, description="how many people")
    first: int = Field(
        0, ge=0, le=MAX_IDENTITIES, description="number of the first person; sets do not overlap"
    )
    views: int = Field(
        8,
        ge=1,
        le=360,
        description="views of a walk, spread evenly over 360 degrees; of video and coco: cameras",
    )
    split: Split = Field("train", description="whose gaits; no gait of train is in test")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="of everything that is drawn")
    conditions: Conditions = Field(
        default={"nm": 2, "bg": 1, "cl": 1}, description=f"walks by condition: {ALLOWED}"
    )
    frames: int = Field(30, ge=1, le=10_000, description="frames a sequence")
    frame_rates_hz: Range = Field((25.0, 25.0), description="frames a second, drawn a sequence")
    elevations_deg: Range = Field((0.0, 30.0), description="camera above the horizon, degrees")
    azimuth_jitter_deg: float = Field(
        5.0, ge=0, le=180, description="a view's azimuth is off by up to this, degrees"
    )
    distances_m: Range = Field((3.5, 20.0), description="camera to walker, metres")
    heights_px: Range = Field((42.0, 130.0), description="a person's height in the picture, pixels")
    noise: Range = Field(
        (1.0, 1.0), description="errors of segmentation and landmarks: 0 none, 1 as measured"
    )
    occluded: float = Field(0.0, ge=0, le=1, description="share of sequences partly hidden")
    day_spread: Range = Field(
        (DAY_SPREAD, DAY_SPREAD),
        description="how far a walk strays from a person's usual one: 0 never, 1 as within a day",
    )
    outfits: Literal["sequence", "walk"] = Field(
        "sequence", description="clothes drawn anew for each sequence, or one outfit a walk"
    )
    size: Annotated[Literal[64, 128], BeforeValidator(_number)] = Field(
        64, description="height of a silhouette, pixels"
    )
    theta: bool = Field(True, description="SMPL rows beside the silhouettes")
    form: Literal["npy", "opengait"] = Field(
        "npy", description="of silhouettes: sils.npy, smpls.npy, keypoints.npy, or OpenGait's .pkl"
    )
    mocap: Path | None = Field(None, description="folder of BVH walks to take the gaits from")
    scene: SceneConfig = Field(SceneConfig(), description="each scene of video and coco")

    @model_validator(mode="before")
    @classmethod
    def _one_camera(cls, values: Any) -> Any:
        """A scene has one camera unless more are asked for."""
        if isinstance(values, dict) and values.get("kind") in SCENE_KINDS:
            return {"views": 1} | values
        return values

    @field_validator(*BOUNDS)
    @classmethod
    def _within(cls, value: tuple[float, float], info: Any) -> tuple[float, float]:
        low, high = BOUNDS[info.field_name]
        if not low <= value[0] <= value[1] <= high:
            raise ValueError(f"expected LOW-HIGH within {low:g}-{high:g}, or one number")
        return value

    @field_validator("conditions")
    @classmethod
    def _known(cls, value: dict[str, int]) -> dict[str, int]:
        if not value:
            raise ValueError(f"at least one condition, of {ALLOWED}")
        for name in value:
            found = CONDITION.fullmatch(name)
            if found is None or found["rate"] == "00":
                raise ValueError(f"no condition is called {name!r}: {ALLOWED}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> SynthConfig:
        if self.form == "opengait" and self.kind != "silhouettes":
            raise ValueError("form: opengait is for kind: silhouettes")
        if self.kind not in SCENE_KINDS:
            if "scene" in self.model_fields_set:
                given = ", ".join(f"scene.{name}" for name in sorted(self.scene.model_fields_set))
                raise ValueError(f"{given or 'scene'}: for kind video or coco, not {self.kind}")
            return self
        for name in SILHOUETTES_ONLY:
            if name in self.model_fields_set:
                raise ValueError(f"{name}: for kind silhouettes or packed, not {self.kind}")
        if self.views > MAX_CAMERAS:
            raise ValueError(f"views: a scene has at most {MAX_CAMERAS} cameras, got {self.views}")
        if self.scene.backgrounds is None:
            check_room(self.scene.place, self.views)
        return self

    @property
    def numbers(self) -> range:
        """The people's numbers."""
        return range(self.first, self.first + self.identities)

    def to_dict(self) -> dict[str, Any]:
        """Return as JSON-safe data what says something of this kind; it reads back."""
        if self.kind not in SCENE_KINDS:
            return self.model_dump(mode="json", exclude={"scene"})
        scene = self.scene.model_dump(mode="json", exclude={*SET_FOR_SCENES})
        return self.model_dump(mode="json", exclude={*SILHOUETTES_ONLY}) | {"scene": scene}
