"""Batches for training: drawn as a function of the step, augmented, loaded ahead."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import InputError
from stages.embed.data.augmentation import (
    AugmentationConfig,
    augment,
    erase,
    flip,
    segmentation_noise,
)
from stages.embed.data.batches import Batches
from stages.embed.data.folders import FolderStore
from stages.embed.data.interface import Entry, StoredClip
from stages.embed.data.partition import labels_of
from stages.embed.data.sampling import (
    Sampler,
    SamplerConfig,
    draw_frames,
    ordered_views,
    stretches,
)
from stages.human.rotation import axis_angle_to_matrix
from stages.human.skeleton import forward_kinematics, load_skeleton
from tests.walkers import walk, walker, write_dataset

OFF = AugmentationConfig()
ALL = AugmentationConfig(flip=0.5, erase=0.5, move=0.8, noise=0.8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("walk"), subjects=6, kinds=("nm-01", "cl-01"))


def entries(subjects: int, each: int = 5, frames: int = 40) -> list[Entry]:
    return [Entry(f"{s}", f"k{k}", "000", frames) for s in range(subjects) for k in range(each)]


def sampler(subjects: int = 10, seed: int = 1, **config: Any) -> Sampler:
    made = entries(subjects)
    labels = {index: int(entry.subject) for index, entry in enumerate(made)}
    return Sampler(made, labels, SamplerConfig(**config), seed)


def clip_of(seed: int = 0, frames: int = 12) -> StoredClip:
    rng = np.random.default_rng(seed)
    silhouettes, theta, keypoints = walk(walker(seed, 1), "nm-01", 60.0, frames, rng)
    return StoredClip(silhouettes[:, :, 10:54], theta, keypoints)


def equal(one: StoredClip, other: StoredClip) -> bool:
    return (
        np.array_equal(one.silhouettes, other.silhouettes)
        and np.array_equal(one.theta, other.theta)
        and np.array_equal(one.keypoints_px, other.keypoints_px)
    )


def test_property_a_step_is_a_function_of_seed_and_number() -> None:
    one, other = sampler(order="unordered"), sampler(order="unordered")
    for _ in range(3):
        other.batch_plan(5)  # what was asked before makes no difference
    for step in (0, 7, 1000):
        for a, b in zip(one.batch_plan(step), other.batch_plan(step), strict=True):
            assert (a.index, a.label) == (b.index, b.label)
            assert np.array_equal(a.frames, b.frames)
    plans = [[pick.index for pick in one.batch_plan(step)] for step in range(5)]
    assert len({tuple(plan) for plan in plans}) == 5
    assert plans[0] != [pick.index for pick in sampler(seed=2).batch_plan(0)]


def test_property_every_subject_once_an_epoch() -> None:
    drawn = sampler(12, sequences=2)
    assert drawn.steps_an_epoch == 2
    for epoch in range(3):
        steps = (2 * epoch, 2 * epoch + 1)
        seen = Counter(pick.label for step in steps for pick in drawn.batch_plan(step))
        assert set(seen) == set(range(12)) and sum(seen.values()) == 32


def test_property_sequences_of_a_subject_do_not_repeat_while_there_are_others() -> None:
    for step in range(10):
        plan = sampler(sequences=5).batch_plan(step)
        assert len({pick.index for pick in plan}) == len(plan) == 40
    drawn = sampler(sequences=3)
    often = Counter(pick.index for step in range(20) for pick in drawn.batch_plan(step))
    assert max(often.values()) - min(often.values()) <= 8, "an uneven epoch draws some twice"
    exact = sampler(subjects=8, sequences=3)
    often = Counter(pick.index for step in range(20) for pick in exact.batch_plan(step))
    assert set(often.values()) == {12}
    twice = Counter(pick.index for pick in sampler(sequences=7).batch_plan(0))
    assert set(twice.values()) == {1, 2}


def walks(
    views: Sequence[str], kinds: Sequence[str] = ("nm-01",), subjects: int = 2
) -> list[Entry]:
    return [
        Entry(f"{s}", kind, view, 40) for s in range(subjects) for kind in kinds for view in views
    ]


def drawn_of(made: list[Entry], step: int, seed: int = 1, **config: Any) -> list[list[Entry]]:
    """The sequences of each subject of a step."""
    labels = {index: int(entry.subject) for index, entry in enumerate(made)}
    drawn = Sampler(made, labels, SamplerConfig(subjects=2, **config), seed).batch_plan(step)
    return [[made[pick.index] for pick in drawn if pick.label == label] for label in (0, 1)]


EIGHT = [f"{degrees:03d}" for degrees in range(0, 360, 45)]


def test_property_spread_views_lie_far_apart() -> None:
    made = walks(EIGHT, ("nm-01", "cl-01"))
    pairs: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    for step in range(40):
        for entries_ in drawn_of(made, step, sequences=4, views="spread"):
            views = sorted(int(entry.view) for entry in entries_)
            # One of each quarter, wherever the quarters begin: never two of one view, and never
            # three within 90 degrees.
            assert len(set(views)) == 4
            assert all((views[(i + 2) % 4] - views[i]) % 360 > 90 for i in range(4))
            pairs.update((b - a) % 360 for a in views for b in views if a != b)
            seen.update(entry.view for entry in entries_)
    assert set(pairs) == set(range(45, 360, 45)), "every difference of views is trained on"
    assert set(seen) == set(EIGHT) and max(seen.values()) < 2 * min(seen.values())


def test_property_spread_is_a_function_of_seed_and_step() -> None:
    made = walks(EIGHT, ("nm-01", "cl-01"))
    spread: dict[str, Any] = {"sequences": 4, "views": "spread", "kinds": "spread"}
    plans = [drawn_of(made, step, **spread) for step in range(6)]
    assert plans == [drawn_of(made, step, **spread) for step in range(6)]
    assert len({str(plan) for plan in plans}) == 6
    assert plans[0] != drawn_of(made, 0, seed=2, **spread)
    labels = {index: int(entry.subject) for index, entry in enumerate(made)}
    sampler_ = Sampler(made, labels, SamplerConfig(subjects=2, **spread), 1)
    shares = [pick.index for rank in (0, 1) for pick in sampler_.batch_plan(3, rank, 2)]
    assert shares == [pick.index for pick in sampler_.batch_plan(3)]


@pytest.mark.parametrize("views", [["000"], ["000", "090", "180"], ["a", "b", "c", "d", "e"]])
@pytest.mark.parametrize("kinds", ["any", "spread"])
def test_property_spread_repeats_no_sequence_while_there_are_others(
    views: list[str], kinds: str
) -> None:
    made = walks(views, ("nm-01", "nm-02", "cl-01"))
    there = len(views) * 3
    for step in range(8):
        for count in (2, 4, 7, there + 1):
            for entries_ in drawn_of(made, step, sequences=count, views="spread", kinds=kinds):
                often = Counter(entry.name for entry in entries_)
                assert len(entries_) == count and len(often) == min(count, there)
                assert len({entry.view for entry in entries_}) == min(count, len(views))


def test_property_spread_kinds_differ_by_more_than_a_number() -> None:
    made = walks(["000"], [f"nm-{i:02d}" for i in range(1, 7)] + ["bg-01", "bg-02", "cl-01"])
    for step in range(10):
        for entries_ in drawn_of(made, step, sequences=3, kinds="spread"):
            assert {entry.kind[:2] for entry in entries_} == {"nm", "bg", "cl"}
        for entries_ in drawn_of(made, step, sequences=6, kinds="spread"):
            assert Counter(entry.kind[:2] for entry in entries_)["cl"] == 1
            assert len({entry.kind for entry in entries_}) == 6


def test_golden_orders_of_views() -> None:
    assert ordered_views(["090", "9", "100", "9"]) == ["9", "090", "100"]
    assert ordered_views(["seq1", "seq0", "010"]) == ["010", "seq0", "seq1"]
    assert stretches(["a", "b", "c", "d", "e"], 2, 4) == [{"e", "a"}, {"b", "c", "d"}]
    assert stretches(["a", "b"], 4, 1) == [{"b"}, {"b"}, {"a"}, {"a"}]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_parity_processes_share_the_batch_of_one(world: int) -> None:
    drawn = sampler(frames_min=10)
    whole = drawn.batch_plan(3)
    shared = [pick for rank in range(world) for pick in drawn.batch_plan(3, rank, world)]
    assert [(p.index, p.frames.tolist()) for p in whole] == [
        (p.index, p.frames.tolist()) for p in shared
    ]
    with pytest.raises(ValueError, match="do not divide among 3"):
        drawn.batch_plan(0, 0, 3)


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(1, 80),
    count=st.integers(1, 40),
    order=st.sampled_from(["ordered", "unordered"]),
    skip=st.integers(0, 8),
    seed=st.integers(0, 99),
)
def test_property_frames(total: int, count: int, order: Any, skip: int, seed: int) -> None:
    config = SamplerConfig(frames=40, order=order, skip=skip)
    frames = draw_frames(total, count, config, np.random.default_rng(seed))
    assert frames.shape == (count,) and frames.dtype == np.int64
    assert frames.min() >= 0 and frames.max() < total
    if total >= count + skip:
        assert len(set(frames.tolist())) == count and (np.diff(frames) > 0).all()
    if order == "ordered" and total >= count + skip:
        assert frames[-1] - frames[0] < count + skip
    if order == "ordered" and total <= count:
        assert set(frames.tolist()) == set(range(total)), "a short walk is walked again"


@pytest.mark.parametrize(
    "bad", [{"frames_min": 40}, {"subjects": 0}, {"unequal": True}, {"unknown": 1}]
)
def test_exception_sampler_config(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SamplerConfig(**bad)


def test_exception_too_few_subjects() -> None:
    with pytest.raises(InputError, match="a batch wants 8 subjects, the training data hold 3"):
        sampler(subjects=3)


def test_property_flipping_twice_changes_nothing() -> None:
    clip = clip_of()
    once, twice = flip(clip), flip(flip(clip))
    assert np.array_equal(twice.silhouettes, clip.silhouettes)
    np.testing.assert_allclose(twice.theta, clip.theta, atol=1e-6)
    np.testing.assert_allclose(twice.keypoints_px, clip.keypoints_px, atol=1e-3)
    assert not np.array_equal(once.theta, clip.theta)


def test_parity_flipped_theta_and_mirrored_body() -> None:
    theta = clip_of(3).theta
    skeleton = load_skeleton()
    rest = skeleton.rest_joints(np.zeros(10))
    rest = (rest + rest[[0, 2, 1, *MIRROR[3:]]] * [-1, 1, 1]) / 2  # a body that is its own mirror

    def joints(rows: np.ndarray) -> np.ndarray:
        pose = axis_angle_to_matrix(rows[:, 3:75].reshape(-1, 24, 3).astype(float))
        return forward_kinematics(pose, rest)[0]

    flipped = flip(StoredClip(np.zeros((12, 64, 44), np.uint8), theta, np.zeros((0, 17, 3))))
    mirrored = joints(theta)[:, MIRROR] * [-1, 1, 1]
    np.testing.assert_allclose(joints(flipped.theta), mirrored, atol=1e-5)


MIRROR = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]


def test_property_flipped_keypoints_exchange_left_and_right() -> None:
    clip = clip_of()
    clip.keypoints_px[0, 9] = 0  # an unseen left wrist
    flipped = flip(clip).keypoints_px
    assert (flipped[0, 10] == 0).all()
    np.testing.assert_allclose(flipped[1, 9, 1:], clip.keypoints_px[1, 10, 1:])
    width = clip.keypoints_px[1, :, 0].max() - clip.keypoints_px[1, :, 0].min()
    assert np.isclose(flipped[1, :, 0].max() - flipped[1, :, 0].min(), width, atol=1e-3)


def test_property_augmentation_that_is_off_changes_nothing() -> None:
    clip = clip_of()
    assert equal(augment(clip, OFF, np.random.default_rng(0)), clip)


def test_property_hidden_bodies_are_zeros_and_all_else_stays() -> None:
    clip = clip_of()
    hidden = 0
    for seed in range(40):
        config = ALL.model_copy(update={"hide_bodies": 0.5})
        plain, found = (augment(clip, c, np.random.default_rng(seed)) for c in (ALL, config))
        assert found.theta.shape == clip.theta.shape
        np.testing.assert_array_equal(found.silhouettes, plain.silhouettes)
        np.testing.assert_array_equal(found.keypoints_px, plain.keypoints_px)
        if not found.theta.any():
            hidden += 1
        else:
            np.testing.assert_array_equal(found.theta, plain.theta)
    assert 10 < hidden < 30


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), level=st.floats(0.1, 3))
def test_property_augmentation_keeps_shapes_and_its_input(seed: int, level: float) -> None:
    clip = clip_of(seed % 5)
    before = clip.silhouettes.copy(), clip.theta.copy(), clip.keypoints_px.copy()
    config = ALL.model_copy(update={"noise_level": level})
    one = augment(clip, config, np.random.default_rng(seed))
    assert equal(one, augment(clip, config, np.random.default_rng(seed)))
    for array, like in zip((one.silhouettes, one.theta, one.keypoints_px), before, strict=True):
        assert array.shape == like.shape and array.dtype == like.dtype
        assert np.isfinite(array.astype(float)).all()
    assert equal(clip, StoredClip(*before))


def test_property_noise_leaves_a_person(data: Path) -> None:
    clip = clip_of(frames=30)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(60):
        noisy = segmentation_noise(clip, 1.0, rng).silhouettes
        overlap = np.minimum(noisy, clip.silhouettes).sum() / np.maximum(
            noisy, clip.silhouettes
        ).sum(dtype=float)
        shares.append(overlap)
    assert 0.65 < np.median(shares) < 0.97, "as real segmenters: most of the person, not all"
    assert min(shares) > 0.3


def test_property_erasing_is_the_same_in_all_frames() -> None:
    clip = StoredClip(np.full((4, 64, 44), 255, np.uint8), np.zeros((0, 85)), np.zeros((0, 17, 3)))
    out = erase(clip, 0.3, np.random.default_rng(2)).silhouettes
    assert (out == out[0]).all() and 0 < (out[0] == 0).mean() <= 0.35


def batches_of(root: Path, reads: tuple[str, ...] = ("silhouettes", "theta"), **config: Any) -> Any:
    store = FolderStore(root)
    labels = labels_of(store, ("001", "002", "003", "004"))
    sampling = SamplerConfig(**{"subjects": 4, "sequences": 2, "frames": 12, **config})
    return Batches(store, labels, sampling, ALL, reads, seed=5)


def test_shape_batches(data: Path) -> None:
    batch = batches_of(data).batch_at(0)
    assert batch.inputs["silhouettes"].shape == (8, 12, 64, 44)
    assert batch.inputs["silhouettes"].dtype == np.uint8
    assert batch.inputs["theta"].shape == (8, 12, 85)
    assert batch.inputs["theta"].dtype == np.float32
    assert sorted(batch.labels.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3] and batch.lengths is None
    bones = batches_of(data, ("keypoints",)).batch_at(0).inputs
    assert set(bones) == {"keypoints"} and bones["keypoints"].shape == (8, 12, 17, 3)


def test_shape_batches_of_unequal_lengths(data: Path) -> None:
    batch = batches_of(data, frames=20, frames_min=5, unequal=True).batch_at(1)
    assert batch.lengths is not None and len(set(batch.lengths)) > 1
    assert batch.inputs["silhouettes"].shape == (1, sum(batch.lengths), 64, 44)
    together = batches_of(data, frames=20, frames_min=5)
    drawn = {together.batch_at(step).inputs["theta"].shape[1] for step in range(8)}
    assert len(drawn) > 1 and drawn <= set(range(5, 21))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_parity_loaded_ahead_and_one_by_one(data: Path, workers: int) -> None:
    made = batches_of(data)
    for step, batch in enumerate(made.prefetched(4, 9, workers), start=4):
        expected = made.batch_at(step)
        assert np.array_equal(batch.labels, expected.labels)
        for name, array in expected.inputs.items():
            assert np.array_equal(batch.inputs[name], array)


def test_exception_a_sequence_that_breaks_is_replaced_and_named(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(shutil.copytree(data, tmp_path / "d"))
    made = batches_of(root)
    broken = root / "002" / "nm-01" / "000" / "000.pkl"
    broken.write_bytes(pickle.dumps("nonsense"))
    seen = [made.batch_at(step) for step in range(6)]
    assert all(sorted(b.labels.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3] for b in seen)
    assert set(made.replaced) == {"002/nm-01/000"}
    assert caplog.text.count("002/nm-01/000 cannot be read, another one takes its place") == 1
    assert np.array_equal(made.batch_at(3).inputs["theta"], seen[3].inputs["theta"])
    shutil.rmtree(root / "002")
    with pytest.raises(InputError, match="no sequence of subject 002 can be read"):
        made.batch_at(0)
    with pytest.raises(InputError, match="subject 002"):
        list(made.prefetched(0, 3, 2))


def test_exception_data_that_lack_what_the_network_reads(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", subjects=4, kinds=("nm-01",), with_theta=False)
    with pytest.raises(InputError, match="not every sequence of the training data has theta"):
        batches_of(root)


def test_parity_processes_see_the_noise_of_one(data: Path) -> None:
    whole = batches_of(data).batch_at(2).inputs["silhouettes"]
    store = FolderStore(data)
    labels = labels_of(store, ("001", "002", "003", "004"))
    config = SamplerConfig(subjects=4, sequences=2, frames=12)
    reads = ("silhouettes", "theta")
    shares = [
        Batches(store, labels, config, ALL, reads, 5, rank, 2).batch_at(2).inputs["silhouettes"]
        for rank in range(2)
    ]
    assert np.array_equal(np.concatenate(shares), whole)
