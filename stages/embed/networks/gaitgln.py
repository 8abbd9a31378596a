"""GaitGLN: a gait network that reads a set of silhouettes at three scales at once.

Hou, Cao, Liu, Huang: "Gait Lateral Network: Learning Discriminative and Compact Representations for
Gait Recognition", ECCV 2020. The authors published no weights; OpenGait trained its own (CASIA-B,
for academic use only), which `stages.embed.opengait_weights` reads. None are shipped. This file is
written from the paper, and is Apache-2.0 like the rest.

Two variants. Both have GaitSet's trunk with the set-pooled maps read before they are halved, a set
branch that the trunk's maps are added to, lateral connections, nearest-neighbour enlargement, and
mean plus maximum of horizontal strips.
- `paper`: strips 16, 8, 4, 2, 1 at each scale, 93 parts; each scale has a smoothing of its own and
  each part a fully connected layer of its own (as GaitSet has it). OpenGait's weights fit this one.
- `seed`, a smaller form of it: strips 1, 2, 4 at each scale, 21 parts, the coarsest scale first;
  one smoothing for all scales; no layer after the pooling; the compact block is a weighted sum of
  the parts.

Where ours differs:
- Halving comes after the maximum over time where the set branch begins. The two commute, so three
  maps a frame are all that a stream keeps.
- The sketch of `variant: seed` uses one batch norm for both ends of its compact block, so that its
  statistics mix two things. Here they are two.
- Neither variant's compact layer has a bias (the sketch's has): the batch norm behind it removes
  any.
- OpenGait puts the pooled map of the first stage beside itself before the lateral convolution. Here
  it comes once; reading its weights adds the two halves up.
- With classes but without a compact block there are BNNecks, one a part, as OpenGait's other
  networks have them. The paper has no such form.
- Ties in a maximum over time share the gradient.
- With `unit` the parts have length 1, and with `projection` all of them as a whole; published ones
  have any length.
- For inference on a processor the pyramid can be folded: see `optimise_for_inference`.

Training has two phases: first `compact=False`, triplet loss on the parts; then `compact=True`, from
the first one's weights, triplet loss on the parts and cross-entropy with smoothed labels on the
logits behind the compact vector.

Letters: n sequences, s frames, m frames of any sequences, c channels, h w height and width, p
parts.
Figures (64x44): paper 8,533,792 parameters (OpenGait 8,541,984: 8,192 more, the doubled half), and
6,142,976 in the compact block; seed 1,259,296 and 1,045. 30 frames take 3.2 GMAC in the trunk and
the head takes 2.3, which every window pays anew; folded it takes 1.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from stages.embed.networks.bn_necks import SeparateBNNecks
from stages.embed.networks.compact_block import CompactBlock, PartSumBlock
from stages.embed.networks.folded_lateral import FoldedPyramid
from stages.embed.networks.interface import SILHOUETTES, GaitNetwork
from stages.embed.networks.lateral import SCALES, LateralPyramid
from stages.embed.networks.pack_sequence import PackSequenceWrapper
from stages.embed.networks.projection import Projection, check_projection
from stages.embed.networks.separate_fc import SeparateFCs
from stages.embed.networks.set_pooled_trunk import SetPooledTrunk
from stages.embed.networks.unit_parts import UnitParts

NAME = "gaitgln"
SIZES_HW = {64: (64, 44), 128: (128, 88)}
CHANNELS = (32, 64, 128)
# Strips of each scale, and the scales' order in the embedding, 0 the finest.
BINS = {"paper": (16, 8, 4, 2, 1), "seed": (1, 2, 4)}
SCALE_ORDER = {"paper": (0, 1, 2), "seed": (2, 1, 0)}
VECTORS = ("parts", "compact")
LATERAL_KERNELS = (1, 3)
MAX_CHANNELS = 4096
MAX_CLASSES = 1_000_000


@dataclass(frozen=True, slots=True)
class GaitGLNConfig:
    """What decides the shapes of the weights, and which vector is the embedding.

    Attributes:
        height: of a silhouette, pixels: 64 (64x44) or 128 (128x88).
        variant: paper or seed, see above.
        compact: build the compact block.
        vector: what an embedding is: parts [out_channels, p], or compact [out_channels, 1].
        class_num: identities of the training set; 0 leaves the classifier out.
        channels: of the three stages; narrower ones than the paper's train on a processor. A list,
            as files hold it, becomes a tuple.
        lateral_channels: of the pyramid.
        lateral_kernel: 1; 3 for weights of OpenGait's first code.
        out_channels: numbers a part, and numbers of the compact vector. The seed's variant has no
            layer that could make them other than `lateral_channels`.
        unit: bring each part to length 1, see `unit_parts`; not with a compact block.
        projection: numbers that all parts are brought together in, see `projection`; 0: they stay
            apart. Not with a compact block.
    """

    height: int = 64
    variant: str = "paper"
    compact: bool = False
    vector: str = "parts"
    class_num: int = 0
    channels: tuple[int, int, int] = CHANNELS
    lateral_channels: int = 256
    lateral_kernel: int = 1
    out_channels: int = 256
    unit: bool = False
    projection: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.channels, list):
            object.__setattr__(self, "channels", tuple(self.channels))
        if not isinstance(self.channels, tuple) or len(self.channels) != SCALES:
            raise ValueError(f"channels must be {SCALES} numbers, got {self.channels!r}")
        widths = (*self.channels, self.lateral_channels, self.out_channels)
        numbers = (self.height, self.class_num, self.lateral_kernel, *widths)
        if any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
            raise ValueError(f"whole numbers expected, got {numbers}")
        for name in ("compact", "unit"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        for field, allowed in (
            ("height", tuple(SIZES_HW)),
            ("variant", tuple(BINS)),
            ("vector", VECTORS),
            ("lateral_kernel", LATERAL_KERNELS),
        ):
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} must be one of {allowed}, got {getattr(self, field)!r}")
        if not 0 <= self.class_num <= MAX_CLASSES:
            raise ValueError(f"class_num must lie in 0..{MAX_CLASSES}, got {self.class_num}")
        if not all(1 <= width <= MAX_CHANNELS for width in widths):
            raise ValueError(f"channels must lie in 1..{MAX_CHANNELS}, got {widths}")
        self._check_together()

    def _check_together(self) -> None:
        if self.vector == "compact" and not self.compact:
            raise ValueError("vector compact needs compact true")
        if (self.unit or self.projection) and self.compact:
            raise ValueError("unit and projection are for parts: a compact block reads them as is")
        check_projection(self)
        if self.variant == "seed" and self.out_channels != self.lateral_channels:
            raise ValueError(
                f"variant seed has no layer from lateral_channels {self.lateral_channels} to "
                f"out_channels {self.out_channels}: they must be equal"
            )


class GaitGLN(GaitNetwork):
    """The network. Keeps no state between calls."""

    name = NAME
    pools = True
    feature_count = 3
    reads = (SILHOUETTES,)

    def __init__(self, config: GaitGLNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GaitGLNConfig()
        paper = config.variant == "paper"
        self.trunk = SetPooledTrunk(config.channels)
        self.temporal_pooling = PackSequenceWrapper()
        self.pyramid: LateralPyramid | FoldedPyramid = LateralPyramid(
            config.channels,
            config.lateral_channels,
            config.lateral_kernel,
            BINS[config.variant],
            shared_smoothing=not paper,
            order=SCALE_ORDER[config.variant],
        )
        parts, channels = self.parts, config.out_channels
        self.fcs = SeparateFCs(parts, config.lateral_channels, channels) if paper else None
        self.unit = UnitParts(parts, channels) if config.unit else None
        projected = config.projection
        self.projection = Projection(parts * channels, projected) if projected else None
        self.compact_block: nn.Module | None = None
        if config.compact:
            self.compact_block = (
                CompactBlock(channels, parts, channels) if paper else PartSumBlock(channels, parts)
            )
        self.classifier: nn.Linear | None = None
        self.bn_necks: SeparateBNNecks | None = None
        if config.class_num and config.compact:
            self.classifier = nn.Linear(channels, config.class_num, bias=False)
        elif config.class_num:
            self.bn_necks = SeparateBNNecks(parts, channels, config.class_num)
        self.apply(_initialise)

    @property
    def parts(self) -> int:
        """p of the part feature, whichever vector is the embedding."""
        return SCALES * sum(BINS[self.config.variant])

    @property
    def vector_shape(self) -> tuple[int, int]:
        """(c, p) of an embedding."""
        if self.config.projection:
            return self.config.projection, 1
        return self.config.out_channels, self.parts if self.config.vector == "parts" else 1

    @property
    def silhouette_hw(self) -> tuple[int, int]:
        """(h, w) of a silhouette."""
        return SIZES_HW[self.config.height]

    def forward(  # type: ignore[override]
        self,
        silhouettes: Tensor,
        *,
        labels: Tensor | None = None,
        lengths: Sequence[int] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Return what training, logging and inference read.

        Args:
            silhouettes: float [n,s,h,w] or [n,1,s,h,w], 0..1.
            labels: int [n], passed on to the losses.
            lengths: the sequences lie end to end along s, with n = 1; one embedding for each.

        Returns:
            training_feat: triplet (embeddings: the parts [n,c,p], labels) and, with classes,
            softmax (logits [n,class_num,1] behind the compact block, [n,class_num,p] without one,
            labels); visual_summary: the pictures [n*s,1,h,w]; inference_feat: embeddings as
            `head_part` returns them, parts [n,c,p] and, with a compact block, compact [n,c,1]. None
            is normalised.

        Raises:
            ValueError: for shapes that do not fit.
        """
        if silhouettes.ndim == 5 and silhouettes.shape[1] == 1:
            silhouettes = silhouettes.squeeze(1)  # [n,s,h,w]
        self._check(silhouettes)
        n, s, h, w = silhouettes.shape
        features = self.frame_part(silhouettes.flatten(0, 1))  # [n*s,...] each
        pooled = [self.temporal_pooling(x.unflatten(0, (n, s)), lengths, 1) for x in features]
        parts = self._parts_of(*pooled)  # [n,c,p]
        compact = None if self.compact_block is None else self.compact_block(parts).unsqueeze(-1)

        training: dict[str, Any] = {"triplet": {"embeddings": parts, "labels": labels}}
        if self.classifier is not None and compact is not None:
            logits = self.classifier(compact.squeeze(-1)).unsqueeze(-1)  # [n,class_num,1]
            training["softmax"] = {"logits": logits, "labels": labels}
        elif self.bn_necks is not None:
            _, logits = self.bn_necks(parts)  # [n,class_num,p]
            training["softmax"] = {"logits": logits, "labels": labels}
        vectors = {"parts": parts} if compact is None else {"parts": parts, "compact": compact}
        return {
            "training_feat": training,
            "visual_summary": {"image/sils": silhouettes.reshape(n * s, 1, h, w)},
            "inference_feat": {"embeddings": vectors[self.config.vector], **vectors},
        }

    def frame_part(self, silhouettes: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Return features [m,c0,h,w], [m,c1,h/2,w/2], [m,c2,h/4,w/4] for float [m,h,w], 0..1."""
        return self.trunk(silhouettes.unsqueeze(1))

    def head_part(  # type: ignore[override]
        self, stage0: Tensor, stage1: Tensor, stage2: Tensor
    ) -> Tensor:
        """Return the embeddings of features pooled over time, [n,...] as `frame_part` has them.

        [n,c,p], or [n,c,1] where the config's vector is compact.
        """
        parts = self._parts_of(stage0, stage1, stage2)
        if self.config.vector == "parts":
            return parts
        assert self.compact_block is not None
        return self.compact_block(parts).unsqueeze(-1)

    def export_config(self) -> dict[str, Any]:
        """Return the config as plain data, for the weights file."""
        return {**asdict(self.config), "channels": list(self.config.channels)}

    def drop_training_parts(self) -> None:
        """Let go of the classifiers."""
        self.classifier = None
        self.bn_necks = None

    def train(self, mode: bool = True) -> GaitGLN:
        """Go to training mode, or with `mode` false to eval mode.

        Raises:
            ValueError: to training mode, after `optimise_for_inference`.
        """
        if mode and isinstance(self.pyramid, FoldedPyramid):
            raise ValueError("a network that was optimised for inference cannot be trained")
        return super().train(mode)

    def folded_pyramid(self) -> FoldedPyramid:
        """Return a pyramid for inference that gives the same numbers for half of the arithmetic.

        Raises:
            ValueError: in training mode, and where the lateral kernels are not 1x1.
        """
        if self.training:
            raise ValueError("a network that is being trained cannot be folded: call eval() first")
        assert isinstance(self.pyramid, LateralPyramid)
        return FoldedPyramid(self.pyramid)

    def optimise_for_inference(self) -> None:
        """Fold the pyramid, for good: the network can then be neither trained nor saved.

        Does nothing a second time, and nothing where folding is not possible (3x3 lateral kernels)
        or not known to pay (on a device other than the processor).

        Raises:
            ValueError: in training mode.
        """
        if isinstance(self.pyramid, FoldedPyramid) or self.config.lateral_kernel != 1:
            return
        if next(self.parameters()).device.type == "cpu":
            self.pyramid = self.folded_pyramid()

    def _parts_of(self, stage0: Tensor, stage1: Tensor, stage2: Tensor) -> Tensor:
        """Return the part feature [n,c,p] of pooled features."""
        strips = self.pyramid(stage0, stage1, stage2)  # [n,lateral_channels,p]
        parts = strips if self.fcs is None else self.fcs(strips)
        if self.unit is not None:
            parts = self.unit(parts)
        return parts if self.projection is None else self.projection(parts)

    def _check(self, silhouettes: Tensor) -> None:
        n, s = (*silhouettes.shape[:2], 0, 0)[:2]
        want = [n, s, *self.silhouette_hw]
        if list(silhouettes.shape) != want or n == 0 or s == 0:
            raise ValueError(
                f"silhouettes: expected {want} with n and s above 0, got {list(silhouettes.shape)}"
            )


def _initialise(module: nn.Module) -> None:
    """Start as the published recipes do: Xavier, and batch norms that differ a little."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.BatchNorm1d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
