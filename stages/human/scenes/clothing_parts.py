"""Where clothes, shoes, hair and hats end on a body: one signed measure for each edge.

A measure is positive on what is covered and about as long as metres; where it is zero the surface
is cut. SMPL's rest pose (T, y up, facing +z), metres. Letters: n points on the surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.scenes.clothing_colours import Look
from stages.human.walkers.bodies import load_mesh

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

HEAD, NECK = 15, 12
HEAD_JOINTS = (NECK, HEAD)
HAND_JOINTS = (20, 21, 22, 23)
ARM_JOINTS = (16, 17, 18, 19)
LIMB_JOINTS = (*ARM_JOINTS, *HAND_JOINTS)
LOGO_HALF_M = (0.09, 0.065)
AWAY = np.float32(-1.0)  # a measure where the edge has no business


@dataclass(frozen=True, eq=False)
class Measures:
    """How far points lie inside what covers them [n] each: positive inside."""

    upper: Floats
    lower: Floats
    shoes: Floats
    hair: Floats
    hat: Floats
    logo: Floats

    @property
    def edges(self) -> tuple[Floats, ...]:
        """All of them."""
        return (self.upper, self.lower, self.shoes, self.hair, self.hat, self.logo)


@dataclass(frozen=True, eq=False)
class HeadBox:
    """The head's extent [3] and [3], metres; z runs from the back of the head to the nose."""

    low: Floats
    high: Floats

    @classmethod
    def of(cls, rest: Floats) -> HeadBox:
        """The head of a body at rest: the full mesh's vertices first."""
        mesh = load_mesh("full")
        skull = rest[: len(mesh.template)][mesh.owner == HEAD]
        return cls(skull.min(axis=0), skull.max(axis=0))

    def share(self, points: Floats) -> tuple[Floats, Floats]:
        """Height above the chin and depth behind the nose [n], both 0..1 on the head."""
        size = self.high - self.low
        up = (points[:, 1] - self.low[1]) / size[1]
        return np.asarray(up), np.asarray((self.high[2] - points[:, 2]) / size[2])


def measures(
    points: Floats,
    owner: NDArray[np.integer],
    joints: NDArray[np.float64],
    head: HeadBox,
    look: Look,
) -> Measures:
    """How far points [n,3] that belong to joints `owner` [n] lie inside what covers them.

    Args:
        joints: [24,3] of the body at rest.
    """
    x, y = np.abs(points[:, 0]), points[:, 1]
    is_head, is_limb = np.isin(owner, HEAD_JOINTS), np.isin(owner, LIMB_JOINTS)
    neck = (joints[NECK, 1] + look.collar_m) - y
    sleeve_ends = np.interp(look.sleeve, [0, 1, 2], np.abs(joints[[16, 18, 20], 0]))
    hem = y - (joints[1, 1] + look.hem_m)
    upper = np.minimum(np.where(is_head, neck, 1.0), np.where(is_limb, sleeve_ends - x, hem))
    leg_ends = np.interp(look.leg, [0, 1, 2], joints[[1, 4, 7], 1])
    shoes = joints[7, 1] + look.shoe_m - y
    lower = np.where(is_limb | is_head, AWAY, np.minimum(y - leg_ends, -hem))
    hair, hat = _on_the_head(points, is_head, head, look)
    logo = np.full(len(points), AWAY)
    if look.logo is not None:
        half_x, half_y = LOGO_HALF_M
        chest = 0.45 * joints[6, 1] + 0.55 * joints[9, 1] + 0.06
        inside = np.minimum(half_x - x, half_y - np.abs(y - chest))
        logo = np.where(is_limb | is_head, AWAY, inside)
    return Measures(*(np.asarray(m, np.float32) for m in (upper, lower, shoes, hair, hat, logo)))


def _on_the_head(
    points: Floats, is_head: Flags, head: HeadBox, look: Look
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    up, deep = head.share(points)
    back = np.minimum(deep - 0.58, up - 0.3)
    sides = np.minimum(deep - 0.46, up - 0.52)
    hair = np.maximum(np.maximum(up - (0.97 - 0.3 * deep), back), sides)
    hat = np.full(len(points), AWAY, np.float64)
    if look.hat_kind in ("cap", "beanie", "brim"):
        low = {"cap": 0.74, "beanie": 0.68, "brim": 0.76}[look.hat_kind]
        hat = up - low + 0.12 * deep
    elif look.hat_kind == "hood":
        hat = np.maximum(up - 0.9, np.minimum(deep - 0.3, up + 0.2))
    tall = float(head.high[1] - head.low[1])
    return np.where(is_head, hair * tall, AWAY), np.where(is_head, hat * tall, AWAY)
