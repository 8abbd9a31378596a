"""Ranks, average precision, view matrices and protocols: by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eval_samples import entries_of, noisy_vectors, plain_distances, set_of
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from stages.embed.data.interface import Entry
from stages.embed.evaluation import closed_set, distances
from stages.embed.evaluation.closed_set import ClosedSet, Probes, mean_of, search_closed_set
from stages.embed.evaluation.distances import Measure
from stages.embed.evaluation.places import Places, places_of, split_mates
from stages.embed.evaluation.protocols import (
    CASIA_B,
    GENERIC,
    OUMVLP,
    FirstKindProtocol,
    NamedProbesProtocol,
    Protocol,
    choose_protocol,
)

CASIA_KINDS = (*(f"nm-0{i}" for i in range(1, 7)), "bg-01", "bg-02", "cl-01", "cl-02")


def places(
    apart: np.ndarray, mates: np.ndarray, left_out: np.ndarray | None = None
) -> tuple[Places, np.ndarray]:
    stripe = torch.tensor(apart, dtype=torch.float32)
    out = None if left_out is None else torch.tensor(left_out)
    found = split_mates(stripe, torch.tensor(mates), out)
    return places_of(stripe, found), found.counts.numpy()


def plain_places(apart: np.ndarray, mates: np.ndarray) -> list[int]:
    """Places of the mates of one probe; strangers first where distances are equal."""
    order = sorted(range(len(apart)), key=lambda j: (apart[j], mates[j]))
    return [place for place, j in enumerate(order, start=1) if mates[j]]


def search(
    entries: list[Entry], vectors: np.ndarray, protocol: Protocol, **kw: object
) -> ClosedSet:
    roles = protocol.roles(entries)
    embedded = set_of(entries, vectors)
    probes = Probes(embedded, roles.probes, roles.groups)
    return search_closed_set(probes, embedded, roles, Measure(**kw))  # type: ignore[arg-type]


def test_golden_places_by_hand() -> None:
    # Sorted: mate, stranger, mate, stranger. AP = (1/1 + 2/3) / 2, INP = 2/3.
    found, counts = places(
        np.array([[1.0, 2, 3, 4], [4, 3, 2, 1]]), np.array([[1, 0, 1, 0], [1, 0, 0, 0]], bool)
    )
    assert found.nearest.tolist() == [1, 4] and counts.tolist() == [2, 1]
    np.testing.assert_allclose(found.average_precision, [5 / 6, 1 / 4])
    np.testing.assert_allclose(found.inverse_penalty, [2 / 3, 1 / 4])


def test_golden_a_tie_counts_against_the_network() -> None:
    found, _ = places(np.array([[2.0, 2, 2, 5]]), np.array([[1, 0, 0, 1]], bool))
    assert found.nearest.tolist() == [3]
    np.testing.assert_allclose(found.average_precision, [(1 / 3 + 2 / 4) / 2])
    nearly = np.array([[2.0, 2.0 * (1 + 5e-7)]])  # what float32 cannot tell apart is a tie too
    assert places(nearly, np.array([[1, 0]], bool))[0].nearest.tolist() == [2]


def test_property_everything_zero_is_the_worst_and_not_the_best() -> None:
    entries = entries_of(4)
    found = search(entries, np.zeros((len(entries), 3, 2)), GENERIC)
    assert found.groups[-1].rank(1) == 0.0
    assert all(np.nansum(matrix.hits) == 0 for matrix in found.matrices)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 12),
    st.integers(0, 10_000),
    st.sampled_from([0.0, 0.3, 0.8]),
    st.booleans(),
)
def test_parity_places_by_brute_force(
    n: int, m: int, seed: int, share: float, few_values: bool
) -> None:
    rng = np.random.default_rng(seed)
    apart = rng.integers(1, 5 if few_values else 10_000, (n, m)).astype(np.float64)
    mates, left_out = rng.random((n, m)) < share, rng.random((n, m)) < 0.2
    found, counts = places(apart, mates, left_out)
    for i in range(n):
        kept = ~left_out[i]
        expected = plain_places(apart[i][kept], mates[i][kept])
        assert counts[i] == len(expected)
        if not expected:
            assert found.nearest[i] == 0 and np.isnan(found.average_precision[i])
            assert np.isnan(found.inverse_penalty[i])
            continue
        assert found.nearest[i] == expected[0]
        precision = np.mean([(k + 1) / place for k, place in enumerate(expected)])
        assert found.average_precision[i] == pytest.approx(precision)
        assert found.inverse_penalty[i] == pytest.approx(len(expected) / expected[-1])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_parity_view_matrix_and_ranks_by_brute_force(metric: str) -> None:
    views = ("000", "018", "090")
    entries = entries_of(5, CASIA_KINDS, views)
    entries = [e for e in entries if e.name != "002/nm-05/018"]
    vectors = noisy_vectors(entries, 0.9)
    found = search(entries, vectors, CASIA_B, metric=metric)
    assert [group.group for group in found.groups] == ["nm", "bg", "cl", "all"]
    apart = plain_distances(vectors, vectors, metric)
    for matrix, kinds in zip(found.matrices, (k for _, k in CASIA_B.groups), strict=True):
        rank1 = matrix.rank1()
        for a, probe_view in enumerate(views):
            for b, gallery_view in enumerate(views):
                if a == b:
                    assert np.isnan(rank1[a, b])
                    continue
                hits = []
                for i, probe in enumerate(entries):
                    if probe.kind in kinds and probe.view == probe_view:
                        gallery = [
                            (apart[i, j], other.subject)
                            for j, other in enumerate(entries)
                            if other.kind in CASIA_B.gallery and other.view == gallery_view
                        ]
                        hits.append(min(gallery)[1] == probe.subject)
                assert rank1[a, b] == pytest.approx(np.mean(hits))
        assert matrix.mean() == pytest.approx(np.nanmean(np.nanmean(rank1, axis=1)))
        assert found.headline(matrix.group) == matrix.mean()
    assert found.headline("all") == pytest.approx(np.mean([m.mean() for m in found.matrices]))
    expected = [
        plain_places(
            np.array([apart[i, j] for j in other]),
            np.array([entries[j].subject == probe.subject for j in other]),
        )
        for i, probe in enumerate(entries)
        if probe.kind not in CASIA_B.gallery
        for other in [
            [j for j, e in enumerate(entries) if e.kind in CASIA_B.gallery and e.view != probe.view]
        ]
    ]
    everyone = found.of_group("all")
    for k in (1, 5, 10):
        assert everyone.rank(k) == pytest.approx(np.mean([e[0] <= k for e in expected]))
    precisions = [np.mean([(k + 1) / p for k, p in enumerate(e)]) for e in expected]
    assert everyone.mean_ap == pytest.approx(np.mean(precisions))
    assert everyone.mean_inp == pytest.approx(np.mean([len(e) / e[-1] for e in expected]))
    assert (everyone.probes, everyone.mated) == (89, 89)


def test_property_same_view_pairs_do_not_help() -> None:
    # In their own view everybody is found, in the other nobody is.
    entries = entries_of(3, ("nm-01", "nm-02"), ("000", "090"))
    vectors = np.zeros((len(entries), 2, 1))
    for row, entry in enumerate(entries):
        number = int(entry.subject) if entry.view == "000" else 4 - int(entry.subject)
        vectors[row, :, 0] = 10 * number, 0 if entry.view == "000" else 1
    found = search(entries, vectors, GENERIC)
    # Only subject 2 stands at the same place in both views.
    assert found.groups[0].rank(1) == pytest.approx(1 / 3)
    np.testing.assert_allclose(found.matrices[0].rank1()[0, 1], 1 / 3)
    one_view = [e for e in entries if e.view == "000"]
    rows = [i for i, e in enumerate(entries) if e.view == "000"]
    alone = search(one_view, vectors[rows], GENERIC)
    assert alone.groups[0].rank(1) == 1.0 and alone.matrices == ()


def test_property_a_probe_without_a_mate_is_a_miss_in_the_matrix_and_left_out_of_the_ranks() -> (
    None
):
    entries = entries_of(4, ("00", "01"), ("000", "090"))
    entries = [e for e in entries if (e.subject, e.kind) != ("004", "01")]  # not enrolled
    entries = [e for e in entries if e.name != "003/01/090"]  # enrolled from one side only
    found = search(entries, noisy_vectors(entries, 0.0), OUMVLP)
    (matrix,) = found.matrices
    assert matrix.rank1()[0, 1] == pytest.approx(2 / 4)
    assert matrix.rank1(of_mated=True)[0, 1] == 1.0
    assert matrix.rank1()[1, 0] == pytest.approx(3 / 4)
    assert matrix.mean() == pytest.approx((2 / 4 + 3 / 4) / 2)
    (group,) = found.groups
    assert (group.probes, group.mated, group.rank(1)) == (8, 5, 1.0)


def test_property_stripes_do_not_change_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = entries_of(40, ("nm-01", "nm-02", "nm-03"), ("000", "090", "180"))
    vectors = noisy_vectors(entries, 0.8)
    seen: list[int] = []
    real = closed_set.stripes

    def counted(*args: object) -> object:
        found = list(real(*args))  # type: ignore[arg-type]
        seen.append(len(found))
        return iter(found)

    monkeypatch.setattr(closed_set, "stripes", counted)
    one = search(entries, vectors, GENERIC)
    monkeypatch.setattr(distances, "MAX_STRIPE", 128)
    many = search(entries, vectors, GENERIC)
    assert seen[0] == 1 < seen[1]
    np.testing.assert_array_equal(one.groups[0].curve, many.groups[0].curve)
    np.testing.assert_array_equal(one.matrices[0].hits, many.matrices[0].hits)
    assert one.groups[0].mean_ap == many.groups[0].mean_ap
    assert 0.2 < one.groups[0].rank(1) < 1.0


def test_golden_roles_of_casia_b() -> None:
    entries = entries_of(2, (*CASIA_KINDS, "xx-01"), ("000",))
    roles = CASIA_B.roles(entries)
    assert {entries[i].kind for i in roles.gallery} == {"nm-01", "nm-02", "nm-03", "nm-04"}
    assert [entries[i].kind for i in roles.probes[:6]] == [*CASIA_KINDS[4:]]
    assert roles.groups[:6] == ("nm", "nm", "bg", "bg", "cl", "cl") and roles.cross_view
    assert roles.notes == ("2 sequences are neither gallery nor probe",)
    less = CASIA_B.roles([e for e in entries if not e.kind.startswith("cl")])
    assert less.group_names == ("nm", "bg") and "no probes of group cl" in less.notes


def test_golden_roles_of_gait3d() -> None:
    entries = [Entry("0001", f"camid{i}_videoid2", f"seq{i % 2}", 9) for i in range(4)]
    names = ("0001-camid1_videoid2-seq1", "0001/camid2_videoid2/seq0", "0009-camid0_videoid1-seq0")
    roles = NamedProbesProtocol(names).roles(entries)
    assert roles.probes.tolist() == [1, 2] and roles.gallery.tolist() == [0, 3]
    assert roles.notes == ("1 of 3 listed probes are not in the dataset",)
    assert not roles.cross_view


def test_golden_roles_of_any_dataset() -> None:
    entries = entries_of(2, ("bg-01", "nm-02", "nm-10"), ("000",))
    roles = FirstKindProtocol().roles(entries)
    assert {entries[i].kind for i in roles.gallery} == {"nm-02"}
    assert roles.group_names == ("nm", "bg") and roles.groups == ("bg", "nm") * 2
    assert not roles.cross_view
    many = entries_of(1, tuple(f"camid{i}_videoid1" for i in range(20)), ("seq0", "seq1"))
    assert FirstKindProtocol().roles(many).group_names == ("all",)


def test_property_roles_within_what_could_be_embedded() -> None:
    entries = entries_of(2, ("nm-01", "nm-02"), ("000",))
    roles = GENERIC.roles(entries)
    kept = np.array([False, True, True, True])
    less = roles.within(kept)
    assert less.gallery.tolist() == [1] and less.probes.tolist() == [0, 2]
    assert less.groups == ("nm", "nm")
    with pytest.raises(InputError, match="only 0 and 2"):
        roles.within(np.array([False, True, False, True]))


def test_property_auto_knows_the_datasets() -> None:
    casia = entries_of(2, CASIA_KINDS, ("000", "018"))
    oumvlp = entries_of(2, ("00", "01"), ("000", "015"))
    other = entries_of(2, ("walk", "run"), ("a",))
    assert choose_protocol("auto", casia) is CASIA_B
    assert choose_protocol("auto", oumvlp) is OUMVLP
    assert choose_protocol("auto", other) is GENERIC
    assert choose_protocol("auto", casia, ["x"]) == NamedProbesProtocol(("x",))
    assert choose_protocol("grew", other).name == "grew"


def test_exception_protocols_that_do_not_fit() -> None:
    entries = entries_of(2, ("walk",), ("a",))
    with pytest.raises(InputError, match="2 gallery sequences and 0 probes"):
        GENERIC.roles(entries)
    with pytest.raises(InputError, match="casia-b finds 0 gallery"):
        CASIA_B.roles(entries)
    with pytest.raises(InputError, match="PROBE_SET"):
        choose_protocol("gait3d", entries)
    with pytest.raises(InputError, match="no protocol 'x'"):
        choose_protocol("x", entries)


def test_golden_mean_of_nothing_is_nan() -> None:
    assert np.isnan(mean_of(np.array([np.nan])))
    np.testing.assert_array_equal(mean_of(np.array([[1, np.nan], [np.nan] * 2]), 1), [1, np.nan])
