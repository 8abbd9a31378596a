"""What each stage is told before a run."""

from __future__ import annotations

import os
import subprocess
import sys
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


TOGETHER = """
import ctypes, os, sys, time
from pathlib import Path
from pipeline.runner import AUTOGROUP, make_way
if os.getuid() == 0:
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1)  # its own files in /proc are its own again
print("ready", flush=True)
sys.stdin.readline()
make_way(7)
deadline = time.monotonic() + 20
said = lambda: AUTOGROUP.read_bytes().split()[-1:] if AUTOGROUP.exists() else []
while said() not in ([], [b"7"]) and time.monotonic() < deadline:
    time.sleep(0.02)
print(os.nice(0), *map(int, said()))
"""


def test_processes_of_several_sessions_make_way_at_once() -> None:
    """Linux takes few such wishes a second from users without special rights."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for _ in range(5)
    ]
    for each in processes:
        assert each.stdout is not None and each.stdout.readline() == "ready\n"
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    answers = [each.communicate(timeout=60)[0].split() for each in processes]
    nice = str(min(os.nice(0) + 7, 19))
    assert all(answer in ([nice], [nice, "7"]) for answer in answers), answers
