"""What a skeleton network reads of keypoints: no place, no size, nothing of joints not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_walkers import walker_of, walkers, without
from torch import Tensor

from stages.embed.networks.coco_graph import BONE_PARENTS, HIPS, LEFT_RIGHT, SHOULDERS
from stages.embed.networks.keypoint_features import (
    BRANCHES,
    LIMIT,
    REACH,
    features_of,
    local_line,
    local_mean,
    mirrored,
    normalise,
    pictures_of,
    time_reversed,
)

# Trunks. Pixels are float32: at 2000 of them a trunk of 10 is known to 1e-5.
TOLERANCE = 1e-3
seeds = st.integers(0, 1000)
lengths = st.integers(1, 40)
shares = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])


def all_features(keypoints: Tensor) -> Tensor:
    """[n,15,s,17]."""
    return torch.cat([features_of(branch, *normalise(keypoints)) for branch in BRANCHES], 1)


def close(got: Tensor, want: Tensor, tolerance: float = TOLERANCE) -> bool:
    return got.shape == want.shape and bool((got - want).abs().max() <= tolerance)


@given(seeds, lengths, shares, st.floats(-2000, 2000), st.floats(-2000, 2000), st.floats(0.2, 8))
@settings(max_examples=25, deadline=None)
def test_property_place_and_size_do_not_matter(
    seed: int, frames: int, share: float, x: float, y: float, scale: float
) -> None:
    keypoints = without(walkers(1, frames, seed), share, seed)
    moved = keypoints.clone()
    moved[..., :2] = keypoints[..., :2] * scale + torch.tensor([x, y])
    assert close(all_features(moved), all_features(keypoints))


@given(seeds, lengths, shares)
@settings(max_examples=30, deadline=None)
def test_property_a_joint_that_is_not_there_says_nothing(
    seed: int, frames: int, share: float
) -> None:
    keypoints = without(walkers(2, frames, seed), share, seed)
    lost = keypoints[..., 2] == 0
    for anything in (-3e6, float("nan"), float("inf")):
        other = keypoints.clone()
        other[..., :2][lost] = anything
        features = all_features(other)
        assert torch.equal(features, all_features(keypoints))
        assert torch.isfinite(features).all() and features.abs().max() <= 2 * LIMIT + 1
        assert (features.transpose(1, 3).transpose(1, 2)[lost] == 0).all()


@given(seeds, lengths, shares)
@settings(max_examples=20, deadline=None)
def test_property_a_mirrored_picture_is_a_mirrored_body(
    seed: int, frames: int, share: float
) -> None:
    keypoints = without(walkers(1, frames, seed), share, seed)
    picture = keypoints[:, :, list(LEFT_RIGHT)]
    picture[..., 0] = 640 - picture[..., 0]
    for got, want in zip(normalise(picture), mirrored(*normalise(keypoints)), strict=True):
        assert close(got, want)
    twice = mirrored(*mirrored(*normalise(keypoints)))
    assert all(map(torch.equal, twice, normalise(keypoints)))


@given(seeds, lengths, shares)
@settings(max_examples=20, deadline=None)
def test_property_frames_reversed(seed: int, frames: int, share: float) -> None:
    keypoints = without(walkers(1, frames, seed), share, seed)
    reverse = time_reversed(*normalise(keypoints))
    for got, want in zip(normalise(keypoints.flip(1)), reverse, strict=True):
        assert close(got, want)
    assert all(map(torch.equal, time_reversed(*reverse), normalise(keypoints)))


def test_property_a_steady_walk_leaves_nothing_but_the_body() -> None:
    standing = walker_of(1, 1, noise_px=0)
    frames = torch.arange(50.0)[:, None, None] * torch.tensor([4.0, -1.0, 0.0])
    xy, _ = normalise((standing + frames)[None])
    middle = xy[:, :, 25]
    assert close(xy, middle[:, :, None].expand_as(xy), 2e-3)  # the line yields a little at its ends
    assert close(middle[0, :, list(HIPS)].mean(1), torch.zeros(2))
    assert close(middle[0, :, list(SHOULDERS)].mean(1).norm(), torch.tensor(1.0))


def test_property_bounce_and_sway_stay() -> None:
    keypoints = walker_of(1, 84, noise_px=0, speed_px=0)[None]
    keypoints[..., 2] = 1
    hips = keypoints[0, :, list(HIPS), :2].mean(1)
    xy, _ = normalise(keypoints)
    trunk = (keypoints[0, :, list(SHOULDERS), :2].mean(1) - hips).norm(dim=1)[0]
    bounce = (hips[:, 1] - hips[:, 1].mean()) / trunk
    got = xy[0, 1, :, list(HIPS)].mean(1)
    inner = slice(REACH, -REACH)
    assert bounce.abs().max() > 0.02
    assert close(got[inner], bounce[inner], 0.15 * float(bounce.abs().max()))


def test_property_a_frame_looks_the_same_in_a_long_sequence() -> None:
    keypoints = without(walkers(1, 200), 0.1)
    inner = slice(REACH, -REACH - 2)  # 2 frames for the velocity
    window = all_features(keypoints[:, 80:140])[:, :, inner]
    assert close(all_features(keypoints)[:, :, 80:140][:, :, inner], window)


def test_parity_local_line_with_polyfit() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.normal(0, 1, (2, 50)).cumsum(1), rng.uniform(0, 1, 50)
    weights[20:30] = 0
    got = local_line(
        torch.tensor(values[None], dtype=torch.float32),
        torch.tensor(weights[None, None], dtype=torch.float32),
    )
    for frame in range(50):
        near = np.arange(max(frame - REACH, 0), min(frame + REACH + 1, 50))
        for axis in range(2):
            line = np.polyfit(near - frame, values[axis, near], 1, w=np.sqrt(weights[near]))
            assert got[0, axis, frame] == pytest.approx(line[1], abs=2e-2)


def test_parity_local_mean() -> None:
    values = torch.arange(40.0)[None, None]
    weights = torch.ones(1, 1, 40)
    weights[..., 5:] = 0
    got = local_mean(values, weights, torch.full((1, 1, 1), 7.0))[0, 0]
    assert got[:6].tolist() == pytest.approx([2.0] * 6, abs=1e-3)
    assert got[4 + REACH] == pytest.approx(4, abs=1e-3)
    assert got[5 + REACH :].tolist() == [7.0] * (35 - REACH)


def test_parity_a_line_where_one_frame_or_none_is_known() -> None:
    values, weights = torch.full((1, 2, 40), 3.0), torch.zeros(1, 1, 40)
    weights[..., 0] = 0.5
    got = local_line(values, weights)
    assert got[..., : REACH + 1].flatten().tolist() == pytest.approx(
        [3.0] * 2 * (REACH + 1), abs=1e-2
    )
    assert (got[..., REACH + 1 :] == 0).all()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_parity_features_with_a_second_writing(share: float) -> None:
    xy, confidence = normalise(without(walkers(1, 9), share))
    p, c = xy[0].numpy().transpose(1, 2, 0), confidence[0, 0].numpy()  # [s,17,2], [s,17]
    joint, velocity, bone = np.zeros((3, 9, 17, 5), np.float32)
    for s in range(9):
        hips_seen = all(c[s, j] > 0 for j in HIPS)
        hips = p[s, list(HIPS)].mean(0) if hips_seen else np.zeros(2)
        for v in range(17):
            if c[s, v] == 0:
                continue
            joint[s, v] = (*p[s, v], *(p[s, v] - hips), c[s, v])
            velocity[s, v, 4] = bone[s, v, 4] = c[s, v]
            for k in (1, 2):
                if s + k < 9 and c[s + k, v] > 0:
                    velocity[s, v, 2 * k - 2 : 2 * k] = p[s + k, v] - p[s, v]
            parent = BONE_PARENTS[v]
            if c[s, parent] > 0 and parent != v:
                bone[s, v, :2] = p[s, v] - p[s, parent]
                bone[s, v, 2:4] = bone[s, v, :2] / np.hypot(*bone[s, v, :2])
    for branch, want in zip(BRANCHES, (joint, velocity, bone), strict=True):
        got = features_of(branch, xy, confidence)[0].permute(1, 2, 0)
        torch.testing.assert_close(got, torch.from_numpy(want), rtol=1e-4, atol=1e-5)


def test_property_one_frame_has_no_velocity() -> None:
    velocity = features_of("velocity", *normalise(walkers(2, 1)))
    assert velocity.shape == (2, 5, 1, 17)
    assert (velocity[:, :4] == 0).all() and (velocity[:, 4] > 0).all()


def test_property_a_path_without_hips_is_still_followed() -> None:
    keypoints = walker_of(1, 90, speed_px=5.0)[None]
    keypoints[:, :, list(HIPS)] = 0
    xy, _ = normalise(keypoints)
    assert xy[0, 0].abs().max() < 1.5


@pytest.mark.parametrize("kept", [list(SHOULDERS), [13, 14, 15, 16], [5], []])
def test_property_size_without_a_trunk(kept: list[int]) -> None:
    """Joints that give no trunk are still of a body's size, not of the picture's."""
    keypoints = walkers(1, 20)
    mask = torch.zeros(17)
    mask[kept] = 1
    features = all_features(keypoints * mask[:, None])
    assert torch.isfinite(features).all()
    assert features[:, :5].abs().max() <= LIMIT
    if len(kept) > 2:
        xy, _ = normalise(keypoints * mask[:, None])
        assert 0.5 < xy[..., kept].norm(dim=1).mean() < 2


def test_property_seen_from_above_nothing_is_huge() -> None:
    keypoints = walkers(1, 20)
    keypoints[..., 1] = keypoints[..., 1] * 0.01  # shoulders over hips
    xy, _ = normalise(keypoints)
    assert xy.square().mean().sqrt() < 3


def test_property_a_wild_joint_is_held_back() -> None:
    keypoints = walkers(1, 20)
    keypoints[0, 7, 9] = torch.tensor([9000.0, -9000.0, 0.1])
    xy, _ = normalise(keypoints)
    assert xy[0, :, 7, 9].tolist() == [LIMIT, -LIMIT]


def test_property_confidence_beyond_one_is_one() -> None:
    keypoints = walkers(1, 5)
    keypoints[..., 2] = torch.tensor([1.2, -0.1] * 8 + [1.0])
    _, confidence = normalise(keypoints)
    assert confidence[0, 0, 0].tolist() == [1.0, 0.0] * 8 + [1.0]


def test_parity_mixed_precision_leaves_pixels_alone() -> None:
    keypoints = walkers(1, 30)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = normalise(keypoints)
    assert all(map(torch.equal, mixed, normalise(keypoints)))


def test_golden_picture() -> None:
    xy, confidence = torch.zeros(2, 2, 3, 17), torch.zeros(2, 1, 3, 17)
    xy[0, :, 1, 4] = torch.tensor([1.25, -2.5])  # three quarters to the right, at the top
    confidence[0, 0, 1, 4] = 0.75
    xy[1, :, 2, 0] = torch.tensor([9.0, 9.0])  # beyond the border
    confidence[1, 0, 2, 0] = 0.5
    pictures = pictures_of(xy, confidence)
    assert pictures.shape == (2, 1, 64, 64)
    assert pictures[0].nonzero().tolist() == [[0, 0, 48]] and pictures[0, 0, 0, 48] == 0.75
    assert pictures[1].nonzero().tolist() == [[0, 63, 63]] and pictures[1, 0, 63, 63] == 0.5
