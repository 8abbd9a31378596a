"""The source stage: frames from a video file, a folder of images, a camera, a network address, or
a rendered scene.
"""

from stages.source.config import Config
from stages.source.stage import SourceStage, build

__all__ = ["Config", "SourceStage", "build"]
