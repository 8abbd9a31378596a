"""docs/configuration.md says what the models say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "write_config_reference.py"


def test_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("write_config_reference", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = script.TARGET.read_text(encoding="utf-8")
    assert written == script.reference(), "run: python scripts/write_config_reference.py"
