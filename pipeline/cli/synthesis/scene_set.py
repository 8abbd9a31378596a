"""Sets of scenes in colour, as recordings or annotated pictures: a part is a scene."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.cli.synthesis.collecting import Collection
from pipeline.cli.synthesis.config import SET_FOR_SCENES, SceneConfig, SynthConfig
from pipeline.cli.synthesis.crew import Worker
from pipeline.cli.synthesis.places import Places
from pipeline.cli.synthesis.plan import SCENE_STREAM
from pipeline.cli.synthesis.scene_sheet import coco_sheet, video_sheet
from stages.embed.runtimes.atomic_write import write_atomically
from stages.human.scenes.coco import ANNOTATIONS, join_coco, write_coco
from stages.human.scenes.drawing import draw_scene, name_of
from stages.human.scenes.settings import SceneSettings
from stages.human.scenes.video import TRUTH, write_scene
from stages.human.walkers.gaits import SPLITS
from stages.human.walkers.people import person

COLUMNS = ("scene", "name", "subject", "group", "height_m", "split")
# Measured on 960x540: H.264 with sensor noise, JPEG of quality 92, and their truth. With room.
VIDEO_BYTES_A_PIXEL, PICTURE_BYTES_A_PIXEL = 0.05, 0.4


def scene_name(number: int) -> str:
    """Return a scene's name."""
    return f"scene-{number:05d}"


def settings_of(config: SynthConfig, number: int) -> SceneSettings:
    """Return the settings of one scene; its people are nobody else's of the set."""
    asked = config.scene.model_dump(exclude={"every_s", *SET_FOR_SCENES})
    stream = (config.seed, SCENE_STREAM, SPLITS.index(config.split), number)
    drawn = np.random.default_rng(stream).integers(2**31)
    first = number * config.scene.people
    return SceneSettings(
        **asked
        | {
            "people": min(config.scene.people, config.identities - first),
            "cameras": config.views,
            "split": config.split,
            "seed": int(drawn),
            "first_person": config.first + first,
        }
    )


class VideoWriter:
    """Makes scenes into folders of recordings: a `crew.Worker`."""

    def __init__(self, config: SynthConfig, places: Places) -> None:
        self._config = config
        self._places = places

    def __call__(self, number: int, tell: Callable[[int], None]) -> None:
        name = scene_name(number)
        # Not among the halves: a scene goes on with the camera that it was at.
        half = self._places.parts / name
        scene = draw_scene(settings_of(self._config, number))
        write_scene(scene, half, lambda done, _: tell(done))
        half.rename(self._places.out / name)


class CocoWriter:
    """Makes scenes into pictures and annotations: a `crew.Worker`."""

    def __init__(self, config: SynthConfig, places: Places) -> None:
        self._config = config
        self._places = places

    def __call__(self, number: int, tell: Callable[[int], None]) -> None:
        scene = draw_scene(settings_of(self._config, number))
        every_s = self._config.scene.every_s
        write_coco(scene, self._places.out, scene_name(number), every_s, lambda done, _: tell(done))


class VideoCollection:
    """Scenes as folders: whichever is there is whole."""

    def __init__(self, parts: range, places: Places) -> None:
        self._parts = parts
        self._places = places

    def __enter__(self) -> VideoCollection:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def missing(self) -> Sequence[int]:
        out = self._places.out
        return [n for n in self._parts if not (out / scene_name(n) / TRUTH).exists()]

    def collect(self, number: int) -> None:
        pass

    def finish(self) -> None:
        pass


class CocoCollection(VideoCollection):
    """Scenes as annotations, which are joined in the end."""

    def missing(self) -> Sequence[int]:
        if (self._places.out / ANNOTATIONS).exists():
            return []
        return [number for number in self._parts if not self._part(number).exists()]

    def finish(self) -> None:
        if not (self._places.out / ANNOTATIONS).exists():
            join_coco(self._places.out, [self._part(number) for number in self._parts])

    def _part(self, number: int) -> Path:
        return self._places.out / f".{scene_name(number)}.json"


@dataclass(frozen=True, slots=True)
class SceneSet:
    """A `Product`: recordings with truth, or pictures with annotations."""

    config: SynthConfig
    places: Places

    @property
    def _scene(self) -> SceneConfig:
        return self.config.scene

    @property
    def parts(self) -> range:
        return range(-(-self.config.identities // self._scene.people))

    @property
    def frames(self) -> int:
        frames = max(1, round(self._scene.seconds * self._scene.fps))
        if self.config.kind == "coco":
            frames = -(-frames // max(1, round(self._scene.every_s * self._scene.fps)))
        return frames * self.config.views

    def name_of(self, number: int) -> str:
        return scene_name(number)

    def needed_bytes(self, parts: int) -> int:
        is_video = self.config.kind == "video"
        pixels = self._scene.width * self._scene.height * self.frames * parts
        return round(pixels * (VIDEO_BYTES_A_PIXEL if is_video else PICTURE_BYTES_A_PIXEL))

    def collection(self, source: str) -> Collection:
        kind = VideoCollection if self.config.kind == "video" else CocoCollection
        return kind(self.parts, self.places)

    def worker(self, gaits: Path | None) -> tuple[Callable[..., Worker], Sequence[Any]]:
        assert gaits is None, "scenes have the shipped gaits: the configuration saw to it"
        engage = VideoWriter if self.config.kind == "video" else CocoWriter
        return engage, (self.config, self.places)

    def write_sides(self, gaits: Path | None) -> None:
        """Write who is in it, and a picture of some of it."""
        write_atomically(self.places.side("people.csv"), self._people().encode())
        if self.config.kind == "video":
            names = [scene_name(number) for number in self.parts]
            sheet = video_sheet(self.places.out, names)
        else:
            sheet = coco_sheet(self.places.out)
        written, data = cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        assert written, "a picture in memory encodes"
        write_atomically(self.places.side("contact_sheet.png"), data.tobytes())

    def _people(self) -> str:
        """Return `people.csv`: who bears a name of the truth in a scene."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for number in self.parts:
            settings = settings_of(self.config, number)
            assert settings.first_person is not None
            for place in range(settings.people):
                who = person(self.config.split, settings.first_person + place)
                subject = f"{self.config.split}-{who.number:05d}"
                facts = (subject, who.group, f"{who.height_m:.3f}", self.config.split)
                table.writerow((scene_name(number), name_of(place), *facts))
        return text.getvalue()
