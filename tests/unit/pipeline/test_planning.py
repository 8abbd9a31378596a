"""What each stage is told before a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.planning import MAKE_WAY, SharedMemory, plan_run


@pytest.mark.parametrize(
    ("placement", "live"), [("processes", False), ("processes", True), ("threads", False)]
)
def test_in_a_recording_the_stages_after_detection_make_way_for_it(
    tmp_path: Path, placement: str, live: bool
) -> None:
    config = load_config(None, {"source.uri": "clip.mp4", "run.placement": placement})
    plans = plan_run(config, tmp_path, SharedMemory(-1, {}), live=live, spans=None)
    nice = {plan.stage: plan.nice for plan in plans}
    assert nice["source"] == nice["detect"] == 0
    others = {nice[name] for name in ("body", "sequence", "embed", "identify", "sink")}
    assert others == {0 if live or placement == "threads" else MAKE_WAY}
