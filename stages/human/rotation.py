"""Rotations in numpy: axis-angle, matrix, unit quaternion. All functions take any leading shape.

Axis-angle [...,3] in radians. Matrices [...,3,3] act on columns: `posed = matrix @ point`.
Quaternions [...,4] in the order (w, x, y, z); q and -q are the same rotation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

# Below this a vector has no direction.
TINY_LENGTH = 1e-9

_NEXT, _AFTER = np.array([1, 2, 0]), np.array([2, 0, 1])
_IDENTITY = np.eye(3)


def cross(a: Floats, b: Floats) -> Floats:
    """Cross product of [...,3] and [...,3]; a fifth of np.cross's time on single vectors."""
    return a[..., _NEXT] * b[..., _AFTER] - a[..., _AFTER] * b[..., _NEXT]


def dot(a: Floats, b: Floats) -> Floats:
    """Inner product [...] of [...,3] and [...,3]."""
    return np.einsum("...i,...i->...", a, b)


def unit(vectors: Floats) -> Floats:
    """[...,3] scaled to length one; a vector without direction becomes zero."""
    length = np.sqrt(dot(vectors, vectors))[..., None]
    # A rounding residue must not become a direction, so divide small ones by one.
    return np.where(length > TINY_LENGTH, vectors, 0.0) / np.maximum(length, TINY_LENGTH)


def axis_angle_to_quaternion(axis_angle: Floats) -> Floats:
    """[...,3] radians to unit quaternions [...,4]."""
    half = 0.5 * np.sqrt(dot(axis_angle, axis_angle))[..., None]
    # np.sinc(x) is sin(pi x)/(pi x), one at zero: no division by the angle.
    return np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * axis_angle], axis=-1)


def quaternion_to_axis_angle(quaternion: Floats) -> Floats:
    """[...,4] to [...,3] radians, of length 0 to 2 pi.

    q and -q give two different vectors of the same rotation. Feed quaternions of continuous sign
    and the vectors are continuous too, also where the angle passes pi.
    """
    w, vector = quaternion[..., 0], quaternion[..., 1:]
    sine = np.sqrt(dot(vector, vector))
    angle = 2.0 * np.arctan2(sine, w)
    # Near the identity angle/sine tends to 2 (to -2 for the negative sign, where 2 pi is 0).
    near = np.where(w < 0.0, -2.0, 2.0)
    factor = np.where(sine > 1e-8, angle / np.maximum(sine, 1e-8), near)
    return vector * factor[..., None]


def quaternion_to_matrix(quaternion: Floats) -> Floats:
    """Unit quaternions [...,4] to matrices [...,3,3]."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    matrix = np.empty((*quaternion.shape[:-1], 3, 3))
    matrix[..., 0, 0] = 1 - 2 * (y * y + z * z)
    matrix[..., 0, 1] = 2 * (x * y - w * z)
    matrix[..., 0, 2] = 2 * (x * z + w * y)
    matrix[..., 1, 0] = 2 * (x * y + w * z)
    matrix[..., 1, 1] = 1 - 2 * (x * x + z * z)
    matrix[..., 1, 2] = 2 * (y * z - w * x)
    matrix[..., 2, 0] = 2 * (x * z - w * y)
    matrix[..., 2, 1] = 2 * (y * z + w * x)
    matrix[..., 2, 2] = 1 - 2 * (x * x + y * y)
    return matrix


def matrix_to_quaternion(matrix: Floats) -> Floats:
    """Rotation matrices [...,3,3] to unit quaternions [...,4] with w >= 0; safe at every angle.

    Four times the outer product q q' is linear in the matrix; its row with the largest diagonal
    entry is q up to scale and never near zero.
    """
    flat = matrix.reshape(*matrix.shape[:-2], 9)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = np.moveaxis(flat, -1, 0)
    outer = np.empty((*matrix.shape[:-2], 4, 4))
    outer[..., 0, 0] = 1 + m00 + m11 + m22
    outer[..., 1, 1] = 1 + m00 - m11 - m22
    outer[..., 2, 2] = 1 - m00 + m11 - m22
    outer[..., 3, 3] = 1 - m00 - m11 + m22
    outer[..., 0, 1] = outer[..., 1, 0] = m21 - m12
    outer[..., 0, 2] = outer[..., 2, 0] = m02 - m20
    outer[..., 0, 3] = outer[..., 3, 0] = m10 - m01
    outer[..., 1, 2] = outer[..., 2, 1] = m01 + m10
    outer[..., 1, 3] = outer[..., 3, 1] = m02 + m20
    outer[..., 2, 3] = outer[..., 3, 2] = m12 + m21
    best = np.argmax(np.einsum("...ii->...i", outer), axis=-1)[..., None, None]
    row = np.take_along_axis(outer, best, axis=-2)[..., 0, :]
    row = row / np.sqrt(np.einsum("...i,...i->...", row, row))[..., None]
    return np.where(row[..., :1] < 0.0, -row, row)


def axis_angle_to_matrix(axis_angle: Floats) -> Floats:
    """Rodrigues' formula, [...,3] radians to [...,3,3]."""
    return quaternion_to_matrix(axis_angle_to_quaternion(axis_angle))


def matrix_to_axis_angle(matrix: Floats) -> Floats:
    """[...,3,3] to [...,3] radians, of length 0 to pi."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def nearest_sign(quaternion: Floats, reference: Floats) -> Floats:
    """Whichever of q and -q lies nearer to `reference`; both [...,4]."""
    agreement = np.einsum("...i,...i->...", quaternion, reference)
    return np.where(agreement[..., None] < 0.0, -quaternion, quaternion)


def minimal_rotation(source: Floats, target: Floats) -> Floats:
    """Smallest rotations [...,3,3] that turn unit `source` [...,3] into unit `target` [...,3].

    The product of two reflections, which stays exact up to the opposite direction (there the
    half turn's axis is any one at right angles to `source`). A zero `target` gives the identity.
    """
    middle = source + target
    length = np.sqrt(dot(middle, middle))[..., None]
    is_opposite = length < 1e-6
    if is_opposite.any():
        smallest = np.argmin(np.abs(source), axis=-1)
        sideways = unit(cross(source, _IDENTITY[smallest]))
        middle = np.where(is_opposite, sideways, middle / np.maximum(length, 1e-6))
    else:
        middle = middle / length
    # (I - 2mm') (I - 2ss') multiplied out, m the middle and s the source.
    right = 4.0 * dot(middle, source)[..., None] * middle - 2.0 * source
    return (
        _IDENTITY
        - (2.0 * middle)[..., :, None] * middle[..., None, :]
        + right[..., :, None] * source[..., None, :]
    )


def rotation_about(axis: Floats, angle_rad: Floats) -> Floats:
    """Rotations [...,3,3] about unit `axis` [...,3] by `angle_rad` [...]."""
    return axis_angle_to_matrix(axis * angle_rad[..., None])


def align_point_sets(source: Floats, target: Floats) -> Floats:
    """Rotations [...,3,3] that best turn points [...,m,3] about the origin onto others.

    Kabsch, "A solution for the best rotation to relate two sets of vectors", 1976; a reflection
    is never returned.
    """
    covariance = np.swapaxes(source, -1, -2) @ target
    left, _, right = np.linalg.svd(covariance)
    right = right.copy()
    right[..., 2, :] *= np.sign(np.linalg.det(left @ right))[..., None]
    return np.swapaxes(left @ right, -1, -2)
