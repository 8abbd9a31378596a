"""The dashboard, the alerts and the page ask for metrics that there are."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_up_states import state_in_the_midst

from pipeline.telemetry.metric_table import METRICS
from pipeline.telemetry.metrics import RunCollector

ROOT = Path(__file__).resolve().parents[3]
DASHBOARD = ROOT / "docs" / "grafana-dashboard.json"
PAGE = ROOT / "docs" / "metrics.md"
TOLD_BY_PROMETHEUS = {"up"}


@pytest.fixture(scope="module")
def series() -> dict[str, set[str]]:
    """The labels of every series that a run yields, by its name."""
    collector = RunCollector()
    collector.look(state_in_the_midst())
    return {
        sample.name: set(sample.labels)
        for family in collector.collect()
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return dict(json.loads(DASHBOARD.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (rules,) = (found for found in map(yaml.safe_load, blocks) if "groups" in found)
    return list(rules["groups"][0]["rules"])


def names_in(expressions: Iterable[str]) -> set[str]:
    return {name for text in expressions for name in re.findall(r"\bgaitstream_\w+", text)}


def labels_asked(expression: str) -> set[str]:
    """Labels by which an expression chooses or groups series."""
    chosen = set(re.findall(r"(\w+)\s*=~?\s*\"", expression))
    grouped = re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", expression)
    return chosen | {label.strip() for group in grouped for label in group.split(",") if label}


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_smoke_the_dashboard_can_be_imported(dashboard: dict[str, Any]) -> None:
    assert dashboard["schemaVersion"] >= 36 and dashboard["id"] is None and dashboard["title"]
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids) > 15
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and all(0 <= x < 24 for x, _ in cells), panel["title"]
        taken |= cells
    for panel in panels_of(dashboard):
        assert panel["targets"] and panel["description"], panel["title"]
        for each in (panel, *panel["targets"]):
            assert each["datasource"]["uid"] == "${datasource}"


def test_the_dashboard_asks_for_every_metric_and_no_other(
    dashboard: dict[str, Any], series: dict[str, set[str]]
) -> None:
    targets = [target for panel in panels_of(dashboard) for target in panel["targets"]]
    asked = names_in(target["expr"] for target in targets)
    assert asked <= set(series)
    assert {spec.name for spec in METRICS if not asked & set(spec.series)} == set()
    for target in targets:
        known = {"instance"}.union(*(series[name] for name in names_in([target["expr"]])))
        assert labels_asked(target["expr"]) <= known, target["expr"]
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= known, target["expr"]


def test_alerts_ask_for_metrics_that_there_are(
    alerts: list[dict[str, Any]], series: dict[str, set[str]]
) -> None:
    assert len({rule["alert"] for rule in alerts}) == len(alerts) >= 8
    for rule in alerts:
        asked = names_in([rule["expr"]])
        assert asked <= set(series)
        assert asked or rule["expr"].partition("{")[0] in TOLD_BY_PROMETHEUS
        known = {"instance", "job"}.union(*(series[name] for name in asked))
        assert labels_asked(rule["expr"]) <= known, rule["expr"]
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= known


def test_the_table_of_the_page_is_up_to_date() -> None:
    script = ROOT / "scripts" / "write_metrics_table.py"
    spec = importlib.util.spec_from_file_location("write_metrics_table", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = PAGE.read_text(encoding="utf-8")
    assert written == module.page(written), "run: python scripts/write_metrics_table.py"
    for metric in METRICS:
        assert f"| {metric.told} |" in written
