"""What a run measures of itself."""

from pipeline.telemetry.histogram import LatencyHistogram
from pipeline.telemetry.spans import FrameSpans, SpanWriter, frame_spans, read_spans

__all__ = ["FrameSpans", "LatencyHistogram", "SpanWriter", "frame_spans", "read_spans"]
