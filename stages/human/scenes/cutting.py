"""Cuts a body's surface along hems and hairlines, so that colours end in clean lines.

Letters: V vertices, F faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.walkers.bodies import INFLUENCES

Floats = NDArray[np.float32]
JOINTS = 24


@dataclass(frozen=True, eq=False)
class Skin:
    """A surface that moves with joints.

    Attributes:
        rest, clothed: float32 [V,3], at rest without and with cloth on.
        joints: int32 [V,4] that move a vertex, by weights float32 [V,4].
        faces: int32 [F,3].
    """

    rest: Floats
    clothed: Floats
    joints: NDArray[np.int32]
    weights: Floats
    faces: NDArray[np.int32]

    @property
    def owner(self) -> NDArray[np.int32]:
        """The joint with the largest say [V]."""
        return np.asarray(
            np.take_along_axis(self.joints, self.weights.argmax(axis=1)[:, None], axis=1)[:, 0]
        )


def cut(skin: Skin, value: Floats) -> Skin:
    """Split every face across which `value` [V] changes its sign; old vertices keep their numbers.

    The line goes where a linear `value` is zero.
    """
    faces = skin.faces
    above = value > 0
    side = above[faces]
    mixed = side.any(axis=1) & ~side.all(axis=1)
    if not mixed.any():
        return skin
    crossing = faces[mixed]
    # The corner that is alone on its side comes first.
    lone = np.where(side[mixed].sum(axis=1) == 1, side[mixed].argmax(1), (~side[mixed]).argmax(1))
    corners = np.take_along_axis(crossing, (lone[:, None] + np.arange(3)) % 3, axis=1)
    a, b, c = corners.T
    edges = np.sort(np.concatenate([np.stack([a, b], 1), np.stack([a, c], 1)]), axis=1)
    unique, number = np.unique(edges, axis=0, return_inverse=True)
    number = number.reshape(-1) + len(value)
    ab, ac = number[: len(a)], number[len(a) :]
    new = np.concatenate(
        [np.stack([a, ab, ac], 1), np.stack([ab, b, c], 1), np.stack([ab, c, ac], 1)]
    )
    first, last = unique.T
    share = (value[first] / (value[first] - value[last])).astype(np.float32)[:, None]
    joints, weights = _blended(skin, first, last, share)
    return Skin(
        np.concatenate([skin.rest, _between(skin.rest, first, last, share)]),
        np.concatenate([skin.clothed, _between(skin.clothed, first, last, share)]),
        np.concatenate([skin.joints, joints]),
        np.concatenate([skin.weights, weights]),
        np.concatenate([faces[~mixed], new]).astype(np.int32),
    )


def _between(
    values: Floats, first: NDArray[np.int64], last: NDArray[np.int64], share: Floats
) -> Floats:
    return np.asarray(values[first] * (1 - share) + values[last] * share, np.float32)


def _blended(
    skin: Skin, first: NDArray[np.int64], last: NDArray[np.int64], share: Floats
) -> tuple[NDArray[np.int32], Floats]:
    """Joints and weights [n,4] of points between vertices."""
    dense = np.zeros((len(first), JOINTS), np.float32)
    rows = np.arange(len(first))[:, None]
    np.add.at(dense, (rows, skin.joints[first]), skin.weights[first] * (1 - share))
    np.add.at(dense, (rows, skin.joints[last]), skin.weights[last] * share)
    joints = np.argsort(-dense, axis=1, kind="stable")[:, :INFLUENCES].astype(np.int32)
    weights = np.take_along_axis(dense, joints, axis=1)
    return joints, np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
