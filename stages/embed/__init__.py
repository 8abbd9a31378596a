"""Turns windows into vectors by which people are told apart."""

from stages.embed.config import Config
from stages.embed.stage import EmbedStage, build

__all__ = ["Config", "EmbedStage", "build", "preload"]


def preload(config: Config) -> None:
    """Import what `setup` will, so that a stage in place of a dead one need not wait for it."""
    if config.network != "gei":
        from stages.embed import checkpoint, devices, embedder, streaming  # noqa: F401
        from stages.embed.runtimes import choosing, torch_runtime  # noqa: F401
