"""The body stage: 85 numbers and 24 joints for each person. Variant: `landmarks`."""

from stages.body.landmarks import LandmarksConfig as Config
from stages.body.stage import BodyStage, build

__all__ = ["BodyStage", "Config", "build"]
