"""A training's configuration: the shipped files, the words for mistakes, rates, what may change."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import pytest
import torch
import yaml

from pipeline.cli import train as command
from pipeline.config import load_model
from pipeline.errors import ConfigError, UsageError
from stages.embed.networks.catalogue import build_network
from stages.embed.training.config import Phase, TrainConfig
from stages.embed.training.preparation import names_of_frozen
from stages.embed.training.resuming import check_same_course, check_same_data
from stages.embed.training.schedule import learning_rate, position_of, total_steps

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SHIPPED = sorted(CONFIGS.glob("train_*.yaml"))
SMALL = """
network: {name: smplgait}
phases:
  - name: one
    steps: 100
    optimiser: {kind: sgd, lr: 0.1}
    schedule: {milestones: [40, 60]}
    losses: {triplet: {}}
  - name: two
    steps: 50
    optimiser: {kind: adam, lr: 0.01}
    losses: {softmax: {}}
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def small(tmp_path: Path, *settings: str) -> TrainConfig:
    return load_model(write(tmp_path / "small.yaml", SMALL), TrainConfig, None, settings)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_smoke_shipped_files_build_their_networks(path: Path) -> None:
    config = load_model(path, TrainConfig)
    # A projection and classes exclude each other.
    classes = {} if config.network.config.get("projection") else {"class_num": 50}
    with torch.device("meta"):
        network = build_network(config.network.name, config.network.config | classes)
    frozen = [names_of_frozen(network, phase) for phase in config.phases]
    assert [bool(names) for names in frozen] == [bool(phase.frozen) for phase in config.phases]
    assert f"{path.stem}_".startswith(f"train_{config.network.name}_")


def test_golden_the_published_recipes() -> None:
    smplgait = load_model(CONFIGS / "train_smplgait.yaml", TrainConfig)
    (main,) = smplgait.phases
    assert (main.steps, main.optimiser.lr, main.optimiser.weight_decay) == (60_000, 0.1, 5e-4)
    rates = [learning_rate(main, step) for step in (0, 19_999, 20_000, 40_000, 59_999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.0001])
    sampler = smplgait.sampler
    assert (sampler.subjects, sampler.sequences, sampler.frames) == (32, 4, 30)
    assert sampler.order == "unordered"
    gaitgln = load_model(CONFIGS / "train_gaitgln.yaml", TrainConfig)
    assert [phase.steps for phase in gaitgln.phases] == [40_000, 40_000]
    assert [phase.optimiser.lr for phase in gaitgln.phases] == [0.1, 0.01]
    assert gaitgln.phases[0].losses.softmax is None
    assert gaitgln.phases[1].losses.softmax is not None
    assert gaitgln.phases[1].losses.softmax.label_smoothing == 0.1
    assert (gaitgln.sampler.subjects, gaitgln.sampler.sequences) == (8, 16)


def test_parity_the_resolved_file_reads_back_as_the_same(tmp_path: Path) -> None:
    config = small(tmp_path, "augmentation.flip=0.25", "data.path=somewhere", "clip_norm=2")
    assert load_model(write(tmp_path / "r.yaml", config.to_yaml()), TrainConfig) == config
    json.dumps(config.to_dict())


def test_smoke_settings_reach_into_lists(tmp_path: Path) -> None:
    config = small(tmp_path, "phases.1.steps=7", "phases.0.schedule.milestones=[5]")
    assert config.phases[1].steps == 7 and config.phases[0].schedule.milestones == (5,)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("lr: 0.01", "lr: -1", r"line 11: phases\.1\.optimiser\.lr = -1: .*greater than 0"),
        ("steps: 50", "stepz: 50", r"line 10: phases\.1\.stepz = 50: unknown key; .*'steps'"),
        ("{kind: sgd", "{kind: lion", r"phases\.0\.optimiser\.kind = 'lion': .*'sgd' or 'adam'"),
        ("[40, 60]", "[60, 40]", r"phases\.0\.schedule\.milestones = .*above the one before"),
        ("{triplet: {}}", "{}", r"phases\.0\.losses: .*needs at least one of triplet"),
        ("name: two", "name: one", r"phases need names of their own"),
        ("name: two", "name: a b", r"phases\.1\.name = 'a b': .*match"),
        ("network:", "netwerk:", r"unknown key; did you mean 'network'"),
        ("{name: smplgait}", "{name: gei}", r"network\.name = 'gei': .*'resgcn'"),
        ("    losses: {softmax: {}}\n", "", r"line 9: phases\.1\.losses: Field required"),
    ],
)
def test_exception_wrong_files(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in SMALL
    path = write(tmp_path / "bad.yaml", SMALL.replace(old, new, 1))
    with pytest.raises(ConfigError, match=says):
        load_model(path, TrainConfig)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("phases.2.steps=3", "'2' is no place in a list of 2"),
        ("phases.first.steps=3", "'first' is no place"),
        ("phases.0.steps.more=3", "is a value"),
        ("data.partition=a.json,", None),
        ("evaluation.share=0", r"evaluation\.share = 0: .*greater than 0"),
        ("phases.0.schedule.warmup_steps=100", "warmup_steps 100 must be below steps 100"),
    ],
)
def test_exception_wrong_settings(tmp_path: Path, setting: str, says: str | None) -> None:
    if says is None:
        assert small(tmp_path, setting).data.partition == Path("a.json,")
        return
    with pytest.raises(ConfigError, match=says):
        small(tmp_path, setting)


def test_exception_two_ways_to_tell_test_subjects(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="partition or test_path, not both"):
        small(tmp_path, "data.partition=a.json", "data.test_path=b")


def phase_with(**schedule: object) -> Phase:
    told = {"name": "p", "steps": 11, "optimiser": {"lr": 2.0}, "losses": {"triplet": {}}}
    return Phase.model_validate(told | {"schedule": schedule})


def test_golden_learning_rates() -> None:
    steps = phase_with(milestones=[2, 5], gamma=0.5)
    assert [learning_rate(steps, s) for s in (0, 1, 2, 4, 5, 10)] == [2, 2, 1, 1, 0.5, 0.5]
    cosine = phase_with(kind="cosine", final=0.1)
    assert learning_rate(cosine, 0) == 2.0
    assert learning_rate(cosine, 5) == pytest.approx(2 * (0.1 + 0.9 / 2))
    assert learning_rate(cosine, 10) == pytest.approx(0.2)
    warm = phase_with(kind="cosine", warmup_steps=4, warmup_from=0.2)
    rates = [learning_rate(warm, step) for step in range(11)]
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[4:] == sorted(rates[4:], reverse=True) and rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[7] == pytest.approx(1 + math.cos(math.pi / 2))


def test_golden_positions(tmp_path: Path) -> None:
    phases = small(tmp_path).phases
    assert total_steps(phases) == 150
    found = [position_of(phases, step) for step in (0, 99, 100, 149)]
    assert [(p.phase.name, p.index, p.step) for p in found] == [
        ("one", 0, 0),
        ("one", 0, 99),
        ("two", 1, 0),
        ("two", 1, 49),
    ]
    with pytest.raises(ValueError, match="beyond"):
        position_of(phases, 150)


@pytest.mark.parametrize(
    "setting",
    ["workers=9", "log_every=1", "checkpoints.keep=9", "evaluation.every=3", "phases.1.steps=70"],
)
def test_smoke_what_may_change_on_resuming(tmp_path: Path, setting: str) -> None:
    check_same_course(small(tmp_path).to_dict(), small(tmp_path, setting), 120)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["seed=3"], "seed: 0 in the checkpoint, 3 now"),
        (["phases.0.steps=90"], r"phases\.0\.steps: 100 in the checkpoint, 90 now"),
        (["sampler.frames=9", "clip_norm=1"], r"(?s)clip_norm: None .*sampler\.frames: 30"),
        (["network.config={class_num: 3}"], r"network\.config\.class_num: None .* 3 now"),
        (["phases.1.steps=10"], "120 steps are done, the phases now have 110"),
    ],
)
def test_exception_what_may_not_change(tmp_path: Path, settings: list[str], says: str) -> None:
    stored = yaml.safe_load(small(tmp_path).to_yaml())
    with pytest.raises(ConfigError, match=says):
        check_same_course(stored, small(tmp_path, *settings), 120)


def test_exception_a_cosine_may_not_change_its_length(tmp_path: Path) -> None:
    cosine = "phases.1.schedule.kind=cosine"
    before = small(tmp_path, cosine).to_dict()
    check_same_course(before, small(tmp_path, cosine), 120)
    with pytest.raises(ConfigError, match=r"phases\.1\.steps: 50 in the checkpoint, 70 now"):
        check_same_course(before, small(tmp_path, cosine, "phases.1.steps=70"), 120)


def test_exception_other_data() -> None:
    facts = {"training_subjects": 3, "training_sequences": 12, "training_frames": 90}
    with pytest.raises(
        ConfigError, match="3 subjects, 12 sequences, 90 frames then, 3 subjects, 1"
    ):
        check_same_data(facts | {"fingerprint": "a"}, facts | {"fingerprint": "b"})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--resume", "--overwrite"], "say one of them"),
        (["--resume", "--out", "nowhere"], "no training to go on with in nowhere"),
        (["--processes", "0"], "must lie in 1"),
        ([], "needs --config"),
        (["--config", "SMALL"], "needs --out"),
        (["--config", "SMALL", "--out", "out"], "no training data"),
    ],
)
def test_exception_wrong_use(tmp_path: Path, words: list[str], says: str) -> None:
    path = write(tmp_path / "small.yaml", SMALL)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    arguments = parser.parse_args([str(path) if word == "SMALL" else word for word in words])
    with pytest.raises(UsageError, match=says):
        command.run(arguments)


def test_smoke_check_config_prints_what_is_resolved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "small.yaml", SMALL)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ["--config", str(path), "--data", "walks", "--device", "cpu", "--check-config"]
    assert command.run(parser.parse_args(words)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["data"]["path"] == "walks" and printed["device"] == "cpu"
    assert printed["phases"][0]["schedule"]["milestones"] == [40, 60]
