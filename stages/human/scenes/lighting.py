"""Light on a scene: one lamp or sun over a soft sky, in colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SceneLight:
    """direction: float64 [3] unit, towards the lamp; lamp, sky, floor: float32 [3] linear light
    from the lamp, from above and from below; softness_m: how far a shadow's edge is smeared.
    """

    direction: NDArray[np.float64]
    lamp: NDArray[np.float32]
    sky: NDArray[np.float32]
    floor: NDArray[np.float32]
    softness_m: float

    def falling_on(self, normals: NDArray[np.floating]) -> NDArray[np.float32]:
        """Light [...,3] that falls on surfaces of unit normals [...,3]."""
        normals = normals.astype(np.float32)
        facing = np.clip(normals @ self.direction.astype(np.float32), 0, None)[..., None]
        up = (0.5 + 0.5 * normals[..., 2])[..., None]
        return np.asarray(self.lamp * facing + self.floor + (self.sky - self.floor) * up)

    @property
    def shadow_depth(self) -> float:
        """Share of the floor's light that is missing in the lamp's shadow."""
        lamp = float(self.lamp.mean()) * float(self.direction[2])
        return lamp / (lamp + float(self.sky.mean()))

    def thrown(self, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vertices [V,3] along the light onto z = 0."""
        out = vertices.copy()
        out[:, :2] -= out[:, 2:] * (self.direction[:2] / self.direction[2]).astype(np.float32)
        out[:, 2] = 0
        return out
