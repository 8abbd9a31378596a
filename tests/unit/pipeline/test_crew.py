"""Who looks after the workers: for how long each has been silent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from pipeline import crew
from pipeline.config import load_config
from pipeline.crew import SUSPENDED_S, Crew
from pipeline.planning import SharedMemory, plan_run
from pipeline.run_state import RunState


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Sleeper:
    """A worker that does nothing."""

    pid = 1

    def __init__(self, *_: object) -> None:
        pass

    def alive(self) -> bool:
        return True

    def join(self, timeout_s: float) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(crew, "time", made)
    monkeypatch.setattr(crew, "ThreadWorker", Sleeper)
    return made


@pytest.fixture
def watched(tmp_path: Path, clock: Clock) -> Iterator[Crew]:
    config = load_config(None, {"source.uri": "clip.mp4", "run.placement": "threads"})
    plans = plan_run(config, tmp_path, SharedMemory(-1, {}), live=False, spans=None)
    with zmq.Context() as context:
        made = Crew(config, context, tmp_path, RunState(), live=False)
        for plan in plans:
            made.start(plan)
        yield made


def pass_by(watched: Crew, clock: Clock, seconds: float) -> None:
    """Let time pass while the supervisor takes its turns."""
    for _ in range(int(seconds)):
        clock.now += 1.0
        watched.turn()


def test_a_stage_is_silent_since_it_was_heard_last(watched: Crew, clock: Clock) -> None:
    pass_by(watched, clock, 5)
    watched.heard("body")
    pass_by(watched, clock, 3)
    assert watched.silent_s("body") == 3 and watched.silent_s("detect") == 8


def test_who_waited_for_others_to_load_is_not_silent_when_all_begin(
    watched: Crew, clock: Clock
) -> None:
    pass_by(watched, clock, 50)
    watched.all_heard()
    pass_by(watched, clock, 1)
    assert {watched.silent_s(stage) for stage in watched.stages} == {1}


def test_nobody_is_blamed_for_what_we_did_not_hear(watched: Crew, clock: Clock) -> None:
    clock.now += 20 * SUSPENDED_S
    watched.turn()
    assert {watched.silent_s(stage) for stage in watched.stages} == {0}
