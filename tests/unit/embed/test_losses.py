"""The losses against plain loops, and their gradients where naive ones are infinite."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.embed.training.losses import (
    class_terms,
    contrastive_terms,
    pair_distances,
    triplet_terms,
)

MARGIN = 0.2
TEMPERATURE = 0.12


def drawn(n: int, c: int, p: int, seed: int = 0, spread: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, c, p, generator=generator) * spread


def by_loops(embeddings: Tensor, labels: list[int], margin: float) -> tuple[Tensor, float]:
    """The loss in float64 with its gradient, and the share of non-zero triplets."""
    n, _, p = embeddings.shape
    x = embeddings.double()
    means, nonzero, count = [], 0, 0
    for part in range(p):
        violations = []
        for anchor in range(n):
            for positive in range(n):
                for negative in range(n):
                    if labels[anchor] != labels[positive] or labels[anchor] == labels[negative]:
                        continue
                    count += 1
                    near = (x[anchor, :, part] - x[positive, :, part]).norm()
                    far = (x[anchor, :, part] - x[negative, :, part]).norm()
                    if near - far + margin > 0:
                        violations.append(near - far + margin)
        nonzero += len(violations)
        means.append(torch.stack(violations).mean() if violations else x.sum() * 0)
    return torch.stack(means).mean(), nonzero / count


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0, 3]])
@pytest.mark.parametrize("spread", [0.02, 0.3])
def test_parity_triplets_with_plain_loops(labels: list[int], spread: float) -> None:
    embeddings = drawn(len(labels), 5, 3, spread=spread).requires_grad_()
    want, share = by_loops(embeddings, labels, MARGIN)
    (want_gradient,) = torch.autograd.grad(want, embeddings)
    got = triplet_terms(embeddings, torch.tensor(labels), MARGIN)
    (gradient,) = torch.autograd.grad(got.loss, embeddings)
    assert 0 < share <= 1
    assert got.nonzero_share.item() == pytest.approx(share)
    assert got.loss.item() == pytest.approx(want.item(), rel=1e-5)
    torch.testing.assert_close(gradient, want_gradient.float(), rtol=1e-3, atol=1e-6)


def test_parity_distances_far_from_the_origin() -> None:
    x = drawn(6, 8, 2) + 1000.0  # where the sum of squares has lost the digits that matter
    want = torch.cdist(x.double().permute(2, 0, 1), x.double().permute(2, 0, 1))
    torch.testing.assert_close(pair_distances(x), want.float(), rtol=1e-4, atol=1e-4)


def test_golden_mean_distances() -> None:
    places = torch.tensor([0.0, 1.0, 10.0, 14.0]).reshape(4, 1, 1)
    terms = triplet_terms(places, torch.tensor([0, 0, 1, 1]), MARGIN)
    assert terms.positive_distance.item() == pytest.approx((1 + 4) / 2)
    assert terms.negative_distance.item() == pytest.approx((10 + 14 + 9 + 13) / 4)
    assert terms.nonzero_share.item() == 0 and terms.loss.item() == 0


def test_exception_equal_embeddings_have_a_finite_gradient() -> None:
    for equal in (torch.ones(4, 3, 2), drawn(2, 3, 2).repeat(2, 1, 1)):
        embeddings = equal.clone().requires_grad_()
        terms = triplet_terms(embeddings, torch.tensor([0, 1, 0, 1]), MARGIN)
        terms.loss.backward()
        assert embeddings.grad is not None and embeddings.grad.isfinite().all()
    assert triplet_terms(torch.ones(4, 3, 2), torch.tensor([0, 0, 1, 1]), MARGIN).loss == (
        pytest.approx(MARGIN)
    )


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("row", [0, 3])
def test_exception_what_is_not_finite_is_not_hidden(number: float, row: int) -> None:
    embeddings = drawn(4, 3, 2)
    embeddings[row, 1, 0] = number
    assert not triplet_terms(embeddings, torch.tensor([0, 0, 1, 1]), MARGIN).loss.isfinite()


def test_exception_nobody_to_compare_with() -> None:
    embeddings = drawn(3, 4, 2).requires_grad_()
    terms = triplet_terms(embeddings, torch.tensor([5, 5, 5]), MARGIN)
    terms.loss.backward()
    assert terms.loss.item() == 0 and terms.nonzero_share.item() == 0
    assert terms.negative_distance.item() == 0
    assert embeddings.grad is not None and not embeddings.grad.any()


def test_parity_half_precision_is_widened() -> None:
    embeddings = drawn(6, 5, 3).half()
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    half = triplet_terms(embeddings, labels, MARGIN)
    assert half.loss.dtype == torch.float32
    assert half.loss == triplet_terms(embeddings.float(), labels, MARGIN).loss


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
    margins=st.tuples(st.floats(0.01, 2), st.floats(0.01, 2)),
)
def test_property_a_wider_margin_leaves_more_to_do(
    labels: list[int], seed: int, margins: tuple[float, float]
) -> None:
    embeddings = drawn(len(labels), 4, 2, seed)
    low, high = (triplet_terms(embeddings, torch.tensor(labels), m) for m in sorted(margins))
    assert 0 <= low.nonzero_share <= high.nonzero_share <= 1
    assert low.loss >= 0
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    again = triplet_terms(embeddings[order], torch.tensor(labels)[order], sorted(margins)[0])
    torch.testing.assert_close(again.loss, low.loss, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_parity_classes_with_plain_loops(smoothing: float) -> None:
    n, classes, p, scale = 3, 4, 2, 16.0
    logits, labels = drawn(n, classes, p, seed=3), [1, 3, 0]
    losses, hits = [], 0
    for row in range(n):
        for part in range(p):
            scaled = [scale * logits[row, k, part].item() for k in range(classes)]
            log_sum = math.log(sum(math.exp(s - max(scaled)) for s in scaled)) + max(scaled)
            target = [smoothing / classes + (1 - smoothing) * (k == labels[row]) for k in range(4)]
            losses.append(sum(t * (log_sum - s) for t, s in zip(target, scaled, strict=True)))
            hits += max(range(classes), key=lambda k: scaled[k]) == labels[row]
    got = class_terms(logits, torch.tensor(labels), scale=scale, label_smoothing=smoothing)
    assert got.loss.item() == pytest.approx(sum(losses) / (n * p), rel=1e-5)
    assert got.accuracy.item() == pytest.approx(hits / (n * p))


def cosines_by_loops(embeddings: Tensor) -> Tensor:
    """Cosines, float64 [n,n,p]."""
    x = embeddings.double().permute(2, 0, 1)
    x = x / x.norm(dim=2, keepdim=True)
    return (x[:, :, None] * x[:, None]).sum(3).permute(1, 2, 0)


def contrastive_by_loops(
    embeddings: Tensor,
    labels: list[int],
    temperature: float,
    whole: bool = False,
) -> tuple[Tensor, float]:
    """The loss in float64 with its gradient, and the share whose nearest other is right."""
    n = len(embeddings)
    likeness = cosines_by_loops(embeddings)
    together = likeness.mean(2, keepdim=True)
    if whole:
        likeness = together
    found, right, anchors = [], 0, 0
    for anchor in range(n):
        others = [k for k in range(n) if k != anchor]
        positives = [k for k in others if labels[k] == labels[anchor]]
        if not positives:
            continue
        anchors += 1
        right += labels[others[int(together[anchor, others, 0].argmax())]] == labels[anchor]
        everything = (likeness[anchor, others] / temperature).exp().sum(0)  # [p]
        for k in positives:
            share = (likeness[anchor, k] / temperature).exp() / everything
            found.append(-share.log().mean() / len(positives))
    return torch.stack(found).sum() / anchors, right / anchors


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0, 3]])
@pytest.mark.parametrize(("temperature", "share"), [(TEMPERATURE, 0.0), (1.0, 0.3)])
def test_parity_contrasts_with_plain_loops(
    labels: list[int], temperature: float, share: float
) -> None:
    embeddings = drawn(len(labels), 5, 3).requires_grad_()
    parts, right = contrastive_by_loops(embeddings, labels, temperature)
    together, _ = contrastive_by_loops(embeddings, labels, temperature, whole=True)
    want = (1 - share) * parts + share * together
    (want_gradient,) = torch.autograd.grad(want, embeddings)
    got = contrastive_terms(embeddings, torch.tensor(labels), temperature, share)
    (gradient,) = torch.autograd.grad(got.loss, embeddings)
    assert got.loss.item() == pytest.approx(want.item(), rel=1e-5)
    assert got.nearest_right.item() == pytest.approx(right)
    torch.testing.assert_close(gradient, want_gradient.float(), rtol=1e-3, atol=1e-6)


def test_golden_contrasts() -> None:
    # Two subjects at right angles: one positive at cosine 1, two negatives at cosine 0.
    apart = torch.tensor([[1.0, 0], [3, 0], [0, 1], [0, 0.2]]).reshape(4, 2, 1)
    terms = contrastive_terms(apart, torch.tensor([0, 0, 1, 1]), 0.5)
    assert terms.loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-6)
    assert terms.nearest_right.item() == 1
    # The same with the subjects exchanged in pairs: the positives are at right angles.
    crossed = contrastive_terms(apart, torch.tensor([0, 1, 0, 1]), 0.5)
    assert crossed.loss.item() == pytest.approx(math.log(2 + math.exp(2)), rel=1e-6)
    assert crossed.nearest_right.item() == 0
    # A sequence alone of its subject is no anchor, but a negative of the others.
    alone = contrastive_terms(apart, torch.tensor([0, 0, 1, 2]), 0.5)
    assert alone.loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-6)


def test_exception_equal_directions_have_a_finite_gradient() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    equals = torch.ones(4, 3, 2), drawn(2, 3, 2).repeat(2, 1, 1), torch.zeros(4, 3, 2)
    for equal in equals:
        embeddings = equal.clone().requires_grad_()
        terms = contrastive_terms(embeddings, labels, TEMPERATURE, 0.5)
        terms.loss.backward()
        assert terms.loss.isfinite()
        assert embeddings.grad is not None and embeddings.grad.isfinite().all()
    # All alike: each of the three others is as likely.
    alike = contrastive_terms(torch.ones(4, 3, 2), labels, TEMPERATURE)
    assert alike.loss.item() == pytest.approx(math.log(3), rel=1e-6)


@pytest.mark.parametrize("labels", [[5], [1, 2, 3]])
def test_exception_nobody_has_another_sequence(labels: list[int]) -> None:
    embeddings = drawn(len(labels), 4, 2).requires_grad_()
    terms = contrastive_terms(embeddings, torch.tensor(labels), TEMPERATURE, 0.5)
    terms.loss.backward()
    assert terms.loss.item() == 0 and terms.nearest_right.item() == 0
    assert embeddings.grad is not None and not embeddings.grad.any()


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_exception_a_likeness_that_is_not_finite_is_not_hidden(number: float) -> None:
    embeddings = drawn(4, 3, 2)
    embeddings[3, 1, 0] = number
    labels = torch.tensor([0, 0, 1, 1])
    assert not contrastive_terms(embeddings, labels, 0.1).loss.isfinite()


def test_parity_contrasts_are_float32_under_autocast() -> None:
    embeddings, labels = drawn(6, 5, 3).bfloat16(), torch.tensor([0, 0, 1, 1, 2, 2])
    plain = contrastive_terms(embeddings.float(), labels, TEMPERATURE, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = contrastive_terms(embeddings, labels, TEMPERATURE, 0.5)
    assert mixed.loss.dtype == torch.float32 and mixed.loss == plain.loss


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
    temperature=st.floats(0.02, 2),
    length=st.floats(0.01, 100),
)
def test_property_contrasts_ask_for_no_order_and_no_length(
    labels: list[int], seed: int, temperature: float, length: float
) -> None:
    embeddings, named = drawn(len(labels), 4, 2, seed), torch.tensor(labels)
    terms = contrastive_terms(embeddings, named, temperature, 0.5)
    assert terms.loss >= 0 and 0 <= terms.nearest_right <= 1
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    moved = embeddings[order] * length
    again = contrastive_terms(moved, named[order], temperature, 0.5)
    torch.testing.assert_close(again.loss, terms.loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(again.nearest_right, terms.nearest_right)
