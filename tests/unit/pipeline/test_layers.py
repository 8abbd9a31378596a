"""The house rules of imports, and that the two tables agree with what they name."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.graph import STAGES, TOPICS, readers_of, stage_spec, topic_spec

ROOT = Path(__file__).resolve().parents[3]
STAGE_NAMES = {spec.name for spec in STAGES}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute here"
            yield node.module


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_machinery_knows_no_stage() -> None:
    for path in files("pipeline"):
        if ROOT / "pipeline" / "cli" not in path.parents:
            assert not [name for name in imports(path) if name.startswith("stages")], path


def test_stages_do_not_import_each_other() -> None:
    for path in files("stages"):
        own = path.relative_to(ROOT / "stages").parts[0]
        for name in imports(path):
            if name.startswith("stages."):
                assert name.split(".")[1] in {own, "human"}, f"{path} imports {name}"
            assert not name.startswith("pipeline.cli"), f"{path} imports {name}"


def test_only_one_file_imports_the_agpl_part() -> None:
    users = [p for p in files("pipeline") + files("stages") if "ultralytics" in set(imports(p))]
    assert users in ([], [ROOT / "stages" / "detect" / "yolo.py"])


@pytest.mark.parametrize("spec", STAGES, ids=lambda spec: spec.name)
def test_every_stage_exports_config_and_build(spec: object) -> None:
    module = importlib.import_module(spec.module)  # type: ignore[attr-defined]
    assert module.Config and callable(module.build)


def test_tables_fit_together() -> None:
    topics = {spec.name for spec in TOPICS}
    written = [spec.writes for spec in STAGES if spec.writes]
    assert sorted(written) == sorted(topics), "each topic is written by exactly one stage"
    for spec in STAGES:
        assert set(spec.reads) <= topics
        assert stage_spec(spec.name) is spec
    for topic in TOPICS:
        assert readers_of(topic.name), f"nobody reads {topic.name}"
        assert topic_spec(topic.name) is topic
        if topic.carries:
            assert topic.carries in topic.message.__dataclass_fields__
