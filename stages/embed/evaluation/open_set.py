"""Open set: some of those who walk by are enrolled, the others are strangers.

Letters: n probes, t people with a template, k splits.

After Su et al., "Open-Set Biometrics: Beyond Good Closed-Set Models", ECCV 2024: a person's
template is the gallery vectors, fused, a score is 1 / (1 + distance), and the figures are
mean, median and standard deviation over random splits of the people into enrolled and strangers.
TPIR at a FPIR: the threshold is set so that this share of the strangers' probes is given a name
(anybody's); of the enrolled people's probes, the share that is given the right name, which takes
rank 1 and a score over the threshold. Ties are pessimistic: at rank 1, and a score at the threshold
is below it. Pairs of one view count: a template is of all views.

AUROC and equal error rate (EER) look at the best score alone, whosever it is: can the enrolled be
told from strangers? The detection error trade-off plots 1 - TPIR against FPIR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.fusing import fuse_vectors
from stages.embed.evaluation.closed_set import Probes, mean_of
from stages.embed.evaluation.distances import TIE, Measure, Rows, stripes
from stages.embed.evaluation.embedding import EmbeddedSet
from stages.embed.evaluation.protocols import Roles

FPIRS = (0.001, 0.01, 0.1)
# FPIRs of the plotted curve.
CURVE_FPIRS = np.logspace(-3, 0, 61)
HISTOGRAM_BINS = 60


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, median and standard deviation (population's) over the splits; nan if none has it."""

    mean: float
    median: float
    std: float


@dataclass(frozen=True, slots=True, eq=False)
class OpenSet:
    """What came of the splits.

    Attributes:
        splits: how many. enrolled, strangers: people in each.
        mated_probes, stranger_probes: probes of the enrolled and of strangers, mean over the
            splits. A FPIR below 1 / stranger_probes allows not one false alarm.
        tpir, thresholds: by FPIR; a threshold is a score.
        auroc, eer: 0..1.
        curve_fpir: float64 [j]. curve_miss: float64 [3,j], 1 - TPIR as mean, 10th and 90th
            percentile over the splits; nan below what the strangers' number can show.
        bin_edges: float64 [61], scores. own_scores, stranger_scores: int64 [60], of all splits:
            enrolled people's probes against their own template, strangers' best.
    """

    splits: int
    enrolled: int
    strangers: int
    mated_probes: float
    stranger_probes: float
    tpir: dict[float, Spread]
    thresholds: dict[float, Spread]
    auroc: Spread
    eer: Spread
    curve_fpir: np.ndarray
    curve_miss: np.ndarray
    bin_edges: np.ndarray
    own_scores: np.ndarray
    stranger_scores: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class SplitScores:
    """One split's scores, float64.

    Attributes:
        best: [a], of the enrolled people's probes the best score, whosever it is.
        hit: bool [a], whether it is the right one's.
        own: [a], the score of the right one.
        strangers: [b], the best score of each of the strangers' probes.
    """

    best: np.ndarray
    hit: np.ndarray
    own: np.ndarray
    strangers: np.ndarray


@dataclass(frozen=True, slots=True)
class Splits:
    """How people are split.

    Attributes:
        count: of splits; 0 for no open-set evaluation.
        stranger_share: of the people who have a template, those who are not enrolled.
        seed: of the splits.
    """

    count: int = 50
    stranger_share: float = 0.5
    seed: int = 0


def search_open_set(
    probes: Probes,
    gallery: EmbeddedSet,
    roles: Roles,
    measure: Measure,
    splits: Splits,
    on_progress: Callable[[int, int], None] | None = None,
) -> OpenSet | None:
    """Look for every probe among the enrolled people of each split; None with fewer than two.

    Memory: the templates, `measure.stripe_mb`, and 4 bytes a probe and split. Probes of people
    without a gallery sequence are strangers in every split.
    """
    people, templates = mean_templates(gallery, roles.gallery)
    if len(people) < 2 or splits.count == 0:
        return None
    enrolled = draw_splits(len(people), splits)
    place = {name: i for i, name in enumerate(people)}
    own_column = np.array([place.get(probes.embedded.subjects[i], -1) for i in probes.rows])
    own, other = _nearest(probes, templates, own_column, enrolled, measure, on_progress)
    parts = [_scores(own, other[k], own_column, enrolled[k]) for k in range(splits.count)]
    return summarise(parts, enrolled=int(enrolled[0].sum()), people=len(people))


def mean_templates(gallery: EmbeddedSet, rows: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return who has a template, in the order of names, and float32 [t,c,p]."""
    of_person: dict[str, list[int]] = {}
    for row in rows:
        of_person.setdefault(gallery.subjects[row], []).append(int(row))
    people = tuple(sorted(of_person))
    templates = np.empty((len(people), *gallery.vectors.shape[1:]), np.float32)
    for i, name in enumerate(people):
        templates[i] = fuse_vectors(gallery.vectors[of_person[name]])
    return people, templates


def draw_splits(people: int, splits: Splits) -> np.ndarray:
    """Return bool [k,t]: who is enrolled; at least one is and one is not."""
    strangers = min(max(round(people * splits.stranger_share), 1), people - 1)
    enrolled = np.ones((splits.count, people), bool)
    for k in range(splits.count):
        order = np.random.default_rng([splits.seed, k]).permutation(people)
        enrolled[k, order[:strangers]] = False
    return enrolled


def summarise(parts: list[SplitScores], *, enrolled: int, people: int) -> OpenSet:
    """Return the figures over the splits."""
    thresholds = {f: [threshold_at(part.strangers, f) for part in parts] for f in FPIRS}
    tpir = {f: [tpir_at(p, t) for p, t in zip(parts, thresholds[f], strict=True)] for f in FPIRS}
    curves = np.array([miss_curve(part) for part in parts])  # [k,j]
    edges, own, strangers = _histograms(parts)
    return OpenSet(
        splits=len(parts),
        enrolled=enrolled,
        strangers=people - enrolled,
        mated_probes=float(np.mean([len(part.best) for part in parts])),
        stranger_probes=float(np.mean([len(part.strangers) for part in parts])),
        tpir={f: spread(np.array(values)) for f, values in tpir.items()},
        thresholds={f: spread(np.array(values)) for f, values in thresholds.items()},
        auroc=spread(np.array([auroc(p.best, p.strangers) for p in parts])),
        eer=spread(np.array([equal_error_rate(p.best, p.strangers) for p in parts])),
        curve_fpir=CURVE_FPIRS,
        curve_miss=_band(curves),
        bin_edges=edges,
        own_scores=own,
        stranger_scores=strangers,
    )


def threshold_at(strangers: np.ndarray, fpir: float) -> float:
    """Return the lowest threshold that at most this share of the strangers' scores exceeds.

    0 where all may, nan without strangers.
    """
    if len(strangers) == 0:
        return np.nan
    # Shares such as 0.01 have no exact binary form: 100 * 0.01 must be 1 and not a little less.
    allowed = int(np.floor(fpir * len(strangers) + 1e-9))
    return 0.0 if allowed >= len(strangers) else float(np.sort(strangers)[::-1][allowed])


def tpir_at(scores: SplitScores, threshold: float) -> float:
    """Return the share of enrolled people's probes that are given the right name; nan of none."""
    if len(scores.best) == 0 or np.isnan(threshold):
        return np.nan
    return float((scores.hit & (scores.best > threshold)).mean())


def miss_curve(scores: SplitScores) -> np.ndarray:
    """Return 1 - TPIR at `CURVE_FPIRS`, nan where the FPIR allows not one false alarm."""
    miss = np.full(len(CURVE_FPIRS), np.nan)
    for j, fpir in enumerate(CURVE_FPIRS):
        if fpir * len(scores.strangers) + 1e-9 >= 1:
            miss[j] = 1 - tpir_at(scores, threshold_at(scores.strangers, fpir))
    return miss


def auroc(mated: np.ndarray, strangers: np.ndarray) -> float:
    """Return how often a mated probe's score exceeds a stranger's, ties for half; nan of none."""
    if len(mated) == 0 or len(strangers) == 0:
        return np.nan
    ordered = np.sort(strangers)
    below = np.searchsorted(ordered, mated, side="left")
    not_above = np.searchsorted(ordered, mated, side="right")
    return float((below + not_above).mean() / 2 / len(strangers))


def equal_error_rate(mated: np.ndarray, strangers: np.ndarray) -> float:
    """Return the error rate where as many mated probes are refused as strangers are let in.

    A score passes if it exceeds the threshold; between two thresholds the rates are joined by a
    straight line. nan if there are none of either.
    """
    if len(mated) == 0 or len(strangers) == 0:
        return np.nan
    thresholds = np.unique(np.concatenate([mated, strangers]))
    refused = np.searchsorted(np.sort(mated), thresholds, side="right") / len(mated)
    passed = 1 - np.searchsorted(np.sort(strangers), thresholds, side="right") / len(strangers)
    refused, passed = np.append(0.0, refused), np.append(1.0, passed)  # below every score
    after = int(np.argmax(refused >= passed))  # it is at the highest score: 1 and 0
    gap_before = passed[after - 1] - refused[after - 1]
    gap_after = refused[after] - passed[after]
    share = gap_before / (gap_before + gap_after)
    return float(refused[after - 1] + share * (refused[after] - refused[after - 1]))


def spread(values: np.ndarray) -> Spread:
    """Return mean, median and standard deviation of what is not nan."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return Spread(np.nan, np.nan, np.nan)
    return Spread(float(known.mean()), float(np.median(known)), float(known.std()))


def _nearest(
    probes: Probes,
    templates: np.ndarray,
    own_column: np.ndarray,
    enrolled: np.ndarray,
    measure: Measure,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances: float32 [n] to the own template, [k,n] to the nearest enrolled other."""
    own = np.full(len(own_column), np.inf, np.float32)
    other = np.empty((len(enrolled), len(own_column)), np.float32)
    columns = [torch.from_numpy(np.flatnonzero(split)).to(measure.device) for split in enrolled]
    sides = Rows(probes.embedded.vectors, probes.rows), Rows(templates, np.arange(len(templates)))
    for stripe in stripes(*sides, measure):
        column = own_column[stripe.start : stripe.stop]
        has = np.flatnonzero(column >= 0)
        cells = torch.from_numpy(has).to(measure.device), torch.from_numpy(column[has])
        cells = cells[0], cells[1].to(measure.device)
        own[stripe.start + has] = stripe.distances[cells].cpu().numpy()
        stripe.distances[cells] = torch.inf
        for k, chosen in enumerate(columns):
            nearest = stripe.distances[:, chosen].amin(1)
            other[k, stripe.start : stripe.stop] = nearest.cpu().numpy()
        if on_progress is not None:
            on_progress(stripe.stop, len(own_column))
    return own, other


def _scores(
    own: np.ndarray, other: np.ndarray, own_column: np.ndarray, enrolled: np.ndarray
) -> SplitScores:
    """Return one split's scores from distances [n]."""
    mated = (own_column >= 0) & enrolled[own_column]
    near, far = own[mated].astype(np.float64), other[mated].astype(np.float64)
    return SplitScores(
        best=_score(np.minimum(near, far)),
        hit=near * (1 + TIE) < far,
        own=_score(near),
        strangers=_score(other[~mated].astype(np.float64)),
    )


def _score(distance: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + distance)


def _band(curves: np.ndarray) -> np.ndarray:
    """Return [3,j]: mean, 10th and 90th percentile of [k,j], nan where no split has a value."""
    band = np.full((3, curves.shape[1]), np.nan)
    has = ~np.isnan(curves).all(axis=0)
    band[0, has] = mean_of(curves[:, has], axis=0)
    band[1:, has] = np.nanpercentile(curves[:, has], (10, 90), axis=0)
    return band


def _histograms(parts: list[SplitScores]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    own = np.concatenate([part.own for part in parts])
    strangers = np.concatenate([part.strangers for part in parts])
    everything = np.concatenate([own, strangers])
    low, high = (everything.min(), everything.max()) if len(everything) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1e-6, HISTOGRAM_BINS + 1)
    return edges, np.histogram(own, edges)[0], np.histogram(strangers, edges)[0]
