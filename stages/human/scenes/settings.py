"""What a scene is asked to be, and the short form of it that an address takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import ConfigError

Place = Literal["hall", "corridor", "street", "lawn", "car_park", "yard"]
PLACES: tuple[Place, ...] = get_args(Place)
# Cameras, 90 degrees apart, that a place has room for.
MOST_CAMERAS: dict[str, int] = {
    "hall": 8,
    "corridor": 1,
    "street": 2,
    "lawn": 8,
    "car_park": 8,
    "yard": 2,
}
SCHEME = "synthetic"
_SIZE = re.compile(r"^(\d+)x(\d+)$")


class SceneSettings(BaseModel):
    """People walking in a place, in front of cameras."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    people: int = Field(4, ge=1, le=64, description="how many different people walk there")
    cameras: int = Field(
        1, ge=1, le=8, description="cameras that watch the same place, 90 degrees apart if two"
    )
    width: int = Field(960, ge=64, le=3840, multiple_of=2, description="width of a frame, pixels")
    height: int = Field(540, ge=64, le=2160, multiple_of=2, description="height of a frame, pixels")
    fps: float = Field(25.0, ge=1, le=120, description="frames a second")
    seconds: float = Field(60.0, gt=0, le=86_400, description="length, seconds")
    seed: int = Field(1, ge=0, le=2**31 - 1, description="the same seed gives the same frames")
    place: Place | Literal["any"] = Field(
        "any", description=f"{', '.join(PLACES)}, or any: one that fits the cameras, by the seed"
    )
    dress: Literal["nm", "bg", "cl", "any"] = Field(
        "any", description="normal clothes, with a bag, in a coat, or any of them"
    )
    split: Literal["train", "test"] = Field("test", description="whose gaits the people have")
    first_person: int | None = Field(
        None, ge=0, description="number of the first person; left out: new people for each seed"
    )
    tall: float = Field(
        0.36, ge=0.08, le=0.9, description="height of somebody in the middle, share of the frame's"
    )
    noise: float = Field(1.2, ge=0, le=20, description="sensor noise, 8-bit levels")
    blur: float = Field(
        0.0, ge=0, le=1, description="share of the time between frames that the shutter is open"
    )
    backgrounds: Path | None = Field(
        None, description="folder of pictures to stand in for the place, one a camera"
    )

    @model_validator(mode="after")
    def _has_room(self) -> SceneSettings:
        if self.backgrounds is None:
            check_room(self.place, self.cameras)
        return self


def check_room(place: str, cameras: int) -> None:
    """Check that a place, or any, has room for the cameras; ValueError if not."""
    if place != "any" and cameras > MOST_CAMERAS[place]:
        fitting = [name for name in PLACES if cameras <= MOST_CAMERAS[name]]
        raise ValueError(
            f"a place {place!r} has no room for {cameras} cameras; those that have: "
            f"{', '.join(fitting)}"
        )


def parse_settings(text: str) -> tuple[SceneSettings, int]:
    """Read `people=4,cameras=2,size=960x540,camera=0`; what is left out has its default.

    Returns:
        The settings, and which camera is meant (key `camera`, from 0).

    Raises:
        ConfigError: an unknown key, a value out of range, or a camera that is not there; says what
            is allowed.
    """
    given: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise ConfigError(f"{SCHEME}: expected key=value, got {part!r}", hint=_allowed())
        if key in given:
            raise ConfigError(f"{SCHEME}: {key} is given twice", hint=_allowed())
        given[key] = value
    if "size" in given:
        size = _SIZE.match(given.pop("size"))
        if size is None:
            raise ConfigError(f"{SCHEME}: expected size=WIDTHxHEIGHT", hint="size=960x540")
        given["width"], given["height"] = size.groups()
    camera = given.pop("camera", "0")
    try:
        settings = SceneSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        said = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{SCHEME}: {f'{key}: ' if key else ''}{said}", hint=_allowed()
        ) from error
    if not camera.isdecimal() or int(camera) >= settings.cameras:
        raise ConfigError(
            f"{SCHEME}: expected a camera from 0 to {settings.cameras - 1}, got {camera}",
            hint="cameras=N says how many there are",
        )
    return settings, int(camera)


def _allowed() -> str:
    keys = [name for name in SceneSettings.model_fields if name not in ("width", "height")]
    return f"keys: camera, size=WIDTHxHEIGHT, {', '.join(keys)}"
