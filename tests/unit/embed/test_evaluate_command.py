"""`evaluate` from data to report, and embedding a store: batches, broken ones, scratch files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from embed_clips import seeded_network
from eval_samples import ArrayStore, MeanEmbedder, entries_of

from pipeline.cli import main
from pipeline.cli.evaluate import parse_lengths
from pipeline.errors import InputError, ResourceError, UsageError
from stages.embed import shipped
from stages.embed.checkpoint import save_network
from stages.embed.data.interface import Entry
from stages.embed.evaluation import embedding
from stages.embed.evaluation.embedding import (
    EmbeddedSet,
    EmbeddingLimits,
    check_store,
    embed_store,
    first_frames,
    halved,
)
from stages.embed.evaluation.evaluate import EvaluationOptions, evaluate, quick_evaluation
from stages.embed.evaluation.lengths import count_shorter, window_frames
from stages.embed.evaluation.protocols import GENERIC
from stages.embed.gei import GaitEnergyImage
from tests.walkers import write_dataset

MIXED = [Entry("001", "nm-01", f"{i:03d}", 3 + (i * 5) % 11) for i in range(12)]


def embed(store: ArrayStore, embedder: MeanEmbedder | None = None, **limits: object) -> EmbeddedSet:
    indices = range(len(store.entries))
    chosen = EmbeddingLimits(**limits)  # type: ignore[arg-type]
    return embed_store(embedder or MeanEmbedder(), store, indices, first_frames(), chosen)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_dataset(
        tmp_path_factory.mktemp("walkers"), 6, ("nm-01", "nm-02", "cl-01"), frames=12,
        with_keypoints=False,
    )  # fmt: skip
    (root / "005" / "cl-01" / "090" / "090.pkl").write_bytes(b"\x80\x04 no pickle")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_network(path, seeded_network(channels=(4, 4, 8), out_channels=8))
    return path


def test_smoke_command_from_data_to_report(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    out = tmp_path / "report"
    arguments = ["evaluate", "--data", str(data), "--partition", str(data / "partition.json")]
    arguments += ["--network", "smplgait", "--weights", str(weights), "--device", "cpu"]
    arguments += ["--runtime", "torch", "--lengths", "7,30,all", "--open-set-splits", "4"]
    assert main([*arguments, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "smplgait" in shown.out and "gei (untrained)" in shown.out and "mINP" in shown.out
    assert "skipped 005/cl-01/090" in shown.err and "protocol generic" in shown.err
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["dataset"]["subjects"] == 3 and metrics["dataset"]["sequences"] == 17
    assert [each["name"] for each in metrics["networks"]] == ["smplgait", "gei"]
    groups = metrics["networks"][0]["closed_set"]["groups"]
    assert {name: group["probes"] for name, group in groups.items()} == {
        "nm": 6,
        "cl": 5,
        "all": 11,
    }
    assert [length["frames"] for length in metrics["networks"][0]["lengths"]] == [7, 30, None]
    assert metrics["unreadable"][0]["sequence"] == "005/cl-01/090"
    assert metrics["networks"][0]["smpl"] is True

    assert main([*arguments, "--out", str(out)]) == 2
    assert "already holds an evaluation" in capsys.readouterr().err
    assert (
        main([*arguments, "--no-smpl", "--metric", "cosine", "--out", str(out), "--overwrite"]) == 0
    )
    again = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert again["networks"][0]["smpl"] is False and again["options"]["metric"] == "cosine"


def test_property_the_same_seed_gives_the_same_figures(
    data: Path, weights: Path, tmp_path: Path, one_thread: None
) -> None:
    found = []
    for seed, name in (("1", "a"), ("1", "b"), ("2", "c")):
        arguments = ["evaluate", "--data", str(data), "--lengths", "5", "--open-set-splits", "5"]
        assert main([*arguments, "--seed", seed, "--out", str(tmp_path / name), "--quiet"]) == 0
        metrics = json.loads((tmp_path / name / "metrics.json").read_text(encoding="utf-8"))
        (gei,) = metrics["networks"]
        assert gei.pop("seconds")
        found.append(gei)
    assert found[0] == found[1] and found[0] != found[2]


def test_exception_what_the_command_refuses(
    data: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    one_thread: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED_WEIGHTS", tmp_path)
    base = ["evaluate", "--data", str(data), "--out", str(tmp_path / "o"), "--quiet"]
    cases = [
        (["--weights", str(weights)], 2, "takes no weights"),
        (["--network", "smplgait"], 1, "has no weights"),
        (["--lengths", "7,x"], 2, "'x' is no number of frames"),
        (["--open-set-splits", "-1"], 2, "--open-set-splits"),
        (["--device", "gpu"], 2, "--device gpu"),
        (["--scratch", str(tmp_path / "none")], 2, "there is no such folder"),
        (["--protocol", "oumvlp"], 1, "protocol oumvlp finds"),
        (["--protocol", "gait3d"], 1, "PROBE_SET"),
        (["--partition", str(tmp_path / "none.json")], 1, "cannot be read"),
        (["--data", str(tmp_path / "nowhere")], 1, "no such folder or file"),
    ]
    for extra, code, message in cases:
        assert main([*base, *extra]) == code, extra
        assert message in " ".join(capsys.readouterr().err.split()), extra
        assert not (tmp_path / "o" / "metrics.json").exists()


def test_golden_lengths_are_read() -> None:
    assert parse_lengths("30, 7,all,7") == (7, 30)
    assert parse_lengths("all") == ()
    for wrong in ("0", "-3", "7.5", "seven"):
        with pytest.raises(UsageError):
            parse_lengths(wrong)


def test_exception_data_without_what_the_network_reads() -> None:
    store = ArrayStore(MIXED)
    with pytest.raises(InputError, match="--no-smpl"):
        check_store(MeanEmbedder(("silhouettes", "theta")), store)
    with pytest.raises(InputError, match="reads keypoints") as caught:
        check_store(MeanEmbedder(("keypoints",), None), store)
    assert "all have silhouettes" in caught.value.message
    with pytest.raises(InputError, match="64 pixels high and mean reads 128"):
        check_store(MeanEmbedder(silhouette_hw=(128, 88)), store)


def test_parity_batches_do_not_change_the_vectors() -> None:
    whole = embed(ArrayStore(MIXED), batch_frames=100_000)
    embedder = MeanEmbedder()
    small = embed(ArrayStore(MIXED), embedder, batch_frames=15)
    np.testing.assert_array_equal(whole.vectors, small.vectors)
    assert max(embedder.batches) <= 15 and len(embedder.batches) > 3
    assert embedder.frames == sorted(embedder.frames), "clips of like length go together"
    np.testing.assert_array_equal(small.frames, [entry.frames for entry in MIXED])
    store = ArrayStore(MIXED)
    for row, index in ((0, 0), (7, 7)):
        expected = MeanEmbedder().embed([store.read(index)])[0]
        np.testing.assert_array_equal(small.vectors[row], expected)


def test_parity_vectors_in_a_file_are_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ["001/nm-01/002", "001/nm-01/007"]
    memory = embed(ArrayStore(MIXED, broken=broken))
    monkeypatch.setattr(embedding, "MOVED_ROWS", 3)
    mapped = embed(ArrayStore(MIXED, broken=broken), vectors_mb=0, scratch=tmp_path)
    assert isinstance(mapped.vectors, np.memmap) and len(mapped) == 10
    assert list(tmp_path.iterdir()) == [], "the file has no name"
    np.testing.assert_array_equal(memory.vectors, mapped.vectors)
    with pytest.raises(ResourceError, match="no room for"):
        embed(ArrayStore(MIXED), vectors_mb=0, scratch=tmp_path / "nowhere")


def test_exception_broken_sequences_are_named_and_the_rest_goes_on() -> None:
    class Picky(MeanEmbedder):
        def _one(self, silhouettes: np.ndarray) -> np.ndarray:
            if len(silhouettes) == 13:
                raise InputError("thirteen frames bring bad luck")
            vector = super()._one(silhouettes)
            return vector * np.nan if len(silhouettes) == 8 else vector

    store = ArrayStore([*MIXED, Entry("002", "nm-01", "000", 0)], broken=["001/nm-01/003"])
    found = embed(store, Picky())
    reasons = dict(found.broken)
    assert reasons.pop("001/nm-01/003") == "the file is damaged"
    assert reasons.pop("002/nm-01/000") == "it has no frames"
    lengths = {entry.name: entry.frames for entry in MIXED}
    assert {lengths[name] for name in reasons} == {8, 13}
    assert any("bad luck" in reason for reason in reasons.values())
    assert any("not finite" in reason for reason in reasons.values())
    kept = [entry for entry in MIXED if entry.name not in dict(found.broken)]
    assert found.views == tuple(entry.view for entry in kept) and len(kept) >= 8
    expected = embed(ArrayStore(MIXED)).vectors[[MIXED.index(entry) for entry in kept]]
    np.testing.assert_array_equal(found.vectors, expected)
    with pytest.raises(InputError, match=r"none of 1 sequences .* the file is damaged"):
        embed(ArrayStore(MIXED[3:4], broken=["001/nm-01/003"]))


def test_golden_no_more_than_720_frames() -> None:
    embedder = MeanEmbedder()
    found = embed(ArrayStore([Entry("001", "nm-01", "000", 730)]), embedder, batch_frames=50)
    assert embedder.frames == [720] and found.frames.tolist() == [720]


def test_golden_halving_is_the_mean_of_four() -> None:
    picture = np.array([[[0, 255, 7, 7], [255, 255, 8, 8]]], np.uint8)
    assert halved(picture).tolist() == [[[191, 8]]]
    store = ArrayStore(entries_of(2, ("a", "b"), ("x",)), height=128)
    found = embed_store(GaitEnergyImage(), store, range(4), first_frames(), EmbeddingLimits())
    assert found.vectors.shape == (4, 44, 64)


def test_property_windows_of_all_lengths_lie_in_one_stretch() -> None:
    entry = Entry("001", "nm-01", "000", 100)
    short, long = (window_frames(n, "random", 5, 720)(3, entry) for n in (7, 60))
    assert (np.diff(long) == 1).all() and len(short) == 7 and len(long) == 60
    assert short[0] / 94 == pytest.approx(long[0] / 41, abs=0.03)
    np.testing.assert_array_equal(short, window_frames(7, "random", 5, 720)(3, entry))
    starts = {int(window_frames(7, "random", 5, 720)(i, entry)[0]) for i in range(200)}
    assert min(starts) <= 3 and max(starts) >= 90 and max(starts) <= 93
    assert window_frames(7, "central", 5, 720)(3, entry)[0] == 47
    seeds = {int(window_frames(7, "random", seed, 720)(3, entry)[0]) for seed in range(9)}
    assert len(seeds) > 4
    few = Entry("001", "nm-01", "000", 5)
    assert window_frames(7, "random", 5, 720)(0, few).tolist() == [0, 1, 2, 3, 4]
    long_one = Entry("001", "nm-01", "000", 5000)
    late = [window_frames(7, "random", i, 720)(i, long_one)[-1] for i in range(50)]
    assert max(late) < 720
    assert count_shorter([entry, few], np.array([0, 1]), 7) == 1


def test_property_shorter_probes_cost_accuracy_and_galleries_stay_whole() -> None:
    entries = entries_of(20, ("nm-01", "nm-02"), ("000", "090"), frames=40)
    store, embedder = ArrayStore(entries, sway_px=9), MeanEmbedder()
    options = EvaluationOptions(lengths=(1, 10), open_set_splits=3, baseline=False)
    found = evaluate(embedder, store, GENERIC, options)
    assert [length.frames for length in found.methods[0].lengths] == [1, 10, None]
    assert sorted(set(embedder.frames)) == [1, 10, 40]
    assert embedder.frames.count(40) == 80 and embedder.frames.count(1) == 40
    found_ap = [length.closed.groups[-1].mean_ap for length in found.methods[0].lengths]
    assert found_ap[0] < found_ap[1] < found_ap[2]


def test_property_the_baseline_comes_along_and_only_once() -> None:
    store = ArrayStore(entries_of(3, ("nm-01", "nm-02"), ("000",), frames=4))
    options = EvaluationOptions(lengths=(), open_set_splits=2)
    told: list[str] = []
    both = evaluate(
        MeanEmbedder(), store, GENERIC, options, on_progress=lambda what, *_: told.append(what)
    )
    assert [method.name for method in both.methods] == ["mean", "gei"]
    assert {"mean: sequences", "gei: closed set", "gei: open set"} <= set(told)
    alone = evaluate(GaitEnergyImage(), store, GENERIC, options)
    assert [method.name for method in alone.methods] == ["gei"]
    part = evaluate(MeanEmbedder(), store, GENERIC, options, indices=[3, 2, 1, 0])
    assert part.dataset["sequences"] == 4 and part.methods[0].subjects == 2


def test_property_figures_of_one_person_are_said_to_mean_nothing() -> None:
    store = ArrayStore(entries_of(2, ("nm-01", "nm-02"), ("000", "090"), frames=4))
    options = EvaluationOptions(lengths=(), open_set_splits=0, baseline=False)
    notes = [
        evaluate(MeanEmbedder(), store, GENERIC, options, indices=indices).notes
        for indices in (None, range(4))
    ]
    assert not any("one person" in note for note in notes[0])
    assert any("one person" in note for note in notes[1])


def test_property_a_broken_gallery_sequence_does_not_change_who_plays_which_part() -> None:
    entries = entries_of(4, ("nm-01", "nm-02", "nm-03"), ("000",), frames=4)
    store = ArrayStore(entries, broken=["002/nm-01/000"])
    options = EvaluationOptions(lengths=(), open_set_splits=2)
    found = evaluate(MeanEmbedder(), store, GENERIC, options)
    for method in found.methods:
        assert (method.gallery, method.probes) == (3, 8)
        assert (method.closed.groups[0].probes, method.closed.groups[0].mated) == (8, 6)
    assert any("2 of 8 probes have no sequence" in note for note in found.notes)


def test_smoke_quick_evaluation_leaves_the_training_alone() -> None:
    store = ArrayStore(entries_of(8, ("nm-01", "nm-02"), ("000", "090"), frames=200))
    embedder = MeanEmbedder()
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    found = quick_evaluation(embedder, store, range(4, 32))
    assert (torch.rand(1).item(), np.random.rand()) == expected
    assert set(found) == {"rank1", "mAP", "eer"}
    assert found["rank1"] == 1.0 and found["mAP"] == 1.0 and 0 <= found["eer"] < 0.5
    assert set(embedder.frames) == {120} and store.reads == 28
    assert quick_evaluation(embedder, store, range(4, 32)) == found
    alone = quick_evaluation(embedder, store, range(4))
    assert np.isnan(alone["eer"]) and alone["rank1"] == 1.0
