"""Edge-collapse decimation that keeps a subset of the vertices (Garland and Heckbert, 1997).

Each collapse moves one vertex onto a neighbour, so the kept vertices are vertices of the input:
skinning weights and shape directions carry over by indexing, with no interpolation.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

# A triangle whose normal would turn by more than this is a fold: cos 78 degrees.
MIN_NORMAL_COSINE = 0.2


def vertex_quadrics(vertices: NDArray, faces: NDArray) -> NDArray:
    """Sum of squared plane distances of the adjacent triangles, area weighted.

    Args:
        vertices: float [V,3].
        faces: int [F,3].

    Returns:
        float [V,4,4], symmetric.
    """
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = normals / np.maximum(double_area, 1e-12)
    planes = np.concatenate([unit, -np.sum(unit * corners[:, 0], axis=1, keepdims=True)], axis=1)
    face_quadrics = np.einsum("fi,fj->fij", planes, planes) * double_area[:, :, None]
    quadrics = np.zeros((len(vertices), 4, 4))
    for corner in range(3):
        np.add.at(quadrics, faces[:, corner], face_quadrics)
    return quadrics


def decimate(
    vertices: NDArray, faces: NDArray, target_count: int, importance: NDArray | None = None
) -> tuple[NDArray, NDArray]:
    """Collapses edges, cheapest first, until `target_count` vertices are left.

    Args:
        vertices: float [V,3].
        faces: int [F,3], a closed manifold.
        target_count: number of vertices to keep; fewer collapses happen if none stays legal.
        importance: float [V], a factor on each vertex's cost: above 1 keeps more of a region.

    Returns:
        kept: int64 [K], indices into the input, ascending.
        faces: int64 [G,3], indices into `kept`.
    """
    cost_factor = np.ones(len(vertices)) if importance is None else importance
    quadrics = list(vertex_quadrics(vertices, faces))
    homogeneous = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
    triangles: dict[int, tuple[int, int, int]] = {
        index: (int(a), int(b), int(c)) for index, (a, b, c) in enumerate(faces)
    }
    around: list[set[int]] = [set() for _ in range(len(vertices))]
    for index, triangle in triangles.items():
        for vertex in triangle:
            around[vertex].add(index)

    def neighbours(vertex: int) -> set[int]:
        found = {other for index in around[vertex] for other in triangles[index]}
        found.discard(vertex)
        return found

    def cost(gone: int, kept: int) -> float:
        point = homogeneous[kept]
        error = float(point @ (quadrics[gone] + quadrics[kept]) @ point)
        length = float(np.sum((vertices[gone] - vertices[kept]) ** 2))
        # The small length term prefers short edges where the surface is flat.
        return (error + 1e-7 * length) * float(cost_factor[gone])

    def is_legal(gone: int, kept: int) -> bool:
        if len(neighbours(gone) & neighbours(kept)) != 2:
            return False  # the link condition: otherwise the surface would pinch
        for index in around[gone]:
            triangle = triangles[index]
            if kept in triangle:
                continue
            before = vertices[list(triangle)]
            after = vertices[[kept if vertex == gone else vertex for vertex in triangle]]
            old = np.cross(before[1] - before[0], before[2] - before[0])
            new = np.cross(after[1] - after[0], after[2] - after[0])
            if old @ new < MIN_NORMAL_COSINE * np.linalg.norm(old) * np.linalg.norm(new):
                return False
            if new @ new < 1e-14:
                return False
        return True

    version = [0] * len(vertices)
    queue: list[tuple[float, int, int, int, int]] = []

    def offer(vertex: int, other: int) -> None:
        pair = (version[vertex], version[other])
        heapq.heappush(queue, (cost(vertex, other), vertex, other, *pair))

    for vertex in range(len(vertices)):
        for other in sorted(neighbours(vertex)):
            offer(vertex, other)
    left = len(vertices)
    while left > target_count and queue:
        _, gone, kept, gone_version, kept_version = heapq.heappop(queue)
        if (version[gone], version[kept]) != (gone_version, kept_version):
            continue
        if not is_legal(gone, kept):
            continue
        for index in list(around[gone]):
            triangle = triangles[index]
            if kept in triangle:
                for vertex in triangle:
                    around[vertex].discard(index)
                del triangles[index]
            else:
                triangles[index] = tuple(kept if v == gone else v for v in triangle)  # type: ignore[assignment]
                around[kept].add(index)
        around[gone].clear()
        quadrics[kept] = quadrics[kept] + quadrics[gone]
        version[gone] = -1
        version[kept] += 1
        left -= 1
        for other in sorted(neighbours(kept)):
            offer(kept, other)
            offer(other, kept)

    survivors = np.array(sorted({v for triangle in triangles.values() for v in triangle}))
    new_index = np.full(len(vertices), -1)
    new_index[survivors] = np.arange(len(survivors))
    return survivors, new_index[np.array([triangles[index] for index in sorted(triangles)])]
