"""The trainer on a tiny network: its course, its checkpoints, its ranks, and what stops it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from embed_clips import network_of
from small_trainings import (
    BOTH,
    NARROW,
    TRIPLET,
    Killed,
    Watching,
    bytes_of,
    config_of,
    killed_after,
    phase,
    rows,
    run,
    stepper_of,
)

from pipeline.errors import (
    ConfigError,
    DivergedError,
    InputError,
    OutputExistsError,
    WeightsError,
)
from stages.embed.checkpoint import load_network, save_network
from stages.embed.data.folders import FolderStore
from stages.embed.data.partition import load_partition, split_subjects
from stages.embed.training import steps as steps_module
from stages.embed.training.checkpoints import load_newest
from stages.embed.training.config import TrainConfig
from stages.embed.training.preparation import make_batches, make_network, open_data, step_seed
from stages.embed.training.processes import Place, run_processes
from stages.embed.training.ranks import join, leave
from stages.embed.training.run_folder import RunFolder
from stages.embed.training.trainer import Outcome
from tests.walkers import write_dataset

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("at", [1, 3, 4, 5])
def test_replay_killed_anywhere_and_resumed(walkers: Path, tmp_path: Path, at: int) -> None:
    adam = {"kind": "adam", "lr": 0.01}
    config = config_of(
        walkers,
        phase("one", 3, losses=TRIPLET, frozen=["body", "bn_necks"]),
        phase("two", 4, optimiser=adam, schedule={"kind": "cosine", "warmup_steps": 2}),
        average_decay=0.9,
        log_every=3,
        augmentation={"flip": 0.5, "noise": 0.5},
    )
    run(config, tmp_path / "whole")
    out = tmp_path / "cut"
    with pytest.raises(Killed):
        run(config, out, killed_after(at))
    resumed = Watching()
    outcome = run(config, out, resumed, resume=True)
    assert outcome.step == 7 and len(resumed.losses) == 7 - (at - 1) // 2 * 2
    assert rows(out / "curve.csv") == rows(tmp_path / "whole" / "curve.csv")
    assert bytes_of(out) == bytes_of(tmp_path / "whole") and len(bytes_of(out)) == 2


def test_replay_a_damaged_checkpoint_is_passed_over(
    walkers: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(walkers)
    run(config, tmp_path / "whole")
    out = tmp_path / "cut"
    with pytest.raises(Killed):
        run(config, out, killed_after(5))
    newest = out / "checkpoints" / "step-00000004.pt"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1  # one bit, where torch itself would not notice
    newest.write_bytes(bytes(data))
    (out / "checkpoints" / ".step-00000006.pt.part").write_bytes(b"half")
    assert run(config, out, resume=True).step == 6
    assert "step-00000004.pt is not what was written" in caplog.text
    assert rows(out / "curve.csv") == rows(tmp_path / "whole" / "curve.csv")
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    names = {path.name for path in (out / "checkpoints").iterdir()}
    assert names == {f"step-0000000{n}.{end}" for n in (2, 4, 6) for end in ("pt", "json")}


@pytest.mark.parametrize("damage", ["short", "json", "version", "pickle", "gone"])
def test_exception_every_damage_is_seen(walkers: Path, tmp_path: Path, damage: str) -> None:
    run(config_of(walkers, phase(steps=2)), tmp_path)
    tensors = tmp_path / "checkpoints" / "step-00000002.pt"
    facts = tensors.with_suffix(".json")
    head = json.loads(facts.read_bytes())
    if damage == "short":
        tensors.write_bytes(tensors.read_bytes()[:-1])
    elif damage == "json":
        facts.write_bytes(facts.read_bytes()[:-20])
    elif damage == "version":
        facts.write_text(json.dumps(head | {"format_version": 99}))
    elif damage == "gone":
        tensors.unlink()
    else:
        import hashlib

        torch.save({"network": Outcome(1, False)}, tensors)  # more than tensors and plain data
        data = tensors.read_bytes()
        told = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        facts.write_text(json.dumps(head | told))
    assert load_newest(tmp_path / "checkpoints") is None


def test_smoke_a_finished_run_that_is_resumed_ends_the_same(walkers: Path, tmp_path: Path) -> None:
    config = config_of(walkers, evaluation={"every": 4, "share": 1.0})
    first = Watching()
    run(config, tmp_path, first)
    assert sorted(first.figures) == [4, 6]
    assert all(0 <= figure["rank1"] <= 1 for figure in first.figures.values())  # type: ignore[operator]
    before = bytes_of(tmp_path), rows(tmp_path / "evaluation.csv")
    again = Watching()
    outcome = run(config, tmp_path, again, resume=True)
    assert not again.losses and not again.figures, "nothing is done twice"
    assert outcome.results is not None and outcome.results.figures["rank1"] is not None
    assert (bytes_of(tmp_path), rows(tmp_path / "evaluation.csv")) == before
    longer = config_of(walkers, phase(steps=8), evaluation={"every": 4, "share": 1.0})
    assert run(longer, tmp_path, again, resume=True).step == 8 and len(again.losses) == 2


def test_smoke_who_was_trained_on_is_written_for_evaluate(walkers: Path, tmp_path: Path) -> None:
    run(config_of(walkers), tmp_path)
    store = FolderStore(walkers)
    written = load_partition(tmp_path / "partition.json", store)
    drawn = split_subjects(store, 0.5, 0)
    assert (written.train, written.test) == (drawn.train, drawn.test)


def test_smoke_asked_to_stop(walkers: Path, tmp_path: Path) -> None:
    asked: list[int] = []
    watching = Watching(lambda done: asked.append(done) if done == 3 else None)
    outcome = run(config_of(walkers), tmp_path, watching, lambda: bool(asked))
    assert outcome == Outcome(3, stopped=True)
    newest = load_newest(tmp_path / "checkpoints")
    assert newest is not None and newest.step == 3
    assert not list(tmp_path.glob("*.safetensors"))


def test_exception_a_folder_with_a_run(walkers: Path, tmp_path: Path) -> None:
    config = config_of(walkers, phase(steps=1))
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    run(config, tmp_path)
    with pytest.raises(OutputExistsError, match="--resume"):
        run(config, tmp_path)
    assert run(config, tmp_path, overwrite=True).step == 1
    assert mine.read_text() == "mine"
    with pytest.raises(InputError, match="is a file"):
        run(config, mine)
    RunFolder(tmp_path, "smplgait").prepare(resume=False, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_exception_resumed_otherwise(walkers: Path, tmp_path: Path) -> None:
    run(config_of(walkers, phase(steps=2)), tmp_path)
    with pytest.raises(ConfigError, match="seed: 0 in the checkpoint, 4 now"):
        run(config_of(walkers, phase(steps=2), seed=4), tmp_path, resume=True)
    facts = tmp_path / "checkpoints" / "step-00000002.json"
    head = json.loads(facts.read_bytes())
    for changes, says in (
        ({"precision": "bfloat16"}, "computed in bfloat16 until now"),
        ({"memory_format": "contiguous"}, "kept its pictures contiguous until now"),
        ({"data": head["facts"]["data"] | {"fingerprint": "0"}}, "training data differ"),
    ):
        facts.write_text(json.dumps(head | {"facts": head["facts"] | changes}))
        with pytest.raises(ConfigError, match=says):
            run(config_of(walkers, phase(steps=2)), tmp_path, resume=True)


def test_property_frozen_parts_stay_as_they_are(walkers: Path) -> None:
    config = config_of(walkers, phase(frozen=["body", "backbone.block.0"]))
    stepper, batches = stepper_of(config)
    before = {name: t.clone() for name, t in stepper.network.state_dict().items()}
    for step in range(2):
        stepper.step(step, batches.batch_at(step))
    after = stepper.network.state_dict()
    same = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    frozen = {name for name in before if name.startswith(("body.", "backbone.block.0."))}
    assert frozen == same and any("running_mean" in name for name in frozen)


def test_parity_the_moving_average(walkers: Path) -> None:
    stepper, batches = stepper_of(config_of(walkers, average_decay=0.6))
    assert stepper.average is not None
    name = "fcs.weight"
    want = stepper.network.state_dict()[name].clone()
    for step in range(4):
        stepper.step(step, batches.batch_at(step))
        decay = min(0.6, (step + 1) / (step + 11))
        want = decay * want + (1 - decay) * stepper.network.state_dict()[name]
    averaged = stepper.average.weights()
    torch.testing.assert_close(averaged[name], want)
    counts = "bn_necks.bn.num_batches_tracked"
    assert averaged[counts] == stepper.network.state_dict()[counts] == 4


def test_smoke_the_gradient_is_shortened(walkers: Path) -> None:
    config = config_of(walkers, phase(optimiser={"lr": 1.0, "momentum": 0, "weight_decay": 0}))
    moves = []
    for clip in (None, 1e-3):
        stepper, batches = stepper_of(config.model_copy(update={"clip_norm": clip}))
        before = [p.detach().clone() for p in stepper.network.parameters()]
        numbers = stepper.step(0, batches.batch_at(0)).numbers
        after = [p.detach() for p in stepper.network.parameters()]
        squares = [(a - b).square().sum() for a, b in zip(after, before, strict=True)]
        moves.append((float(sum(squares)) ** 0.5, numbers["grad_norm"]))
    assert moves[0][0] == pytest.approx(moves[0][1], rel=1e-3), "the curve tells the length before"
    assert moves[1][0] == pytest.approx(1e-3, rel=1e-2) and moves[1][1] == moves[0][1]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_smoke_half_precision(walkers: Path, precision: str) -> None:
    config = config_of(walkers, precision=precision)
    stepper, batches = stepper_of(config)
    whole, _ = stepper_of(config_of(walkers))
    half, full = (s.step(0, batches.batch_at(0)).numbers for s in (stepper, whole))
    assert half["loss"] != full["loss"] and half["loss"] == pytest.approx(full["loss"], rel=0.02)
    assert ("loss_scale" in half) == (precision == "float16")
    assert all(p.dtype == torch.float32 for p in stepper.network.parameters())
    other, _ = stepper_of(config)
    other.restore(stepper.state())
    again = [s.step(1, batches.batch_at(1)).numbers for s in (stepper, other)]
    assert str(again[0]) == str(again[1])  # a skipped step has no gradient norm: nan


def test_smoke_overflows_in_float16_are_skipped_and_counted(
    walkers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "MAX_SKIPPED", 3)
    stepper, batches = stepper_of(config_of(walkers, precision="float16"))
    stepper.step(0, batches.batch_at(0))
    stepper._scaler.update(1.0)
    assert stepper.step(0, batches.batch_at(0)).numbers["skipped"] == 0
    stepper._scaler.update(1e38)  # so that gradients overflow until it is halved often
    before = stepper.network.fcs.weight.detach().clone()  # type: ignore[union-attr, operator]
    for step in (1, 2):
        numbers = stepper.step(step, batches.batch_at(step)).numbers
        assert numbers["skipped"] == 1 and numbers["loss"] > 0
    assert torch.equal(stepper.network.fcs.weight, before)  # type: ignore[union-attr, arg-type]
    with pytest.raises(DivergedError, match="3 steps in a row overflowed"):
        stepper.step(3, batches.batch_at(3))


def test_exception_a_diverged_training_names_step_and_sequences(
    walkers: Path, tmp_path: Path
) -> None:
    config = config_of(walkers, phase(optimiser={"lr": 10.0}, steps=200), checkpoints={"every": 1})
    absurd = {"triplet": {"margin": 100.0, "weight": 1000.0}}
    config = config_of(walkers, phase(optimiser={"lr": 10.0}, steps=200, losses=absurd))
    with pytest.raises(DivergedError, match=r"diverged at step \d+: .*(nan|inf).*/(nm|bg)-01/"):
        run(config, tmp_path)
    told = json.loads((tmp_path / "failure.json").read_text())
    batches = stepper_of(config)[1]
    assert told["sequences"] == batches.names_at(told["step"] - 1)
    newest = load_newest(tmp_path / "checkpoints")
    assert newest is None or newest.step < told["step"]


def test_smoke_starting_from_weights(walkers: Path, tmp_path: Path) -> None:
    own = network_of("smplgait", **NARROW, class_num=3)
    path = tmp_path / "own.safetensors"
    save_network(path, own)
    config = config_of(walkers, init=path)
    network = make_network(config, open_data(config))
    assert all(
        torch.equal(tensor, network.state_dict()[name]) for name, tensor in own.state_dict().items()
    )


@pytest.mark.parametrize("classes", [0, 7])
def test_exception_weights_of_other_people(walkers: Path, tmp_path: Path, classes: int) -> None:
    path = tmp_path / "other.safetensors"
    other = network_of("smplgait", **NARROW, class_num=classes)
    save_network(path, other)
    config = config_of(walkers, init=path)
    data = open_data(config)
    with pytest.raises(WeightsError, match=f"tell {classes} identities apart, .* hold 3"):
        make_network(config, data)
    network = make_network(config.model_copy(update={"init_classifier": "new"}), data)
    state = network.state_dict()
    for name, tensor in other.state_dict().items():
        if not name.startswith("bn_necks"):
            assert torch.equal(tensor, state[name]), name
    assert state["bn_necks.weight"].shape[-1] == 3


def test_exception_weights_of_another_width(walkers: Path, tmp_path: Path) -> None:
    path = tmp_path / "wide.safetensors"
    save_network(path, network_of("smplgait", **NARROW | {"out_channels": 8}, class_num=3))
    config = config_of(walkers, init=path)
    with pytest.raises(WeightsError, match="out_channels 8 where 4 is asked for"):
        make_network(config, open_data(config))


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"network": {"config": {"class_num": 9}}}, ConfigError, "class_num is 9, .* hold 3"),
        ({"network": {"config": {"depth": 9}}}, ConfigError, "cannot take it: .*depth"),
        ({"network": {"config": {"height": 128}}}, InputError, "height 128, the training .* 64"),
        ({"sampler": {"subjects": 9}}, InputError, "wants 9 subjects, .* hold\n? ?3"),
        ({"data": {"test_share": 0.9}}, InputError, "at least 2 are needed"),
        ({"data": {"path": Path("nowhere")}}, InputError, "no such folder or file"),
        ({"data": {"path": None}}, ConfigError, "no training data"),
        ({"phases": [phase(frozen=["head"])]}, ConfigError, "names 'head', which smplgait does"),
        ({"sync_batch_norm": True}, ConfigError, "works on CUDA only"),
    ],
)
def test_exception_before_the_first_step(
    walkers: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    told = config_of(walkers).model_dump()
    for key, value in changes.items():
        told[key] = told[key] | value if isinstance(value, dict) else value
    with pytest.raises(error, match=says):
        run(TrainConfig.model_validate(told), tmp_path / "out")
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_exception_data_that_do_not_fit_the_network(walkers: Path, tmp_path: Path) -> None:
    larger = write_dataset(tmp_path / "128", 3, ("nm-01", "bg-01"), frames=4, height=128)
    flat = write_dataset(tmp_path / "flat", 3, ("nm-01", "bg-01"), frames=4, with_theta=False)
    for root in (larger, flat):  # people of their own
        for name in ("001", "002", "003"):
            (root / name).rename(root / f"t{name}")
    trying = {"every": 2, "final": False}
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"path": larger, "test_share": 0}, {}, "height 64, the training data have 128"),
        ({"path": flat, "test_share": 0}, {}, "sequence of the training data has theta"),
        ({"path": walkers, "test_path": larger}, trying, "height 64, the test data have 128"),
        ({"path": walkers, "test_path": flat}, trying, "sequence of the test data has theta"),
    ]
    for data, evaluation, says in cases:
        told = {"every": 0, "final": False} | evaluation
        config = config_of(walkers, data=data, evaluation=told)
        with pytest.raises(InputError, match=says) as caught:
            run(config, tmp_path / "out")
        assert "network.config." in caught.value.hint
        assert not (tmp_path / "out").exists()
    # What is never read need not fit.
    unread = config_of(walkers, data={"path": walkers, "test_path": larger})
    make_network(unread, open_data(unread))
    silhouettes = {"name": "smplgait", "config": NARROW | {"use_smpl": False}}
    without = config_of(walkers, data={"path": flat, "test_share": 0}, network=silhouettes)
    make_network(without, open_data(without))


def test_exception_two_trainings_in_one_folder(walkers: Path, tmp_path: Path) -> None:
    config = config_of(walkers, phase(steps=2))
    refused: list[str] = []

    def begin_another(done: int) -> None:
        for how in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(InputError, match="in use by another training") as caught:
                run(config, tmp_path, **how)
            refused.append(caught.value.message)

    assert run(config, tmp_path, Watching(begin_another)).step == 2
    assert len(refused) == 4 and rows(tmp_path / "curve.csv")


def test_exception_test_subjects_that_cannot_be_evaluated(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "in", subjects=4, kinds=("nm-01",), frames=4)
    trying = config_of(root, evaluation={"every": 2})
    with pytest.raises(InputError, match="test subjects cannot be evaluated"):
        open_data(trying)
    assert len(open_data(config_of(root)).test_subjects) == 2


def test_smoke_broken_sequences_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_dataset(tmp_path, subjects=4, kinds=("nm-01", "bg-01"), frames=4)
    (root / "001" / "bg-01" / "090" / "090.pkl").write_bytes(b"no pickle")
    data = open_data(config_of(root))
    assert "skipped 001/bg-01/090" in caplog.text and "1 of 16 sequences skipped" in caplog.text
    assert data.facts()["training_sequences"] + data.facts()["test_sequences"] == 15


def test_smoke_a_test_set_of_its_own(walkers: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path, subjects=2, kinds=("nm-01", "bg-01"), frames=4)
    for name in ("001", "002"):
        (other / name).rename(other / f"t{name}")
    data = open_data(config_of(walkers, data={"path": walkers, "test_path": other}))
    assert len(data.subjects) == 6 and data.test_subjects == ("t001", "t002")
    with pytest.raises(InputError, match="both trained on and tested: 001"):
        open_data(config_of(walkers, data={"path": walkers, "test_path": walkers}))


def test_property_the_share_takes_whole_subjects(walkers: Path) -> None:
    data = open_data(config_of(walkers, data={"path": walkers, "test_share": 0.6}))
    assert len(data.test_subjects) == 4
    for share, count in ((0.01, 2), (0.75, 3), (1.0, 4)):
        indices = data.test_indices(share)
        assert len({data.test_store.entries[index].subject for index in indices}) == count
        assert len(indices) == count * 4


@pytest.mark.parametrize("name", ["gaitgln", "resgcn"])
def test_smoke_the_other_networks(walkers: Path, tmp_path: Path, name: str) -> None:
    settings: dict[str, dict[str, Any]] = {
        "gaitgln": {
            "channels": [2, 3, 4],
            "lateral_channels": 4,
            "out_channels": 4,
            "compact": True,
            "vector": "compact",
        },
        "resgcn": {
            "branch_channels": [8, 8, 8],
            "main_channels": [8, 8],
            "out_channels": 4,
            "window": 3,
        },
    }
    first = phase("one", 1, losses=TRIPLET)
    if name == "gaitgln":
        first["frozen"] = ["compact_block", "classifier"]
    config = config_of(
        walkers,
        first,
        phase("two", 1),
        network={"name": name, "config": settings[name]},
        evaluation={"every": 0, "final": True},
    )
    outcome = run(config, tmp_path)
    assert outcome.results is not None
    network, weights_hash = load_network(tmp_path / f"{name}.safetensors", name)
    assert weights_hash == outcome.results.weights_hash and network.config.class_num == 0
    full, _ = load_network(tmp_path / f"{name}.full.safetensors", name)
    assert full.config.class_num == 3


def on_two(place: Place, walkers: Path, out: Path) -> int:
    """Do three steps of each kind as one of two ranks and leave what came of them."""
    torch.set_num_threads(1)
    ranks = join(place.rank, place.world, torch.device("cpu"), place.meeting)
    told: dict[str, Any] = {"agreed": ranks.largest([place.rank, -place.rank, 3])}
    for kind in KINDS:
        stepper, batches = stepper_of(config_of_kind(walkers, kind), ranks)
        told[kind] = [stepper.step(step, batches.batch_at(step)).numbers for step in range(3)]
        state = {name: t.numpy() for name, t in stepper.network.state_dict().items()}
        np.savez(out / f"{kind}-{place.rank}.npz", **state)
    leave()
    (out / f"{place.rank}.json").write_text(json.dumps(told))
    return 7


# With silhouettes and triplets alone no batch norm has a part in the loss.
KINDS = ("without_norms", "with_norms")


def config_of_kind(walkers: Path, kind: str) -> TrainConfig:
    plain = kind == "without_norms"
    return config_of(
        walkers,
        phase(losses=TRIPLET if plain else BOTH),
        network={"name": "smplgait", "config": NARROW | {"use_smpl": not plain}},
        average_decay=0.9,
        memory_format="contiguous" if plain else "channels_last",
    )


def test_parity_two_ranks_and_one(walkers: Path, tmp_path: Path) -> None:
    assert run_processes(on_two, (walkers, tmp_path), 2) == 7
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert told[0] == told[1] and told[0]["agreed"] == [1, 0, 3]
    for kind in KINDS:
        states = [dict(np.load(tmp_path / f"{kind}-{rank}.npz")) for rank in (0, 1)]
        for name, array in states[0].items():
            np.testing.assert_array_equal(array, states[1][name], err_msg=name)
        stepper, batches = stepper_of(config_of_kind(walkers, kind))
        begun = {name: t.clone() for name, t in stepper.network.state_dict().items()}
        want = [stepper.step(step, batches.batch_at(step)).numbers for step in range(3)]
        losses = [numbers["loss"] for numbers in want]
        # Batch norms and dropout see half the batch on each rank: near, not equal.
        within = 1e-5 if kind == "without_norms" else 0.5
        assert [n["loss"] for n in told[0][kind]] == pytest.approx(losses, rel=within)
        if kind == "with_norms":
            continue
        for name, tensor in stepper.network.state_dict().items():
            moved = float((tensor - begun[name]).abs().max())
            off = float((torch.from_numpy(states[0][name]) - tensor).abs().max())
            # 1e-8: the last digit of a weight, float32.
            assert moved > 1e-6 and off < 1e-3 * moved + 1e-8, name


def test_property_seeds_of_steps_and_ranks_differ() -> None:
    seeds = {step_seed(seed, rank, step) for seed in (0, 1) for rank in (0, 1) for step in range(9)}
    assert len(seeds) == 36 and all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(3, 0, 5) == step_seed(3, 0, 5)


def test_exception_subjects_that_do_not_divide(walkers: Path) -> None:
    config = config_of(walkers, sampler={"subjects": 3, "sequences": 2, "frames": 4})
    data = open_data(config)
    with pytest.raises(ConfigError, match="do not divide among 2"):
        make_batches(config, data, ("silhouettes",), 0, 2)


def test_smoke_without_tensorboard(
    walkers: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import sys

    caplog.set_level("INFO")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run(config_of(walkers, phase(steps=2)), tmp_path)
    assert caplog.text.count("TensorBoard is not installed") == 1
    assert not (tmp_path / "tensorboard").exists()


def test_golden_events(walkers: Path, tmp_path: Path) -> None:
    accumulating = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = config_of(walkers, pictures_every=3, evaluation={"every": 4, "share": 1.0})
    run(config, tmp_path)
    events = accumulating.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"loss/sum", "loss/triplet", "loss/softmax", "evaluation/rank1"} <= set(tags["scalars"])
    shares = [e.value for e in events.Scalars("training/share_of_nonzero_triplets")]
    want = [float(row["nonzero_share"]) for row in rows(tmp_path / "curve.csv")]
    assert shares == pytest.approx(want) and len(want) == 3
    assert [e.step for e in events.Scalars("training/learning_rate")] == [2, 4, 6]
    strips = events.Images("image/sils")
    assert [e.step for e in strips] == [3, 6]
    assert (strips[0].height, strips[0].width) == (64, 12 * 44)


def test_property_configs_of_networks_are_kept_whole(walkers: Path, tmp_path: Path) -> None:
    run(config_of(walkers, phase(steps=1)), tmp_path)
    network, _ = load_network(tmp_path / "smplgait.full.safetensors", "smplgait")
    assert dataclasses.asdict(network.config) == {
        "height": 64,
        "use_smpl": True,
        "class_num": 3,
        "out_channels": 4,
        "channels": (3, 4, 4),
        "unit": False,
        "projection": 0,
    }
