"""ResGCN: gait from the skeleton alone, a graph over joints and frames.

The network: Song, Zhang, Shan, Wang, "Stronger, Faster and More Explainable: A Graph Convolutional
Baseline for Skeleton-based Action Recognition", ACM MM 2020. For gait: Teepe, Khan, Gilg, Herzog,
Hörmann, Rigoll, "GaitGraph: Graph Convolutional Network for Skeleton-Based Gait Recognition", ICIP
2021, and Teepe, Gilg, Herzog, Hörmann, Rigoll, "Towards a Deeper Understanding of Skeleton-based
Gait Recognition" (GaitGraph2), CVPR Workshops 2022. The default is their resgcn-n39-r8 with three
branches. Weights (MIT) come with the authors' GaitGraph; none are shipped or loaded here. This file
is written from the papers, and is Apache-2.0 like the rest.

Published, rank-1 on CASIA-B NM/BG/CL: GaitGraph 87.7/74.8/66.3, GaitGraph2 82.0/73.2/63.6, trained
with a supervised contrastive loss. Both fall far in the wild: 9 to 11 on Gait3D. Ours is trained as
the other networks here, by a triplet loss and softmax, and has no published figure of its own.

Where ours differs:
- Keypoints are brought to one place and size inside the network (`keypoint_features`); GaitGraph
  reads pixels. A bone's direction is given by cosines, not by their arc cosines, whose slope is
  infinite where a bone is level or upright.
- A joint with confidence 0 has features of 0.
- The second difference keeps its x: in GaitGraph2's code the confidence is written over it.
- A mirror image swaps left and right joints and mirrors x; GaitGraph2 swaps only.
- Neighbours are parted as in ST-GCN (itself, towards the hips, away from them). The "distance"
  `partition` is theirs: 0, 1 or 2 edges away.
- No convolution before a batch norm has a bias: it would be taken away again.
- A pass for training gives the original only: one vector, not three.

Streaming: a number of the feature that is averaged over time depends on 97 frames of what the
branches read. Of the seven convolutions of 9 frames four run at full rate and add 8 frames each,
two at half rate and add 16, one at a quarter and adds 32. What the branches read depends on 2 later
frames, and on the hips' path 15 frames to either side. That exceeds a window of 30 frames: each
frame bears on every number, so nothing can be kept for the next window. The network does not pool,
and a window is computed whole.

Letters: n sequences, s frames, v the 17 joints, c channels, p parts: original, time-reversed and
mirrored.
Figures (30 frames): 0.42 M parameters without BNNecks (417,541; one branch of three channels
314,075); 0.119 GMAC, with the two further parts of test time 0.356 GMAC. On one core of an EPYC
server 6 ms and 10 ms, of a batch of eight windows 3 ms and 10 ms each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.embed.networks.bn_necks import SeparateBNNecks
from stages.embed.networks.coco_graph import JOINTS, PARTITIONS, Partition, adjacency
from stages.embed.networks.interface import KEYPOINTS, GaitNetwork
from stages.embed.networks.keypoint_features import (
    BRANCH_CHANNELS,
    BRANCHES,
    Branch,
    features_of,
    mirrored,
    normalise,
    pictures_of,
    time_reversed,
)
from stages.embed.networks.pack_sequence import PackSequenceWrapper
from stages.embed.networks.projection import Projection, check_projection
from stages.embed.networks.spatial_blocks import SpatialBasicBlock, SpatialBottleneckBlock
from stages.embed.networks.temporal_blocks import (
    WINDOW,
    TemporalBasicBlock,
    TemporalBottleneckBlock,
    shortcut,
)
from stages.embed.networks.unit_parts import UnitParts

NAME = "resgcn"
TEST_TIME_PARTS = 3
# GaitGraph's single branch: x, y and confidence.
SINGLE, SINGLE_CHANNELS = ("joint",), 3

Block = Literal["bottleneck", "basic"]
BLOCKS: tuple[Block, ...] = get_args(Block)


@dataclass(frozen=True, slots=True)
class ResGCNConfig:
    """What decides the shapes of the weights, and how many parts an embedding has.

    Attributes:
        branches: which of joint, velocity and bone are read, in this order of channels. Five
            channels each; "joint" alone reads GaitGraph's three: x, y and confidence.
        branch_channels: width of each of a branch's three modules.
        main_channels: width of the main stream, two modules each; the first of them halves the
            frames.
        block: of all but a branch's first module, which is always basic.
        reduction: how many times narrower a bottleneck is inside.
        window: frames that a convolution over time sees, odd.
        partition: how neighbours are told apart, see `coco_graph.subsets`.
        test_time: in eval mode embed the time-reversed and the mirrored sequence too.
        class_num: identities of the training set; 0 leaves the BNNecks out.
        out_channels: numbers a part in the embedding.
        unit: a batch norm before parts are brought to length 1, see `unit_parts`.
        projection: numbers that each part is brought to in the end, see `projection`; 0: none.

    Lists, as files hold them, become tuples.

    Raises:
        ValueError: for what cannot be built.
    """

    branches: tuple[Branch, ...] = BRANCHES
    branch_channels: tuple[int, int, int] = (64, 64, 32)
    main_channels: tuple[int, int] = (128, 256)
    block: Block = "bottleneck"
    reduction: int = 8
    window: int = WINDOW
    partition: Partition = "spatial"
    test_time: bool = True
    class_num: int = 0
    out_channels: int = 128
    unit: bool = False
    projection: int = 0

    def __post_init__(self) -> None:
        for name, count in (("branches", None), ("branch_channels", 3), ("main_channels", 2)):
            value = getattr(self, name)
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, name, value)
            if not isinstance(value, tuple) or (count is not None and len(value) != count):
                raise ValueError(f"{name} must be {count or 'some'} values, got {value!r}")
        self._check_words()
        check_projection(self)
        widths = (*self.branch_channels, *self.main_channels, self.out_channels)
        numbers = (*widths, self.class_num, self.reduction, self.window)
        if any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
            raise ValueError(f"whole numbers expected, got {numbers}")
        if not all(1 <= width <= 4096 for width in widths):
            raise ValueError(f"widths must lie in 1..4096, got {widths}")
        if not (0 <= self.class_num <= 1_000_000 and self.window in range(1, 64, 2)):
            raise ValueError(
                f"class_num {self.class_num} or window {self.window} (odd) out of range"
            )
        narrow = () if self.block == "basic" else (*self.branch_channels[1:], *self.main_channels)
        if self.reduction < 1 or any(width % self.reduction for width in narrow):
            raise ValueError(f"reduction {self.reduction} does not divide {narrow}")

    def _check_words(self) -> None:
        known = [branch for branch in BRANCHES if branch in self.branches]
        if not known or self.branches != tuple(known):
            raise ValueError(
                f"branches must be some of {BRANCHES}, in this order; got {self.branches}"
            )
        if self.block not in BLOCKS:
            raise ValueError(f"block must be one of {BLOCKS}, got {self.block!r}")
        if self.partition not in PARTITIONS:
            raise ValueError(f"partition must be one of {PARTITIONS}, got {self.partition!r}")
        for name in ("test_time", "unit"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")

    @property
    def in_channels(self) -> int:
        """Channels of a branch's input."""
        return SINGLE_CHANNELS if self.branches == SINGLE else BRANCH_CHANNELS


class ResGCNModule(nn.Module):
    """A graph convolution block and a block over time, and how much each edge counts here.

    In: [n,c,s,v] and the weights of neighbours [v,k,v]. Out: [n,c',s/stride rounded up,v].

    The residual of basic blocks goes around the module, those of bottlenecks around each block. A
    branch's first module has none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        config: ResGCNConfig,
        *,
        stride: int = 1,
        first: bool = False,
    ) -> None:
        super().__init__()
        window = config.window
        self.spatial: nn.Module
        self.temporal: nn.Module
        if first or config.block == "basic":
            self.spatial = SpatialBasicBlock(in_channels, out_channels, residual=False)
            self.temporal = TemporalBasicBlock(out_channels, window, stride, residual=False)
            self.residual = None if first else shortcut(in_channels, out_channels, stride)
        else:
            reduction = config.reduction
            self.spatial = SpatialBottleneckBlock(in_channels, out_channels, reduction=reduction)
            self.temporal = TemporalBottleneckBlock(
                out_channels, window, stride, reduction=reduction
            )
            self.residual = None
        self.edge_mask = nn.Parameter(torch.ones_like(adjacency(config.partition)))  # [v,k,v]

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        around = None if self.residual is None else self.residual(x)
        return self.temporal(self.spatial(x, neighbours * self.edge_mask), around)


class ResGCN(GaitNetwork):
    """The network. Keeps no state between calls."""

    name = NAME
    pools = False
    parts_are_views = True
    reads = (KEYPOINTS,)
    neighbours: Tensor

    def __init__(self, config: ResGCNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ResGCNConfig()
        # A constant; among the weights, so that a network can be built without memory.
        self.register_buffer("neighbours", adjacency(config.partition))  # [v,k,v]
        self.input_norms = nn.ModuleList(
            nn.BatchNorm2d(config.in_channels) for _ in config.branches
        )
        self.branches = nn.ModuleList(self._branch() for _ in config.branches)
        self.main = self._main()
        last, out = config.main_channels[-1], config.out_channels
        self.fc = nn.Linear(last, out)
        self.unit = UnitParts(1, out) if config.unit else None
        self.projection = Projection(out, config.projection) if config.projection else None
        classes = config.class_num
        self.bn_necks = SeparateBNNecks(1, out, classes) if classes else None

    def _branch(self) -> nn.ModuleList:
        first, second, third = self.config.branch_channels
        return nn.ModuleList(
            [
                ResGCNModule(self.config.in_channels, first, self.config, first=True),
                ResGCNModule(first, second, self.config),
                ResGCNModule(second, third, self.config),
            ]
        )

    def _main(self) -> nn.ModuleList:
        width = len(self.config.branches) * self.config.branch_channels[-1]
        modules = []
        for wider in self.config.main_channels:
            modules.append(ResGCNModule(width, wider, self.config, stride=2))
            modules.append(ResGCNModule(wider, wider, self.config))
            width = wider
        return nn.ModuleList(modules)

    @property
    def vector_shape(self) -> tuple[int, int]:
        """(c, p) of an embedding in eval mode."""
        numbers = self.config.projection or self.config.out_channels
        return numbers, TEST_TIME_PARTS if self.config.test_time else 1

    @property
    def silhouette_hw(self) -> None:
        """It reads no silhouettes."""
        return None

    def forward(  # type: ignore[override]
        self,
        keypoints: Tensor,
        *,
        labels: Tensor | None = None,
        lengths: Sequence[int] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Return what training, logging and inference read.

        Args:
            keypoints: float [n,s,17,3], COCO's order: x, y in pixels and confidence.
            labels: int [n], passed on to the losses.
            lengths: the sequences lie end to end along s, with n = 1; one embedding for each. They
                are run one by one, so batch norms in training see one sequence at a time: better
                train with sequences of one length.

        Returns:
            training_feat: triplet (embeddings of the original [n,c,1], of length 1, labels) and,
            with BNNecks, softmax (logits [n,class_num,1], labels); visual_summary: the joints of
            each sequence as pictures [n,1,64,64], 0..1; inference_feat: embeddings [n,c,p], in
            training mode [n,c,1].

        Raises:
            ValueError: for shapes that do not fit.
        """
        self._check(keypoints)
        embed = PackSequenceWrapper(lambda sequence, _: self.head_part(sequence))
        draw = PackSequenceWrapper(lambda sequence, _: pictures_of(*normalise(sequence)))
        embeddings = embed(keypoints, lengths, dim=1)  # [n,c,p]
        original = embeddings[:, :, :1]

        training: dict[str, Any] = {"triplet": {"embeddings": original, "labels": labels}}
        if self.bn_necks is not None:
            _, logits = self.bn_necks(original)  # [n,class_num,1]
            training["softmax"] = {"logits": logits, "labels": labels}
        return {
            "training_feat": training,
            "visual_summary": {"image/keypoints": draw(keypoints, lengths, dim=1)},
            "inference_feat": {"embeddings": embeddings},
        }

    def head_part(self, keypoints: Tensor) -> Tensor:  # type: ignore[override]
        """Return embeddings float32 [n,c,p], each part of length 1, of keypoints [n,s,17,3].

        The parts are the original, the time-reversed and the mirrored sequence, run as one batch;
        in training mode and without `test_time` the original only.
        """
        sequences = [normalise(keypoints)]
        if self.config.test_time and not self.training:
            sequences += [time_reversed(*sequences[0]), mirrored(*sequences[0])]
        xy, confidence = (torch.cat(parts) for parts in zip(*sequences, strict=True))  # [p*n,.,s,v]
        inputs = [features_of(branch, xy, confidence) for branch in self.config.branches]
        if self.config.branches == SINGLE:
            inputs = [torch.cat([xy, confidence], 1)]
        feature = self.feature_map(inputs).mean((2, 3))  # [p*n,256]
        embeddings = self.fc(feature).float()  # [p*n,c]
        if self.unit is None:
            embeddings = F.normalize(embeddings, dim=1)
        else:
            embeddings = self.unit(embeddings.unsqueeze(-1)).squeeze(-1)
        if self.projection is not None:
            embeddings = self.projection(embeddings.unsqueeze(-1)).squeeze(-1)
        return embeddings.unflatten(0, (len(sequences), -1)).permute(1, 2, 0)

    def feature_map(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return what is averaged over time and joints: [n,256,s/4 rounded up,v].

        Args:
            inputs: [n,5,s,v] for each branch; [n,3,s,v] where there is only "joint".
        """
        streams = []
        for features, norm, branch in zip(inputs, self.input_norms, self.branches, strict=True):
            assert isinstance(branch, nn.ModuleList)
            streams.append(self._through(branch, norm(features.to(self.fc.weight.dtype))))
        return self._through(self.main, torch.cat(streams, 1))  # of [n,3*32,s,v]

    def _through(self, modules: nn.ModuleList, x: Tensor) -> Tensor:
        for module in modules:
            x = module(x, self.neighbours)
        return x

    def export_config(self) -> dict[str, Any]:
        """Return the config as plain data, for the weights file."""
        return asdict(self.config)

    def drop_training_parts(self) -> None:
        """Let go of the BNNecks."""
        self.bn_necks = None

    def _check(self, keypoints: Tensor) -> None:
        if keypoints.ndim != 4 or list(keypoints.shape[2:]) != [JOINTS, 3]:
            raise ValueError(
                f"keypoints: expected [n, s, {JOINTS}, 3], got {list(keypoints.shape)}"
            )
        if 0 in keypoints.shape:
            raise ValueError(f"keypoints: expected one frame or more, got {list(keypoints.shape)}")
