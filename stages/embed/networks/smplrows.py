"""SMPLRows: gait from the body alone, frame by frame.

How long somebody's limbs are and through which angles they go hardly changes with the view, where
every silhouette changes. SMPLGait uses the body to turn its silhouette features; this network makes
an embedding of the bodies themselves, to be joined with one of silhouettes (`joined`). By itself it
is weak: landmarks of people far away are noisy. It is ours, no paper's; its idea is that of
skeleton-based gait recognition (Teepe et al., GaitGraph, ICIP 2021) with SMPL's joint angles and
shape in place of keypoints, its pooling that of sets of frames (Chao et al., GaitSet, AAAI 2019).

A turn enters as the first two columns of its matrix, which has no jumps (Zhou et al., "On the
Continuity of Rotation Representations in Neural Networks", CVPR 2019).

Letters: n sequences, s frames, m = n*s, c numbers of an embedding.
Figures (30 frames): 0.66 M parameters; 0.6 MMAC a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.embed.networks.bn_necks import SeparateBNNecks, check_class_num
from stages.embed.networks.interface import THETA, GaitNetwork
from stages.embed.networks.pack_sequence import PackSequenceWrapper
from stages.embed.networks.projection import Projection, check_projection
from stages.embed.networks.unit_parts import UnitParts

NAME = "smplrows"
THETA_SIZE = 85
JOINTS = 24
# A row is camera [3], pose [72] in axis-angle, radians, shape [10]. The camera says where somebody
# stands, not who it is.
POSE, SHAPE = slice(3, 75), slice(75, 85)
FEATURES = JOINTS * 6 + 10


@dataclass(frozen=True, slots=True)
class SMPLRowsConfig:
    """What decides the shapes of the weights.

    Attributes:
        width: of the layers that see single frames.
        pooled: numbers that are pooled over time.
        depth: residual blocks before the pooling.
        out_channels: numbers of the embedding.
        class_num: identities of the training set; 0 leaves the BNNecks out.
        projection: numbers that an embedding is brought to in the end, see `projection`; 0: none.

    Raises:
        ValueError: for what cannot be built.
    """

    width: int = 256
    pooled: int = 768
    depth: int = 2
    out_channels: int = 200
    class_num: int = 0
    projection: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "pooled", "depth", "out_channels"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
                raise ValueError(f"{name} must be a whole number in 1..4096, got {value!r}")
        check_class_num(self.class_num)
        check_projection(self)


def row_features(theta: Tensor) -> Tensor:
    """Return [m,154] of SMPL rows [m,85]: two columns of each joint's turn, and the shape."""
    turns = theta[:, POSE].unflatten(1, (JOINTS, 3))
    # Not a number added under the root: ONNX's optimiser makes 0/0 of a body at rest from that.
    angle = turns.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-6)
    x, y, z = (turns / angle).unbind(-1)
    c, s = torch.cos(angle[..., 0]), torch.sin(angle[..., 0])
    d = 1.0 - c
    first = (c + x * x * d, x * y * d + z * s, x * z * d - y * s)
    second = (x * y * d - z * s, c + y * y * d, y * z * d + x * s)
    columns = torch.stack((*first, *second), -1).flatten(1)  # [m,144]
    return torch.cat((columns, theta[:, SHAPE]), 1)


class ResidualBlock(nn.Module):
    """In and out: [m,w]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return x + inner


class SMPLRows(GaitNetwork):
    """The network. Keeps no state between calls."""

    name = NAME
    pools = True
    reads = (THETA,)

    def __init__(self, config: SMPLRowsConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SMPLRowsConfig()
        self.input_norm = nn.BatchNorm1d(FEATURES)
        self.fc_in = nn.Linear(FEATURES, config.width)
        self.blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.fc_pooled = nn.Linear(config.width, config.pooled)
        self.temporal_pooling = PackSequenceWrapper()
        self.fc = nn.Linear(config.pooled, config.out_channels)
        channels, classes = config.out_channels, config.class_num
        self.unit = UnitParts(1, channels)
        self.projection = Projection(channels, config.projection) if config.projection else None
        self.bn_necks = SeparateBNNecks(1, channels, classes) if classes else None

    @property
    def vector_shape(self) -> tuple[int, int]:
        """(c, p) of an embedding."""
        return self.config.projection or self.config.out_channels, 1

    @property
    def silhouette_hw(self) -> None:
        """It reads no silhouettes."""
        return None

    def forward(  # type: ignore[override]
        self,
        theta: Tensor,
        *,
        labels: Tensor | None = None,
        lengths: Sequence[int] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Return what training, logging and inference read.

        Args:
            theta: float [n,s,85].
            labels: int [n], passed on to the losses.
            lengths: the sequences lie end to end along s, with n = 1; one embedding for each.

        Returns:
            training_feat: triplet (embeddings [n,c,1], labels) and, with BNNecks, softmax (logits
            [n,class_num,1], labels); visual_summary: empty; inference_feat: embeddings [n,c,1], of
            length 1.

        Raises:
            ValueError: for shapes that do not fit.
        """
        if theta.ndim != 3 or theta.shape[2] != THETA_SIZE or 0 in theta.shape:
            raise ValueError(f"theta: expected [n, s, {THETA_SIZE}], got {list(theta.shape)}")
        n, s, _ = theta.shape
        (x,) = self.frame_part(theta.flatten(0, 1))  # [m,768]
        x = self.temporal_pooling(x.unflatten(0, (n, s)).transpose(1, 2), lengths)
        embeddings = self.head_part(x)
        training: dict[str, Any] = {"triplet": {"embeddings": embeddings, "labels": labels}}
        if self.bn_necks is not None:
            _, logits = self.bn_necks(embeddings)  # [n,class_num,1]
            training["softmax"] = {"logits": logits, "labels": labels}
        return {
            "training_feat": training,
            "visual_summary": {},
            "inference_feat": {"embeddings": embeddings},
        }

    def frame_part(self, theta: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Return one feature [m,768] of float [m,85]."""
        # Turns in float32: in float16 a turn of nothing would be divided by nothing.
        x = self.input_norm(row_features(theta.float()).to(self.fc_in.weight.dtype))
        x = self.fc_in(x)
        for block in self.blocks:
            x = block(x)
        return (self.fc_pooled(self.norm(x)),)

    def head_part(self, pooled: Tensor) -> Tensor:  # type: ignore[override]
        """Return the embeddings [n,c,1], of length 1, of features pooled over time [n,768]."""
        embeddings: Tensor = self.unit(self.fc(pooled).unsqueeze(-1))
        return embeddings if self.projection is None else self.projection(embeddings)

    def export_config(self) -> dict[str, Any]:
        """Return the config as plain data, for the weights file."""
        return asdict(self.config)

    def drop_training_parts(self) -> None:
        """Let go of the BNNecks."""
        self.bn_necks = None
