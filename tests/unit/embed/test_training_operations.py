"""Operations with gradients of their own against torch's, and what training reorders."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stages.embed.networks.pack_sequence import PackSequenceWrapper
from stages.embed.networks.smplgait import Backbone, apply_matrix, plain_backbone
from stages.embed.networks.training_operations import rows_first, shared_maximum


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [1, 2])
def test_parity_maxima_and_their_gradients(dtype: torch.dtype, dim: int) -> None:
    x = (drawn(3, 4, 5, 6) * 2).round().to(dtype).requires_grad_()  # many ties
    assert (x.amax(dim, keepdim=True) == x).sum() > x.amax(dim).numel()
    gradient = drawn(*x.amax(dim).shape, seed=1).to(dtype)
    got = shared_maximum(x, dim)
    assert torch.equal(got, x.amax(dim)) and got.grad_fn is not None
    (mine,) = torch.autograd.grad(got, x, gradient)
    (theirs,) = torch.autograd.grad(x.amax(dim), x, gradient)
    assert mine.dtype == dtype and torch.equal(mine, theirs)


def test_parity_maxima_of_packed_sequences() -> None:
    x = drawn(1, 3, 9, 2).requires_grad_()
    pooled = PackSequenceWrapper()(x, [4, 5])
    pooled.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad.sum(2), torch.full((1, 3, 2), 2.0))
    with torch.no_grad():
        assert torch.equal(PackSequenceWrapper()(x, [4, 5]), pooled)


def test_property_a_gradient_comes_back_in_the_order_of_its_map() -> None:
    plain = drawn(2, 3, 4, 5)
    for feature in (plain, plain.contiguous(memory_format=torch.channels_last)):
        # Neither a leaf nor the last: what is asked is what reaches the layer before.
        leaf = feature.clone(memory_format=torch.preserve_format).requires_grad_()
        layer = leaf * 1
        seen: list[torch.Tensor] = []
        layer.register_hook(seen.append)
        out = rows_first(layer)
        assert out.is_contiguous() and torch.equal(out, plain)
        (out.reshape(2, 12, 5) @ drawn(2, 5, 5)).sum().backward()
        assert seen[0].stride() == feature.stride()


def test_parity_matrices_on_both_orders() -> None:
    feature, matrix = drawn(2, 3, 4, 5), drawn(2, 7, 7, seed=1)
    found = []
    for like in (feature, feature.contiguous(memory_format=torch.channels_last)):
        leaf = like.clone(memory_format=torch.preserve_format).requires_grad_()
        out = apply_matrix(leaf * 1, matrix)
        (gradient,) = torch.autograd.grad(out.square().sum(), leaf)
        found.append((out, gradient))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parity_the_backbone_in_training_and_not(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    backbone = plain_backbone((3, 4, 5)).to(dtype)
    pictures = drawn(2, 1, 16, 12).to(dtype)
    order: list[str] = []
    for layer in backbone:
        layer.register_forward_hook(lambda layer, *_: order.append(type(layer).__name__))
    in_training = backbone.train()(pictures)
    assert "MaxPool2dLeakyReLU" in "".join(order) and "LeakyReLUMaxPool2d" not in "".join(order)
    order.clear()
    assert torch.equal(backbone.eval()(pictures), in_training)
    assert order == [type(layer).__name__ for layer in backbone], "as runtimes join them"
    gradients = []
    for layers in (backbone.train(), nn.Sequential(*backbone)):
        backbone.zero_grad()
        layers(pictures).float().square().sum().backward()
        gradients.append([p.grad.clone() for p in backbone.parameters() if p.grad is not None])
    assert isinstance(backbone, Backbone) and len(gradients[0]) == 6
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-6 * float(other.abs().max()))
