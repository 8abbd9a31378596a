"""Messages that are well-formed and hold nonsense: a stage passes over them or makes do.

Each goes over the wire's form first, so that only what the decoder believes is tried.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.codec import decode, encode
from pipeline.config import load_config
from pipeline.errors import FrameError, MessageError
from pipeline.messages import Frame
from pipeline.runner import build_stage
from tests.message_samples import STAMP, samples

TRIES = 250
FLOATS = (float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 0.0, 1e-38, 3.0)
WHOLE = (0, 1, 5, 7, 2**20, 2**62)
EDGES = (-(2**63), 2**63 - 1, 0)


def spoiled(value: Any, chance: random.Random) -> Any:
    """Return a message like `value` in which some numbers are absurd."""
    if isinstance(value, np.ndarray):
        return spoiled_array(np.array(value), chance)
    if isinstance(value, tuple):
        return tuple(spoiled(each, chance) for each in value)
    if dataclasses.is_dataclass(value):
        fields = [each.name for each in dataclasses.fields(value)]
        return type(value)(**{name: spoiled(getattr(value, name), chance) for name in fields})
    if isinstance(value, bool):
        return chance.random() < 0.5
    if isinstance(value, float):
        return chance.choice(FLOATS) if chance.random() < 0.3 else value
    return chance.choice(WHOLE) if isinstance(value, int) and chance.random() < 0.1 else value


def spoiled_array(array: np.ndarray, chance: random.Random) -> np.ndarray:
    if chance.random() < 0.5 and array.dtype == np.float32 and array.size:
        for _ in range(chance.choice((1, 3, array.size))):
            array.reshape(-1)[chance.randrange(array.size)] = chance.choice(FLOATS)
    elif chance.random() < 0.5 and array.dtype == np.int64:
        array[...] = chance.choice(EDGES)
    return array


@pytest.mark.parametrize(
    ("stage_name", "inputs"),
    [
        ("body", ["people"]),
        ("sequence", ["bodies"]),
        ("identify", ["embeddings"]),
        ("sink", ["bodies", "identities", "frame_with_pixels"]),
    ],
)
def test_property_a_stage_survives_nonsense(
    tmp_path: Path, stage_name: str, inputs: list[str]
) -> None:
    settings = {"sink.out_dir": str(tmp_path / "o"), "sink.save_silhouettes": True}
    config = load_config(None, settings).stages[stage_name]
    stage = build_stage(stage_name, config.model_dump(mode="json", warnings=False))
    stage.setup()
    stage.start(replace(samples()["stream_start"], size_wh=(64, 48)))
    chance, believed = random.Random(5), 0
    for number in range(TRIES):
        message = samples()[chance.choice(inputs)]
        if isinstance(message, Frame):
            message = replace(message, pixels=np.zeros((48, 64, 3), np.uint8))
        try:
            message = spoiled(message, chance)
            stamp = message.stamp if chance.random() < 0.2 else replace(STAMP, frame_id=number)
            message = replace(message, stamp=stamp)
            message = decode(type(message), *encode(message))
        except MessageError:
            continue
        believed += 1
        try:
            list(stage.process(message))
        except (FrameError, MessageError):
            list(stage.skip(message))
    assert believed > TRIES // 4
    list(stage.end(STAMP.source_id))
    stage.close()
