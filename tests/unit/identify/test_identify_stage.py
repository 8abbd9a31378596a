"""The stage as its runner sees it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identify_samples import (
    HASH,
    NETWORK,
    at_distance,
    embedding,
    make_gallery,
    message,
    started_stage,
    template,
    vector,
)
from pydantic import ValidationError

from pipeline.codec import decode, encode
from pipeline.errors import GalleryError
from pipeline.messages import Identities, Identity
from stages.identify import Config, build
from stages.identify.gallery import Gallery
from stages.identify.records import Template
from stages.identify.sightings import sighting_vectors, sightings
from stages.identify.stage import IdentifyStage

LIVE_FRAME = 31


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_gallery(tmp_path / "g.db", {"Anna": 1, "Ben": 2})


def only(answer: tuple[Identities]) -> Identities:
    (identities,) = answer
    decode(Identities, *encode(identities))
    return identities


def names(identities: Identities) -> dict[int, str]:
    return {one.track_id: one.name or one.state for one in identities.identities}


def test_smoke_pending_then_known(path: Path) -> None:
    stage = started_stage(gallery=path, min_windows=3)
    near = at_distance(vector(1), 0.2)
    said: list[Identity] = []
    for window in range(5):
        answer = only(stage.process(message(window, [embedding(4, near, window)])))
        assert answer.stamp.frame_id == window
        said.extend(answer.identities)
    assert [one.state for one in said] == ["pending"] * 2 + ["known"] * 3
    assert [one.changed for one in said] == [True, False, True, False, False]
    assert said[-1].name == "Anna" and said[-1].person_id and said[-1].windows == 5
    assert said[-1].score == pytest.approx(1 / 1.2, abs=1e-4)
    assert said[-1].false_alarm_rate is None
    stage.end("cam")
    report = stage.report()
    assert (report["tracks"], report["named"], report["switches"]) == (1, 1, 0)
    assert report["answers"][0]["name"] == "Anna"
    stage.close()


def test_smoke_empty_message_gives_an_empty_answer(path: Path) -> None:
    stage = started_stage(gallery=path)
    answer = only(stage.process(message(0, [], [1, 2])))
    assert answer.identities == () and answer.ended_tracks == ()
    assert only(stage.skip(message(1, [], [], [7]))).ended_tracks == (7,)
    stage.close()


@pytest.mark.parametrize("kind", ["none", "empty", "untrained", "other"])
def test_smoke_nobody_is_named_without_templates(path: Path, tmp_path: Path, kind: str) -> None:
    empty = make_gallery(tmp_path / "empty.db", {})
    gallery = {"none": None, "empty": empty}.get(kind, path)
    weights = {"untrained": "", "other": "another-hash"}.get(kind, HASH)
    stage = started_stage(gallery=gallery)
    said = []
    for window in range(3):
        seen = embedding(1, vector(1), window, weights=weights)
        said += only(stage.process(message(window, [seen]))).identities
    assert [one.state for one in said] == ["pending", "unknown", "unknown"]
    assert said[-1].score == 0.0
    warnings = " ".join(stage.report()["warnings"])
    assert ("no trained weights" in warnings) == (kind == "untrained")
    assert (f"templates of {NETWORK}/{HASH} only" in warnings) == (kind == "other")
    stage.close()


def test_smoke_stranger_is_unknown(path: Path) -> None:
    stage = started_stage(gallery=path)
    for window in range(3):
        answer = only(stage.process(message(window, [embedding(1, vector(99), window)])))
    assert answer.identities[0].state == "unknown"
    assert 0.0 < answer.identities[0].score < 0.5
    stage.close()


def test_smoke_two_tracks_never_share_a_name(path: Path) -> None:
    stage = started_stage(gallery=path, min_windows=1)
    far, near = at_distance(vector(1), 0.4), at_distance(vector(1), 0.1)
    answer = only(stage.process(message(0, [embedding(1, far), embedding(2, near)])))
    assert names(answer) == {1: "unknown", 2: "Anna"}
    # The same person seen by another camera keeps the name there.
    other = only(stage.process(message(0, [embedding(1, far)], source="cam2")))
    assert names(other) == {1: "Anna"}
    stage.close()


def test_smoke_name_passes_on_without_new_windows_of_the_loser(path: Path) -> None:
    stage = started_stage(gallery=path, min_windows=1)
    far, near = at_distance(vector(1), 0.4), at_distance(vector(1), 0.1)
    first = only(stage.process(message(0, [embedding(1, far)])))
    assert names(first) == {1: "Anna"}
    second = only(stage.process(message(1, [embedding(2, near)], [1, 2])))
    assert names(second) == {1: "unknown", 2: "Anna"}
    assert all(one.changed for one in second.identities)
    third = only(stage.process(message(2, [], [1])))
    assert names(third) == {1: "Anna"}  # the other is out of sight
    fourth = only(stage.process(message(3, [], [1, 2])))
    assert names(fourth) == {1: "unknown"}  # and back: the better one keeps the name
    fifth = only(stage.process(message(4, [], [1], [2])))
    assert names(fifth) == {1: "Anna"}
    stage.close()


def test_smoke_state_is_freed(path: Path) -> None:
    stage = started_stage(gallery=path)
    for track in range(50):
        stage.process(message(track, [embedding(track, vector(1))], ended=[track]))
    assert stage._sources["cam"].tracks == {}
    stage.process(message(60, [embedding(60, vector(1))]))
    assert list(stage.end("cam")) == []
    assert stage._sources == {}
    assert stage.report()["tracks"] == 51 == stage.report()["pending"]
    stage.close()


def test_smoke_bad_vectors_are_counted_and_passed_over(path: Path) -> None:
    stage = started_stage(gallery=path, min_windows=1)
    bad = [np.full((8, 2), fill, np.float32) for fill in (np.nan, np.inf, 1e30)]
    seen = [embedding(number, one) for number, one in enumerate([*bad, vector(1)])]
    assert names(only(stage.process(message(0, seen)))) == {3: "Anna"}
    wrong = embedding(9, np.zeros((3, 3), np.float32))
    assert names(only(stage.process(message(1, [wrong])))) == {9: "unknown"}
    assert stage.report()["bad_vectors"] == 3
    assert "in the gallery [8, 2]" in " ".join(stage.report()["warnings"])
    stage.close()


def test_smoke_live_stage_takes_over_an_enrolment_and_a_removal(path: Path) -> None:
    stage = started_stage(live=True, gallery=path, min_windows=1)
    said = names(only(stage.process(message(0, [embedding(1, vector(50))]))))
    assert said == {1: "unknown"}
    with Gallery.open(path) as gallery:
        gallery.add_person("Cleo", templates=[template(50)])
    assert names(only(stage.process(message(1, [], [1])))) == {}
    said = names(only(stage.process(message(LIVE_FRAME, [], [1]))))
    assert said == {1: "Cleo"}
    with Gallery.open(path) as gallery:
        gallery.rename("Cleo", "Dora")
    assert names(only(stage.process(message(2 * LIVE_FRAME, [], [1])))) == {1: "Dora"}
    with Gallery.open(path) as gallery:
        gallery.remove("Dora")
    assert names(only(stage.process(message(3 * LIVE_FRAME, [], [1])))) == {1: "unknown"}
    assert stage.report()["switches"] == 0
    stage.close()


def test_smoke_recording_keeps_the_gallery_of_its_start(path: Path) -> None:
    stage = started_stage(gallery=path, min_windows=1)
    stage.process(message(0, [embedding(1, vector(50))]))
    with Gallery.open(path) as gallery:
        gallery.add_person("Cleo", templates=[template(50)])
    answer = only(stage.process(message(500, [embedding(1, vector(50), 20)])))
    assert names(answer) == {1: "unknown"}
    stage.close()


def test_smoke_sightings_of_a_run(path: Path, tmp_path: Path) -> None:
    stage = started_stage(gallery=path, sightings=True, run_id="r1", run_dir=tmp_path)
    for window in range(100):
        seen = [embedding(track, vector(track), window) for track in (1, 2)]
        stage.process(message(window, seen, ended=[1] if window == 40 else []))
    stage.process(message(100, [embedding(3, vector(3), 0, weights="")]))
    stage.end("cam")
    with Gallery.open(path) as gallery:
        found = {one.track_id: one for one in sightings(gallery, "r1")}
        assert sorted(found) == [1, 2]
        assert found[2].windows == 100 and found[2].source_label == "cam.mp4"
        assert found[2].run_dir == str(tmp_path) and found[2].expires_unix_ns is not None
        vectors = sighting_vectors(gallery, found[2])
        assert 24 < len(vectors) <= 64
        assert np.array_equal(vectors[0].vector, vector(2))
    assert stage.report()["sightings_lost"] == 0
    stage.close()


def test_exception_gallery_that_fails_later_costs_sightings_not_names(path: Path) -> None:
    stage = started_stage(live=True, gallery=path, sightings=True, run_id="r1", min_windows=1)
    assert stage._gallery is not None
    stage._gallery.rows("PRAGMA query_only = ON")
    answer = only(stage.process(message(0, [embedding(1, vector(1))])))
    assert names(answer) == {1: "Anna"}
    stage.process(message(LIVE_FRAME, [embedding(1, vector(1), 1)]))
    stage.end("cam")
    report = stage.report()
    assert report["sightings_lost"] == 2 and "cannot be written" in report["sightings_error"]
    stage.close()


def test_exception_setup(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="there is no gallery"):
        build(Config(gallery=tmp_path / "none.db")).setup()
    stage = build(Config(gallery=tmp_path / "new.db", create_gallery=True))
    stage.setup()
    stage.close()
    stage.close()
    assert (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    "bad",
    [
        {"threshold": 0.0},
        {"threshold": 1.5},
        {"margin": -0.1},
        {"min_windows": 0},
        {"sightings": True},
        {"sightings": True, "gallery": "g.db"},
        {"create_gallery": True},
        {"metric": "cosine"},
        {"colour": "red"},
        {"sightings_minutes": 0},
    ],
)
def test_exception_config(bad: dict) -> None:
    with pytest.raises(ValidationError):
        Config(**bad)


def test_smoke_threshold_of_gei_tells_same_from_other(tmp_path: Path) -> None:
    base = np.zeros((44, 64), np.float32)
    path = tmp_path / "gei.db"
    with Gallery.open(path, "create") as gallery:
        gallery.add_person("Anna", templates=[Template(base, "gei", "fixed")])
    stage = started_stage(gallery=path, min_windows=1)
    for track, distance in ((1, 0.8), (2, 1.3)):
        seen = embedding(track, at_distance(base, distance), network="gei", weights="fixed")
        answer = only(stage.process(message(track, [seen])))
        assert names(answer) == {track: {1: "Anna", 2: "unknown"}[track]}
    stage.close()


frames = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), max_size=4),
        st.sets(st.integers(0, 4)),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(frames=frames)
def test_replay_is_deterministic_and_names_are_unique(
    frames: list, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = make_gallery(
        tmp_path_factory.mktemp("replay") / "g.db", {f"P{seed}": seed for seed in range(4)}
    )
    runs = []
    for _ in range(2):
        stage = started_stage(gallery=path, min_windows=1, switch_windows=2, threshold=0.3)
        shown: dict[int, str] = {}
        run = []
        for number, (seen, visible) in enumerate(frames):
            windows = [embedding(t, vector(v), number) for t, v in seen]
            together = visible | {t for t, _ in seen}
            answer = only(stage.process(message(number, windows, sorted(together))))
            run.append(encode(answer))
            shown.update({one.track_id: one.person_id for one in answer.identities})
            at_once = [shown[t] for t in together if shown.get(t)]
            assert len(at_once) == len(set(at_once))
        runs.append(run)
        stage.close()
    assert runs[0] == runs[1]


@settings(max_examples=15, deadline=None)
@given(frames=frames, data=st.data())
def test_property_another_process_takes_over_anywhere(
    frames: list, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What comes after a snapshot is done again by another stage: answers and gallery stay."""
    keep = data.draw(st.integers(0, len(frames)))
    die = data.draw(st.integers(keep, len(frames)))
    folder = tmp_path_factory.mktemp("recovery")
    answers, kept = [], []
    for name in ("unbroken", "broken"):
        path = make_gallery(folder / f"{name}.db", {f"P{seed}": seed for seed in range(4)})
        config: dict[str, object] = {
            "gallery": path,
            "min_windows": 1,
            "sightings": True,
            "run_id": "r",
        }
        stage = started_stage(**config)
        answer = answers_to(stage, frames, 0, keep)
        if name == "broken":
            assert stage._log is not None
            stage._log.flush()
            left = pickle.dumps(stage.snapshot())
            answers_to(stage, frames, keep, die)
            stage._log.flush()
            assert stage._gallery is not None
            stage._gallery.close()  # as the end of a process does
            stage = build(Config(**config))  # type: ignore[arg-type]
            stage.resumed = True
            stage.setup()
            stage.restore(pickle.loads(left))
        answer += answers_to(stage, frames, keep, len(frames))
        stage.end("cam")
        report = dict(stage.report())
        stage.close()
        ids = {person.id: person.name for person in people_of(path)}
        answers.append([named(one, ids) for one in answer])
        with Gallery.open(path) as gallery:
            kept.append(
                [
                    (one.track_id, one.windows, one.frames, len(sighting_vectors(gallery, one)))
                    for one in sightings(gallery, "r")
                ]
            )
        kept[-1].append((report["windows"], report["tracks"], report["sightings_lost"]))
    assert answers[0] == answers[1]
    assert kept[0] == kept[1]


def answers_to(stage: IdentifyStage, frames: list, first: int, last: int) -> list:
    """Return the encoded answers to some of the frames, each of windows and visible tracks."""
    answers = []
    for number in range(first, last):
        seen, visible = frames[number]
        windows = [embedding(t, vector(v), number) for t, v in seen]
        together = sorted(visible | {t for t, _ in seen})
        ended = [3] if number % 5 == 4 else []
        answers.append(encode(only(stage.process(message(number, windows, together, ended)))))
    return answers


def people_of(path: Path) -> list:
    with Gallery.open(path) as gallery:
        return gallery.people()


def named(encoded: tuple[bytes, bytearray], ids: dict[str, str]) -> bytes:
    """Return an answer with names in the place of ids, which are drawn anew for each gallery."""
    header = bytes(encoded[0])
    for number, name in ids.items():
        header = header.replace(number.encode(), name.encode())
    return header


def test_replay_of_a_run_replaces_its_sightings(path: Path) -> None:
    for tracks in ((1, 2), (1,)):
        stage = started_stage(gallery=path, sightings=True, run_id="r1")
        for window in range(3):
            stage.process(
                message(window, [embedding(t, vector(9 + len(tracks)), window) for t in tracks])
            )
        stage.end("cam")
        stage.close()
    with Gallery.open(path) as gallery:
        (left,) = sightings(gallery)
        vectors = sighting_vectors(gallery, left)
    assert left.windows == 3 == len(vectors)
    assert np.array_equal(vectors[0].vector, vector(10))


def test_smoke_one_long_run_keeps_names_through_noise(path: Path) -> None:
    """Two people, noisy windows, crossing in and out of sight: names never change once given."""
    stage = started_stage(gallery=path, threshold=0.4)
    rng = np.random.default_rng(11)
    said: dict[int, set[str]] = {1: set(), 2: set()}
    for window in range(200):
        visible = [t for t in (1, 2) if rng.random() < 0.8]
        seen = [
            embedding(t, vector(t) + rng.normal(scale=0.5, size=(8, 2)).astype(np.float32), window)
            for t in visible
        ]
        for one in only(stage.process(message(window, seen, visible))).identities:
            said[one.track_id].add(one.name or one.state)
    assert said == {1: {"pending", "Anna"}, 2: {"pending", "Ben"}}
    assert stage.report()["switches"] == 0
    stage.close()
