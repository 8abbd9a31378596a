"""The source stage: frames from a video file, a folder of images, a camera or a network address."""

from stages.source.config import Config
from stages.source.stage import SourceStage, build

__all__ = ["Config", "SourceStage", "build"]
