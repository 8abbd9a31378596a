"""Metrics, health and traces of a real run, read while it goes."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.graph import STAGES
from tests.otlp_endpoint import Endpoint, attributes
from tests.system.conftest import CLIP_B, Program, summary_of

FRAMES = 75
TIMEOUT_S = 20


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def samples_of(url: str) -> dict[tuple[str, str], float]:
    """The values of the metrics by name and stage."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name, sample.labels.get("stage", "")): sample.value
        for family in families
        for sample in family.samples
    }


def address_in(program: Program) -> str:
    """What the program says of the port that it chose."""
    assert program.process is not None and program.process.stdout is not None
    for line in program.process.stdout:
        if line.startswith("metrics at "):
            return line.split()[-1].removesuffix("/metrics")
    raise AssertionError("no port was told")


def test_metrics_health_and_traces_of_a_replay(program: Program, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Endpoint() as endpoint:
        program.start(
            *("replay", "--source", CLIP_B, "--end", FRAMES / 25, "--out", out, "--no-video"),
            *("--metrics", 0, "--set", f"run.otlp_endpoint={endpoint.url}"),
        )
        address = address_in(program)
        assert status_of(f"{address}/ready") == 503
        program.wait_for(lambda: status_of(f"{address}/ready") == 200)
        assert status_of(f"{address}/live") == 200

        def detected() -> float:
            return samples_of(f"{address}/metrics")["gaitstream_frames_total", "detect"]

        program.wait_for(lambda: detected() > 0)
        first = detected()
        program.wait_for(lambda: detected() > first)
        found = samples_of(f"{address}/metrics")
        for spec in STAGES:
            assert found["gaitstream_stage_up", spec.name] == 1
        assert found["gaitstream_stage_service_seconds_count", "detect"] > first
        assert found["gaitstream_stage_busy_seconds_total", "detect"] > 0
        assert program.wait() == 0, program.output
    with pytest.raises(urllib.error.URLError, match="refused"):
        status_of(f"{address}/live")
    assert summary_of(out)["frames_processed"] == FRAMES

    (last,) = endpoint.metrics()[-1].resource_metrics
    sent = {metric.name: metric for metric in last.scope_metrics[0].metrics}
    counts = {
        attributes(point)["stage"]: point.as_double
        for point in sent["gaitstream_frames"].sum.data_points
    }
    assert set(counts) == {spec.name for spec in STAGES}
    assert counts["source"] == counts["detect"] == counts["sink"] == FRAMES
    roots = [span for span in endpoint.spans() if span.name == "frame"]
    assert roots
    for root in roots:
        children = [one for one in endpoint.spans() if one.parent_span_id == root.span_id]
        assert [one.name for one in children] == [spec.name for spec in STAGES]
