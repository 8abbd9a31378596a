"""From keypoints in pixels to what a skeleton network reads, as tensor operations, so that an
exported network holds them.

Where and how large a person stands in the picture is taken away; how the body moves stays. The
hips' path is followed by a straight line over about one gait cycle, which a walk across the picture
does not leave but the body's bounce and sway do. Both the line and the size are local in time: a
frame looks the same in a window as in a long sequence.

A joint with confidence 0 is not there: its coordinates may be anything, its features are zero.

Letters: n sequences, s frames. Layout: [n,channels,s,17], in COCO's order. Lengths are in trunks,
from the hips' middle to the shoulders'; x to the right, y down.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.embed.networks.coco_graph import BONE_PARENTS, HIPS, LEFT_RIGHT, SHOULDERS

Branch = Literal["joint", "velocity", "bone"]
BRANCHES: tuple[Branch, ...] = get_args(Branch)
BRANCH_CHANNELS = 5

# Frames to either side of the one that the line is drawn for: 31 frames are one gait cycle.
REACH = 15
# Of what stands in where no frame around has hips or shoulders: nothing beside one that has.
PRIOR_WEIGHT = 1e-4
# Added to the spread of the line's frames (frames squared), so that one frame has no slope.
RIDGE = 0.05
# Root mean square distance of the joints from the hips' middle, of somebody upright.
SPREAD_TRUNKS = 1.1
# The least trunk, in trunks as the joints' spread has it: seen from above a trunk is a point.
LEAST_TRUNK = 0.5
# Joints farther away from the hips than this are set to it: no body is that large. Trunks.
LIMIT = 5.0
LEAST_SIZE_PX = 1e-6
LEAST_WEIGHT = 1e-6
# A shorter bone has no direction. Lengths are clamped to it: a number as small as its square, if
# added, is taken for zero and left out when a network is exported to ONNX.
LEAST_BONE = 1e-4


def normalise(keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the joints are about the hips' path, in trunks, and their confidence.

    Args:
        keypoints: [n,s,17,3], x and y in pixels and confidence.

    Returns:
        xy float32 [n,2,s,17], 0 where the confidence is 0; confidence float32 [n,1,s,17], 0..1.
    """
    channels = keypoints.float().permute(0, 3, 1, 2)  # [n,3,s,17]
    confidence = channels[:, 2:].clamp(0.0, 1.0)
    seen = confidence > 0
    total = confidence.sum((2, 3), keepdim=True).clamp_min(LEAST_WEIGHT)  # [n,1,1,1]
    xy = torch.where(seen, channels[:, :2], 0.0)
    xy = (xy - (xy * confidence).sum((2, 3), keepdim=True) / total) * seen
    xy = (xy - hips_path(xy, confidence)[..., None]) * seen

    hips, hips_weight = middle_of(HIPS, xy, confidence)
    shoulders, shoulders_weight = middle_of(SHOULDERS, xy, confidence)
    spread = ((xy.square() * confidence).sum((1, 2, 3)) / total.flatten()).sqrt()  # [n]
    usual = spread[:, None, None] / SPREAD_TRUNKS
    trunk = torch.linalg.vector_norm(shoulders - hips, dim=1, keepdim=True)  # [n,1,s]
    size = local_mean(trunk, torch.minimum(hips_weight, shoulders_weight), usual)
    size = torch.maximum(size, usual * LEAST_TRUNK).clamp_min(LEAST_SIZE_PX)
    return (xy / size[..., None]).clamp(-LIMIT, LIMIT), confidence


def middle_of(pair: tuple[int, int], xy: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Return the middle of two joints [n,2,s] and its weight [n,1,s], the lesser confidence."""
    left, right = pair
    middle = (xy[..., left] + xy[..., right]) / 2
    return middle, torch.minimum(confidence[..., left], confidence[..., right])


def hips_path(xy: Tensor, confidence: Tensor) -> Tensor:
    """Return where the hips' middle would be without bounce and sway, [n,2,s].

    Where no frame around has hips, it is the middle of the joints that there are.
    """
    hips, weight = middle_of(HIPS, xy, confidence)
    total = confidence.sum(3)  # [n,1,s]
    body = (xy * confidence).sum(3) / total.clamp_min(LEAST_WEIGHT)  # [n,2,s]
    body_weight = confidence.mean(3) * PRIOR_WEIGHT
    together = weight + body_weight
    values = (hips * weight + body * body_weight) / together.clamp_min(LEAST_WEIGHT)
    return local_line(values, together)


def local_line(values: Tensor, weights: Tensor) -> Tensor:
    """Return for each frame what a straight line through the frames around it says there.

    Least squares over `REACH` frames to either side; frames that are alone give their mean, where
    there are none it is 0.

    Args:
        values: float32 [n,c,s]. weights: float32 [n,1,s].
    """
    total, first, second, sums, firsts = _moments(values, weights)
    total = total.clamp_min(LEAST_WEIGHT)
    centre, mean = first / total, sums / total
    slope = (firsts / total - centre * mean) / (second / total - centre.square() + RIDGE)
    return mean - slope * centre


def local_mean(values: Tensor, weights: Tensor, prior: Tensor) -> Tensor:
    """Return for each frame the mean over the frames around it, `prior` where there are none."""
    total, _, _, sums, _ = _moments(values, weights)
    return (sums + prior * PRIOR_WEIGHT) / (total + PRIOR_WEIGHT)


def _moments(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return sums over the frames around each: of w, w u, w u u [n,1,s], of w x, w u x [n,c,s].

    u counts frames from the one in the middle, x are the values and w the weights.
    """
    u = torch.arange(-REACH, REACH + 1, dtype=torch.float32, device=values.device)
    kernels = torch.stack([torch.ones_like(u), u, u.square()])[:, None]  # [3,1,31]
    channels = torch.cat([weights, weights * values], 1)  # [n,1+c,s]
    with _unmixed(values.device):
        sums = F.conv1d(channels.flatten(0, 1)[:, None], kernels, padding=REACH)  # [n*(1+c),3,s]
    sums = sums.unflatten(0, (-1, channels.shape[1]))  # [n,1+c,3,s]
    total, first, second = sums[:, :1].unbind(2)
    return total, first, second, sums[:, 1:, 0], sums[:, 1:, 1]


def _unmixed(device: torch.device) -> AbstractContextManager[object]:
    """Keep mixed precision off: pixels lose their fraction in it."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def time_reversed(xy: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same from the last frame to the first."""
    return xy.flip(2), confidence.flip(2)


def mirrored(xy: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same as a mirror shows it: x changes sign, left joints are right ones."""
    order = torch.tensor(LEFT_RIGHT, device=xy.device)
    across = torch.tensor((-1.0, 1.0), device=xy.device)[:, None, None]
    return xy.index_select(3, order) * across, confidence.index_select(3, order)


def features_of(branch: Branch, xy: Tensor, confidence: Tensor) -> Tensor:
    """Return what a branch reads, float32 [n,5,s,17], of `normalise`d joints.

    joint: x y about the hips' path, x y from the frame's own hips. velocity: x y to the next frame
    and to the one after it, 0 at the end. bone: x y from where the bone begins, and their shares of
    its length. The fifth is the confidence. A number that needs a joint that is not there is 0.
    """
    makers = {"joint": _joint, "velocity": _velocity, "bone": _bone}
    return torch.cat([makers[branch](xy, confidence), confidence], 1)


def _joint(xy: Tensor, confidence: Tensor) -> Tensor:
    hips, weight = middle_of(HIPS, xy, confidence)
    hips = hips * (weight > 0)  # else where the hips' path has them
    return torch.cat([xy, (xy - hips[..., None]) * (confidence > 0)], 1)


def _velocity(xy: Tensor, confidence: Tensor) -> Tensor:
    seen = (confidence > 0).to(xy.dtype)
    # Two frames more, in which no joint is seen: any length then has both differences.
    xy_padded, seen_padded = (F.pad(x, (0, 0, 0, 2)) for x in (xy, seen))
    steps = (slice(1, -1), slice(2, None))
    return torch.cat(
        [(xy_padded[:, :, step] - xy) * seen * seen_padded[:, :, step] for step in steps], 1
    )


def _bone(xy: Tensor, confidence: Tensor) -> Tensor:
    parents = torch.tensor(BONE_PARENTS, device=xy.device)
    seen = (confidence > 0) & (confidence.index_select(3, parents) > 0)
    bone = (xy - xy.index_select(3, parents)) * seen
    length = torch.linalg.vector_norm(bone, dim=1, keepdim=True)
    return torch.cat([bone, bone / length.clamp_min(LEAST_BONE)], 1)


@torch.no_grad()
def pictures_of(xy: Tensor, confidence: Tensor, side: int = 64, reach: float = 2.5) -> Tensor:
    """Return a picture of each sequence, every joint of every frame a dot: [n,1,side,side], 0..1.

    Args:
        side: pixels. reach: trunks from the middle, the hips' path, to the border.
    """
    places = ((xy / reach + 1) / 2 * side).long().clamp(0, side - 1)  # [n,2,s,17]
    places = (places[:, 1] * side + places[:, 0]).flatten(1)  # [n,s*17]
    canvas = torch.zeros(len(xy), side * side, device=xy.device)
    canvas = canvas.scatter_reduce(1, places, confidence.flatten(1), "amax")
    return canvas.reshape(-1, 1, side, side)
