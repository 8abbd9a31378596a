"""The stage with a calibration: names by false-alarm rate, and the level of each answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calibration_samples import simple_calibration
from identify_samples import (
    HASH,
    NETWORK,
    at_distance,
    embedding,
    make_gallery,
    message,
    started_stage,
    vector,
)

from pipeline.codec import decode, encode
from pipeline.errors import CalibrationError
from pipeline.messages import Identities, Identity
from stages.identify import Config, build, calibration_file
from stages.identify.calibration import Calibration, Weighing
from stages.identify.calibration_file import shipped_name, write_calibration
from stages.identify.gallery import Gallery
from stages.identify.normalise import Norm
from stages.identify.records import Template
from stages.identify.stage import IdentifyStage

# Strangers lie at distance 3, their best of two about 0.3 spreads nearer.
PLAIN = simple_calibration(middle=-3.0, spread=1.0)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    return make_gallery(tmp_path / "g.db", {"Anna": 1, "Ben": 2})


def calibrated(tmp_path: Path, calibration: Calibration = PLAIN) -> Path:
    path = tmp_path / "c.json"
    write_calibration(path, calibration)
    return path


def say(stage: IdentifyStage, *seen: tuple[int, np.ndarray], frame: int = 0) -> dict[int, Identity]:
    windows = [embedding(track, numbers, frame) for track, numbers in seen]
    (answer,) = stage.process(message(frame, windows))
    decode(Identities, *encode(answer))
    return {one.track_id: one for one in answer.identities}


def distance_at(level: float, calibration: Calibration = PLAIN) -> float:
    """The distance at which a track of one window has this level with two templates."""
    return -calibration.threshold(level, 2, 30.0, 0.8)


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
def test_smoke_named_just_inside_the_rate_and_not_just_outside(
    gallery: Path, tmp_path: Path, rate: float
) -> None:
    stage = started_stage(
        gallery=gallery, calibration=calibrated(tmp_path), false_alarm_rate=rate, min_windows=1
    )
    inside = at_distance(vector(1), distance_at(rate * 0.97))
    outside = at_distance(vector(1), distance_at(rate * 1.03))
    assert say(stage, (1, inside))[1].name == "Anna"
    found = say(stage, (2, outside), frame=1)[2]
    assert (found.state, found.name) == ("unknown", "")
    assert found.false_alarm_rate == pytest.approx(rate * 1.03, rel=0.02)
    stage.close()


def test_smoke_answers_carry_their_level(gallery: Path, tmp_path: Path) -> None:
    stage = started_stage(gallery=gallery, calibration=calibrated(tmp_path), min_windows=2)
    near = at_distance(vector(1), distance_at(0.002))
    pending = say(stage, (1, near))[1]
    assert (pending.state, pending.false_alarm_rate) == ("pending", None)
    known = say(stage, (1, near), frame=1)[1]
    assert (known.state, known.name) == ("known", "Anna")
    assert known.false_alarm_rate == pytest.approx(0.002, rel=0.02)
    assert known.score == pytest.approx(1 / (1 + distance_at(0.002)), abs=1e-3)
    sure = say(stage, (2, vector(2)), frame=2)
    sure = say(stage, (2, vector(2)), frame=3)
    assert sure[2].false_alarm_rate == PLAIN.claim(0, 2), "no less than the data carry"
    report = stage.report()
    (facts,) = report["calibrations"]
    assert facts["network"] == NETWORK and facts["asked_false_alarm_rate"] == 0.01
    assert facts["templates"] == 2 and facts["lowest_false_alarm_rate"] == PLAIN.claim(0, 2)
    assert {one["false_alarm_rate"] for one in report["answers"]} == {
        known.false_alarm_rate, sure[2].false_alarm_rate,
    }  # fmt: skip
    stage.close()


def test_smoke_own_threshold_decides_and_the_level_is_still_told(
    gallery: Path, tmp_path: Path
) -> None:
    stage = started_stage(
        gallery=gallery, calibration=calibrated(tmp_path), threshold=0.2, min_windows=1, contrast=1
    )
    found = say(stage, (1, at_distance(vector(1), distance_at(0.2))))[1]
    assert found.name == "Anna" and found.false_alarm_rate == pytest.approx(0.2, rel=0.02)
    stage.close()


def test_smoke_a_held_name_survives_up_to_the_margin(gallery: Path, tmp_path: Path) -> None:
    path = calibrated(tmp_path)
    for margin, name in ((5.0, "Anna"), (1.0, "")):
        stage = started_stage(gallery=gallery, calibration=path, min_windows=1, level_margin=margin)
        assert say(stage, (1, at_distance(vector(1), distance_at(0.009))))[1].name == "Anna"
        # The mean of both windows lies between their distances.
        further = 2 * distance_at(0.03) - distance_at(0.009)
        assert say(stage, (1, at_distance(vector(1), further)), frame=1)[1].name == name
        stage.close()


def test_smoke_one_name_in_view_goes_to_the_less_likely_chance(
    gallery: Path, tmp_path: Path
) -> None:
    stage = started_stage(gallery=gallery, calibration=calibrated(tmp_path), min_windows=1)
    found = say(
        stage,
        (1, at_distance(vector(1), distance_at(0.008))),
        (2, at_distance(vector(1), distance_at(0.0005))),
    )
    assert {track: one.name for track, one in found.items()} == {1: "", 2: "Anna"}
    stage.close()


def test_smoke_weighing_of_the_calibration_is_used(gallery: Path, tmp_path: Path) -> None:
    by_quality = replace(PLAIN, weighing=Weighing(0.0, 4.0))
    stage = started_stage(gallery=gallery, calibration=calibrated(tmp_path, by_quality))
    windows = [embedding(1, vector(1), 0, quality=1.0), embedding(1, vector(9), 1, quality=0.3)]
    for frame, window in enumerate(windows):
        (answer,) = stage.process(message(frame, [window]))
    assert answer.identities[0].score > 0.9, "the bad window hardly counts"
    stage.close()


def test_smoke_normalised_scores_rank_by_what_is_rare(tmp_path: Path) -> None:
    """Ben's template is near to everybody, so that being near to it says little."""
    crowd = [vector(100 + seed) for seed in range(20)]
    people = {"Anna": vector(1) * 2, "Ben": np.mean(crowd, axis=0, dtype=np.float64)}
    gallery = make_gallery(
        tmp_path / "g.db", {name: one.astype(np.float32) for name, one in people.items()}
    )
    walker = (0.45 * people["Anna"] + 0.55 * people["Ben"]).astype(np.float32)
    names = {}
    for kind in ("plain", "template"):
        calibration = replace(
            simple_calibration(middle=-3.0 if kind == "plain" else 0.0),
            norm=Norm(kind, 10),  # type: ignore[arg-type]
            cohort=np.stack(crowd).astype(np.float16).astype(np.float32),
        )
        stage = started_stage(
            gallery=gallery,
            calibration=calibrated(tmp_path, calibration),
            false_alarm_rate=0.5,
            min_windows=1,
        )
        names[kind] = say(stage, (1, walker))[1].name
        stage.close()
    assert names == {"plain": "Ben", "template": "Anna"}


def test_smoke_shipped_one_is_found_by_the_templates(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    write_calibration(shipped / shipped_name(NETWORK, HASH), PLAIN)
    monkeypatch.setattr(calibration_file, "SHIPPED", shipped)
    stage = started_stage(gallery=gallery, min_windows=1)
    found = say(stage, (1, at_distance(vector(1), distance_at(0.005))))[1]
    assert found.name == "Anna" and found.false_alarm_rate == pytest.approx(0.005, rel=0.02)
    stage.close()
    other = started_stage(gallery=gallery, min_windows=1, metric="cosine", threshold=0.5)
    assert say(other, (1, vector(1)))[1].false_alarm_rate is None
    assert "is not used" in " ".join(other.report()["warnings"])
    other.close()


def test_exception_calibration_that_does_not_fit(gallery: Path, tmp_path: Path) -> None:
    def refuse(match: str, calibration: Calibration = PLAIN, **config: object) -> None:
        path = calibrated(tmp_path, calibration)
        stage = build(Config(gallery=gallery, calibration=path, **config))  # type: ignore[arg-type]
        with pytest.raises(CalibrationError, match=match):
            stage.setup()
        stage.close()

    refuse("is of gei/.*the vectors are of smplgait", replace(PLAIN, network="gei"))
    refuse("scores of other weights", replace(PLAIN, weights_hash="f" * 16))
    refuse("is of euclidean distances, identify.metric is cosine", metric="cosine")
    few = simple_calibration(people=12)
    refuse("0.001 cannot be vouched for with 2 templates", few, false_alarm_rate=0.001)
    stage = build(Config(calibration=tmp_path / "none.json"))
    with pytest.raises(CalibrationError, match="is missing"):
        stage.setup()


def test_smoke_default_rate_is_one_in_a_hundred_or_what_is_vouched_for(
    gallery: Path, tmp_path: Path
) -> None:
    few = simple_calibration(people=12)
    for calibration, rate in ((PLAIN, 0.01), (few, few.claim(0, 2))):
        path = calibrated(tmp_path, calibration)
        stage = started_stage(gallery=gallery, calibration=path, min_windows=1)
        assert stage.report()["calibrations"][0]["asked_false_alarm_rate"] == rate
        for track, (factor, name) in enumerate(((0.97, "Anna"), (1.03, ""))):
            seen = at_distance(vector(1), distance_at(factor * rate, calibration))
            assert say(stage, (track, seen), frame=track)[track].name == name
        stage.close()


def test_smoke_live_gallery_that_outgrows_its_calibration_is_warned_of(
    gallery: Path, tmp_path: Path
) -> None:
    some = simple_calibration(people=20)
    stage = started_stage(
        *(True,), gallery=gallery, calibration=calibrated(tmp_path, some),
        false_alarm_rate=0.02, min_windows=1,
    )  # fmt: skip
    assert say(stage, (1, vector(1)))[1].name == "Anna"
    with Gallery.open(gallery) as people:
        for number in range(30):
            people.add_template("Ben", Template(vector(50 + number), NETWORK, HASH))
    found = say(stage, (1, vector(1)), frame=40)[1]
    assert found.false_alarm_rate == some.claim(0, 32) > 0.02
    assert "cannot be vouched for with 32 templates" in " ".join(stage.report()["warnings"])
    stage.close()


def test_exception_vectors_of_other_weights_than_the_calibration(
    gallery: Path, tmp_path: Path
) -> None:
    with Gallery.open(gallery) as people:
        people.add_template("Anna", Template(vector(1), "gei", "gei-average-1"))
    stage = started_stage(gallery=gallery, calibration=calibrated(tmp_path), min_windows=1)
    with pytest.raises(CalibrationError, match="the vectors are of gei/gei-average-1"):
        stage.process(message(0, [embedding(1, vector(1), 0, "gei", "gei-average-1")]))
    stage.close()
