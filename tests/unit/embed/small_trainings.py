"""Trainings of a tiny network that take a moment, and ways to look at them and end them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.embed.training.config import TrainConfig
from stages.embed.training.preparation import make_batches, make_network, open_data
from stages.embed.training.processes import Place
from stages.embed.training.ranks import Ranks
from stages.embed.training.session import Order, train
from stages.embed.training.steps import Stepper
from stages.embed.training.trainer import Outcome

NARROW = {"channels": [3, 4, 4], "out_channels": 4}
TRIPLET: dict[str, Any] = {"triplet": {}}
BOTH: dict[str, Any] = {"triplet": {}, "softmax": {}}


def phase(name: str = "main", steps: int = 6, **more: Any) -> dict[str, Any]:
    told = {"name": name, "steps": steps, "optimiser": {"lr": 0.05}, "losses": BOTH}
    return told | more


def config_of(walkers: Path, *phases: dict[str, Any], **more: Any) -> TrainConfig:
    told: dict[str, Any] = {
        "data": {"path": walkers, "test_share": 0.5},
        "network": {"name": "smplgait", "config": NARROW},
        "phases": list(phases) or [phase()],
        "sampler": {"subjects": 2, "sequences": 2, "frames": 4},
        "evaluation": {"every": 0, "final": False},
        "checkpoints": {"every": 2},
        "log_every": 2,
        "workers": 0,
        "device": "cpu",
    }
    return TrainConfig.model_validate(told | more)


class Watching:
    """An observer that counts, and may do something after a step."""

    def __init__(
        self,
        after: Callable[[int], None] | None = None,
        while_looking: Callable[[], None] | None = None,
    ) -> None:
        self.looked_at = 0
        self._while_looking = while_looking
        self.losses: list[float] = []
        self.figures: dict[int, dict[str, float | None]] = {}
        self._after = after

    def on_likeness(self, done: int, total: int) -> None:
        self.looked_at = done
        if self._while_looking is not None:
            self._while_looking()

    def on_step(self, done: int, total: int, phase: str, numbers: dict[str, float]) -> None:
        self.losses.append(numbers["loss"])
        if self._after is not None:
            self._after(done)

    def on_evaluation(self, done: int, figures: dict[str, float | None]) -> None:
        self.figures[done] = figures


def run(
    config: TrainConfig,
    out: Path,
    watching: Watching | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    **order: bool,
) -> Outcome:
    return train(Order(config, out, **order), Place(), watching or Watching(), should_stop)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    for row in found:
        row.pop("frames_per_s", None)
    return found


def bytes_of(out: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(out.glob("*.safetensors"))]


class Killed(BaseException):
    """What a kill is to the code that it hits."""


def killed_after(step: int) -> Watching:
    def kill(done: int) -> None:
        if done == step:
            raise Killed

    return Watching(kill)


def stepper_of(config: TrainConfig, ranks: Ranks | None = None) -> tuple[Stepper, Any]:
    data = open_data(config)
    network = make_network(config, data)
    ranks = ranks or Ranks()
    batches = make_batches(config, data, network.reads, ranks.rank, ranks.world)
    return Stepper(config, network, ranks), batches
