"""Which device a network runs on."""

from __future__ import annotations

import logging

import torch

from pipeline.errors import ConfigError

log = logging.getLogger(__name__)


def choose_device(asked: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`, and say in the log which and why.

    Raises:
        ConfigError: a CUDA device is asked for and is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        device = torch.device("cuda", 0) if count else torch.device("cpu")
        why = "a CUDA device is there" if count else "no CUDA device is there"
    else:
        device = torch.device(asked)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", 0)
        why = "the configuration asks for it"
        if device.type == "cuda" and (device.index or 0) >= count:
            raise ConfigError(
                f"device {asked} is not there: torch sees {count} CUDA devices",
                hint="Choose device auto or cpu.",
            )
    log.info("the gait network runs on %s: %s", device, why)
    return device
