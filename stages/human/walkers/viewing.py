"""From where a walk is seen: a camera at an azimuth, an elevation and a distance.

World axes: metres, z up, floor at z = 0. A walker's own axes are SMPL's (y up, facing +z); without
a turn they walk towards -y of the world. Azimuth 0 sees somebody come, 90 degrees shows their left
side, 180 their back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.rasteriser import Camera, look_at

BODY_TO_WORLD = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
LOOKS_AT_M = 0.9  # height of what the camera aims at
IMAGE_WH = (4096, 4096)  # nothing is cut off by the border


@dataclass(frozen=True)
class View:
    """azimuth_deg 0..360; elevation_deg above the floor's plane; distance_m; height_px of a person.

    `height_px` is how tall somebody of 1.7 m appears in the picture, which sets the focal length.
    """

    azimuth_deg: float
    elevation_deg: float
    distance_m: float
    height_px: float

    def camera(self) -> Camera:
        """The camera that sees the floor's origin this way."""
        azimuth, elevation = np.radians(self.azimuth_deg), np.radians(self.elevation_deg)
        target = np.array([0.0, 0.0, LOOKS_AT_M])
        flat = self.distance_m * np.cos(elevation)
        above = self.distance_m * np.sin(elevation)
        # The person's left is +x, their front -y.
        place = target + np.array([flat * np.sin(azimuth), -flat * np.cos(azimuth), above])
        focal_px = self.height_px * self.distance_m / (1.7 * max(0.2, np.cos(elevation)))
        return look_at(place, target, focal_px, IMAGE_WH)


def to_world(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Points [...,3] of a walker's axes in the world's."""
    return np.asarray(points @ BODY_TO_WORLD.T)


def draw_view(
    azimuth_deg: float,
    rng: np.random.Generator,
    elevations_deg: tuple[float, float] = (0.0, 30.0),
    distances_m: tuple[float, float] = (3.5, 20.0),
    heights_px: tuple[float, float] = (42.0, 130.0),
) -> View:
    """A view near an azimuth: elevation mostly low, distance and size evenly in their logarithm."""
    low, high = elevations_deg
    return View(
        float(azimuth_deg % 360),
        float(low + (high - low) * rng.beta(1.1, 1.6)),
        float(np.exp(rng.uniform(*np.log(distances_m)))),
        float(np.exp(rng.uniform(*np.log(heights_px)))),
    )
