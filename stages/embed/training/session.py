"""One process's part in a training: from the configuration to the outcome."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import ConfigError
from stages.embed.devices import choose_device
from stages.embed.training.config import TrainConfig
from stages.embed.training.precision import settle
from stages.embed.training.preparation import Progress, make_batches, make_network, open_data
from stages.embed.training.processes import Place
from stages.embed.training.ranks import join, leave
from stages.embed.training.run_folder import RunFolder
from stages.embed.training.run_lock import only_training_in
from stages.embed.training.trainer import Observer, Outcome, Trainer


@dataclass(frozen=True, slots=True)
class Order:
    """What every process of a training is told.

    Attributes:
        out: folder of the run. resume: go on with the run that is there, or begin if there is none.
        overwrite: remove the run that is there.
    """

    config: TrainConfig
    out: Path
    resume: bool = False
    overwrite: bool = False


def train(
    order: Order,
    place: Place,
    observer: Observer,
    should_stop: Callable[[], bool],
    on_progress: Progress | None = None,
) -> Outcome:
    """Train, as one of the processes of a training or as the only one.

    Args:
        on_progress: while the data are looked at, see `open_store`.

    Raises:
        GaitError: whatever ended it; nothing of a former run is touched before all is checked.
    """
    config = order.config
    device = device_of(config.device, place)
    settle(
        device,
        threads=config.threads,
        deterministic=config.deterministic,
        processes=place.world,
    )
    data = open_data(config, on_progress)
    network = make_network(config, data)
    batches = make_batches(config, data, network.reads, place.rank, place.world)
    folder = RunFolder(order.out, config.network.name)
    with ExitStack() as held:
        if place.rank == 0:  # before the others are met, who read what is there
            folder.check(resume=order.resume, overwrite=order.overwrite)
            held.enter_context(only_training_in(order.out))
            folder.prepare(resume=order.resume, overwrite=order.overwrite)
        ranks = join(place.rank, place.world, device, place.meeting)
        held.callback(leave)
        trainer = Trainer(config, data, network, batches, folder, ranks, observer, should_stop)
        return trainer.run()


def device_of(asked: str, place: Place) -> torch.device:
    """Return what a process computes on: with several, each its own CUDA device.

    Raises:
        ConfigError: there are fewer devices than processes.
    """
    device = choose_device(asked)
    if device.type != "cuda" or place.world == 1:
        return device
    count = torch.cuda.device_count()
    if place.local >= count:
        raise ConfigError(
            f"process {place.local} on this machine has no CUDA device: torch sees {count}",
            hint="Use as many processes as devices, or --device cpu.",
        )
    return torch.device("cuda", place.local)
