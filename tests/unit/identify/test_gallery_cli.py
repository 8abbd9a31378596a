"""The `gallery` command, called as the dispatcher calls it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from identify_samples import JPEG, add_sighting, template

from pipeline.cli import gallery as command
from pipeline.errors import GalleryConflictError, GalleryError, UsageError
from stages.identify.gallery import Gallery


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "g.db"
    with Gallery.open(path, "create") as gallery:
        gallery.add_person("Anna [bold]", note="tall", thumbnail=JPEG, templates=[template(1)])
        gallery.add_person("Ben", templates=[template(2), template(3)])
        add_sighting(gallery, 4)
    return path


def run(path: Path, action: str, *rest: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([action, *rest, "--gallery", str(path)]))


def test_smoke_help_and_usage() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.HELP
    for bad in ([], ["list"], ["list", "--gallery"], ["nothing"]):
        with pytest.raises(SystemExit) as caught:
            parser.parse_args(bad)
        assert caught.value.code == 2


def test_smoke_list(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "list") == 0
    out = capsys.readouterr().out
    assert "Anna [bold]" in out and "Ben" in out and "tall" in out
    assert run(path, "list", "--json") == 0
    people = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in people] == ["Anna [bold]", "Ben"]
    assert people[1]["templates"] == 2


def test_smoke_show(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "show", "anna [BOLD]") == 0
    out = capsys.readouterr().out
    assert "tall" in out and "smplgait" in out and "8x2" in out and "nothing noted" in out
    with pytest.raises(GalleryConflictError, match="nobody"):
        run(path, "show", "Zoe")


def test_smoke_changes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "rename", "ben", "Benno") == 0
    assert run(path, "merge", "Anna [bold]", "Benno") == 0
    assert "Benno now has 3 templates" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no terminal"):
        run(path, "remove", "Benno")
    assert run(path, "remove", "Benno", "--yes") == 0
    assert run(path, "list") == 0
    assert "nobody" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("Yes", 0), ("", 1), ("n", 1)])
def test_smoke_remove_asks(
    path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert run(path, "remove", "Ben") == code
    with Gallery.open(path) as gallery:
        assert gallery.has("Ben") == bool(code)


def test_smoke_export_import(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, new = tmp_path / "out.zip", tmp_path / "new.db"
    assert run(path, "export", str(out)) == 0
    assert run(new, "import", str(out)) == 0
    assert "added 2 people, merged 0, 3 new templates" in capsys.readouterr().out
    with pytest.raises(GalleryConflictError):
        run(new, "import", str(out))
    assert run(new, "import", str(out), "--on-conflict", "rename") == 0
    assert "the newcomer is Ben (2)" in capsys.readouterr().out


def test_exception_bad_import_leaves_no_gallery(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"x")
    with pytest.raises(GalleryError):
        run(tmp_path / "new.db", "import", str(tmp_path / "x.zip"))
    assert not (tmp_path / "new.db").exists()


def test_smoke_sightings(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "sightings") == 0
    assert "run-1" in capsys.readouterr().out
    assert run(path, "sightings", "--json", "--run", "run-1") == 0
    assert json.loads(capsys.readouterr().out)[0]["track_id"] == 4
    assert run(path, "sightings", "--drop") == 0
    assert "removed 1" in capsys.readouterr().out
