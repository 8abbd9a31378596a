"""Turns windows into vectors by which people are told apart."""

from stages.embed.config import Config
from stages.embed.stage import EmbedStage, build

__all__ = ["Config", "EmbedStage", "build"]
