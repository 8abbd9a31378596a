"""How pictures lie in memory while a network is trained: chosen, resumed, and not in the files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trainings import (
    Killed,
    bytes_of,
    config_of,
    killed_after,
    phase,
    rows,
    run,
    stepper_of,
)
from torch import nn

from pipeline.errors import ConfigError
from stages.embed.networks.catalogue import build_network
from stages.embed.training.precision import resolve_memory
from stages.embed.weights import load

ALL_THREE: dict[str, Any] = {"triplet": {}, "contrastive": {"whole": 0.5}, "softmax": {}}
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("network", "precision", "device", "want"),
    [
        ("smplgait", "bfloat16", CPU, "channels_last"),
        ("smplgait", "float32", CPU, "channels_last"),
        ("resgcn", "bfloat16", CPU, "channels_last"),
        ("smplgait", "float16", CUDA, "channels_last"),
        ("smplgait", "bfloat16", CUDA, "channels_last"),
        ("smplgait", "float32", CUDA, "contiguous"),
    ],
)
def test_golden_what_auto_means(
    network: str, precision: Any, device: torch.device, want: str
) -> None:
    with torch.device("meta"):
        built = build_network(network, {})
    assert resolve_memory("auto", precision, device, built) == want
    assert resolve_memory("contiguous", precision, device, built) == "contiguous"
    assert resolve_memory("auto", precision, device, nn.Linear(2, 2)) == "contiguous"


def test_replay_channels_last_killed_and_resumed(
    walkers: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = config_of(
        walkers,
        phase(losses=ALL_THREE, optimiser={"lr": 0.01}),
        average_decay=0.9,
        precision="bfloat16",
        sampler={"subjects": 2, "sequences": 2, "frames": 4, "views": "spread"},
    )
    run(config, tmp_path / "whole")
    assert "computing in bfloat16, pictures channels_last" in caplog.text
    with pytest.raises(Killed):
        run(config, tmp_path / "cut", killed_after(3))
    assert run(config, tmp_path / "cut", resume=True).step == 6
    course = rows(tmp_path / "cut" / "curve.csv")
    assert course == rows(tmp_path / "whole" / "curve.csv")
    assert all(float(row["contrastive_loss"]) > 0 for row in course)
    assert all(0 <= float(row["nearest_right"]) <= 1 for row in course)
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")
    card = (tmp_path / "cut" / "smplgait.md").read_text(encoding="utf-8")
    assert "in bfloat16, channels last, 1 process" in card
    assert "contrastive (temperature 0.12, weight 1.0, 0.5 of it over all parts)" in card


def test_parity_the_same_weights_whichever_way_pictures_lie(walkers: Path, tmp_path: Path) -> None:
    found = {}
    for laid in ("contiguous", "channels_last"):
        out = tmp_path / laid
        run(config_of(walkers, phase(steps=2), memory_format=laid, average_decay=0.5), out)
        found[laid] = load(out / "smplgait.full.safetensors", "smplgait").tensors
    for name, want in found["contiguous"].items():
        got = found["channels_last"][name]
        assert got.shape == want.shape and got.flags.c_contiguous
        assert abs(got - want).max() <= 1e-4 * abs(want).max() + 1e-6, name


def test_parity_the_moving_average_lies_as_the_network(walkers: Path) -> None:
    config = config_of(walkers, memory_format="channels_last", average_decay=0.6)
    stepper, batches = stepper_of(config)
    assert stepper.average is not None
    name = "backbone.block.2.weight"
    want = stepper.network.state_dict()[name].clone()
    for step in range(3):
        stepper.step(step, batches.batch_at(step))
        decay = min(0.6, (step + 1) / (step + 11))
        want = decay * want + (1 - decay) * stepper.network.state_dict()[name]
    averaged = stepper.average.weights()[name]
    assert averaged.is_contiguous(memory_format=torch.channels_last)
    assert not averaged.is_contiguous()
    torch.testing.assert_close(averaged, want)
    other, _ = stepper_of(config)
    other.restore(stepper.state())
    assert other.average is not None
    assert torch.equal(other.average.weights()[name], averaged)
    again = [s.step(3, batches.batch_at(3)).numbers for s in (stepper, other)]
    assert again[0] == again[1]


def test_smoke_a_run_from_before_goes_on(walkers: Path, tmp_path: Path) -> None:
    config = config_of(walkers, phase(steps=2), memory_format="contiguous")
    run(config, tmp_path)
    facts = tmp_path / "checkpoints" / "step-00000002.json"
    head = json.loads(facts.read_bytes())
    del head["facts"]["memory_format"], head["facts"]["config"]["memory_format"]
    for key in ("views", "kinds"):
        del head["facts"]["config"]["sampler"][key]
    del head["facts"]["config"]["phases"][0]["losses"]["contrastive"]
    facts.write_text(json.dumps(head))
    curve = tmp_path / "curve.csv"
    old = [line.split(",") for line in curve.read_text().splitlines()]
    dropped = [old[0].index(name) for name in ("contrastive_loss", "nearest_right")]
    kept = [[cell for i, cell in enumerate(row) if i not in dropped] for row in old]
    curve.write_text("".join(",".join(row) + "\n" for row in kept))
    with pytest.raises(ConfigError, match="kept its pictures contiguous until now"):
        run(config_of(walkers, phase(steps=4)), tmp_path, resume=True)
    longer = config_of(walkers, phase(steps=4), memory_format="contiguous")
    assert run(longer, tmp_path, resume=True).step == 4
    course = rows(curve)
    assert [int(row["step"]) for row in course] == [2, 4]
    assert course[0]["contrastive_loss"] == "" and float(course[0]["loss"]) > 0


def test_property_the_input_is_the_same_in_half_precision() -> None:
    grey = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(grey.to(dtype) / 255.0, (grey.float() / 255.0).to(dtype))


FAULTS = """
import resource, sys
import numpy as np
from stages.embed.allocation import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.empty(1 << 25, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

without = faults()
kept = keep_freed_memory()
faults()
print(int(kept), without, faults())
"""


def test_property_freed_memory_is_used_again() -> None:
    # In a process of its own: what is set stays set.
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    kept, without, with_ = (int(word) for word in done.stdout.split())
    if not kept:
        pytest.skip("this C library has no mallopt")
    # Five times 32 MiB: at least 80 faults, even with the largest pages.
    assert without >= 80 > 10 * with_
