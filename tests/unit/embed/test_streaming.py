"""Streamed windows are whole windows, whatever is kept and whatever is forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from embed_clips import network_of, silhouettes_of, theta_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.messages import Window
from stages.embed.embedder import NetworkEmbedder, torch_embedder
from stages.embed.networks.catalogue import CATALOGUE
from stages.embed.networks.interface import GaitNetwork
from stages.embed.streaming import (
    Run,
    StreamingEmbedder,
    TrackMemory,
    joined,
    stride_between,
    usable_runs,
)

TOLERANCE = 1e-4  # of the vector's largest number
POOLING = ("smplgait", "gaitgln", "smplrows", "joined")


def walk(seed: int, frames: int) -> Window:
    """A track's whole life as one window, from which others are cut."""
    rng = np.random.default_rng(seed)
    return Window(
        track_id=seed,
        silhouettes=silhouettes_of(seed, frames),
        theta=theta_of(seed, frames),
        keypoints_px=rng.uniform(0, 100, (frames, 17, 3)).astype(np.float32),
        times_ns=np.arange(frames, dtype=np.int64) * 40_000_000,
        frame_ids=np.arange(frames, dtype=np.int64) * 2 + seed,
        quality=0.8,
        left_out=0,
    )


def cut(whole: Window, start: int, length: int) -> Window:
    """Frames start to start + length of a walk."""
    part = slice(start, start + length)
    return Window(
        track_id=whole.track_id,
        silhouettes=whole.silhouettes[part],
        theta=whole.theta[part],
        keypoints_px=whole.keypoints_px[part],
        times_ns=whole.times_ns[part],
        frame_ids=whole.frame_ids[part],
        quality=whole.quality,
        left_out=0,
    )


def sliding(whole: Window, length: int, stride: int) -> Iterator[Window]:
    """All windows of a walk."""
    for start in range(0, len(whole.frame_ids) - length + 1, stride):
        yield cut(whole, start, length)


@pytest.fixture(scope="module", params=POOLING)
def embedder(request: pytest.FixtureRequest) -> NetworkEmbedder:
    network: GaitNetwork = network_of(request.param)
    return torch_embedder(network, "0" * 16, torch.device("cpu"))


@pytest.fixture(scope="module")
def small() -> NetworkEmbedder:
    """The network that is quickest here."""
    return torch_embedder(network_of("smplgait"), "0" * 16, torch.device("cpu"))


def assert_close(streamed: np.ndarray, whole: np.ndarray) -> None:
    assert np.abs(streamed - whole).max() <= TOLERANCE * np.abs(whole).max()


def streamed(
    stream: StreamingEmbedder, windows: Sequence[Window], source: str = "cam"
) -> list[np.ndarray]:
    return stream.embed([((source, window.track_id), window) for window in windows])


@pytest.mark.parametrize("stride", [1, 3, 4, 8, 12])
def test_parity_streamed_and_whole(embedder: NetworkEmbedder, stride: int) -> None:
    stream = StreamingEmbedder(embedder, 1 << 30)
    windows = list(sliding(walk(5, 12 + 3 * stride), 12, stride))
    for window in windows:
        (vector,) = streamed(stream, [window])
        assert_close(vector, embedder.embed([window])[0])
    assert stream.frames_computed == 12 + 3 * min(stride, 12)
    assert stream.frames_reused == 3 * (12 - min(stride, 12))


def test_parity_many_tracks_in_one_call(embedder: NetworkEmbedder) -> None:
    stream = StreamingEmbedder(embedder, 1 << 30)
    walks = [walk(seed, 20) for seed in range(5)]
    for start in (0, 4, 8):
        # Two cameras may use the same track numbers.
        windows = [cut(whole, start, 8 + 2 * (whole.track_id % 3)) for whole in walks]
        for source in ("cam", "door"):
            vectors = streamed(stream, windows, source)
            for vector, expected in zip(vectors, embedder.embed(windows), strict=True):
                assert_close(vector, expected)


def test_parity_two_windows_of_a_track_in_one_call(small: NetworkEmbedder) -> None:
    stream = StreamingEmbedder(small, 1 << 30)
    windows = list(sliding(walk(3, 16), 10, 2))
    for vector, window in zip(streamed(stream, windows), windows, strict=True):
        assert_close(vector, small.embed([window])[0])
    assert stream.frames_computed == 16


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cuts=st.lists(st.tuples(st.integers(0, 14), st.integers(1, 10)), min_size=1, max_size=5),
    cache=st.sampled_from([0, 1 << 19, 1 << 30]),
)
def test_property_any_windows_in_any_order(
    small: NetworkEmbedder, cuts: list[tuple[int, int]], cache: int
) -> None:
    stream, whole = StreamingEmbedder(small, cache), walk(2, 24)
    for start, length in cuts:
        window = cut(whole, start, length)
        (vector,) = streamed(stream, [window])
        assert_close(vector, small.embed([window])[0])
        assert stream.nbytes <= cache


def test_property_memory_of_a_track_is_bounded(embedder: NetworkEmbedder) -> None:
    frame = embedder.runtime.frame_part(
        *(torch.from_numpy(rows) for rows in embedder.inputs_of(walk(0, 1)))
    )
    one = sum(level.nbytes for level in frame)
    stream = StreamingEmbedder(embedder, 1 << 30)
    kept = []
    for window in sliding(walk(1, 40), 12, 4):
        streamed(stream, [window])
        kept.append(stream.nbytes)
    assert kept[0] == 12 * one, "the stride is not known yet"
    assert set(kept[1:]) == {2 * one}, "ceil(12/4) - 1 runs"


def test_property_forgotten_tracks_leave_nothing(small: NetworkEmbedder) -> None:
    stream = StreamingEmbedder(small, 1 << 30)
    window = cut(walk(1, 8), 0, 8)
    for source in ("cam", "door"):
        for track in (1, 2):
            stream.embed([((source, track), window)])
    held = stream.nbytes
    stream.forget(("cam", 1))
    stream.forget(("cam", 1))
    assert stream.nbytes == held * 3 // 4
    stream.forget_source("door")
    assert stream.nbytes == held // 4
    stream.forget(("cam", 2))
    assert stream.nbytes == 0 and stream.forgotten == 0


def test_property_the_cache_forgets_the_track_used_longest_ago(small: NetworkEmbedder) -> None:
    window = cut(walk(1, 8), 0, 4)
    probe = StreamingEmbedder(small, 1 << 30)
    streamed(probe, [window])
    stream = StreamingEmbedder(small, 2 * probe.nbytes)
    for track in (1, 2, 1, 3):
        stream.embed([(("cam", track), window)])
    assert stream.forgotten == 1
    computed = stream.frames_computed
    stream.embed([(("cam", 1), window)])
    assert stream.frames_computed == computed
    stream.embed([(("cam", 2), window)])
    assert stream.frames_computed == computed + 4


def test_exception_a_window_that_the_network_cannot_read(small: NetworkEmbedder) -> None:
    stream = StreamingEmbedder(small, 1 << 30)
    window = walk(1, 4)
    window.theta[2, 3] = np.nan
    with pytest.raises(InputError, match="theta: some numbers are not finite"):
        streamed(stream, [window])
    assert stream.nbytes == 0


def run_of(*frame_ids: int) -> Run:
    return Run(frame_ids, (torch.tensor([float(max(frame_ids)), -float(min(frame_ids))]),))


def test_shape_usable_runs_lie_in_the_window_as_they_are() -> None:
    memory = TrackMemory((1, 2, 3, 4, 5, 6), (run_of(1, 2), run_of(3), run_of(4, 5), run_of(6)))
    assert usable_runs(None, [1, 2]) == []
    found = usable_runs(memory, [2, 3, 4, 5])
    assert [(first, run.frame_ids) for first, run in found] == [(1, (3,)), (2, (4, 5))]
    assert [first for first, _ in usable_runs(memory, [3, 4, 6])] == [0, 2]
    assert usable_runs(memory, [5, 4]) == []


def test_shape_stride_between_windows() -> None:
    memory = TrackMemory((4, 6, 8, 10), ())
    assert stride_between(memory, [8, 10, 12, 14]) == 2
    assert stride_between(memory, [4, 6, 8, 10]) == 0
    assert stride_between(memory, [12, 14]) == 0
    assert stride_between(None, [4]) == 0


def test_shape_joined_runs() -> None:
    runs = [(place, run_of(place)) for place in range(7)]
    assert joined(runs, 0) == tuple(run for _, run in runs)
    kept = joined(runs, 3)
    assert [run.frame_ids for run in kept] == [(3, 4, 5), (6,)]
    assert kept[0].features[0].tolist() == [5.0, -3.0]
    assert joined(runs, 7) == ()


def test_property_every_pooling_network_is_tested_here() -> None:
    pooling = {name for name, entry in CATALOGUE.items() if entry.network.pools}
    assert pooling <= set(POOLING)
