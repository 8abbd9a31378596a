"""Scenes small enough for tests, each drawn once."""

from __future__ import annotations

from functools import cache
from typing import Any

from stages.human.scenes.drawing import draw_scene
from stages.human.scenes.scene import Scene
from stages.human.scenes.settings import SceneSettings

SMALL: dict[str, Any] = {"width": 192, "height": 108, "seconds": 2.0, "fps": 10.0, "tall": 0.4}


def small_settings(**more: Any) -> SceneSettings:
    return SceneSettings(**(SMALL | {"people": 2, "place": "yard", "seed": 3} | more))


@cache
def two_cameras() -> Scene:
    """Two people, two cameras, 20 frames."""
    return draw_scene(small_settings(cameras=2))
