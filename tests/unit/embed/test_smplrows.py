"""SMPLRows: what it makes of bodies, and what of them it does not look at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from stages.embed.networks.smplrows import FEATURES, SMPLRows, SMPLRowsConfig, row_features
from stages.embed.parts import FramePart

SMALL = SMPLRowsConfig(width=8, pooled=12, depth=1, out_channels=6)


def network(config: SMPLRowsConfig = SMALL) -> SMPLRows:
    torch.manual_seed(0)
    return SMPLRows(config).eval()


def rows(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 85, generator=torch.Generator().manual_seed(1))


def test_parity_turns_are_scipys() -> None:
    theta = rows(5)
    theta[0, 3:75] = 0.0  # no turn at all
    found = row_features(theta)
    assert found.shape == (5, FEATURES)
    matrices = Rotation.from_rotvec(theta[:, 3:75].reshape(-1, 3).numpy()).as_matrix()
    columns = matrices[:, :, :2].transpose(0, 2, 1).reshape(5, 144)
    np.testing.assert_allclose(found[:, :144], columns, atol=1e-6)
    torch.testing.assert_close(found[:, 144:], theta[:, 75:])


def test_property_a_whole_turn_more_is_the_same_body() -> None:
    theta = rows(4)
    turns = theta[:, 3:75].unflatten(1, (24, 3))
    length = turns.norm(dim=-1, keepdim=True)
    more = theta.clone()
    more[:, 3:75] = (turns * (1 + 2 * torch.pi / length)).flatten(1)
    torch.testing.assert_close(row_features(more), row_features(theta), atol=1e-5, rtol=1e-5)


def test_property_neither_camera_nor_order_nor_repetition_counts() -> None:
    theta = rows(2, 5)
    other = theta[:, [4, 2, 0, 1, 3, 3]].clone()
    other[:, :, :3] = 7.0
    one, two = (network()(each)["inference_feat"]["embeddings"] for each in (theta, other))
    torch.testing.assert_close(one, two)
    assert one.shape == (2, 6, 1)
    torch.testing.assert_close(one.norm(dim=1), torch.ones(2, 1))


def test_parity_lengths_and_parts() -> None:
    net, long, short = network(), rows(1, 5), rows(1, 3)
    apart = [net(each)["inference_feat"]["embeddings"] for each in (long, short)]
    packed = net(torch.cat((long, short), 1), lengths=[5, 3])["inference_feat"]["embeddings"]
    torch.testing.assert_close(packed, torch.cat(apart))
    (features,) = FramePart(net)(long[0])
    torch.testing.assert_close(net.head_part(features.amax(0, keepdim=True)), apart[0])


def test_smoke_half_precision_bears_a_body_at_rest() -> None:
    (features,) = FramePart(network().half())(torch.zeros(2, 85))
    assert features.dtype == torch.float16 and features.isfinite().all()


def test_smoke_classes_and_projection() -> None:
    net = network(SMPLRowsConfig(width=8, pooled=12, depth=1, out_channels=6, class_num=3))
    found = net.train()(rows(4, 2), labels=torch.arange(4))["training_feat"]
    assert found["softmax"]["logits"].shape == (4, 3, 1)
    net.drop_training_parts()
    assert "softmax" not in net(rows(4, 2))["training_feat"]
    brought = SMPLRowsConfig(width=8, pooled=12, depth=1, out_channels=6, projection=4)
    assert network(brought)(rows(4, 2))["inference_feat"]["embeddings"].shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"width": 0}, "width must be a whole number in 1..4096, got 0"),
        ({"depth": 1.5}, "depth must be"),
        ({"class_num": -1}, "class_num must be"),
        ({"class_num": 3, "projection": 4}, "leave one of them out"),
    ],
)
def test_exception_configs_that_cannot_be_built(settings: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SMPLRowsConfig(**settings)


@pytest.mark.parametrize("shape", [(2, 5, 84), (5, 85), (2, 0, 85)])
def test_exception_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"theta: expected \[n, s, 85\]"):
        network()(torch.zeros(shape))
