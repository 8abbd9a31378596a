"""Several networks side by side, their embeddings joined in one.

What silhouettes and bodies tell of somebody are two things, and noise of one is not noise of the
other. Each member makes its embedding, of length 1; the joined one holds all of them, each times
the root of its share, so that a joined similarity is the members' similarities averaged by their
shares. Whatever reads, streams, stores or matches an embedding need not know that it is joined, and
members can be trained on together.

Letters: n sequences, s frames, m = n*s, c numbers of an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.embed.networks.bn_necks import SeparateBNNecks, check_class_num
from stages.embed.networks.interface import KEYPOINTS, SILHOUETTES, THETA, GaitNetwork
from stages.embed.networks.local_scaling import LocalScaling, check_cohort
from stages.embed.networks.projection import Projection, check_projection
from stages.embed.networks.single import SINGLE
from stages.embed.networks.smplrows import THETA_SIZE

NAME = "joined"
MOST = 8
LISTS = ("members", "shares")
BODY_AND_SILHOUETTES: tuple[Mapping[str, Any], ...] = (
    {"network": "smplgait", "config": {}},
    {"network": "smplrows", "config": {}},
)


@dataclass(frozen=True, slots=True)
class JoinedConfig:
    """What decides the shapes of the weights.

    Attributes:
        members: of each its `network`, by name, and its `config`, filled up with what it leaves
            out; they must pool over time by a maximum, and have no classes.
        shares: of each member, positive; brought to a sum of 1. Empty: all the same.
        class_num: identities of the training set; 0 leaves the BNNecks out.
        projection: numbers that the joined embedding is brought to in the end, see `projection`;
            0: none.
        cohort: people by whom lengths say how crowded an embedding's place is, see
            `local_scaling`; 0: all lengths are 1.

    Lists, as files hold them, become tuples.

    Raises:
        ValueError: for what cannot be built.
    """

    members: tuple[Mapping[str, Any], ...] = BODY_AND_SILHOUETTES
    shares: tuple[float, ...] = ()
    class_num: int = 0
    projection: int = 0
    cohort: int = 0

    def __post_init__(self) -> None:
        for name in LISTS:
            if not isinstance(getattr(self, name), (tuple, list)):
                raise ValueError(f"{name} must be a list, got {getattr(self, name)!r}")
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not 2 <= len(self.members) <= MOST:
            raise ValueError(f"2 to {MOST} members can be joined, got {len(self.members)}")
        for member in self.members:
            if not isinstance(member, Mapping) or set(member) != {"network", "config"}:
                raise ValueError(f"a member has a network and a config, got {member!r}")
            if member["network"] not in SINGLE or not isinstance(member["config"], Mapping):
                raise ValueError(f"a member is one of {', '.join(SINGLE)}; got {member!r}")
        object.__setattr__(self, "members", tuple(map(_in_full, self.members)))
        if not self.shares:
            object.__setattr__(self, "shares", (1.0,) * len(self.members))
        numbers = all(
            isinstance(share, (int, float)) and not isinstance(share, bool) and share > 0
            for share in self.shares
        )
        if len(self.shares) != len(self.members) or not numbers or math.isinf(sum(self.shares)):
            raise ValueError(
                f"shares must be {len(self.members)} positive numbers, got {list(self.shares)}"
            )
        whole = sum(self.shares)
        object.__setattr__(self, "shares", tuple(share / whole for share in self.shares))
        check_class_num(self.class_num)
        check_projection(self)
        check_cohort(self.cohort)
        if self.cohort and self.class_num:
            raise ValueError("a cohort comes after the training: leave it or the classes out")


def _in_full(member: Mapping[str, Any]) -> dict[str, Any]:
    """A member with every key of its config, as plain data that equals what a file holds."""
    config = asdict(SINGLE[member["network"]].config(**member["config"]))
    plain = {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()}
    return {"network": member["network"], "config": plain}


class Joined(GaitNetwork):
    """The network. Keeps no state between calls."""

    name = NAME
    pools = True

    def __init__(self, config: JoinedConfig) -> None:
        super().__init__()
        self.config = config
        members = [SINGLE[each["network"]].build(each["config"]) for each in config.members]
        for member in members:
            if not member.pools:
                raise ValueError(
                    f"{member.name} reads whole windows; only networks that pool can be joined"
                )
            if member.config.class_num:
                raise ValueError(f"the member {member.name} has classes; join it without them")
        sizes = {hw for hw in (member.silhouette_hw for member in members) if hw is not None}
        if len(sizes) > 1:
            raise ValueError(f"members read silhouettes of several sizes: {sorted(sizes)}")
        self.members = nn.ModuleList(members)
        self.feature_count = sum(member.feature_count for member in members)
        self._hw = next(iter(sizes), None)
        read = {name for member in members for name in member.reads}
        self.reads = tuple(name for name in (SILHOUETTES, THETA, KEYPOINTS) if name in read)
        channels = sum(math.prod(member.vector_shape) for member in members)
        self._channels = channels
        self.projection = Projection(channels, config.projection) if config.projection else None
        numbers = config.projection or channels
        self.local_scaling = LocalScaling(numbers, config.cohort) if config.cohort else None
        classes = config.class_num
        self.bn_necks = SeparateBNNecks(1, channels, classes) if classes else None

    @property
    def vector_shape(self) -> tuple[int, int]:
        """(c, p) of an embedding."""
        return self.config.projection or self._channels, 1

    @property
    def silhouette_hw(self) -> tuple[int, int] | None:
        """(h, w) of the silhouettes that members read, None if none does."""
        return self._hw

    def forward(
        self,
        *inputs: Tensor | None,
        labels: Tensor | None = None,
        lengths: Sequence[int] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Return what training, logging and inference read.

        Args:
            inputs: what `reads` names, [n,s,...] each.
            labels: int [n], passed on to the losses.
            lengths: the sequences lie end to end along s, with n = 1; one embedding for each.

        Returns:
            training_feat: triplet (embeddings [n,c,1], labels) and, with BNNecks, softmax (logits
            [n,class_num,1], labels); visual_summary: the members'; inference_feat: embeddings
            [n,c,1], of length 1 where there is no cohort.

        Raises:
            ValueError: for shapes that do not fit.
        """
        found = [
            member(*own, lengths=lengths)
            for member, own in zip(self._networks(), self._shared_out(inputs, 2), strict=True)
        ]
        embeddings = self._join([each["inference_feat"]["embeddings"] for each in found])
        training: dict[str, Any] = {"triplet": {"embeddings": embeddings, "labels": labels}}
        if self.bn_necks is not None:
            _, logits = self.bn_necks(embeddings)  # [n,class_num,1]
            training["softmax"] = {"logits": logits, "labels": labels}
        pictures = {name: pic for each in found for name, pic in each["visual_summary"].items()}
        return {
            "training_feat": training,
            "visual_summary": pictures,
            "inference_feat": {"embeddings": embeddings},
        }

    def frame_part(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """Return the members' features [m,...], one member's after the other's."""
        pairs = zip(self._networks(), self._shared_out(inputs, 1), strict=True)
        return tuple(feature for member, own in pairs for feature in member.frame_part(*own))

    def head_part(self, *pooled: Tensor) -> Tensor:
        """Return the embeddings [n,c,1] of the members' pooled features."""
        rest = iter(pooled)
        return self._join(
            [member.head_part(*islice(rest, member.feature_count)) for member in self._networks()]
        )

    def export_config(self) -> dict[str, Any]:
        """Return the config as plain data, for the weights file."""
        return {**asdict(self.config), **{k: list(getattr(self.config, k)) for k in LISTS}}

    def drop_training_parts(self) -> None:
        """Let go of the BNNecks."""
        self.bn_necks = None
        for member in self._networks():
            member.drop_training_parts()

    def optimise_for_inference(self) -> None:
        """Let members that have another form for inference take it."""
        for member in self._networks():
            optimise = getattr(member, "optimise_for_inference", None)
            if optimise is not None:
                optimise()

    def _networks(self) -> Iterator[GaitNetwork]:
        for member in self.members:
            assert isinstance(member, GaitNetwork)
            yield member

    def _join(self, embeddings: Sequence[Tensor]) -> Tensor:
        """[n,c',p] each, parts of any length, to [n,c,1]."""
        weighted = [
            share**0.5 * F.normalize(embedding.float().flatten(1), dim=1)
            for share, embedding in zip(self.config.shares, embeddings, strict=True)
        ]
        joined = torch.cat(weighted, 1).unsqueeze(-1)
        if self.projection is not None:
            joined = self.projection(joined)
        return joined if self.local_scaling is None else self.local_scaling(joined)

    def _shared_out(self, inputs: Sequence[Tensor | None], dims: int) -> Iterator[list[Any]]:
        """What each member reads of `inputs`, whose first `dims` dimensions count frames.

        A network may be asked to do without bodies. A member that reads nothing else then sees the
        same body, at rest, in every frame, and says the same of everybody.
        """
        given = dict(zip(self.reads, inputs, strict=False))
        for member in self._networks():
            own = [given.get(name) for name in member.reads]
            if all(each is None for each in own):
                seen = next(each for each in inputs if each is not None)
                own = [seen.new_zeros((*seen.shape[:dims], THETA_SIZE))]
            yield own
