"""The options of `synth`: what they set, and what does not go together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main

ROOT = Path(__file__).resolve().parents[3]


def resolved(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The configuration as the command understands it."""
    assert main(["synth", *words, "--check-config"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_smoke_options_set_keys(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--identities 5 --views 3 --frame-rates 7-30 --elevations 0-10 --conditions nm:1,cl:2"
    found = resolved(capsys, *words.split(), "--clean", "--no-smpl", "--set", "distances_m=4-8")
    assert (found["identities"], found["views"]) == (5, 3)
    assert found["frame_rates_hz"] == [7, 30] and found["elevations_deg"] == [0, 10]
    assert found["conditions"] == {"nm": 1, "cl": 2} and found["distances_m"] == [4, 8]
    assert [resolved(capsys, "--size", px)["size"] for px in ("64", "128")] == [64, 128]
    assert found["noise"] == [0, 0] and found["occluded"] == 0 and found["theta"] is False


def test_smoke_options_of_scenes(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--kind coco --people 2 --seconds 9 --every 0.5 --place lawn --views 2"
    found = resolved(capsys, *words.split())
    assert found["views"] == 2
    scene = found["scene"]
    assert (scene["people"], scene["seconds"], scene["every_s"]) == (2, 9, 0.5)
    assert scene["place"] == "lawn"


def test_smoke_the_shipped_file_and_options_over_it(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(ROOT / "configs" / "synth.yaml")
    found = resolved(capsys, "--config", path, "--split", "test", "--identities", "100")
    assert (found["kind"], found["split"], found["identities"]) == ("packed", "test", 100)
    assert found["noise"] == [0.2, 1.4]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--identities 0", "identities = '0': Input should be greater than or equal to 1"),
        ("--views 0", "views = '0': Input should be greater than or equal to 1"),
        ("--conditions swim:2", "no condition is called 'swim'"),
        ("--noise 5", "within 0-2"),
        ("--clean --noise 1", "--clean is --noise 0"),
        ("--kind video --noise 1", "noise: for kind silhouettes or packed, not video"),
        ("--seconds 3", "scene.seconds: for kind video or coco, not silhouettes"),
        ("--noise -1", "noise = '-1': expected LOW-HIGH within 0-2, or one number"),
        ("--noise 1-2-3", "noise = '1-2-3': expected one number, or LOW-HIGH"),
        ("--size 100", "Input should be 64 or 128"),
        ("--set colour=1", "unknown key"),
    ],
)
def test_exception_bad_use(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", *words.split(), "--out", "/nowhere"]) == 2
    assert told in capsys.readouterr().err


def test_exception_unknown_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["synth", "--kind", "cartoon"])
    assert caught.value.code == 2 and "cartoon" in capsys.readouterr().err


def test_exception_nowhere_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth"]) == 2
    assert "synth needs --out" in capsys.readouterr().err
    assert main(["synth", "--out", str(tmp_path / "S"), "--workers", "0"]) == 2
    assert "--workers must lie in 1..1024" in capsys.readouterr().err


def test_exception_the_extra_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["synth", "--out", str(tmp_path / "S")]) == 2
    assert "gaitstream[synth]" in capsys.readouterr().err


def test_exception_clips_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ann_1.bvh").write_text("HIERARCHY\n", encoding="utf-8")
    words = ["--out", str(tmp_path / "S"), "--mocap", str(tmp_path)]
    assert main(["synth", *words]) == 1
    told = capsys.readouterr().err
    assert "none of 1 clips" in told and "ann_1.bvh" in told and "CMU skeleton" in told
    assert not (tmp_path / "S").exists()
