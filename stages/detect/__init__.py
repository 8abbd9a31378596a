"""Finds, segments and tracks people in frames. Variants: `mediapipe` (default) and `yolo`."""

from stages.detect.config import Config, MediapipeConfig, TrackingConfig, YoloConfig
from stages.detect.stage import DetectStage

__all__ = ["Config", "DetectStage", "MediapipeConfig", "TrackingConfig", "YoloConfig", "build"]


def build(config: MediapipeConfig | YoloConfig) -> DetectStage:
    """Return the stage for a checked configuration; `setup` loads its networks."""
    return DetectStage(config)
