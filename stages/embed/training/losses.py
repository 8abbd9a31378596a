"""What training minimises, part by part: the batch-all triplet loss, the supervised contrastive
loss and the class loss. The first two compare within a batch and need no list of classes.

Triplets: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss for Person Re-Identification",
2017, with the mean over the non-zero ones, as GaitSet (Chao et al., AAAI 2019) and the field after
it train. Contrastive: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, the form with
the mean outside the logarithm. Label smoothing: Szegedy et al., CVPR 2016. Written from the papers.

Letters: n sequences in a batch, c numbers for each of p body parts, t pairs of an anchor and a
positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# A squared distance below this share of the two squared lengths is rounding (float32), not
# distance: it counts as 0, and its gradient as 0.
ROUNDING = 1e-6
# Shorter embeddings than this are divided by this, not by their length, so that the gradient of a
# vanishing one stays finite.
SHORTEST = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class TripletTerms:
    """What a batch's triplets say. All are scalars; only `loss` carries a gradient.

    Attributes:
        loss: mean over the parts of the mean over a part's non-zero triplets; 0 if there are none.
        nonzero_share: of all triplets of all parts, those that still violate the margin, 0..1.
        positive_distance: mean Euclidean distance within a subject, a sequence to itself left out.
        negative_distance: mean Euclidean distance between subjects.
    """

    loss: Tensor
    nonzero_share: Tensor
    positive_distance: Tensor
    negative_distance: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ContrastiveTerms:
    """What a batch says of who is like whom. Both are scalars; only `loss` carries a gradient.

    Attributes:
        loss: mean over anchors and parts; 0 if no anchor has another positive.
        nearest_right: share of those anchors whose likest other sequence, by the likeness
            averaged over the parts, is of the same subject, 0..1; 0 if there are none.
    """

    loss: Tensor
    nearest_right: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ClassTerms:
    """What a batch's classifiers say. Both are scalars; only `loss` carries a gradient.

    Attributes:
        loss: mean cross-entropy over sequences and parts.
        accuracy: share of sequences and parts whose largest logit is the right one, 0..1.
    """

    loss: Tensor
    accuracy: Tensor


def pair_distances(embeddings: Tensor) -> Tensor:
    """Return Euclidean distances float32 [p,n,n] of embeddings [n,c,p], exactly 0 on the diagonal.

    The gradient is finite everywhere: 0 where two embeddings coincide.
    """
    x = embeddings.float().permute(2, 0, 1)  # [p,n,c]
    # Distances do not change, but their squares are then no small difference of large numbers.
    x = x - x.mean(1, keepdim=True).detach()
    lengths = x.square().sum(-1)  # [p,n]
    lengths = lengths[:, :, None] + lengths[:, None, :]  # [p,n,n]
    squares = lengths - 2 * torch.bmm(x, x.transpose(1, 2))
    apart = ~(squares <= ROUNDING * lengths.detach())  # so that what is not a number stays seen
    apart &= ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    # The inner `where` keeps the root of zero, and its infinite gradient, out of the backward pass.
    return torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)


def triplet_terms(embeddings: Tensor, labels: Tensor, margin: float) -> TripletTerms:
    """Compare every anchor and positive with every negative, each part on its own.

    As in the field's training a sequence is a positive of itself too, which pushes negatives beyond
    the margin while all distances are still small.

    Args:
        embeddings: [n,c,p], not normalised.
        labels: int [n].
        margin: by which a negative should be farther than a positive, in the distance's own unit.
    """
    distances = pair_distances(embeddings)  # [p,n,n]
    same = labels[:, None] == labels[None, :]  # [n,n]
    anchors, positives = same.nonzero(as_tuple=True)  # [t]
    negative = ~same[anchors]  # [t,n]
    gaps = distances[:, anchors, positives, None] - distances[:, anchors]  # [p,t,n]
    violations = (gaps + margin).relu() * negative  # [p,t,n]
    nonzero = (violations > 0).sum((1, 2))  # [p]
    loss = (violations.sum((1, 2)) / nonzero.clamp_min(1)).mean()
    triplets = (negative.sum() * len(distances)).clamp_min(1)
    others = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    found = distances.detach()
    return TripletTerms(
        loss=loss,
        nonzero_share=nonzero.sum() / triplets,
        positive_distance=_mean_where(found, others),
        negative_distance=_mean_where(found, ~same),
    )


def contrastive_terms(
    embeddings: Tensor,
    labels: Tensor,
    temperature: float,
    whole: float = 0.0,
) -> ContrastiveTerms:
    """Let every anchor find its positives among all other sequences, each part on its own.

    An anchor's loss is the cross-entropy of its cosines over `temperature`, averaged over its
    positives, a sequence to itself left out. Anchors without another positive are left out; they
    still are negatives of the others. All is float32, under autocast too.

    Args:
        embeddings: [n,c,p], of any length.
        labels: int [n].
        temperature: above 0. The lower, the more the hardest negatives count.
        whole: share, 0..1, of the same loss on the cosines averaged over the parts.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        likeness = _cosines(embeddings)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels[None, :]) & ~itself  # [n,n]
    together = likeness.mean(0, keepdim=True)  # [1,n,n]
    anchors = (positive.sum(1) > 0).sum()
    loss = (1 - whole) * _contrast(likeness / temperature, positive, itself)
    if whole > 0:
        loss = loss + whole * _contrast(together / temperature, positive, itself)
    return ContrastiveTerms(
        loss=loss, nearest_right=_nearest_right(together[0].detach(), positive, itself, anchors)
    )


def _cosines(embeddings: Tensor) -> Tensor:
    """Cosines [p,n,n] of embeddings [n,c,p]."""
    x = F.normalize(embeddings.float().permute(2, 0, 1), dim=-1, eps=SHORTEST)  # [p,n,c]
    return torch.bmm(x, x.transpose(1, 2))


def _contrast(logits: Tensor, positive: Tensor, itself: Tensor) -> Tensor:
    """Mean cross-entropy over anchors and parts of logits [p,n,n]; 0 without any positive."""
    positives = positive.sum(1)  # [n]
    shares = _log_softmax_of_others(logits, itself)  # [p,n,n]
    found = -(shares * positive).sum(2) / positives.clamp_min(1)  # [p,n], 0 without positives
    anchors = (positives > 0).sum()
    return found.sum() / (anchors * len(logits)).clamp_min(1)


def class_terms(
    logits: Tensor, labels: Tensor, *, scale: float = 16.0, label_smoothing: float = 0.0
) -> ClassTerms:
    """Compare logits with the classes.

    Args:
        logits: [n,class_num,p]; cosines, if feature and classifier are normalised.
        labels: int64 [n], below class_num.
        scale: factor on the logits, which cosines need to grow beyond [-1, 1].
        label_smoothing: share of the target that is spread over all classes, 0..1.
    """
    targets = labels[:, None].expand(-1, logits.shape[2])  # [n,p]
    scaled = logits.float() * scale
    loss = F.cross_entropy(scaled, targets, label_smoothing=label_smoothing)
    hits = scaled.detach().argmax(1) == targets  # [n,p]
    return ClassTerms(loss=loss, accuracy=hits.float().mean())


def _log_softmax_of_others(scores: Tensor, itself: Tensor) -> Tensor:
    """Return the logarithms [p,n,n] of each row's softmax without its diagonal, there 0."""
    shares = scores.masked_fill(itself, -torch.inf).log_softmax(2)
    # Nothing of the diagonal's infinity, nor of a batch of one, may reach a product with 0.
    return shares.masked_fill(itself, 0.0)


def _nearest_right(likeness: Tensor, positive: Tensor, itself: Tensor, anchors: Tensor) -> Tensor:
    """Return the share of anchors with a positive whose largest likeness [n,n] is to one."""
    nearest = likeness.masked_fill(itself, -torch.inf).argmax(1, keepdim=True)  # [n,1]
    return positive.gather(1, nearest).sum() / anchors.clamp_min(1)


def _mean_where(distances: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of [p,n,n] where [n,n] is true, 0 if it is nowhere."""
    return (distances * mask).sum() / (mask.sum() * len(distances)).clamp_min(1)
