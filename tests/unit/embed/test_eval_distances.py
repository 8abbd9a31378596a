"""Distances: against one pair at a time, whatever the stripes, close pairs, memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from eval_samples import plain_distances
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.embed.evaluation import distances
from stages.embed.evaluation.distances import Measure, Metric, Rows, distance_matrix, stripes

ROOT = Path(__file__).resolve().parents[3]


def vectors_of(seed: int, count: int, c: int = 7, p: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, c, p)).astype(np.float32)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 6),
    m=st.integers(1, 7),
    c=st.integers(1, 9),
    p=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_parity_one_pair_at_a_time(
    metric: Metric, n: int, m: int, c: int, p: int, seed: int
) -> None:
    probes, gallery = vectors_of(seed, n, c, p), vectors_of(seed + 1000, m, c, p)
    if n and seed % 3 == 0:
        probes[0, :, 0] = 0.0  # a vector without a direction
    found = distance_matrix(probes, gallery, Measure(metric))
    assert found.shape == (n, m) and found.dtype == np.float32
    np.testing.assert_allclose(found, plain_distances(probes, gallery, metric), atol=2e-6)


def test_golden_by_hand() -> None:
    probe = np.array([[[3.0, 1.0], [4.0, 0.0]]], np.float32)  # parts (3,4) and (1,0)
    gallery = np.zeros((1, 2, 2), np.float32)
    gallery[0, :, 1] = 0, 2
    euclidean = distance_matrix(probe, gallery, Measure("euclidean"))
    cosine = distance_matrix(probe, gallery, Measure("cosine"))
    assert euclidean[0, 0] == pytest.approx((5 + 5**0.5) / 2)
    assert cosine[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_property_stripes_change_nothing(metric: Metric) -> None:
    probes, gallery = vectors_of(1, 517), vectors_of(2, 1100)
    gallery[:40] = probes[:40] + 1e-4  # some that are subtracted one by one
    seen = {}
    for stripe_mb in (1, 4, 256):
        sides = Rows(probes, np.arange(517)), Rows(gallery, np.arange(1100))
        found = list(stripes(*sides, Measure(metric, stripe_mb=stripe_mb)))
        assert [part.start for part in found[1:]] == [part.stop for part in found[:-1]]
        seen[len(found)] = torch.cat([part.distances for part in found]).numpy()
    assert sorted(seen) == [1, 2, 5]
    for other in seen.values():
        np.testing.assert_array_equal(seen[1], other)


def test_property_far_from_the_origin_no_digits_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    taken_singly: list[int] = []
    real = distances._subtract

    def counted(squared: Tensor, q: Tensor, g: Tensor, close: Tensor) -> None:
        taken_singly.append(int(close.sum()))
        real(squared, q, g, close)

    monkeypatch.setattr(distances, "_subtract", counted)
    gallery = vectors_of(3, 50) * 0.01 + 300
    probes = gallery[:20] + vectors_of(4, 20) * 0.001
    found = distance_matrix(probes, gallery, Measure())
    np.testing.assert_allclose(found, plain_distances(probes, gallery, "euclidean"), rtol=5e-3)
    assert sum(taken_singly) <= 0.03 * 20 * 50 * 3, "all but a few are one product"
    assert (distance_matrix(gallery, gallery, Measure()).diagonal() == 0).all()


def test_property_rows_choose_and_order() -> None:
    vectors = vectors_of(5, 30)
    index = np.array([7, 7, 2, 29])
    (part,) = stripes(Rows(vectors, index), Rows(vectors, index[::-1]), Measure())
    np.testing.assert_allclose(
        part.distances.numpy(), plain_distances(vectors[index], vectors[index[::-1]], "euclidean"),
        atol=2e-6,
    )  # fmt: skip
    assert part.distances[0, 2] == 0 and part.distances[0, 0] > 0


def test_property_training_settings_around_it_do_not_matter() -> None:
    probes, gallery = vectors_of(6, 9), vectors_of(7, 9)
    before = distance_matrix(probes, gallery, Measure())
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            np.testing.assert_array_equal(distance_matrix(probes, gallery, Measure()), before)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(usual)


def test_exception_shapes_and_empty_gallery() -> None:
    with pytest.raises(ValueError, match="one shape"):
        distance_matrix(vectors_of(0, 2, 7, 3), vectors_of(0, 2, 7, 4), Measure())
    with pytest.raises(ValueError, match="one shape"):
        distance_matrix(vectors_of(0, 2), vectors_of(0, 0), Measure())


MEMORY = """
import resource, sys
import numpy as np, torch
torch.set_num_threads(1)
from stages.embed.evaluation import distances
from stages.embed.evaluation.distances import Measure, Rows, stripes
from stages.embed.evaluation.places import places_of, split_mates
count = int(sys.argv[1])
vectors = np.random.default_rng(0).normal(size=(count, 4, 2)).astype(np.float32)
subject = torch.arange(count) // 4
sides = Rows(vectors, np.arange(count)), Rows(vectors, np.arange(count))
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, pairs = peak(), 0
for part in stripes(*sides, Measure(stripe_mb=16)):
    pairs += part.distances.numel()
    mates = split_mates(part.distances, subject[part.start:part.stop, None] == subject[None])
    assert (places_of(part.distances, mates).nearest > 0).all()
assert pairs == count * count
print(peak() - before)
"""


def test_property_memory_is_a_stripe_and_not_the_matrix() -> None:
    count = 9_000
    command = [sys.executable, "-c", MEMORY, str(count)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    matrix_kb = count * count * 4 // 1024  # 316,406
    assert int(run.stdout) < 100_000 < matrix_kb / 3, "peak kB"


@pytest.mark.gpu
def test_parity_gpu() -> None:
    probes, gallery = vectors_of(8, 1500), vectors_of(9, 9000)
    gallery[:40] = probes[:40]
    for metric in ("euclidean", "cosine"):
        found = [distance_matrix(probes, gallery, Measure(metric, d)) for d in ("cpu", "cuda")]
        np.testing.assert_allclose(found[1], found[0], atol=2e-6)
