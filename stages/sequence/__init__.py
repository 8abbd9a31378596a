"""Cuts each track into windows of aligned silhouettes and bodies."""

from stages.sequence.stage import SequenceStage, build
from stages.sequence.window import Config

__all__ = ["Config", "SequenceStage", "build"]
