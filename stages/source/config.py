"""Settings of the source stage, and what kind of source an address means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.credentials import HIDDEN, without_credentials
from pipeline.errors import ConfigError, InputError
from stages.human.scenes.pictures import picture_paths
from stages.human.scenes.settings import parse_settings

Kind = Literal["video", "images", "camera", "network", "synthetic"]

_LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "udp", "srt")
_BACKGROUNDS = re.compile(r"(?<=:)backgrounds=[^,]*,?|,backgrounds=[^,]*")


class Config(BaseModel):
    """Where frames come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str = Field(
        "",
        description="a video file, a folder of images, a camera's number (0), an rtsp:// or "
        "http:// address, or synthetic:people=4,cameras=2,camera=0,size=960x540,fps=25,seconds=60,"
        "seed=1 (people who do not exist; each key may be left out)",
    )
    source_id: str = Field(
        "cam0", min_length=1, max_length=64, pattern=r"^[\w.-]+$", description="the source's name"
    )
    live: bool = Field(
        False, description="keep only the newest frame instead of every frame; cameras always do"
    )
    realtime: bool = Field(
        False, description="play a recording at its own speed, as if it were a camera"
    )
    loop: bool = Field(False, description="with realtime: start over at the end")
    rate_hz: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="with realtime: frames a second at which a recording plays; default: its own",
    )
    start_s: float = Field(0.0, ge=0, description="skip a recording's first seconds")
    end_s: float | None = Field(None, gt=0, description="stop a recording at this second")
    image_rate_hz: float = Field(
        25.0, gt=0, le=1000, description="frames a second of a folder of images"
    )
    timeout_s: float = Field(
        10.0,
        gt=0,
        le=600,
        description="time a camera or address has to answer, and may take for a frame, seconds",
    )
    reconnect_s: float | None = Field(
        None,
        ge=0,
        description="how long a lost camera or address is tried again, seconds; none: until it is "
        "back or the run is stopped",
    )

    @model_validator(mode="after")
    def _check_cut(self) -> Config:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end_s must be after start_s ({self.start_s:g}), got {self.end_s:g}")
        if self.loop and not self.realtime:
            raise ValueError("loop needs realtime: a replay ends where the recording ends")
        if self.rate_hz is not None and not self.realtime:
            raise ValueError("rate_hz needs realtime: a replay takes frames as fast as it can")
        return self

    @model_validator(mode="after")
    def _check_scene(self) -> Config:
        if is_synthetic(self.uri):
            try:
                settings, _ = parse_settings(self.uri.partition(":")[2])
                if settings.backgrounds is not None:
                    picture_paths(settings.backgrounds)
            except (ConfigError, InputError) as error:
                raise ValueError(f"{error.message} ({error.hint})") from error
        return self


SYNTHETIC = "synthetic"


def is_synthetic(uri: str) -> bool:
    """Whether an address asks for a rendered scene."""
    return uri.partition(":")[0] == SYNTHETIC


def is_camera(uri: str) -> bool:
    """Whether an address is a camera's number."""
    return uri.isdecimal()


def is_network(uri: str) -> bool:
    """Whether an address is one on a network."""
    return "://" in uri and not uri.startswith("file://") and not is_synthetic(uri)


def is_always_live(uri: str) -> bool:
    """Whether an address can only be watched as it happens."""
    return is_camera(uri) or uri.partition("://")[0].lower() in _LIVE_SCHEMES


def public_label(uri: str) -> str:
    """Return an address fit for pictures and events: a file's name without its folders, a network
    address without user, password and query, a scene without the folder of its backgrounds.
    """
    if is_synthetic(uri):
        return _BACKGROUNDS.sub("", uri)
    if is_network(uri):
        return without_credentials(uri).replace(f"{HIDDEN}@", "").partition("?")[0]
    return uri if is_camera(uri) else Path(uri).name
