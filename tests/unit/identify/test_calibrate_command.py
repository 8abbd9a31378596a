"""`calibrate` and what it refuses, before it works for long."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from calibration_samples import made_up_walks, simple_calibration
from identify_samples import make_gallery

from pipeline.cli import main
from stages.identify.calibration_file import read_calibration, write_calibration

VIDEO = "nobody.mp4"


def vectors_file(path: Path, people: int = 26, **fields: object) -> Path:
    walks = made_up_walks(people=people, each=3, windows=2)
    place = np.repeat(np.arange(len(walks)), 2)
    names = [f"{walks.people[i]}/w{i}/000" for i in place]
    good = {
        "names": np.array(names),
        "embeddings": walks.vectors,
        "network": np.array("resgcn"),
        "weights_hash": np.array("abc"),
    }
    np.savez(path, **(good | fields))  # type: ignore[arg-type]
    return path


GEI = ("--network", "gei")


def calibrate(*options: object) -> int:
    return main(["calibrate", *map(str, options)])


def test_smoke_vectors_to_calibration_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = vectors_file(tmp_path / "v.npz")
    out = ("--out", tmp_path, "--report", tmp_path / "report", "--metric", "euclidean")
    assert calibrate("--embeddings", vectors, *out, "--quiet") == 0
    found = read_calibration(tmp_path / "resgcn-abc.json")
    assert found.basis.data == "v.npz" and found.checks
    shown = capsys.readouterr()
    assert "95 % interval" in shown.out and "…" not in shown.out, "nothing is cut off in a file"
    assert "asked" in shown.out and "26 people" in shown.err + shown.out
    page = (tmp_path / "report" / "calibration.md").read_text()
    assert page.count("\n| ") > 20 and "![Misses against false alarms](det.png)" in page
    assert calibrate("--embeddings", vectors, *out) == 2
    assert "resgcn-abc.json is there already" in capsys.readouterr().err
    first = (tmp_path / "resgcn-abc.json").read_bytes()
    assert calibrate("--embeddings", vectors, *out, "--quiet", "--overwrite") == 0
    assert (tmp_path / "resgcn-abc.json").read_bytes() == first, "the same again"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 2, "nothing to calibrate from"),
        (("--gallery", "g.db"), 2, "nothing to calibrate from"),
        (("--data", "d", "--gallery", "g.db"), 2, "do not go together"),
        (("--data", "d", "--embeddings", "v.npz"), 2, "do not go together"),
        (("--data", "d", "--calibration", "x.json"), 2, "--calibration goes with --gallery and"),
        (("--embeddings", "v.npz", "--start", "3"), 2, "--start goes with --gallery and"),
        (("--embeddings", "v.npz", "--network", "gei"), 2, "say themselves whose they are"),
        (("--gallery", "g.db", "--source", VIDEO), 1, "there is no gallery"),
        (
            ("--gallery", "g.db", "--source", VIDEO, "--strangers", "--known", "A"),
            *(2, "contradict each other"),
        ),
        (("--data", "d", "--max-windows", "0"), 2, "--max-windows must be 1 or more"),
        (("--data", "d", "--seed", "-1"), 2, "--seed must be 0 or more"),
        (("--data", "d", "--report", "notes.txt"), 2, "--report notes.txt is a file"),
        (("--data", "d", "--weights", "w.pt"), 2, "does not say whose weights"),
        (("--data", "d"), 1, "no such folder or file"),
        (("--embeddings", "v.npz", "--out", "none/c.json"), 2, "there is no such folder"),
    ],
)
def test_exception_bad_use(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert calibrate("--out", "c.json", *options) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    ("fields", "people", "words"),
    [
        ({}, 20, "takes 24 people or more, these are walks of 20"),
        ({"weights_hash": np.array("untrained-1")}, 26, "no trained weights"),
        ({"embeddings": np.zeros((156, 4, 2), np.float32)}, 26, "all alike"),
        ({"embeddings": np.full((156, 4, 2), np.nan, np.float32)}, 26, "not finite"),
    ],
)
def test_exception_bad_vectors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict, people: int, words: str
) -> None:
    vectors = vectors_file(tmp_path / "v.npz", people, **fields)
    assert calibrate("--embeddings", vectors, "--out", tmp_path / "c.json") == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


def sequences(root: Path, people: int) -> Path:
    """Sequences of so many people, and one that is broken."""
    walker = np.zeros((20, 64, 64), np.uint8)
    walker[:, 4:60, 24:40] = 255
    for number in range(people):
        folder = root / f"p{number:02d}" / "nm-01" / "000"
        folder.mkdir(parents=True)
        # Each as wide as nobody else, and no two frames alike.
        own = walker.copy()
        own[:, 10 : 12 + number, 20:44] = 255
        np.save(folder / "sils.npy", own)
    (root / "p00" / "nm-02" / "000").mkdir(parents=True)
    (root / "p00" / "nm-02" / "000" / "sils.npy").write_bytes(b"cut off")
    return root


def test_exception_too_few_people_are_told_before_the_embedding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sequences(tmp_path / "data", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.cli.calibration_data.walks_of_store", None)
        assert calibrate("--data", data, *GEI, "--out", tmp_path / "c.json") == 1
    assert "takes 24 people or more, these are walks of 3" in capsys.readouterr().err


def test_exception_broken_sequences_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sequences(tmp_path / "data", 26)
    made = made_up_walks(people=26, each=3, windows=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "pipeline.cli.calibration_data.walks_of_store", lambda *_: (made, ["p01/nm-01/000: x"])
        )
        assert calibrate("--data", data, *GEI, "--out", tmp_path / "c.json") == 0
    told = capsys.readouterr().err
    assert "left out p00/nm-02/000: sils.npy" in told and "left out p01/nm-01/000: x" in told


def test_exception_place_is_refused_before_its_footage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(words: str, *options: object, gallery: str = "g.db") -> None:
        given = ("--gallery", tmp_path / gallery, "--source", VIDEO, "--out", tmp_path / "o.json")
        assert calibrate(*given, "--set", "embed.network=gei", *options) == 1
        assert words in capsys.readouterr().err

    make_gallery(tmp_path / "g.db", {"Anna": 1})
    make_gallery(tmp_path / "empty.db", {})
    refuse("holds no templates", gallery="empty.db")
    refuse("no templates to compare strangers with beside those of --known", "--known", "anna")
    refuse("nobody in", "--known", "Zoë")
    refuse("there is no calibration of gei to start from")
    write_calibration(
        tmp_path / "gei.json", simple_calibration(network="gei", weights_hash="gei-average-1")
    )
    refuse("holds templates of smplgait", "--calibration", tmp_path / "gei.json")
    write_calibration(tmp_path / "smplgait.json", simple_calibration())
    refuse("embed.network is gei", "--calibration", tmp_path / "smplgait.json")
    broken = json.loads((tmp_path / "gei.json").read_text()) | {"looks": "many"}
    (tmp_path / "gei.json").write_text(json.dumps(broken))
    refuse("is no calibration", "--calibration", tmp_path / "gei.json")
