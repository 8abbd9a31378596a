"""What every gait network offers, so that training, streaming and export know none of them by name.

Letters: n sequences, s frames, m frames of any sequences, h w height and width, c numbers for each
of p body parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

# What a network may read of each frame, in the order in which it takes them:
# silhouettes float [.,h,w] 0..1; theta float [.,85]; keypoints float [.,17,3], x y in pixels and
# confidence, COCO's order.
SILHOUETTES, THETA, KEYPOINTS = "silhouettes", "theta", "keypoints"


class GaitNetwork(nn.Module):
    """A gait network. Keeps no state between calls.

    A network that `pools` is a part for single frames and a part for the rest, with nothing but a
    maximum over time between them:

        head_part(*(feature.max over the frames for feature in frame_part(*inputs)))

    so that a stream pays for each frame once. The others have only `head_part`, which then takes
    whole sequences [n,s,...] of what the network reads.

    Attributes:
        name: how configs, files and messages call it.
        config: a frozen dataclass of plain values: what decides the shapes of the weights.
        reads: of `SILHOUETTES`, `THETA`, `KEYPOINTS`, what it takes, in that order.
        pools: see above.
        feature_count: how many features `frame_part` returns.
        parts_are_views: its parts are the same thing looked at in several ways, so that a
            projection takes each alone; else it takes all of them together.
    """

    name: str
    config: Any
    reads: tuple[str, ...]
    pools: bool
    feature_count: int = 1
    parts_are_views: bool = False

    @property
    def needs_no_bodies(self) -> bool:
        """It reads bodies and something else, and can do without the bodies."""
        return THETA in self.reads and len(self.reads) > 1

    @property
    def vector_shape(self) -> tuple[int, int]:
        """(c, p) of an embedding."""
        raise NotImplementedError

    @property
    def silhouette_hw(self) -> tuple[int, int] | None:
        """(h, w) of the silhouettes it reads, None if it reads none."""
        raise NotImplementedError

    def frame_part(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """Return features [m,...] of single frames, each to be pooled by a maximum.

        Args:
            inputs: what `reads` names, [m,...] each. None for theta lets a network that has a body
                branch do without.
        """
        raise NotImplementedError

    def head_part(self, *pooled: Tensor) -> Tensor:
        """Return embeddings [n,c,p] of pooled features [n,...], or of sequences [n,s,...]."""
        raise NotImplementedError

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
            training_feat: triplet (embeddings [n,c,p], labels) and, with classes, softmax (logits
            [n,class_num,p], labels); visual_summary: pictures by name; inference_feat: embeddings.

        Raises:
            ValueError: for shapes that do not fit.
        """
        raise NotImplementedError

    def export_config(self) -> dict[str, Any]:
        """Return the config as plain data, for the weights file."""
        raise NotImplementedError

    def drop_training_parts(self) -> None:
        """Let go of what only training reads, such as classifiers."""
