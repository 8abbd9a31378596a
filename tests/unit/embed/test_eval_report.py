"""Reports: every file there and readable, GEI in every table, all or nothing."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from eval_samples import ArrayStore, MeanEmbedder, entries_of

from pipeline.errors import InputError, OutputExistsError, ResourceError
from stages.embed.evaluation import report
from stages.embed.evaluation.evaluate import Evaluation, EvaluationOptions, evaluate
from stages.embed.evaluation.protocols import CASIA_B, GENERIC
from stages.embed.evaluation.report import (
    METRICS_FILE,
    REPORT_FILE,
    markdown_of,
    prepare_report_dir,
    write_report,
)
from stages.embed.evaluation.tables import Table, metrics_of, tables_of
from stages.embed.gei import GaitEnergyImage

KINDS = (*(f"nm-0{i}" for i in range(1, 7)), "bg-01", "cl-01")


def lines(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


def records(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    store = ArrayStore(
        entries_of(6, KINDS, ("000", "054", "090"), frames=9), broken=["002/bg-01/054"]
    )
    options = EvaluationOptions(lengths=(4, 30), open_set_splits=6)
    unreadable = [("003/nm-01/000", "cut off\nat byte 7 | 9")]
    return evaluate(MeanEmbedder(), store, CASIA_B, options, unreadable=unreadable)


@pytest.fixture(scope="module")
def small() -> Evaluation:
    """One network, one plot."""
    store = ArrayStore(entries_of(3, ("a", "b"), ("x",), frames=4))
    options = EvaluationOptions(lengths=(), open_set_splits=0)
    return evaluate(GaitEnergyImage(), store, GENERIC, options)


@pytest.fixture(scope="module")
def written(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    steps: list[tuple[int, int]] = []
    files = write_report(evaluation, out, lambda done, of: steps.append((done, of)))
    assert files[-1] == out / METRICS_FILE and steps[-1] == (6, 6)
    assert sorted(files) == sorted(out.iterdir()), "nothing else is left in the folder"
    return out


def test_smoke_every_file_is_there(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == {
        *("metrics.json", "report.md", "ranks.csv", "views.csv", "view_matrix.csv"),
        *("open_set.csv", "lengths.csv", "skipped.csv"),
        *("cmc.png", "view_matrix.png", "lengths.png", "det.png", "scores.png"),
    }


@pytest.mark.parametrize("name", ["cmc", "view_matrix", "lengths", "det", "scores"])
def test_shape_plots_show_something(written: Path, name: str) -> None:
    image = cv2.imread(str(written / f"{name}.png"))
    assert image is not None and min(image.shape[:2]) >= 400 and max(image.shape[:2]) <= 3000
    assert (image < 250).any(axis=2).mean() > 0.01, "it is blank"
    edges = (image[:2], image[-2:], image[:, :2], image[:, -2:])
    assert all((edge > 250).all() for edge in edges), "something is cut off at the edge"


def test_property_every_table_holds_the_baseline(written: Path) -> None:
    for path in written.glob("*.csv"):
        rows = lines(path)
        assert len({len(row) for row in rows}) == 1, path
        networks = {row[0] for row in rows[1:]}
        assert networks >= {"mean", "gei (untrained)"}, path


def test_golden_tables_agree_with_the_figures(evaluation: Evaluation, written: Path) -> None:
    metrics = json.loads((written / METRICS_FILE).read_text(encoding="utf-8"))
    own = metrics["networks"][0]
    rows = records(written / "ranks.csv")
    bags = next(row for row in rows if row["network"] == "mean" and row["group"] == "bg")
    figures = own["closed_set"]["groups"]["bg"]
    assert bags["Rank-1"] == f"{100 * figures['rank1']:.1f}"
    assert bags["mAP"] == f"{100 * figures['mAP']:.1f}"
    assert bags["by view"] == f"{100 * own['closed_set']['views']['bg']['mean']:.1f}"
    cells = records(written / "view_matrix.csv")
    cells = [row for row in cells if row["network"] == "mean" and row["group"] == "bg"]
    assert len(cells) == 6  # three views without their own
    shares = [int(row["hits"]) / int(row["probes"]) for row in cells]
    assert np.mean(shares) == pytest.approx(own["closed_set"]["views"]["bg"]["mean"])
    lengths = records(written / "lengths.csv")
    assert [row["frames"] for row in lengths] == ["4", "30", "all"] * 2
    assert [row["shorter"] for row in lengths[:3]] == ["0", "71", "0"]
    assert [row["probes"] for row in lengths[:3]] == ["71"] * 3  # one of 72 is broken
    assert lengths[1]["mAP"] == lengths[2]["mAP"], "too short to be cut: the same as whole"
    assert own["open_set"]["tpir"]["0.01"]["mean"] == evaluation.methods[0].open.tpir[0.01].mean  # type: ignore[union-attr]
    assert metrics["networks"][1]["trained"] is False


def test_golden_broken_sequences_are_named(written: Path) -> None:
    rows = lines(written / "skipped.csv")
    assert rows[1:] == [
        ["all", "003/nm-01/000", "cut off at byte 7 | 9"],
        ["mean", "002/bg-01/054", "the file is damaged"],
        ["gei (untrained)", "002/bg-01/054", "the file is damaged"],
    ]
    text = (written / REPORT_FILE).read_text(encoding="utf-8")
    assert r"at byte 7 \| 9" in text and "- note: 1 sequences of the dataset are broken" in text


def test_smoke_the_page_shows_every_plot(written: Path) -> None:
    text = (written / REPORT_FILE).read_text(encoding="utf-8")
    for path in written.glob("*.png"):
        assert f"]({path.name})" in text
    assert "view_matrix.csv" not in text and "054" in text
    assert "6 random splits into 3 enrolled people and 3 strangers" in text


def test_property_metrics_hold_no_nan(evaluation: Evaluation) -> None:
    text = json.dumps(metrics_of(evaluation), allow_nan=False)
    assert json.loads(text)["dataset"]["subjects"] == 6
    assert math.isnan(evaluation.methods[0].closed.matrices[0].rank1()[0, 0])


def test_exception_a_report_is_not_replaced_unasked(
    evaluation: Evaluation, small: Evaluation, tmp_path: Path
) -> None:
    out = tmp_path / "a" / "b"
    prepare_report_dir(out, overwrite=False)
    write_report(evaluation, out)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="already holds an evaluation"):
        prepare_report_dir(out, overwrite=False)
    prepare_report_dir(out, overwrite=True)
    write_report(small, out)
    # What the new one does not have is gone, what is not ours is not.
    assert {path.name for path in out.iterdir()} == {
        *("metrics.json", "report.md", "ranks.csv", "lengths.csv", "cmc.png", "mine.txt"),
    }
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        prepare_report_dir(tmp_path / "file", overwrite=True)


def test_exception_a_full_disk_leaves_the_earlier_report(
    small: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(small, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> dict[str, object]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "metrics_of", full)
    with pytest.raises(ResourceError, match="No space left"):
        write_report(small, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_exception_a_folder_with_metrics_holds_a_whole_report(
    small: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(small, tmp_path)
    real = Path.replace

    def torn(self: Path, target: Path) -> Path:
        if self.name == "report.md":
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", torn)
    with pytest.raises(ResourceError, match="Input/output error"):
        write_report(small, tmp_path)
    assert not (tmp_path / METRICS_FILE).exists()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_golden_markdown_and_csv_of_a_table() -> None:
    table = Table("t", "T", ("a", "b"), (("x|y", "–"), ('q"', "1.0")))
    assert table.markdown() == '| a | b |\n| --- | ---: |\n| x\\|y | – |\n| q" | 1.0 |\n'
    assert table.csv() == 'a,b\nx|y,\n"q""",1.0\n'


def test_property_many_broken_sequences_do_not_fill_the_page(evaluation: Evaluation) -> None:
    rows = tuple(("all", f"{i}", "r") for i in range(30))
    table = Table("skipped", "Skipped", ("network", "sequence", "reason"), rows, 3)
    text = markdown_of(evaluation, [*tables_of(evaluation)[:1], table], [])
    assert text.count("| all |") == 20 + text.split("## Skipped")[0].count("| all |")
    assert "and 10 more in skipped.csv" in text
