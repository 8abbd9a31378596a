"""A run's metrics and a frame's way as OpenTelemetry has them. Needs the extra `otel`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Tracer, set_span_in_context
from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from pipeline import __version__
from pipeline.telemetry.spans import FrameSpans
from pipeline.telemetry.timeline import parts_ms, timeline_of

UNITS = {"seconds": "s", "bytes": "By", "hertz": "Hz"}
MS_PER_S = 1e3
CUMULATIVE = AggregationTemporality.CUMULATIVE


def resource() -> Resource:
    """Return who tells; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word."""
    ours = Resource(
        {
            "service.name": "gaitstream",
            "service.version": __version__,
            "service.instance.id": f"{platform.node()}-{os.getpid()}",
        }
    )
    return ours.merge(OTELResourceDetector().detect())


def metrics_data(
    families: Iterable[Family], who: Resource, start_ns: int, now_ns: int
) -> MetricsData:
    """Return Prometheus's families as one cumulative export.

    Names stay, so that the same dashboard does for both; the suffix `_total`, which OpenTelemetry
    does not have, comes back when its collector hands them to Prometheus.

    Args:
        start_ns, now_ns: since 1970; when counting began, and what time it is.
    """
    metrics = [
        Metric(family.name, family.documentation, _unit(family.name), data)
        for family in families
        if (data := _data(family, start_ns, now_ns)).data_points
    ]
    scope = ScopeMetrics(InstrumentationScope("gaitstream", __version__), metrics, "")
    return MetricsData([ResourceMetrics(who, [scope], "")])


def _unit(name: str) -> str:
    return UNITS.get(name.rpartition("_")[2], "1")


def _data(family: Family, start_ns: int, now_ns: int) -> Sum | Gauge | Histogram:
    if family.type == "histogram":
        return Histogram(_histogram_points(family.samples, start_ns, now_ns), CUMULATIVE)
    points = [
        NumberDataPoint(sample.labels, start_ns, now_ns, float(sample.value))
        for sample in family.samples
    ]
    return Sum(points, CUMULATIVE, True) if family.type == "counter" else Gauge(points)


def _histogram_points(
    samples: Iterable[Sample], start_ns: int, now_ns: int
) -> list[HistogramDataPoint]:
    """Return a point for each set of labels; counts of buckets that do not include each other."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, int]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in samples:
        labels = tuple((key, value) for key, value in sample.labels.items() if key != "le")
        if sample.name.endswith("_bucket"):
            bound = float(sample.labels["le"])
            buckets.setdefault(labels, []).append((bound, int(sample.value)))
        elif sample.name.endswith("_sum"):
            sums[labels] = float(sample.value)
    points = []
    for labels, found in buckets.items():
        below = [0, *(count for _, count in found[:-1])]
        points.append(
            HistogramDataPoint(
                attributes=dict(labels),
                start_time_unix_nano=start_ns,
                time_unix_nano=now_ns,
                count=found[-1][1],
                sum=sums[labels],
                bucket_counts=[
                    count - before for (_, count), before in zip(found, below, strict=True)
                ],
                explicit_bounds=[bound for bound, _ in found[:-1]],
                min=None,  # type: ignore[arg-type]  # not known, and optional in what is sent
                max=None,  # type: ignore[arg-type]
            )
        )
    return points


def record_way(tracer: Tracer, way: FrameSpans, unix_offset_ns: int) -> None:
    """Give a frame's way to a tracer: a trace with a span a stage.

    Args:
        unix_offset_ns: what makes the host's monotonic clock the time since 1970.
    """
    root = tracer.start_span(
        "frame",
        start_time=way.capture_ns + unix_offset_ns,
        attributes={
            "gaitstream.source": way.source_id,
            "gaitstream.frame": way.frame_id,
            "gaitstream.identities": way.carried,
        },
    )
    context = set_span_in_context(root)
    parts = parts_ms(timeline_of([way]))
    for place, (stage, enter_ns, leave_ns, _) in enumerate(way.spans):
        span = tracer.start_span(
            stage,
            context=context,
            start_time=enter_ns + unix_offset_ns,
            attributes={
                f"gaitstream.{part}_seconds": float(parts[part][0, place]) / MS_PER_S
                for part in ("queue", "transport")
            },
        )
        span.end(leave_ns + unix_offset_ns)
    root.end(way.spans[-1][2] + unix_offset_ns)
