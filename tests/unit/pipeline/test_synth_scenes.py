"""Sets of scenes: their settings, what they leave, and what is not asked of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.manifest import manifest_of
from pipeline.cli.synthesis.places import places_of, remove_set
from pipeline.cli.synthesis.scene_set import (
    CocoWriter,
    SceneSet,
    VideoWriter,
    settings_of,
)
from stages.human.truth import load_truth

SMALL = {"people": 1, "seconds": 0.4, "fps": 5, "width": 160, "height": 96, "every_s": 0.2}


def config(kind: str, **more: object) -> SynthConfig:
    given: dict[str, object] = {"kind": kind, "identities": 2, "scene": SMALL}
    return SynthConfig.model_validate(given | more)


def test_golden_people_of_scenes_do_not_overlap() -> None:
    asked = config("video", identities=7, first=10, scene={"people": 3}, split="test", views=2)
    scenes = [settings_of(asked, number) for number in SceneSet(asked, None).parts]  # type: ignore[arg-type]
    assert [(one.first_person, one.people) for one in scenes] == [(10, 3), (13, 3), (16, 1)]
    assert all(one.split == "test" and one.cameras == 2 for one in scenes)
    assert len({one.seed for one in scenes}) == 3
    assert config("coco").views == 1, "one camera unless more are asked for"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"noise": "1"}, "noise: for kind silhouettes or packed, not video"),
        ({"views": 9}, "at most 8 cameras"),
        ({"scene": {"cameras": 2}}, "cameras is the set's views"),
        ({"scene": {"seed": 2}}, "seed is the set's seed"),
        ({"scene": {"place": "moon"}}, "scene.place"),
    ],
)
def test_exception_what_says_nothing(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        config("video", **given)
    with pytest.raises(ValidationError, match=r"scene\.\w+.*: for kind video or coco, not packed"):
        config("packed")


def test_property_backgrounds_are_known_by_their_content(tmp_path: Path) -> None:
    asked = config("coco", scene=SMALL | {"backgrounds": str(tmp_path)})
    picture = tmp_path / "wall.png"
    cv2.imwrite(str(picture), np.full((9, 9, 3), 100, np.uint8))
    before = manifest_of(asked, None)["config"]
    assert list(before["scene"]["backgrounds"]) == ["wall.png"] and "noise" not in before
    cv2.imwrite(str(picture), np.full((9, 9, 3), 101, np.uint8))
    assert manifest_of(asked, None)["config"] != before


def test_smoke_recordings_with_truth(tmp_path: Path) -> None:
    asked = config("video")
    places = places_of(tmp_path / "clips", "video")
    places.halves.mkdir(parents=True)
    product, write = SceneSet(asked, places), VideoWriter(asked, places)
    with product.collection("job") as collection:
        assert collection.missing() == [0, 1]
        told: list[int] = []
        write(1, told.append)
        assert told[-1] == product.frames == 2
        assert collection.missing() == [0]
        write(0, told.append)
        collection.finish()
    product.write_sides(None)
    truth = load_truth(places.out / "scene-00001" / "truth.npz")
    assert truth.names == ("Ada",) and len(truth.cameras[0].frames) == 2
    rows = list(csv.DictReader(places.side("people.csv").read_text("utf-8").splitlines()))
    assert [(row["scene"], row["name"], row["subject"]) for row in rows] == [
        ("scene-00000", "Ada", "train-00000"),
        ("scene-00001", "Ada", "train-00001"),
    ]
    sheet = cv2.imread(str(places.side("contact_sheet.png")))
    assert sheet is not None and np.ptp(sheet) > 100


def test_smoke_pictures_with_annotations(tmp_path: Path) -> None:
    asked = config("coco")
    places = places_of(tmp_path / "pictures", "coco")
    places.halves.mkdir(parents=True)
    product, write = SceneSet(asked, places), CocoWriter(asked, places)
    with product.collection("job") as collection:
        for number in collection.missing():
            write(number, lambda _: None)
            collection.collect(number)
        collection.finish()
        assert collection.missing() == []
    product.write_sides(None)
    content = json.loads((places.out / "annotations.json").read_text("utf-8"))
    pictures = sorted(path.name for path in (places.out / "images").iterdir())
    assert sorted(image["file_name"] for image in content["images"]) == pictures
    assert len(pictures) == 2 * product.frames
    (places.out / "images" / "mine.jpg").write_bytes(b"mine")
    (places.out / ".scene-00000.json").write_bytes(b"{}")
    remove_set(places)
    left = [path.name for path in places.out.rglob("*") if path.is_file()]
    assert left == ["mine.jpg"]
