"""`evaluate --suite` from sequences to the page: contestants, tables, pictures, refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from embed_clips import seeded_network
from eval_samples import ArrayStore, MeanEmbedder, entries_of

from pipeline.cli import main
from pipeline.errors import InputError, UsageError
from stages.embed.checkpoint import save_network
from stages.embed.config import Config
from stages.embed.evaluation.accuracy import Accuracy, AccuracyOptions, evaluate_suite
from stages.embed.evaluation.accuracy_page import metrics_of, read_section, write_page
from stages.embed.evaluation.accuracy_tables import TARGETS, Target, accuracy_tables, cell
from stages.embed.evaluation.bootstrap import Estimate
from stages.embed.evaluation.contestants import Contestant, contestants_of
from stages.embed.evaluation.suite import Suite, lay_out
from stages.embed.gei import GaitEnergyImage
from stages.embed.interface import Clip
from stages.embed.networks.catalogue import build_network
from stages.embed.weights import network_of
from tests.walkers import write_dataset

KINDS = ("nm-01", "nm-02", "cl-01", "fr07-01")
VIEWS = ("000", "090", "180")
MAX_PICTURE_BYTES = 150_000


class RowEmbedder(MeanEmbedder):
    """Another network, which looks at rows alone: float32 [1,11]."""

    name = "rows"
    vector_shape = (1, 11)

    def _one(self, silhouettes: np.ndarray) -> np.ndarray:
        return super()._one(silhouettes)[:, 1][None]


class KeypointEmbedder(MeanEmbedder):
    """Reads what the store lacks."""

    name = "points"

    def __init__(self) -> None:
        super().__init__(("keypoints",), None)

    def embed(self, windows: Sequence[Clip]) -> list[np.ndarray]:
        raise AssertionError("it must not be asked")


def suite_of(store: ArrayStore) -> Suite:
    layout, notes = lay_out(store.entries)
    return Suite("made-up", store, layout, (), notes)


def crowd(broken: Sequence[str] = ()) -> ArrayStore:
    return ArrayStore(entries_of(8, KINDS, VIEWS, frames=12), broken=broken, sway_px=9)


def contestants() -> list[Contestant]:
    return [
        Contestant("gei", "baseline", lambda run: GaitEnergyImage(), network="gei"),
        Contestant("untrained", "untrained", lambda run: MeanEmbedder(), 2, "mean"),
        Contestant("mean", "network", lambda run: MeanEmbedder(), network="mean"),
        Contestant("rows", "network", lambda run: RowEmbedder(), network="rows"),
        Contestant("points", "network", lambda run: KeypointEmbedder(), network="points"),
    ]


OPTIONS = AccuracyOptions(window=6, lengths=(2, 40), open_set_splits=4, draws=20)


@pytest.fixture(scope="module")
def accuracy() -> Accuracy:
    return evaluate_suite(suite_of(crowd(["002/cl-01/090"])), contestants(), OPTIONS)


def test_smoke_who_is_evaluated_and_how(accuracy: Accuracy) -> None:
    found = [(each.label, each.role, len(each.runs)) for each in accuracy.results]
    assert found == [
        ("gei", "baseline", 1),
        ("untrained", "untrained", 2),
        ("mean", "network", 1),
        ("rows", "network", 1),
        ("mean + rows", "fusion", 1),
    ]
    assert any(note.startswith("points is left out: points reads") for note in accuracy.notes)
    assert any("no sequence has 40 frames" in note for note in accuracy.notes)
    assert any("001" not in note and "002/cl-01/090" in note for note in accuracy.notes)
    mean = accuracy.of("mean")
    assert mean is not None and [length.frames for length in mean.lengths] == [2, 6]
    assert mean.lengths[1].figures is mean.runs[0] and mean.broken[0][0] == "002/cl-01/090"
    untrained = accuracy.of("untrained")
    assert untrained is not None and untrained.lengths == ()
    first, second = (run.conditions[0].rank1 for run in untrained.runs)
    assert first == second == mean.runs[0].conditions[0].rank1
    assert accuracy.of("nobody") is None


def test_property_windows_are_cut_as_asked() -> None:
    embedder = MeanEmbedder()
    chosen = [Contestant("mean", "network", lambda run: embedder, network="mean")]
    told: list[tuple[str, int, int]] = []
    evaluate_suite(suite_of(crowd()), chosen, OPTIONS, lambda *step: told.append(step))
    assert embedder.frames.count(6) == 8 * 4 * 3 and embedder.frames.count(2) == 8 * 2 * 3
    assert set(embedder.frames) == {2, 6}
    assert ("mean: 6-frame windows", 96, 96) in told


def test_exception_nobody_can_read_it() -> None:
    with pytest.raises(InputError, match="no network can read this suite: points is left out"):
        evaluate_suite(suite_of(crowd()), contestants()[-1:], OPTIONS)


def test_golden_tables(accuracy: Accuracy) -> None:
    tables = accuracy_tables(accuracy)
    assert list(tables) == [
        "main", "targets", "angles", "conditions", "lengths", "open_set"
    ]  # fmt: skip
    for table in tables.values():
        assert all(len(row) == len(table.header) for row in table.rows), table.name
    main_rows = {row[0]: row for row in tables["main"].rows}
    assert " to " in main_rows["gei"][1] and "(" in main_rows["untrained"][1]
    assert tables["targets"].header[3:] == ("mean", "rows", "mean + rows")
    assert tables["angles"].header == ("network", "90°", "180°")
    conditions = tables["conditions"].header
    assert conditions[1:5] == ("Rank-1 nm", "Rank-1 cl", "Rank-1 fr07", "clothes cost")
    assert [row[:2] for row in tables["lengths"].rows[:2]] == [("gei", "2"), ("gei", "6")]


def test_golden_targets_are_met_or_missed() -> None:
    up, down = TARGETS[0], TARGETS[2]
    assert (up.text(), down.text()) == ("over 60.0", "under 12.0")
    assert up.verdict(0.613) == "61.3, met" and up.verdict(0.55) == "55.0, 5.0 short"
    assert down.verdict(0.1) == "10.0, met" and down.verdict(0.2) == "20.0, 8.0 short"
    assert up.verdict(0.6) == "60.0, 0.0 short" and up.verdict(float("nan")) == "–"
    bounds = {target.name: target.bound for target in TARGETS}
    assert list(bounds.values()) == [0.6, 0.4, 0.12, 0.4, 1 / 3]
    assert all(isinstance(target, Target) for target in TARGETS)


def test_golden_cells(accuracy: Accuracy) -> None:
    one, several = accuracy.results[0], accuracy.results[1]
    assert cell(one, lambda run: Estimate(0.5, 0.4, 0.61)) == "50.0 (40.0 to 61.0)"
    assert cell(one, lambda run: Estimate(0.5, 0.4, 0.61), short=True) == "50.0"
    assert cell(one, lambda run: Estimate(0.5, float("nan"), float("nan"))) == "50.0"
    values = iter((0.2, 0.4))
    spread = {id(run): next(values) for run in several.runs}
    pick = lambda run: Estimate(spread[id(run)], 0, 1)  # noqa: E731
    assert (
        cell(several, pick) == "30.0 (20.0 to 40.0)" and cell(several, pick, short=True) == "30.0"
    )


def test_smoke_the_page_and_its_files(accuracy: Accuracy, tmp_path: Path) -> None:
    section = tmp_path / "real.json"
    table = {"title": "Tracks", "header": ["network", "right"], "rows": [["gei", "3 of 4"]]}
    data = {"title": "Real footage", "text": "Halves.", "tables": [table], "machine": {"cores": 2}}
    section.write_text(json.dumps(data), encoding="utf-8")
    page = tmp_path / "docs" / "accuracy.md"
    steps: list[tuple[int, int]] = []
    written = write_page(
        accuracy, page, "the command", [read_section(section)], lambda *s: steps.append(s)
    )
    names = {path.relative_to(page.parent).as_posix() for path in written}
    pictures = {f"images/accuracy-{name}.png" for name in ("views", "errors", "lengths")}
    assert names == {"accuracy.md", "accuracy.json", *pictures}
    there = {p.relative_to(page.parent).as_posix() for p in page.parent.rglob("*") if p.is_file()}
    assert there == names, "nothing else is left"
    assert written[-1] == page and steps[-1] == (3, 3)
    for name in pictures:
        assert 2_000 < (page.parent / name).stat().st_size < MAX_PICTURE_BYTES
    text = page.read_text(encoding="utf-8")
    assert all(f"({name})" in text for name in pictures)
    for words in ("`the command`", "## Real footage", "3 of 4", "fr07 (7 frames a second)",
                  "mean + rows", "8 people"):  # fmt: skip
        assert words in text
    assert str(tmp_path) not in text
    metrics = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert metrics["networks"]["mean"]["runs"][0]["conditions"]["nm"]["rank1"][0] > 0
    assert metrics == json.loads(json.dumps(metrics_of(accuracy)))


@pytest.mark.parametrize(
    ("text", "says"),
    [("[]", "is no measurement"), ("{", "is no measurement"), ('{"title": "x"}', "text"),
     ('{"title": "x", "text": "y", "tables": [{"title": "z"}]}', "tables.0.header")],
)  # fmt: skip
def test_exception_what_is_no_measurement(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_section(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_section(tmp_path / "none.json")


def save(path: Path, name: str, seed: int, **config: object) -> Path:
    torch.manual_seed(seed)
    save_network(path, build_network(name, config).eval())
    return path


GEI = Config(network="gei")  # as the command has it where no network is named


def test_smoke_contestants_of_weights(tmp_path: Path) -> None:
    small = {"channels": (4, 4, 8), "out_channels": 8}
    a = save(tmp_path / "a.safetensors", "smplgait", 0, **small)
    b = save(tmp_path / "b.safetensors", "smplgait", 1, **small)
    c = save(tmp_path / "c.safetensors", "smplgait", 2, **{**small, "use_smpl": False})
    found = contestants_of([a, b, c], Config(device="cpu"), seeds=2, without_smpl=True)
    assert [(each.label, each.role, each.runs) for each in found] == [
        ("gei", "baseline", 1),
        ("untrained a", "untrained", 2),
        ("untrained c", "untrained", 2),
        ("a", "network", 1),
        ("a without bodies", "variant", 1),
        ("b", "network", 1),
        ("b without bodies", "variant", 1),
        ("c", "network", 1),
    ]
    assert network_of(a) == "smplgait"
    loaded = [found[1].load(run) for run in (0, 1, 0)]
    assert len({each.weights_hash for each in loaded}) == 2 and not loaded[0].trained
    clip = crowd().read(0)
    theta = np.zeros((len(clip.silhouettes), 85), np.float32)
    clip = type(clip)(clip.silhouettes, theta, clip.keypoints_px)
    vectors = [each.embed([clip])[0] for each in loaded]
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert (vectors[0] != vectors[1]).any()
    assert "theta" in found[3].load(0).reads and "theta" not in found[4].load(0).reads
    plain = contestants_of([a], Config(device="cpu"), seeds=0, without_smpl=False)
    assert [each.label for each in plain] == ["gei", "a"]
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="would be called 'a'"):
        contestants_of([a, tmp_path / "other" / "a.pt"], GEI, seeds=0, without_smpl=False)
    with pytest.raises(UsageError, match="does not say which network"):
        contestants_of([tmp_path / "x.pt"], GEI, seeds=0, without_smpl=False)


def test_smoke_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    suite = write_dataset(tmp_path / "suite", 3, ("nm-01", "nm-02", "cl-01"), frames=8)
    (suite / "subjects.csv").write_text("subject,sex\n001,f\n002,m\n003,f\n", encoding="utf-8")
    weights = tmp_path / "small.safetensors"
    save_network(weights, seeded_network(channels=(4, 4, 8), out_channels=8))
    page = tmp_path / "accuracy.md"
    arguments = ["evaluate", "--suite", str(suite), "--weights", str(weights)]
    arguments += ["--accuracy", str(page), "--device", "cpu", "--runtime", "torch"]
    arguments += ["--lengths", "4", "--window", "6", "--open-set-splits", "3"]
    assert main([*arguments, "--untrained-seeds", "1", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert "small without bodies" in shown.out and "written to" in shown.err
    text = page.read_text(encoding="utf-8")
    assert "--window 6 --untrained-seeds 1 --open-set-splits 3" in text
    assert str(tmp_path) not in text and "| small | sex | f | 2 |" in text
    labels = list(json.loads(page.with_suffix(".json").read_text())["networks"])
    assert labels == ["gei", "untrained small", "small", "small without bodies"]


def test_exception_options_that_do_not_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, suite = ["evaluate", "--data", "d"], ["evaluate", "--suite", str(tmp_path)]
    page = ["--accuracy", str(tmp_path / "a.md")]
    cases = [
        ([*data], 2, "--data needs --out"),
        ([*data, "--out", "o", "--weights", "a", "b"], 2, "--weights names 2 files"),
        ([*data, "--out", "o", *page], 2, "--accuracy goes with --suite"),
        ([*data, "--out", "o", "--untrained-seeds", "1"], 2, "--untrained-seeds goes with --suite"),
        ([*suite], 2, "--suite needs --accuracy"),
        ([*suite, "--accuracy", "page.txt"], 2, "ends with .md"),
        ([*suite, *page, "--out", "o"], 2, "--out goes with --data"),
        ([*suite, *page, "--partition", "p"], 2, "--partition goes with --data"),
        ([*suite, *page, "--protocol", "grew"], 2, "--protocol goes with --data"),
        ([*suite, *page, "--no-smpl"], 2, "--no-smpl goes with --data"),
        ([*suite, *page, "--untrained-seeds", "-1"], 2, "must be 0 or more"),
        ([*suite, *page, "--gallery-people", "1"], 2, "--gallery-people"),
        ([*suite, *page, "--include", str(tmp_path / "x.json")], 1, "cannot be read"),
        ([*suite, *page, "--weights", str(tmp_path / "x.safetensors")], 1, "no such file"),
        ([*suite, *page], 1, "holds no sequences"),
    ]
    for arguments, code, message in cases:
        assert main([*arguments, "--quiet"]) == code, arguments
        assert message in " ".join(capsys.readouterr().err.split()), arguments
    assert not (tmp_path / "a.md").exists()
    with pytest.raises(SystemExit):
        main(["evaluate", "--data", "d", "--suite", "s"])
