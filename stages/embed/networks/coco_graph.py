"""COCO's 17 keypoints as a graph: who neighbours whom, how neighbours are told apart, which joint a
bone hangs from. Every table is the same seen in a mirror."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from stages.human.joints import COCO_EDGES, COCO_FLIP, COCO_KEYPOINT_NAMES

Partition = Literal["spatial", "distance"]
PARTITIONS: tuple[Partition, ...] = get_args(Partition)

JOINTS = len(COCO_KEYPOINT_NAMES)
LEFT_RIGHT = COCO_FLIP
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = (
    COCO_KEYPOINT_NAMES.index(name)
    for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
)
HIPS, SHOULDERS = (LEFT_HIP, RIGHT_HIP), (LEFT_SHOULDER, RIGHT_SHOULDER)

# What is drawn leaves the head by itself; a graph has to hang together: ears to shoulders.
EDGES = (*COCO_EDGES, (3, 5), (4, 6))

# Where the bone of each joint begins; the nose has none. As in GaitGraph2.
BONE_PARENTS = (0, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14)

SUBSETS = 3
FAR = JOINTS  # more edges than any path has


def hops() -> np.ndarray:
    """Return how many edges lie between any two joints: int64 [17,17]."""
    distance = np.where(np.eye(JOINTS, dtype=bool), 0, FAR)
    for i, j in EDGES:
        distance[i, j] = distance[j, i] = 1
    for k in range(JOINTS):
        distance = np.minimum(distance, distance[:, k, None] + distance[k])
    return distance


def subsets(partition: Partition) -> np.ndarray:
    """Return which neighbours a joint takes together, under one weight matrix: bool [17,3,17].

    Entry [i,k,j] says that joint i is a neighbour of joint j in subset k. "spatial" (Yan et al.,
    "Spatial Temporal Graph Convolutional Networks", AAAI 2018) parts the joint itself and those it
    shares an edge with: as far from the hips as it (itself too), nearer (centripetal), farther
    (centrifugal). "distance" (as ResGCN and GaitGraph have it) parts them by the edges in between:
    0, 1, 2.
    """
    apart = hops()
    if partition == "distance":
        return np.stack([apart == k for k in range(SUBSETS)], 1)
    from_hips = apart[list(HIPS)].min(0)
    towards = np.sign(from_hips[:, None] - from_hips[None, :])  # -1: i is nearer than j
    return np.stack([(apart <= 1) & (towards == k) for k in (0, -1, 1)], 1)


def adjacency(partition: Partition) -> Tensor:
    """Return `subsets` as weights, float32 [17,3,17], so that a joint takes a mean: its neighbours
    in all subsets together sum to 1.
    """
    chosen = subsets(partition).astype(np.float32)
    return torch.from_numpy(chosen / chosen.sum((0, 1)))
