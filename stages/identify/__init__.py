"""Names tracks: gallery, search, decision. Exports `Config` and `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.identify.config import Config

if TYPE_CHECKING:
    from stages.identify.stage import IdentifyStage

__all__ = ["Config", "build", "preload"]


def build(config: Config) -> IdentifyStage:
    """Return the stage; nothing is opened before its `setup`."""
    # Here, so that a command that only lists a gallery does not wait for scipy.
    from stages.identify.stage import IdentifyStage

    return IdentifyStage(config)


def preload(config: Config) -> None:
    """Import what `build` will, so that a stage in place of a dead one need not wait for it."""
    build(config)
