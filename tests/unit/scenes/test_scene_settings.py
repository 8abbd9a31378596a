"""The short form of a scene's settings: what it takes, and clear words for what it does not."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from stages.human.scenes.settings import SceneSettings, parse_settings


def test_golden_defaults():
    assert parse_settings("") == (SceneSettings(), 0)


def test_golden_all_keys():
    settings, camera = parse_settings(
        "people=6,cameras=2,camera=1,size=640x360,fps=12.5,seconds=3,seed=9,place=lawn,dress=cl"
    )
    assert camera == 1
    assert settings == SceneSettings(
        people=6, cameras=2, width=640, height=360, fps=12.5, seconds=3, seed=9, place="lawn",
        dress="cl",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("peple=3", "peple: Extra inputs are not permitted"),
        ("people", "expected key=value, got 'people'"),
        ("people=", "expected key=value"),
        ("people=0", "people: Input should be greater than or equal to 1"),
        ("people=many", "people: Input should be a valid integer"),
        ("people=2,people=3", "people is given twice"),
        ("size=640", "expected size=WIDTHxHEIGHT"),
        ("size=641x360", "width: Input should be a multiple of 2"),
        ("size=20x20", "greater than or equal to 64"),
        ("place=moon", "place: Input should be"),
        ("cameras=2,camera=2", "expected a camera from 0 to 1, got 2"),
        ("camera=x", "expected a camera from 0 to 0, got x"),
        ("seconds=0", "seconds: Input should be greater than 0"),
    ],
)
def test_exception_says_what_is_allowed(text, says):
    with pytest.raises(ConfigError) as error:
        parse_settings(text)
    assert says in str(error.value)
