"""What a run measures of itself."""

from pipeline.telemetry.histogram import LatencyHistogram

__all__ = ["LatencyHistogram"]
