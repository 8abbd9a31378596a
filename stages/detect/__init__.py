"""Finds, segments and tracks people in frames. Variants: `mediapipe` (default) and `yolo`."""

from stages.detect.config import Config, MediapipeConfig, TrackingConfig, YoloConfig
from stages.detect.stage import DetectStage

__all__ = [
    "Config",
    "DetectStage",
    "MediapipeConfig",
    "TrackingConfig",
    "YoloConfig",
    "build",
    "preload",
]


def build(config: MediapipeConfig | YoloConfig) -> DetectStage:
    """Return the stage for a checked configuration; `setup` loads its networks."""
    return DetectStage(config)


def preload(config: MediapipeConfig | YoloConfig) -> None:
    """Import what `setup` will, so that a stage in place of a dead one need not wait for it."""
    from stages.detect.pose import load_mediapipe
    from stages.detect.tracking import load_norfair

    load_norfair()
    load_mediapipe()
    if isinstance(config, YoloConfig):
        from stages.detect.yolo import load_ultralytics

        load_ultralytics()
