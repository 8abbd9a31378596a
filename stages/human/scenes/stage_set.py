"""Places where people walk: a floor, four walls or a sky above them, things about, light.

World axes: metres, z up, floor at z = 0, the middle at the origin. Every place is a box seen from
inside; what is higher than its walls is sky or ceiling. Doors are dark openings through which
people come and go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.scenes.lighting import SceneLight
from stages.human.scenes.surfaces import Painter

Array = NDArray[np.float32]
SkyPainter = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Wall:
    """A wall across an axis.

    Attributes:
        axis: 0 for a wall at x = at_m, 1 for one at y = at_m.
        height_m: its top; people are not drawn behind it.
        painter: of the place along the wall and the height.
        doors_m: middles of the openings along the wall.
    """

    axis: int
    at_m: float
    height_m: float
    painter: Painter
    doors_m: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Prop:
    """A thing that stands about: vertices [V,3], faces [F,3], albedo [V,3]."""

    vertices: Array
    faces: NDArray[np.int32]
    albedo: Array


@dataclass(frozen=True)
class Obstacle:
    """Floor that nobody walks over: a disc, metres."""

    x_m: float
    y_m: float
    radius_m: float


@dataclass(frozen=True, eq=False)
class StageSet:
    """A place.

    Attributes:
        floor: painter of x and y.
        walls: four, in any order.
        ceiling_m: height, or None under the open sky.
        ceiling: painter of x and y; used if there is one.
        sky: colour of directions [...,3]; used above the walls.
        props: things; obstacles: where they keep walkers away.
        light: on all of it.
    """

    name: str
    floor: Painter
    walls: tuple[Wall, ...]
    ceiling_m: float | None
    ceiling: Painter | None
    sky: SkyPainter
    props: tuple[Prop, ...]
    light: SceneLight
    obstacles: tuple[Obstacle, ...] = ()

    @property
    def headroom_m(self) -> float:
        """How high a camera may hang."""
        return 10.0 if self.ceiling_m is None else self.ceiling_m - 0.35
