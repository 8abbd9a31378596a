"""How heavy people are: drawn as a population is, not as a modeller's sliders are set.

The bodies behind the shape numbers differ in height and proportion as people do, but hardly in
weight: a body mass index of 20 with a spread of 1.6, where people have about 25 with 4.5. So a body
mass index is drawn first, and the drawn body is brought to it in the most likely way that leaves
its height alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.human.walkers.bodies import Group, Mesh, draw_shape, group_of_shapes, load_mesh

Floats = NDArray[np.float64]

DENSITY_KG_M3 = 1000.0
# Median and spread of the logarithm of the body mass index, kg/m2: adults as health surveys of
# Europe and North America find them, children of about 10 to 15 years by the usual growth charts.
MASS_INDEX: dict[Group, tuple[float, float]] = {
    "woman": (24.8, 0.18),
    "man": (25.8, 0.16),
    "girl": (18.8, 0.17),
    "boy": (18.8, 0.17),
}
# Beyond these the shape directions, which are straight lines, no longer make a body.
LEAST, MOST = 15.0, 36.0
STEPS = 3
DIFFERENCE = 0.01  # of a shape number, to see what it does


@dataclass(frozen=True)
class Build:
    """height_m without shoes and hair; mass_index in kg/m2, of a body as dense as water."""

    height_m: float
    mass_index: float


def third_of(group: Group, mass_index: float) -> str:
    """slim, medium or heavy: thirds of a group, so that it says nothing about sex or age."""
    median, spread = MASS_INDEX[group]
    away = float(np.log(mass_index / median)) / spread
    cut = NormalDist().inv_cdf(2 / 3)
    return "slim" if away < -cut else "heavy" if away > cut else "medium"


def build_of_shape(shape: Floats) -> Build:
    """The build of shape [10]."""
    return _measure(load_mesh(), shape)


def draw_body(group: Group, rng: np.random.Generator) -> Floats:
    """Shape numbers [10] of somebody of a group, as heavy as people of it are."""
    shape = draw_shape(group, rng)
    median, spread = MASS_INDEX[group]
    wanted = float(np.clip(median * np.exp(spread * rng.standard_normal()), LEAST, MOST))
    heavier = _heavier(group)
    for _ in range(STEPS):
        shape = shape + (wanted - build_of_shape(shape).mass_index) * heavier
    return shape


def volume_m3(vertices: Floats, faces: NDArray[Any]) -> float:
    """The volume inside a surface, vertices [V,3] metres, faces [F,3] outwards.

    Small holes (mouth, eyes) change little: each face counts with the tetrahedron it spans with
    the middle of the body.
    """
    a, b, c = (vertices[faces[:, corner]] - vertices.mean(axis=0) for corner in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6.0)


def _measure(mesh: Mesh, shape: Floats) -> Build:
    vertices = mesh.shaped(shape).astype(np.float64)
    height = float(np.ptp(vertices[:, 1]))
    return Build(height, volume_m3(vertices, mesh.faces) * DENSITY_KG_M3 / height**2)


@cache
def _heavier(group: Group) -> Floats:
    """The most likely change of shape [10] that adds 1 kg/m2 and nothing to the height."""
    mean, root = group_of_shapes(group)
    covariance = root @ root.T

    def numbers(shape: Floats) -> NDArray[Any]:
        build = build_of_shape(shape)
        return np.array([build.mass_index, build.height_m])

    moved = [numbers(mean + DIFFERENCE * axis) for axis in np.eye(len(mean))]
    mass, height = ((np.stack(moved) - numbers(mean)) / DIFFERENCE).T
    along, up = covariance @ mass, covariance @ height
    change = along - up * (height @ along) / (height @ up)
    return np.asarray(change / (mass @ change))
