"""SMPLGait: silhouettes seen through the body that casts them.

Zheng, Liu, Liu, He, Yan, Mei: "Gait Recognition in the Wild with Dense 3D Representations and A
Benchmark", CVPR 2022. Published weights (Gait3D, for academic use only) come with the authors'
Gait3D-Benchmark; none are shipped or loaded here. This file is written from the paper, and
is Apache-2.0 like the rest.

Where ours differs:
- The body's 16x16 matrix is applied to all channels of a frame in one product; it is not repeated
  for each of them. Nor is the feature padded: its zero columns would only ever meet the matrix's
  last rows, so those rows are left out. The numbers are the same.
- Without the body branch (`use_smpl=False` at construction) the head pools the 16x11 feature, not a
  padded one. A network that has the branch but gets no body multiplies by the identity, so that
  its head sees the scale it was trained with.
- With `unit` embeddings have length 1 part by part, and with `projection` as a whole; published
  ones have any length.
- `class_num=0` builds it without the BNNecks, which only training reads.
- Ties in a maximum share the gradient.

Letters: n sequences, s frames, m = n*s, c channels, h w height and width, p parts.
Figures (64x44, 30 frames): 3.29 M parameters without BNNecks (3,287,104), 27.1 M with 3000 classes
(27,110,976); 12.6 GMAC, nearly all of it in the convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from stages.embed.networks.bn_necks import SeparateBNNecks
from stages.embed.networks.horizontal_pooling import BINS, HorizontalPooling
from stages.embed.networks.interface import SILHOUETTES, THETA, GaitNetwork
from stages.embed.networks.pack_sequence import PackSequenceWrapper
from stages.embed.networks.projection import Projection, check_projection
from stages.embed.networks.separate_fc import SeparateFCs
from stages.embed.networks.set_block import SetBlockWrapper
from stages.embed.networks.training_operations import rows_first
from stages.embed.networks.unit_parts import UnitParts

NAME = "smplgait"
THETA_SIZE = 85
SIZES_HW = {64: (64, 44), 128: (128, 88)}
CHANNELS = (64, 128, 256)


@dataclass(frozen=True, slots=True)
class SMPLGaitConfig:
    """What decides the shapes of the weights.

    Attributes:
        height: of a silhouette, pixels: 64 (64x44) or 128 (128x88).
        use_smpl: build the body branch.
        class_num: identities of the training set; 0 leaves the BNNecks out.
        out_channels: numbers a part in the embedding.
        channels: width of each of the three pairs of convolutions; narrower ones than the paper's
            train on a processor. A list, as files hold it, becomes a tuple.
        unit: bring each part of an embedding to length 1, see `unit_parts`.
        projection: numbers that all parts are brought together in, see `projection`; 0: they stay
            apart.
    """

    height: int = 64
    use_smpl: bool = True
    class_num: int = 0
    out_channels: int = 256
    channels: tuple[int, int, int] = CHANNELS
    unit: bool = False
    projection: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.channels, list):
            object.__setattr__(self, "channels", tuple(self.channels))
        if not isinstance(self.channels, tuple) or len(self.channels) != len(CHANNELS):
            raise ValueError(f"channels must be {len(CHANNELS)} widths, got {self.channels!r}")
        numbers = (self.height, self.class_num, self.out_channels, *self.channels)
        if any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
            raise ValueError(f"whole numbers expected, got {numbers}")
        for name in ("use_smpl", "unit"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.height not in SIZES_HW:
            raise ValueError(f"height must be one of {sorted(SIZES_HW)}, got {self.height}")
        if not (0 <= self.class_num <= 1_000_000 and 1 <= self.out_channels <= 4096):
            raise ValueError(
                f"class_num {self.class_num} or out_channels {self.out_channels} out of range"
            )
        if not all(1 <= width <= 4096 for width in self.channels):
            raise ValueError(f"channels must lie in 1..4096, got {self.channels}")
        check_projection(self)


class Backbone(nn.Sequential):
    """Layers one after the other. In training a halving comes before the activation ahead of it.

    A leaky ReLU keeps the order of numbers, so the maximum of four is the same before and after;
    after it there is a quarter left to work on. Runtimes join it with the convolution instead.
    """

    def forward(self, x: Tensor) -> Tensor:
        layers = list(self)
        if self.training:
            for place, (layer, after) in enumerate(pairwise(self)):
                if isinstance(layer, nn.LeakyReLU) and isinstance(after, nn.MaxPool2d):
                    layers[place : place + 2] = after, layer
        for layer in layers:
            x = layer(x)
        return x


def plain_backbone(widths: Sequence[int] = CHANNELS) -> Backbone:
    """Six convolutions, two halvings: [m,1,h,w] to [m,c,h/4,w/4], c the last width (256)."""
    layers: list[nn.Module] = []
    channels = 1
    for stage, wider in enumerate(widths):
        if stage:
            layers.append(nn.MaxPool2d(2))
        for _ in range(2):
            kernel = 3 if layers else 5
            layers.append(nn.Conv2d(channels, wider, kernel, padding=kernel // 2, bias=False))
            layers.append(nn.LeakyReLU(inplace=True))
            channels = wider
    return Backbone(*layers)


class BodyMatrix(nn.Module):
    """From theta to the square matrix that its frame's feature is multiplied by.

    In: [m,85]; a row of zeros is no body. Out: [m,side,side], the identity plus what the layers say
    of a body.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.fc1, self.bn1 = nn.Linear(THETA_SIZE, 128), nn.BatchNorm1d(128)
        self.fc2, self.bn2 = nn.Linear(128, 256), nn.BatchNorm1d(256)
        self.fc3, self.bn3 = nn.Linear(256, side * side), nn.BatchNorm1d(side * side)
        self.dropout2, self.dropout3 = nn.Dropout(0.2), nn.Dropout(0.2)

    def forward(self, theta: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.fc1(theta)))  # [m,128]
        x = torch.relu(self.bn2(self.dropout2(self.fc2(x))))  # [m,256]
        x = torch.relu(self.bn3(self.dropout3(self.fc3(x))))  # [m,side*side]
        x = x * (theta.abs().amax(1, keepdim=True) > 0)
        x = x.unflatten(1, (self.side, self.side))  # [m,side,side]
        return x + torch.eye(self.side, dtype=x.dtype, device=x.device)


def apply_matrix(feature: Tensor, matrix: Tensor) -> Tensor:
    """Multiply every channel of a frame by the frame's matrix.

    Args:
        feature: [m,c,h,w], thought of as padded with zeros on the right to [m,c,h,side].
        matrix: [m,side,side], side >= w.

    Returns:
        [m,c,h,side].
    """
    c, h, w = feature.shape[1:]
    rows = rows_first(feature).reshape(-1, c * h, w)  # [m,c*h,w]
    return torch.bmm(rows, matrix[:, :w]).unflatten(1, (c, h))  # [m,c,h,side]


class SMPLGait(GaitNetwork):
    """The network. Keeps no state between calls."""

    name = NAME
    pools = True

    def __init__(self, config: SMPLGaitConfig | None = None) -> None:
        super().__init__()
        self.config = config or SMPLGaitConfig()
        self.backbone = SetBlockWrapper(plain_backbone(self.config.channels))
        self.body = BodyMatrix(self.config.height // 4) if self.config.use_smpl else None
        self.reads = (SILHOUETTES, THETA) if self.config.use_smpl else (SILHOUETTES,)
        self.temporal_pooling = PackSequenceWrapper()
        self.horizontal_pooling = HorizontalPooling(BINS)
        parts, channels = self.horizontal_pooling.parts, self.config.out_channels
        self.fcs = SeparateFCs(parts, self.config.channels[-1], channels)
        self.unit = UnitParts(parts, channels) if self.config.unit else None
        projected = self.config.projection
        self.projection = Projection(parts * channels, projected) if projected else None
        classes = self.config.class_num
        self.bn_necks = SeparateBNNecks(parts, channels, classes) if classes else None

    @property
    def vector_shape(self) -> tuple[int, int]:
        """(c, p) of an embedding."""
        if self.config.projection:
            return self.config.projection, 1
        return self.config.out_channels, self.horizontal_pooling.parts

    @property
    def silhouette_hw(self) -> tuple[int, int]:
        """(h, w) of a silhouette."""
        return SIZES_HW[self.config.height]

    def forward(  # type: ignore[override]
        self,
        silhouettes: Tensor,
        theta: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        lengths: Sequence[int] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Return what training, logging and inference read.

        Args:
            silhouettes: float [n,s,h,w] or [n,1,s,h,w], 0..1.
            theta: float [n,s,85]; None, or zeros in a frame, multiplies by the identity.
            labels: int [n], passed on to the losses.
            lengths: the sequences lie end to end along s, with n = 1; one embedding for each.

        Returns:
            training_feat: triplet (embeddings [n,c,p], labels) and, with BNNecks, softmax (logits
            [n,class_num,p], labels); visual_summary: the pictures [n*s,1,h,w]; inference_feat:
            embeddings [n,c,p], before the BNNecks, not normalised.

        Raises:
            ValueError: for shapes that do not fit.
        """
        if silhouettes.ndim == 4:
            silhouettes = silhouettes.unsqueeze(1)  # [n,1,s,h,w]
        self._check(silhouettes, theta)
        n, _, s, h, w = silhouettes.shape
        x = self.backbone(silhouettes)  # [n,256,s,h/4,w/4]
        x = x.transpose(1, 2).flatten(0, 1)  # [n*s,256,h/4,w/4]
        x = self.with_body(x, None if theta is None else theta.flatten(0, 1))
        x = x.unflatten(0, (n, s)).transpose(1, 2)  # [n,256,s,h/4,side]
        x = self.temporal_pooling(x, lengths)  # [n,256,h/4,side]
        embeddings = self.head_part(x)  # [n,c,p]

        training: dict[str, Any] = {"triplet": {"embeddings": embeddings, "labels": labels}}
        if self.bn_necks is not None:
            _, logits = self.bn_necks(embeddings)  # [n,class_num,p]
            training["softmax"] = {"logits": logits, "labels": labels}
        return {
            "training_feat": training,
            "visual_summary": {"image/sils": silhouettes.reshape(n * s, 1, h, w)},
            "inference_feat": {"embeddings": embeddings},
        }

    def frame_part(  # type: ignore[override]
        self, silhouettes: Tensor, theta: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return one feature [m,256,h/4,side] for float [m,h,w], 0..1, and [m,85]."""
        x = self.backbone.block(silhouettes.unsqueeze(1))  # [m,256,h/4,w/4]
        return (self.with_body(x, theta),)

    def with_body(self, feature: Tensor, theta: Tensor | None) -> Tensor:
        """Return [m,256,h/4,w/4] seen through the bodies [m,85]: [m,256,h/4,h/4]."""
        if self.body is None:
            return feature
        if theta is None:
            return nn.functional.pad(feature, (0, self.body.side - feature.shape[-1]))
        return apply_matrix(feature, self.body(theta))

    def head_part(self, pooled: Tensor) -> Tensor:  # type: ignore[override]
        """Return the embeddings [n,c,p] of features pooled over time [n,256,h/4,side]."""
        embeddings = self.fcs(self.horizontal_pooling(pooled))
        if self.unit is not None:
            embeddings = self.unit(embeddings)
        return embeddings if self.projection is None else self.projection(embeddings)

    def export_config(self) -> dict[str, Any]:
        """Return the config as plain data, for the weights file."""
        return asdict(self.config)

    def drop_training_parts(self) -> None:
        """Let go of the BNNecks."""
        self.bn_necks = None

    def _check(self, silhouettes: Tensor, theta: Tensor | None) -> None:
        n, s = silhouettes.shape[0], silhouettes.shape[2]
        want = [n, 1, s, *self.silhouette_hw]
        if list(silhouettes.shape) != want or s == 0:
            raise ValueError(f"silhouettes: expected {want}, got {list(silhouettes.shape)}")
        if theta is not None and list(theta.shape) != [n, s, THETA_SIZE]:
            raise ValueError(f"theta: expected {[n, s, THETA_SIZE]}, got {list(theta.shape)}")
