"""Both forms of `calibrate` as a user runs them, and a run with what came of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.system.conftest import CLIP_A, CLIP_B, Program, summary_of
from tests.walkers import write_dataset

WEIGHTS = "gei-average-1"


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of gait energy images, of cartoon walkers; its report lies beside it."""
    folder = tmp_path_factory.mktemp("calibration")
    data = write_dataset(
        folder / "data", 28, ("nm-01", "nm-02", "cl-01"), ("000",), 46, with_theta=False
    )
    program = Program(tmp_path_factory.mktemp("p"))
    code = program.run(
        *(
            "calibrate",
            "--data",
            data,
            "--network",
            "gei",
            "--out",
            folder,
            "--report",
            folder / "report",
        ),
        *("--metric", "euclidean", "--set", "sequence.stride=8"),
    )
    assert code == 0, program.output
    assert "people (" in program.output and "asked" in program.output
    return folder / f"gei-{WEIGHTS}.json"


def test_calibration_of_labelled_walks(calibration: Path) -> None:
    made = json.loads(calibration.read_text())
    assert (made["network"], made["weights_hash"]) == ("gei", WEIGHTS)
    assert made["basis"]["people"] in (21, 28) and made["evidence"]["frames"] == [30, 38]
    report = calibration.parent / "report"
    with (report / "checks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tenth = next(row for row in rows if (row["templates"], row["asked"]) == ("1", "0.1"))
    assert tenth["is_carried"] == "True" and 0.03 < float(tenth["achieved"]) < 0.3
    rare = next(row for row in rows if (row["templates"], row["asked"]) == ("10", "0.001"))
    assert rare["is_carried"] == "False", "28 people say nothing of one in a thousand"
    page = (report / "calibration.md").read_text()
    assert "Asked and achieved" in page and "not vouched for" in page
    for name in ("det.png", "levels.png"):
        assert (report / name).stat().st_size > 5_000


@pytest.mark.slow
def test_calibration_for_a_place_and_a_run_with_it(
    calibration: Path, program: Program, tmp_path: Path
) -> None:
    gallery, place = tmp_path / "people.db", tmp_path / "place.json"
    gei = ("--set", "embed.network=gei")
    learn = ("enroll", "--source", CLIP_A, "--gallery", gallery, "--name", "Zoë", "--end", 4.1)
    assert program.run(*learn, *gei) == 0, program.output
    before = gallery.read_bytes()
    site = ("calibrate", "--gallery", gallery, "--source", CLIP_B, "--out", place)
    assert program.run(*site, *gei, "--calibration", calibration) == 0, program.output
    assert "prove no rate" in program.output and "tracks compared with 1 templates" in (
        program.output
    )
    assert gallery.read_bytes() == before, "the gallery is only read"
    made = json.loads(place.read_text())
    assert made["site"]["tracks"] >= 3 and made["site"]["footage"] == "camera_b.mp4"
    assert made["tail"] == json.loads(calibration.read_text())["tail"]

    out = tmp_path / "out"
    found = ("replay", "--source", CLIP_B, "--gallery", gallery, "--out", out)
    rate = ("--set", "identify.false_alarm_rate=0.2")
    assert program.run(*found, *gei, "--calibration", place, *rate) == 0, program.output
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    answers = [event for event in events if event.get("state") in ("known", "unknown")]
    assert answers and all(0 < event["false_alarm_rate"] <= 1 for event in answers)
    named = [event["false_alarm_rate"] for event in answers if event["state"] == "known"]
    assert all(level <= 0.2 * 3 for level in named), "a held name may reach three times the rate"
    summary = summary_of(out)
    assert summary["stages"]["identify"]["calibrations"][0]["site_tracks"] >= 3
    assert {"false_alarm_rate"} <= summary["stages"]["sink"]["per_track"][0].keys()
