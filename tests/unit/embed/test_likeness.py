"""Batches of subjects who are alike: who they are, how they are drawn, and what a run keeps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_trainings import (
    TRIPLET,
    Killed,
    Watching,
    bytes_of,
    config_of,
    killed_after,
    phase,
    rows,
    run,
)

from pipeline.errors import ConfigError, InputError, ResourceError
from stages.embed.checkpoint import load_network, save_network
from stages.embed.data.interface import Entry
from stages.embed.data.sampling import Sampler, SamplerConfig, alike_groups
from stages.embed.embedder import torch_embedder
from stages.embed.networks.smplgait import SMPLGait, SMPLGaitConfig
from stages.embed.training.likeness import (
    drawn_sequences,
    load_means,
    save_means,
    subject_means,
)
from stages.embed.training.preparation import open_data
from stages.embed.training.run_folder import RunFolder


def means_of(count: int, seed: int = 0) -> NDArray[np.float32]:
    means = np.random.default_rng(seed).standard_normal((count, 5)).astype(np.float32)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def sampler_of(count: int, subjects: int) -> Sampler:
    entries = [Entry(f"{s:03d}", "nm-01", f"{v:03d}", 9) for s in range(count) for v in range(3)]
    labels = {index: int(entry.subject) for index, entry in enumerate(entries)}
    config = SamplerConfig(subjects=subjects, sequences=2, frames=4)
    return Sampler(entries, labels, config, seed=3)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_property_everybody_is_in_a_group(count: int, size: int, seed: int) -> None:
    size = min(size, count)
    means = means_of(count, seed)
    order = np.random.default_rng(seed).permutation(count)
    groups = alike_groups(means, order, size)
    assert len(groups) == -(-count // size)
    assert all(len(set(group.tolist())) == size for group in groups)
    drawn = np.concatenate(groups)
    assert set(drawn.tolist()) == set(range(count))
    assert len(drawn) - count < size, "only the last one is filled up with others"


def test_golden_groups_are_the_most_alike_who_are_left() -> None:
    angles = np.deg2rad([0, 12, 20, 90, 95, 180, 200])
    means = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    groups = alike_groups(means, np.array([1, 4, 0, 2, 3, 5, 6]), 2)
    # 6 is taken by 0, to whom nobody else is left, and comes again to keep 5 company.
    assert [sorted(group.tolist()) for group in groups] == [[1, 2], [3, 4], [0, 6], [5, 6]]


def test_property_alike_batches_are_a_function_of_seed_and_step() -> None:
    means, one, other = means_of(23), sampler_of(23, 4), sampler_of(23, 4)
    plain = [pick.label for pick in one.batch_plan(2)]
    one.group_alike(means)
    other.group_alike(means)
    steps = [*range(2 * one.steps_an_epoch)]

    def labels_at(step: int) -> list[int]:
        return [pick.label for pick in one.batch_plan(step)]

    with ThreadPoolExecutor(4) as pool:  # as batches are drawn, over the end of an epoch too
        drawn = list(pool.map(labels_at, steps))
    assert drawn == [[pick.label for pick in other.batch_plan(step)] for step in steps]
    assert drawn[2] != plain
    for epoch in (steps[: len(steps) // 2], steps[len(steps) // 2 :]):
        assert {label for step in epoch for label in drawn[step]} == set(range(23))
    assert drawn[: len(steps) // 2] != drawn[len(steps) // 2 :]
    shares = [pick.label for rank in (0, 1) for pick in one.batch_plan(5, rank, 2)]
    assert shares == drawn[5]


def test_property_alike_batches_hold_people_who_are_more_alike() -> None:
    means, sampler = means_of(60), sampler_of(60, 4)

    def likeness() -> float:
        found = []
        for step in range(sampler.steps_an_epoch):
            labels = sorted({pick.label for pick in sampler.batch_plan(step)})
            found.append((means[labels] @ means[labels].T)[np.triu_indices(len(labels), 1)].mean())
        return float(np.mean(found))

    before = likeness()
    sampler.group_alike(means)
    assert before < 0.1 and likeness() > 0.5


def test_golden_drawn_sequences() -> None:
    labels = {place: place % 3 for place in range(20)} | {20: 3}
    drawn = drawn_sequences(labels, 4, seed=1)
    assert drawn == sorted(set(drawn)) and drawn == drawn_sequences(labels, 4, seed=1)
    assert [sum(labels[place] == label for place in drawn) for label in range(4)] == [4, 4, 4, 1]
    assert drawn != drawn_sequences(labels, 4, seed=2)


@pytest.mark.parametrize("damage", ["gone", "short", "other"])
def test_exception_means_that_cannot_be_read(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "likeness.npz"
    save_means(path, means_of(6))
    assert np.array_equal(load_means(path, 6), means_of(6))
    if damage == "gone":
        path.unlink()
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:-40])
    says = "expected version 1 with 7 subjects" if damage == "other" else "who is like whom"
    with pytest.raises(InputError, match=says):
        load_means(path, 7)
    with pytest.raises((InputError, ResourceError), match="cannot write"):
        save_means(tmp_path / "nowhere" / "likeness.npz", means_of(6))


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = SMPLGaitConfig(channels=(3, 4, 4), out_channels=4)
    path = tmp_path_factory.mktemp("init") / "smplgait.safetensors"
    save_network(path, SMPLGait(config).eval())
    return path


def alike(walkers: Path, init: Path, **more: Any) -> Any:
    sampler = {"subjects": 2, "sequences": 2, "frames": 4, "alike": 3}
    return config_of(walkers, phase(losses=TRIPLET), sampler=sampler, init=init, **more)


@pytest.mark.usefixtures("one_thread")
def test_parity_means_with_sequences_one_by_one(walkers: Path, init: Path) -> None:
    data = open_data(config_of(walkers))
    network, _ = load_network(init, "smplgait")
    embedder = torch_embedder(network.eval(), "init", torch.device("cpu"))
    told: list[tuple[int, int]] = []
    means = subject_means(
        embedder, data.store, data.labels, 2, 5, lambda done, total: told.append((done, total))
    )
    chosen = drawn_sequences(data.labels, 2, 5)
    assert told[-1] == (len(chosen), len(chosen))
    for label in range(len(data.subjects)):
        own = []
        for place in chosen:
            if data.labels[place] == label:
                (vector,) = embedder.embed([data.store.read(place)])  # [c,p]
                own.append((vector / np.linalg.norm(vector, axis=0)).ravel())
        want = np.sum(own, axis=0)
        np.testing.assert_allclose(means[label], want / np.linalg.norm(want), atol=1e-5)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("at", [1, 5])
def test_replay_killed_and_resumed_with_alike_batches(
    walkers: Path, tmp_path: Path, init: Path, at: int
) -> None:
    config = alike(walkers, init, log_every=1)
    whole = Watching()
    run(config, tmp_path / "whole", whole)
    assert whole.looked_at > 0
    other = config_of(walkers, phase(losses=TRIPLET), init=init, log_every=1)
    run(other, tmp_path / "any")
    out = tmp_path / "cut"
    with pytest.raises(Killed):
        run(config, out, killed_after(at))
    resumed = Watching()
    run(config, out, resumed, resume=True)
    assert bool(resumed.looked_at) == (at == 1), "once there is a checkpoint, nobody looks again"
    assert bytes_of(out) == bytes_of(tmp_path / "whole") != bytes_of(tmp_path / "any")
    assert rows(out / "curve.csv") == rows(tmp_path / "whole" / "curve.csv")
    assert "subjects alike by 3 sequences of each" in (out / "smplgait.md").read_text("utf-8")


@pytest.mark.usefixtures("one_thread")
def test_replay_stopped_while_people_are_looked_at(
    walkers: Path, tmp_path: Path, init: Path
) -> None:
    config = alike(walkers, init)
    asked: list[bool] = []
    watching = Watching(while_looking=lambda: asked.append(True))
    outcome = run(config, tmp_path, watching, should_stop=lambda: bool(asked))
    assert outcome.stopped and outcome.step == 0 and not watching.losses
    assert (tmp_path / "config.yaml").exists(), "--resume alone goes on"
    assert run(config, tmp_path, resume=True).step == 6


@pytest.mark.usefixtures("one_thread")
def test_exception_likeness_that_is_gone(walkers: Path, tmp_path: Path, init: Path) -> None:
    config = alike(walkers, init)
    with pytest.raises(Killed):
        run(config, tmp_path, killed_after(5))
    RunFolder(tmp_path, "smplgait").likeness.unlink()
    with pytest.raises(InputError, match="batches that it would have had"):
        run(config, tmp_path, resume=True)


def test_exception_alike_without_weights_to_start_from(walkers: Path, tmp_path: Path) -> None:
    config = config_of(walkers, phase(losses=TRIPLET), sampler={"subjects": 2, "alike": 2})
    with pytest.raises(ConfigError, match=r"sampler\.alike needs weights"):
        run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
