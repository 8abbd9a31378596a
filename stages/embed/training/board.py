"""What TensorBoard shows of a training, where it is installed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.extras import install_command

log = logging.getLogger(__name__)

STRIP_FRAMES = 12
# Where each column of the curve stands.
TAGS = {
    "lr": "training/learning_rate",
    "loss": "loss/sum",
    "triplet_loss": "loss/triplet",
    "contrastive_loss": "loss/contrastive",
    "softmax_loss": "loss/softmax",
    "nonzero_share": "training/share_of_nonzero_triplets",
    "positive_distance": "distance/positive",
    "negative_distance": "distance/negative",
    "nearest_right": "training/share_of_right_nearest",
    "accuracy": "training/accuracy",
    "grad_norm": "training/gradient_norm",
    "loss_scale": "training/loss_scale",
    "frames_per_s": "speed/frames_per_s",
}


class Board:
    """Writes events; does nothing where TensorBoard is not installed, and says so once."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open.

        Args:
            step: how many steps were done; events of later ones are taken back.
        """
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            log.info(
                "TensorBoard is not installed: no events are written (%s)", install_command("train")
            )
            return
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def numbers(self, step: int, row: Mapping[str, Any]) -> None:
        """Show a row of the curve."""
        if self._writer is None:
            return
        for column, tag in TAGS.items():
            if row.get(column) is not None:
                self._writer.add_scalar(tag, row[column], step)

    def evaluation(self, step: int, figures: Mapping[str, float]) -> None:
        """Show what an evaluation found."""
        if self._writer is None:
            return
        for name, figure in figures.items():
            self._writer.add_scalar(f"evaluation/{name}", figure, step)

    def pictures(self, step: int, pictures: Mapping[str, Tensor]) -> None:
        """Show a few frames of what the network saw, side by side.

        Args:
            pictures: by name float [m,1 or 3,h,w], 0..1.
        """
        if self._writer is None:
            return
        for name, frames in pictures.items():
            self._writer.add_image(name, strip_of(frames), step)

    def close(self) -> None:
        """Write what is still held and let go."""
        if self._writer is not None:
            self._writer.close()


def strip_of(frames: Tensor) -> Tensor:
    """Return evenly spaced frames of float [m,k,h,w] side by side, [k,h,w*count], in 0..1."""
    count = min(STRIP_FRAMES, len(frames))
    places = torch.linspace(0, len(frames) - 1, count).round().long()
    return torch.cat(list(frames.detach()[places].float().cpu().clamp(0, 1)), dim=-1)
