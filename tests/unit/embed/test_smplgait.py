"""SMPLGait: shapes, its count of parameters, parity between its ways of running, and a golden."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from embed_clips import seeded_network, tensors_of, window_of
from torch import Tensor, nn

from stages.embed.networks.bn_necks import SeparateBNNecks
from stages.embed.networks.horizontal_pooling import HorizontalPooling
from stages.embed.networks.pack_sequence import PackSequenceWrapper
from stages.embed.networks.separate_fc import SeparateFCs
from stages.embed.networks.set_block import SetBlockWrapper
from stages.embed.networks.smplgait import SMPLGait, SMPLGaitConfig, apply_matrix

GOLDEN = Path(__file__).parent / "golden_smplgait.npz"
# Relative to the largest number of the output: float32 sums in another order, on other processors.
TOLERANCE = 1e-4


def close(got: Tensor, want: Tensor, tolerance: float = TOLERANCE) -> bool:
    return bool((got - want).abs().max() <= tolerance * want.abs().max())


def embed(network: SMPLGait, *args: object, **kwargs: object) -> Tensor:
    with torch.inference_mode():
        return network(*args, **kwargs)["inference_feat"]["embeddings"]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("use_smpl", [True, False])
@pytest.mark.parametrize(("height", "width"), [(64, 44), (128, 88)])
def test_shape_forward(height: int, width: int, use_smpl: bool) -> None:
    network = SMPLGait(SMPLGaitConfig(height=height, use_smpl=use_smpl, class_num=11))
    silhouettes = torch.rand(2, 3, height, width)
    out = network(silhouettes, torch.randn(2, 3, 85), labels=torch.tensor([4, 5]))
    assert set(out) == {"training_feat", "visual_summary", "inference_feat"}
    embeddings = out["inference_feat"]["embeddings"]
    assert embeddings.shape == (2, 256, 31)
    assert out["training_feat"]["triplet"]["embeddings"] is embeddings
    assert out["training_feat"]["triplet"]["labels"].tolist() == [4, 5]
    assert out["training_feat"]["softmax"]["logits"].shape == (2, 11, 31)
    assert out["visual_summary"]["image/sils"].shape == (6, 1, height, width)
    assert torch.equal(out["visual_summary"]["image/sils"][4, 0], silhouettes[1, 1])


def test_shape_without_classes_there_are_no_logits() -> None:
    out = SMPLGait().eval()(torch.rand(1, 2, 64, 44), torch.randn(1, 2, 85))
    assert "softmax" not in out["training_feat"]


def test_golden_parameter_counts() -> None:
    assert parameters(SMPLGait()) == 3_287_104
    assert parameters(SMPLGait(SMPLGaitConfig(use_smpl=False))) == 3_176_000
    assert parameters(SMPLGait(SMPLGaitConfig(height=128))) == 3_486_016
    with torch.device("meta"):
        assert parameters(SMPLGait(SMPLGaitConfig(class_num=3000))) == 27_110_976


def test_golden_multiplications_of_30_frames() -> None:
    macs = 0

    def count(module: nn.Module, _: object, out: Tensor) -> None:
        nonlocal macs
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        places = out.shape[0] * (out[0, 0].numel() if out.ndim == 4 else 1)
        macs += places * module.weight.numel()

    with torch.device("meta"):
        network = SMPLGait().eval()
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.register_forward_hook(count)
        embed(network, torch.rand(1, 30, 64, 44), torch.randn(1, 30, 85))
    macs += 30 * 256 * 16 * 11 * 16 + 31 * 256 * 256  # the bodies' matrices and the head
    assert macs == 12_619_184_896  # as torch's own counter has it


def test_parity_batched_and_single() -> None:
    network = seeded_network()
    pairs = [tensors_of(window_of(seed, 6)) for seed in range(3)]
    together = embed(network, torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs]))
    for row, (silhouettes, theta) in enumerate(pairs):
        assert close(together[row : row + 1], embed(network, silhouettes, theta))


def test_parity_packed_and_one_by_one() -> None:
    network = seeded_network()
    lengths = [5, 1, 8]
    pairs = [tensors_of(window_of(seed, length)) for seed, length in enumerate(lengths)]
    packed = embed(
        network,
        torch.cat([p[0] for p in pairs], 1),
        torch.cat([p[1] for p in pairs], 1),
        lengths=lengths,
    )
    assert packed.shape == (3, 256, 31)
    for row, (silhouettes, theta) in enumerate(pairs):
        assert close(packed[row : row + 1], embed(network, silhouettes, theta))


def test_parity_frame_features_and_head_are_the_whole() -> None:
    network = seeded_network()
    silhouettes, theta = tensors_of(window_of(1, 7))
    with torch.inference_mode():
        (features,) = network.frame_part(silhouettes[0], theta[0])
        assert features.shape == (7, 256, 16, 16)
        in_steps = torch.maximum(features[:3].amax(0), features[3:].amax(0))
        assert close(network.head_part(in_steps[None]), embed(network, silhouettes, theta))


def test_parity_matrix_product_with_the_padded_repeated_form() -> None:
    generator = torch.Generator().manual_seed(1)
    feature = torch.rand(4, 5, 16, 11, generator=generator)
    matrix = torch.rand(4, 16, 16, generator=generator)
    padded = F.pad(feature, (0, 5)).reshape(20, 16, 16)
    repeated = matrix[:, None].repeat(1, 5, 1, 1).reshape(20, 16, 16)
    want = torch.bmm(padded, repeated).reshape(4, 5, 16, 16)
    torch.testing.assert_close(apply_matrix(feature, matrix), want)


@pytest.mark.parametrize("height", [64, 128])
def test_parity_with_a_plain_second_writing(height: int) -> None:
    """The paper step by step with functional calls, on the network's own weights."""
    network = seeded_network(height=height)
    state = network.state_dict()
    generator = torch.Generator().manual_seed(2)
    silhouettes = torch.rand(1, 3, *network.silhouette_hw, generator=generator)
    theta = torch.randn(1, 3, 85, generator=generator)

    x = silhouettes[0][:, None]
    for number, index in enumerate((0, 2, 5, 7, 10, 12)):
        weight = state[f"backbone.block.{index}.weight"]
        x = F.leaky_relu(F.conv2d(x, weight, padding=weight.shape[-1] // 2))
        if number in (1, 3):
            x = F.max_pool2d(x, 2)
    body = theta[0]
    for layer in ("1", "2", "3"):
        fc, bn = f"body.fc{layer}", f"body.bn{layer}"
        body = F.linear(body, state[f"{fc}.weight"], state[f"{fc}.bias"])
        body = F.batch_norm(
            body,
            state[f"{bn}.running_mean"],
            state[f"{bn}.running_var"],
            state[f"{bn}.weight"],
            state[f"{bn}.bias"],
        ).relu()
    side = height // 4
    matrix = body.reshape(3, side, side) + torch.eye(side)
    x = F.pad(x, (0, side - x.shape[-1]))
    x = torch.matmul(x, matrix[:, None])
    pooled = x.max(0).values
    parts = []
    for bins in (16, 8, 4, 2, 1):
        for strip in pooled.chunk(bins, dim=1):
            flat = strip.reshape(256, -1)
            parts.append(flat.mean(1) + flat.max(1).values)
    want = torch.stack([part @ state["fcs.weight"][i] for i, part in enumerate(parts)], 1)
    assert close(embed(network, silhouettes, theta), want[None])


def test_property_real_bodies_change_the_output() -> None:
    network = seeded_network()
    silhouettes, theta = tensors_of(window_of(1, 5))
    with_body = embed(network, silhouettes, theta)
    for other in (theta * 1.5, torch.zeros_like(theta), None):
        assert not close(embed(network, silhouettes, other), with_body, 1e-2)


def test_property_without_the_branch_bodies_do_nothing() -> None:
    network = seeded_network(use_smpl=False)
    silhouettes, theta = tensors_of(window_of(1, 5))
    assert torch.equal(embed(network, silhouettes, theta), embed(network, silhouettes, theta * 2))
    assert torch.equal(embed(network, silhouettes, theta), embed(network, silhouettes))


def test_parity_no_body_is_the_identity_matrix() -> None:
    network = seeded_network()
    silhouettes, theta = tensors_of(window_of(1, 4))
    without = embed(network, silhouettes)
    assert network.body is not None
    for tensor in (network.body.bn3.weight, network.body.bn3.bias):
        tensor.data.zero_()  # the branch then says nothing: what is left is the identity
    assert close(embed(network, silhouettes, theta), without)


def test_parity_rows_of_zeros_are_no_body() -> None:
    network = seeded_network()
    silhouettes, theta = tensors_of(window_of(1, 4))
    nobody = torch.zeros_like(theta)
    assert close(embed(network, silhouettes, nobody), embed(network, silhouettes))
    # In some of the frames: as if those were multiplied by the identity.
    theta[:, 1::2] = 0
    (features,) = network.frame_part(silhouettes[0], theta[0])
    (known,) = network.frame_part(silhouettes[0, ::2], theta[0, ::2])
    (plain,) = network.frame_part(silhouettes[0, 1::2])
    assert close(features[::2], known) and close(features[1::2], plain)


def test_property_order_of_frames_does_not_matter() -> None:
    network = seeded_network()
    silhouettes, theta = tensors_of(window_of(1, 6))
    assert close(
        embed(network, silhouettes.flip(1), theta.flip(1)), embed(network, silhouettes, theta)
    )


def test_golden_output() -> None:
    """Refreshed only by GAIT_REFRESH_GOLDEN=1."""
    network = seeded_network()
    got = embed(network, *tensors_of(window_of(2, 4)))[0]
    if os.environ.get("GAIT_REFRESH_GOLDEN") == "1":
        np.savez_compressed(GOLDEN, embedding=got.numpy())
    with np.load(GOLDEN) as stored:
        assert close(got, torch.from_numpy(stored["embedding"]))


def test_property_gradient_reaches_every_parameter() -> None:
    network = SMPLGait(SMPLGaitConfig(class_num=5)).train()
    torch.manual_seed(0)
    silhouettes, _ = tensors_of(window_of(1, 4))
    out = network(
        silhouettes.repeat(2, 1, 1, 1), torch.randn(2, 4, 85), labels=torch.tensor([0, 1])
    )
    training = out["training_feat"]
    loss = training["triplet"]["embeddings"].square().mean()
    loss = loss + F.cross_entropy(training["softmax"]["logits"][:, :, 0], torch.tensor([0, 1]))
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("silhouettes", "theta"),
    [
        ((1, 2, 64, 64), (1, 2, 85)),
        ((1, 2, 128, 88), (1, 2, 85)),
        ((1, 2, 64, 44), (1, 3, 85)),
        ((1, 2, 64, 44), (1, 2, 82)),
        ((1, 0, 64, 44), (1, 0, 85)),
        ((1, 2, 2, 64, 44), (1, 2, 85)),
    ],
)
def test_exception_wrong_shapes(silhouettes: tuple[int, ...], theta: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SMPLGait().eval()(torch.zeros(silhouettes), torch.zeros(theta))


@pytest.mark.parametrize("lengths", [[], [3], [2, 3], [4, 0], [5, -1]])
def test_exception_lengths_that_do_not_fit(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="packed sequences"):
        PackSequenceWrapper()(torch.zeros(1, 2, 4, 3), lengths)


@pytest.mark.parametrize(
    "bad",
    [{"height": 96}, {"class_num": -1}, {"use_smpl": 1}, {"height": "64"}, {"class_num": True}],
)
def test_exception_bad_network_config(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SMPLGaitConfig(**bad)  # type: ignore[arg-type]


def test_parity_set_block() -> None:
    block = nn.Conv2d(2, 3, 3, stride=2)
    x = torch.rand(2, 2, 4, 9, 7)
    out = SetBlockWrapper(block)(x)
    assert out.shape == (2, 3, 4, 4, 3)
    torch.testing.assert_close(out[1, :, 2], block(x[1:, :, 2])[0])


def test_shape_horizontal_pooling() -> None:
    x = torch.zeros(1, 1, 16, 4)
    x[0, 0, 0, 0] = 4.0  # one pixel in the top strip
    out = HorizontalPooling()(x)[0, 0]
    assert out.shape == (31,)
    assert out[[0, 16, 24, 28, 30]].tolist() == [5.0, 4.5, 4.25, 4.125, 4.0625]
    assert out.sum() == out[[0, 16, 24, 28, 30]].sum()


@pytest.mark.parametrize("norm", [False, True])
def test_parity_separate_fcs(norm: bool) -> None:
    layer = SeparateFCs(3, 4, 5, norm)
    x = torch.rand(2, 4, 3)
    weight = layer.weight / layer.weight.norm(dim=1, keepdim=True) if norm else layer.weight
    want = torch.stack([x[:, :, part] @ weight[part] for part in range(3)], -1)
    torch.testing.assert_close(layer(x), want)


@pytest.mark.parametrize("norm", [False, True])
def test_parity_bn_necks_parallel_and_separate(norm: bool) -> None:
    torch.manual_seed(0)
    parallel = SeparateBNNecks(3, 4, 6, norm, parallel=True).train()
    separate = SeparateBNNecks(3, 4, 6, norm, parallel=False).train()
    separate.weight.data.copy_(parallel.weight.data)
    assert isinstance(parallel.bn, nn.BatchNorm1d) and isinstance(separate.bn, nn.ModuleList)
    nn.init.uniform_(parallel.bn.weight)
    for part, bn in enumerate(separate.bn):
        bn.weight.data.copy_(parallel.bn.weight.data.reshape(4, 3)[:, part])
    x = torch.randn(5, 4, 3)
    for _ in range(2):
        for got, want in zip(parallel(x), separate(x), strict=True):
            torch.testing.assert_close(got, want)
        parallel.eval(), separate.eval()
    feature, logits = parallel(x)
    assert feature.shape == (5, 4, 3) and logits.shape == (5, 6, 3)
    if norm:
        torch.testing.assert_close(feature.norm(dim=1), torch.ones(5, 3))
        assert logits.abs().max() <= 1 + 1e-6
