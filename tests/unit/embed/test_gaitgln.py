"""GaitGLN: shapes, counts, parity between its ways of running, the folded head, and goldens."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from embed_clips import silhouettes_of
from gaitgln_networks import NARROW, PlainWeights, plain_gln, seeded_gaitgln
from torch import Tensor, nn

from stages.embed.networks.catalogue import build_network
from stages.embed.networks.compact_block import CompactBlock, PartSumBlock
from stages.embed.networks.folded_lateral import EnlargedSmoothing, FoldedPyramid, changes
from stages.embed.networks.gaitgln import BINS, SCALE_ORDER, GaitGLN, GaitGLNConfig

GOLDEN = Path(__file__).parent / "golden_gaitgln.npz"
# Relative to the largest number of the output: float32 sums in another order, on other processors.
TOLERANCE = 1e-4
VARIANTS = [("paper", 93), ("seed", 21)]


def close(got: Tensor, want: Tensor, tolerance: float = TOLERANCE) -> bool:
    return bool((got - want).abs().max() <= tolerance * want.abs().max())


def clip(seed: int, frames: int, height: int = 64) -> Tensor:
    """float [1,s,h,w], 0..1."""
    width = height * 44 // 64
    return torch.from_numpy(silhouettes_of(seed, frames, height, width)).float().div(255.0)[None]


def embed(network: GaitGLN, silhouettes: Tensor, **kwargs: object) -> Tensor:
    with torch.inference_mode():
        return network(silhouettes, **kwargs)["inference_feat"]["embeddings"]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def pooled(network: GaitGLN, silhouettes: Tensor) -> tuple[Tensor, ...]:
    with torch.inference_mode():
        return tuple(x.amax(0, keepdim=True) for x in network.frame_part(silhouettes[0]))


@pytest.mark.parametrize(("variant", "parts"), VARIANTS)
@pytest.mark.parametrize("compact", [True, False])
def test_shape_forward(variant: str, parts: int, compact: bool) -> None:
    network = GaitGLN(GaitGLNConfig(variant=variant, compact=compact, class_num=11, **NARROW))
    silhouettes = torch.rand(2, 3, 64, 44)
    out = network(silhouettes, labels=torch.tensor([4, 5]))
    assert set(out) == {"training_feat", "visual_summary", "inference_feat"}
    vectors = out["inference_feat"]
    assert vectors["embeddings"] is vectors["parts"]
    assert vectors["parts"].shape == (2, *network.vector_shape) == (2, 6, parts)
    assert out["training_feat"]["triplet"]["embeddings"] is vectors["parts"]
    assert out["training_feat"]["triplet"]["labels"].tolist() == [4, 5]
    logits = out["training_feat"]["softmax"]["logits"]
    if compact:
        assert vectors["compact"].shape == (2, 6, 1) and logits.shape == (2, 11, 1)
    else:
        assert "compact" not in vectors and logits.shape == (2, 11, parts)
    assert out["visual_summary"]["image/sils"].shape == (6, 1, 64, 44)
    assert torch.equal(out["visual_summary"]["image/sils"][4, 0], silhouettes[1, 1])


@pytest.mark.parametrize("compact", [True, False])
def test_shape_without_classes_there_are_no_logits(compact: bool) -> None:
    out = seeded_gaitgln(compact=compact, **NARROW)(torch.rand(1, 2, 64, 44))
    assert "softmax" not in out["training_feat"]


@pytest.mark.parametrize("height", [64, 128])
def test_shape_every_stage(height: int) -> None:
    network = seeded_gaitgln(height=height, **NARROW)
    h, w = network.silhouette_hw
    with torch.inference_mode():
        features = network.frame_part(torch.rand(4, h, w))
        levels = network.pyramid.set_branch(*features)
        strips = network.pyramid(*features)
    assert [tuple(x.shape) for x in features] == [
        (4, 3, h, w),
        (4, 5, h // 2, w // 2),
        (4, 4, h // 4, w // 4),
    ]
    assert [tuple(x.shape) for x in levels] == [
        (4, 3, h, w),
        (4, 10, h // 2, w // 2),
        (4, 8, h // 4, w // 4),
    ]
    assert strips.shape == (4, 6, 93)


@pytest.mark.parametrize("variant", ["paper", "seed"])
def test_smoke_in_128_by_88_at_full_width(variant: str) -> None:
    network = seeded_gaitgln(height=128, variant=variant, compact=True, vector="compact")
    vector = embed(network, clip(1, 2, 128))
    assert vector.shape == (1, 256, 1) == (1, *network.vector_shape)
    assert torch.isfinite(vector).all() and vector.std() > 0


def test_golden_parameter_counts() -> None:
    """Published: 8.5 M and 6.1 M for the compact block. OpenGait has 64*128 more in the first
    lateral layer, whose second half reads the same map as the first."""
    with torch.device("meta"):
        paper = parameters(GaitGLN())
        assert paper == 8_533_792
        assert paper + 32 * 256 == 8_541_984
        compact = parameters(GaitGLN(GaitGLNConfig(compact=True))) - paper
        assert compact == 93 * 256 * 256 + 2 * 93 * 256 + 2 * 256 == 6_142_976
        seed = parameters(GaitGLN(GaitGLNConfig(variant="seed")))
        # No layer a part, and one smoothing in place of three.
        assert paper - seed == 93 * 256 * 256 + 2 * 9 * 256 * 256
        assert parameters(GaitGLN(GaitGLNConfig(variant="seed", compact=True))) - seed == 1045
        classes = GaitGLNConfig(compact=True, class_num=3000)
        assert parameters(GaitGLN(classes)) - paper - compact == 256 * 3000


def macs_of(network: GaitGLN, *, folded: bool) -> tuple[int, int]:
    """Multiplications of the convolutions: 30 frames, and one head."""
    counted = 0

    def count(module: nn.Module, _: object, out: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, nn.Conv2d)
        counted += out.shape[0] * out[0, 0].numel() * module.weight.numel()

    if folded:
        network.pyramid = network.folded_pyramid()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        features = network.frame_part(torch.rand(30, 64, 44, device="meta"))
        frames, counted = counted, 0
        network.head_part(*(x.amax(0, keepdim=True) for x in features))
    return frames, counted


def test_golden_multiplications_of_30_frames() -> None:
    with torch.device("meta"):
        frames, head = macs_of(GaitGLN().eval(), folded=False)
        _, folded = macs_of(GaitGLN().eval(), folded=True)
    assert frames == 3_181_854_720
    assert head == 2_315_517_952
    assert round((frames + head) / 1e9, 1) == 5.5  # as published
    assert folded == 1_150_550_016


@pytest.mark.parametrize("variant", ["paper", "seed"])
def test_parity_batched_and_single(variant: str) -> None:
    network = seeded_gaitgln(variant=variant, **NARROW)
    clips = [clip(seed, 5) for seed in range(3)]
    together = embed(network, torch.cat(clips))
    for row, one in enumerate(clips):
        assert close(together[row : row + 1], embed(network, one))


@pytest.mark.parametrize("vector", ["parts", "compact"])
@pytest.mark.parametrize("variant", ["paper", "seed"])
def test_parity_packed_and_one_by_one(variant: str, vector: str) -> None:
    network = seeded_gaitgln(variant=variant, compact=True, vector=vector, **NARROW)
    lengths = [5, 1, 8]
    clips = [clip(seed, length) for seed, length in enumerate(lengths)]
    packed = embed(network, torch.cat(clips, 1), lengths=lengths)
    assert packed.shape == (3, *network.vector_shape)
    for row, one in enumerate(clips):
        assert close(packed[row : row + 1], embed(network, one))


@pytest.mark.parametrize("vector", ["parts", "compact"])
@pytest.mark.parametrize("variant", ["paper", "seed"])
def test_parity_streamed_and_whole(variant: str, vector: str) -> None:
    network = seeded_gaitgln(variant=variant, compact=True, vector=vector, **NARROW)
    silhouettes = clip(1, 7)
    with torch.inference_mode():
        features = network.frame_part(silhouettes[0])
        in_steps = [torch.maximum(x[:3].amax(0), x[3:].amax(0))[None] for x in features]
        assert close(network.head_part(*in_steps), embed(network, silhouettes))


def test_parity_padding_a_sequence_with_its_own_frames_changes_nothing() -> None:
    network = seeded_gaitgln(**NARROW)
    silhouettes = clip(1, 4)
    padded = torch.cat([silhouettes, silhouettes[:, [0, 3, 3]]], 1)
    assert close(embed(network, padded), embed(network, silhouettes))


def plain_weights(network: GaitGLN) -> PlainWeights:
    state = network.state_dict()

    def starting(prefix: str) -> list[Tensor]:
        return [tensor for name, tensor in state.items() if name.startswith(prefix)]

    smoothings = starting("pyramid.smoothings")
    return PlainWeights(
        trunk=starting("trunk."),
        set_branch=starting("pyramid.set_branch"),
        laterals=starting("pyramid.laterals"),
        smoothings=smoothings * 3 if len(smoothings) == 1 else smoothings,
        fcs=state.get("fcs.weight"),
    )


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("variant", "height"), [("paper", 64), ("paper", 128), ("seed", 64)])
def test_parity_with_a_plain_second_writing(variant: str, height: int, kernel: int) -> None:
    network = seeded_gaitgln(variant=variant, height=height, lateral_kernel=kernel, **NARROW)
    silhouettes = clip(2, 3, height)
    bins = {"paper": (16, 8, 4, 2, 1), "seed": (1, 2, 4)}[variant]
    order = {"paper": (0, 1, 2), "seed": (2, 1, 0)}[variant]
    assert BINS[variant] == bins and SCALE_ORDER[variant] == order
    want = plain_gln(plain_weights(network), silhouettes[0], bins, order)
    assert close(embed(network, silhouettes)[0], want)


@pytest.mark.parametrize("variant", ["paper", "seed"])
def test_parity_compact_vector_by_hand(variant: str) -> None:
    network = seeded_gaitgln(variant=variant, compact=True, class_num=4, **NARROW)
    state = network.state_dict()

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    with torch.inference_mode():
        out = network(clip(1, 3))
    vectors = out["inference_feat"]
    weight = state["compact_block.fc.weight"]
    x = vectors["parts"]
    if variant == "paper":
        x = norm("compact_block.bn_in", x.reshape(1, -1)).relu() @ weight.T
    else:
        x = (norm("compact_block.bn_in", x).relu() * weight).sum(-1)
    want = norm("compact_block.bn_out", x)
    assert close(vectors["compact"][..., 0], want)
    logits = out["training_feat"]["softmax"]["logits"][..., 0]
    assert close(logits, want @ state["classifier.weight"].T)


def test_property_dropout_works_in_training_only() -> None:
    torch.manual_seed(0)
    parts = torch.rand(8, 6, 10)
    for block in (CompactBlock(6, 10, 4), PartSumBlock(6, 10)):
        assert not torch.equal(block.train()(parts), block(parts))
        assert torch.equal(block.eval()(parts), block(parts))
        assert block.dropout.p == 0.9


def test_property_order_of_frames_does_not_matter() -> None:
    network = seeded_gaitgln(**NARROW)
    silhouettes = clip(1, 6)
    shuffled = silhouettes[:, [3, 0, 5, 1, 4, 2]]
    assert close(embed(network, shuffled), embed(network, silhouettes))


def test_property_other_people_embed_otherwise() -> None:
    network = seeded_gaitgln(**NARROW)
    assert not close(embed(network, clip(1, 6)), embed(network, clip(2, 6)), 1e-2)


def test_property_dropping_training_parts_leaves_the_embedding() -> None:
    for compact in (True, False):
        network = seeded_gaitgln(class_num=5, compact=compact, **NARROW)
        before = embed(network, clip(1, 2))
        network.drop_training_parts()
        assert torch.equal(embed(network, clip(1, 2)), before)
        assert not any("classifier" in key or "bn_necks" in key for key in network.state_dict())


@pytest.mark.parametrize(
    ("variant", "compact"), [("paper", True), ("paper", False), ("seed", True)]
)
def test_property_gradient_reaches_every_parameter(variant: str, compact: bool) -> None:
    torch.manual_seed(0)
    network = GaitGLN(GaitGLNConfig(variant=variant, compact=compact, class_num=5, **NARROW))
    silhouettes = torch.cat([clip(seed, 3) for seed in range(4)])
    labels = torch.tensor([0, 1, 2, 3])
    training = network.train()(silhouettes, labels=labels)["training_feat"]
    loss = training["triplet"]["embeddings"].square().mean()
    loss = loss + F.cross_entropy(training["softmax"]["logits"][:, :, 0], labels)
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("variant", ["paper", "seed"])
def test_golden_output(variant: str) -> None:
    """Refreshed only by GAIT_REFRESH_GOLDEN=1."""
    network = seeded_gaitgln(variant=variant, compact=True)
    with torch.inference_mode():
        vectors = network(clip(2, 3))["inference_feat"]
    got = {f"{variant}_{name}": vectors[name][0].numpy() for name in ("parts", "compact")}
    if os.environ.get("GAIT_REFRESH_GOLDEN") == "1":
        kept = dict(np.load(GOLDEN)) if GOLDEN.exists() else {}
        np.savez_compressed(GOLDEN, **{**kept, **got})
    with np.load(GOLDEN) as stored:
        for name, vector in got.items():
            assert close(torch.from_numpy(vector), torch.from_numpy(stored[name]))


@pytest.mark.parametrize("size", [(4, 5), (3, 3), (1, 1)])
def test_parity_smoothing_before_and_after_enlarging(size: tuple[int, int]) -> None:
    """Place by place, so the border too."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    want = F.conv2d(F.interpolate(x, scale_factor=2.0), weight, padding=1)
    got = EnlargedSmoothing(weight)(x)
    for (row, column), places in zip([(0, 0), (0, 1), (1, 0), (1, 1)], got, strict=True):
        torch.testing.assert_close(places, want[..., row::2, column::2])


def test_property_changes_of_a_map() -> None:
    x = torch.tensor([[[[1.0, 3.0], [7.0, 4.0]]]])
    got = [change.flatten().tolist() for change in changes(x)]
    assert got[:3] == [[1, 3, 7, 4], [1, 2, 7, -3], [2, -3, -3, -4]]
    assert got[3] == [1, 3, 6, 1] and got[6] == [6, 1, -7, -4]
    assert got[4] == [1, 2, 6, -5] and got[8] == [-5, -1, 3, 4]


@pytest.mark.parametrize(("variant", "height"), [("paper", 64), ("seed", 64), ("paper", 128)])
def test_parity_folded_in_double_precision(variant: str, height: int) -> None:
    """The same function: what is left is rounding, of numbers with 16 digits."""
    network = seeded_gaitgln(variant=variant, height=height, **NARROW).double()
    levels = pooled(network, clip(1, 2, height).double())
    with torch.inference_mode():
        want, got = network.pyramid(*levels), network.folded_pyramid()(*levels)
    assert got.dtype == torch.float64 and close(got, want, 1e-12)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("variant", ["paper", "seed"])
def test_parity_folded_at_full_width(variant: str, channels_last: bool) -> None:
    network = seeded_gaitgln(variant=variant)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    both = [pooled(network, clip(i, 3)) for i in (1, 2)]
    levels = [torch.cat(pair) for pair in zip(*both, strict=True)]
    with torch.inference_mode():
        want = network.head_part(*levels)
        network.folded_pyramid()
        state = network.state_dict()
        assert state.keys() == before.keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
        network.optimise_for_inference()
        network.optimise_for_inference()  # a second time does nothing
        if channels_last:
            network = network.to(memory_format=torch.channels_last)
        assert isinstance(network.pyramid, FoldedPyramid)
        assert close(network.head_part(*levels), want)
    assert close(embed(network, clip(1, 3)), want[:1])


def test_exception_folding_where_it_cannot_be() -> None:
    with pytest.raises(ValueError, match="call eval"):
        GaitGLN(GaitGLNConfig(**NARROW)).optimise_for_inference()
    network = seeded_gaitgln(lateral_kernel=3, **NARROW)
    with pytest.raises(ValueError, match="1x1 expected"):
        network.folded_pyramid()
    want = embed(network, clip(1, 2))
    network.optimise_for_inference()
    assert torch.equal(embed(network, clip(1, 2)), want)

    folded = seeded_gaitgln(**NARROW)
    folded.optimise_for_inference()
    with pytest.raises(ValueError, match="cannot be trained"):
        folded.train()


def test_parity_config_through_a_file() -> None:
    config = GaitGLNConfig(variant="seed", compact=True, vector="compact", **NARROW)
    plain = json.loads(json.dumps(GaitGLN(config).export_config()))
    assert plain == GaitGLN(config).export_config()
    network = build_network("gaitgln", plain)
    assert network.config == config and network.config.channels == (3, 5, 4)
    assert network.name == "gaitgln" and network.reads == ("silhouettes",) and network.pools


@pytest.mark.parametrize(
    "shape",
    [(1, 2, 64, 64), (1, 2, 128, 88), (1, 0, 64, 44), (0, 2, 64, 44), (1, 2, 2, 64, 44), (3,)],
)
def test_exception_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        seeded_gaitgln(**NARROW)(torch.zeros(shape))


def test_exception_lengths_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="packed sequences"):
        seeded_gaitgln(**NARROW)(torch.zeros(1, 3, 64, 44), lengths=[2, 2])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"height": 96}, "height must be one of"),
        ({"height": "64"}, "whole numbers"),
        ({"variant": "other"}, "variant must be one of"),
        ({"variant": ["seed"]}, "variant must be one of"),
        ({"vector": "both"}, "vector must be one of"),
        ({"vector": "compact"}, "needs compact true"),
        ({"compact": 1}, "true or false"),
        ({"class_num": -1}, "class_num must lie in"),
        ({"class_num": True}, "whole numbers"),
        ({"channels": (32, 64)}, "channels must be 3"),
        ({"channels": "abc"}, "channels must be 3"),
        ({"channels": [32, 64, 0]}, "channels must lie in"),
        ({"channels": [32, 64, 1.5]}, "whole numbers"),
        ({"lateral_channels": 5000}, "channels must lie in"),
        ({"lateral_kernel": 2}, "lateral_kernel must be one of"),
        ({"variant": "seed", "out_channels": 128}, "must be equal"),
    ],
)
def test_exception_bad_network_config(bad: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaitGLNConfig(**bad)  # type: ignore[arg-type]
