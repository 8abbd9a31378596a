"""Light indoors and out of doors, and the sky."""

from __future__ import annotations

import numpy as np

from stages.human.scenes.lighting import SceneLight
from stages.human.scenes.stage_set import SkyPainter
from stages.human.scenes.surfaces import Array, Noise


def indoor_light(rng: np.random.Generator) -> SceneLight:
    """Lamps in the ceiling: from above, soft, warm or cool."""
    warmth = float(rng.normal(0, 0.06))
    tint = np.array([1 + warmth, 1.0, 1 - warmth], np.float32)
    direction = np.array([*rng.normal(0, 0.35, 2), 1.0])
    strength = float(rng.uniform(0.35, 0.65))
    return SceneLight(
        direction / np.linalg.norm(direction),
        strength * tint,
        np.float32(rng.uniform(0.4, 0.55)) * tint,
        np.float32(rng.uniform(0.2, 0.32)) * tint,
        float(rng.uniform(0.08, 0.3)),
    )


def outdoor_light(rng: np.random.Generator) -> SceneLight:
    """Sun under a blue sky, or clouds."""
    azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(28, 62))
    direction = np.array(
        [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
    )
    if rng.random() < 0.5:
        lamp = np.array([1.0, 0.93, 0.82], np.float32) * np.float32(rng.uniform(0.7, 1.1))
        sky, soft = np.array([0.34, 0.39, 0.47], np.float32), float(rng.uniform(0.015, 0.05))
    else:
        lamp = np.full(3, rng.uniform(0.06, 0.25), np.float32)
        sky, soft = np.array([0.66, 0.69, 0.72], np.float32), 0.35
    return SceneLight(direction, lamp, sky, 0.42 * sky, soft)


def draw_sky(light: SceneLight, rng: np.random.Generator, trees: Array | None) -> SkyPainter:
    """Light of directions [n,3]: a gradient with clouds, and tree tops of a colour far away."""
    cloud, outline = Noise.draw(rng, 12.0), Noise.draw(rng, 5.0)
    overcast = float(light.lamp.mean()) < 0.4
    amount = float(rng.uniform(0.15, 0.7))

    def painter(rays: Array) -> Array:
        up: Array = np.clip(rays[:, 2], 0.0, 1.0)
        blue = np.array([0.34, 0.52, 0.82], np.float32)
        pale = np.array([0.78, 0.82, 0.86], np.float32)
        high = pale * 0.9 if overcast else blue
        out = pale + (high - pale) * np.sqrt(up)[:, None]
        flat: Array = rays[:, :2] / (up + np.float32(0.15))[:, None]
        field = cloud.at(flat[:, 0] * 40, flat[:, 1] * 40, 1.0)
        out = out + (0.95 - out) * (amount * np.clip(0.4 + 0.6 * field, 0, 1))[:, None]
        if trees is None:
            return np.asarray(out, np.float32)
        azimuth: Array = np.arctan2(rays[:, 1], rays[:, 0])
        top = 0.16 + 0.05 * outline.at(azimuth * 60, 0 * azimuth, 1.0)
        top = top + 0.012 * outline.at(azimuth * 700, 0 * azimuth, 1.0)
        leaf = 0.75 + 0.3 * outline.at(azimuth * 900, up * 1100, 1.0)
        is_tree = np.clip((top - up) / 0.004, 0, 1)[:, None]
        seen = trees * light.sky * np.clip(leaf, 0.2, 1.6)[:, None]
        return np.asarray(out + (seen - out) * is_tree, np.float32)

    return painter
