"""The measurements on recordings: halves of tracks, what is kept of a run, and how it is judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.real_footage import Answer, Half, answer_of, answers_of, fused, report, with_people
from benchmarks.recorded_people import (
    Life,
    Recording,
    by_halves,
    half_of,
    half_windows,
    look,
    read_people,
    write_people,
)
from benchmarks.two_cameras import Scene, TrackVerdict, by_person, open_scene
from benchmarks.two_cameras import report as scene_report
from pipeline.config import load_config
from pipeline.errors import InputError
from pipeline.messages import Mask, People, Person, Stamp
from stages.embed.evaluation.accuracy_page import Section
from stages.embed.evaluation.distances import Measure
from stages.embed.gei import GaitEnergyImage
from stages.human.truth import TruthCamera, TruthPerson

ROOT = Path(__file__).resolve().parents[3]
FRAME_NS = 40_000_000


def person(track_id: int, frame: int) -> Person:
    """A standing ellipse, wider for higher numbers, that sways a little."""
    rows, columns = np.mgrid[:80, :60]
    half = 8 + 3 * track_id + (frame % 4)
    inside = ((columns - 30) / half) ** 2 + ((rows - 40) / 39) ** 2 <= 1
    x = 100.0 * track_id + frame
    landmarks = np.zeros((33, 4), np.float32)
    landmarks[:, 3] = 1
    landmarks[:, :3] = np.random.default_rng(track_id).normal(0, 0.3, (33, 3))
    return Person(
        track_id=track_id,
        bbox_xyxy_px=np.array([x, 10, x + 60, 90], np.float32),
        score=0.9,
        mask=Mask.pack(inside, int(x), 10),
        keypoints_px=np.ones((17, 3), np.float32),
        world_landmarks_m=landmarks,
    )


def people_of(frames: int, tracks: dict[int, tuple[int, int]]) -> list[People]:
    """Frames in which each track is seen from one frame up to another."""
    messages = []
    for frame in range(frames):
        stamp = Stamp("cam0", frame, frame * FRAME_NS, frame, frame)
        seen = [person(t, frame) for t, (first, last) in tracks.items() if first <= frame < last]
        ended = tuple(t for t, (_, last) in tracks.items() if last == frame)
        messages.append(People(stamp, tuple(seen), ended))
    return messages


def recording_of(folder: Path, tracks: dict[int, tuple[int, int]]) -> Recording:
    path = folder / "made.people"
    write_people(path, iter(people_of(max(last for _, last in tracks.values()), tracks)))
    lives = {t: Life(a * FRAME_NS, (b - 1) * FRAME_NS) for t, (a, b) in tracks.items()}
    return Recording("made.avi", path, load_config(None, {}).to_dict(), lives)


def test_golden_what_was_seen_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.people"
    write_people(path, iter(people_of(5, {1: (0, 4), 2: (2, 5)})))
    found = list(read_people(path))
    assert [message.stamp.frame_id for message in found] == [0, 1, 2, 3, 4]
    assert [len(message.people) for message in found] == [1, 1, 2, 2, 1]
    assert found[4].ended_tracks == (1,)
    np.testing.assert_array_equal(found[2].people[1].mask.unpack(), person(2, 2).mask.unpack())
    assert list(tmp_path.iterdir()) == [path]
    write_people(path, iter(()))
    assert list(read_people(path)) == []


def test_exception_damaged_files_of_people(tmp_path: Path) -> None:
    path = tmp_path / "a.people"
    write_people(path, iter(people_of(3, {1: (0, 3)})))
    whole = path.read_bytes()
    cases = (
        (b"something else", "does not begin"),
        (whole[:-4], "another number"),
        (whole[:-12], "ends after 3 frames"),
        (whole[:-40], "ends within frame 2"),
    )
    for data, says in cases:
        path.write_bytes(data)
        with pytest.raises(InputError, match=says):
            list(read_people(path))

    def broken():  # type: ignore[no-untyped-def]
        yield from people_of(1, {1: (0, 1)})
        raise RuntimeError("the camera fell")

    with pytest.raises(RuntimeError):
        write_people(tmp_path / "b.people", broken())
    assert [p.name for p in tmp_path.iterdir()] == ["a.people"]
    with pytest.raises(InputError, match="no such video file"):
        look(tmp_path / "none.avi", tmp_path)


def test_golden_a_track_is_cut_at_its_own_middle() -> None:
    lives = {1: Life(0, 10 * FRAME_NS), 2: Life(6 * FRAME_NS, 9 * FRAME_NS)}
    messages = people_of(11, {1: (0, 11), 2: (6, 10)})
    halves: dict[tuple[int, int], list[int]] = {}
    for message in messages:
        for one in by_halves(message, lives).people:
            halves.setdefault(half_of(one.track_id), []).append(message.stamp.frame_id)
    assert halves[1, 0] == [0, 1, 2, 3, 4, 5] and halves[1, 1] == [6, 7, 8, 9, 10]
    assert halves[2, 0] == [6, 7] and halves[2, 1] == [8, 9]
    assert by_halves(messages[10], lives).ended_tracks == (4, 5)


def test_property_no_window_bridges_the_middle(tmp_path: Path) -> None:
    recording = recording_of(tmp_path, {1: (0, 100), 2: (10, 70)})
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    for message in half_windows(recording):
        for window in message.windows:
            found.setdefault(half_of(window.track_id), []).append(window.times_ns)
    middle = recording.lives[1].middle_ns
    assert len(found[1, 0]) >= 2 and len(found[1, 1]) >= 2
    assert max(times.max() for times in found[1, 0]) < middle
    assert min(times.min() for times in found[1, 1]) >= middle
    assert {len(times) for times in found[1, 0]} == {30}


def test_smoke_halves_of_tracks_are_named(tmp_path: Path) -> None:
    tracks = {1: (0, 110), 2: (0, 110), 3: (20, 130), 4: (0, 40)}
    recording = recording_of(tmp_path, tracks)
    (answer,) = answers_of(recording, [GaitEnergyImage()])
    assert answer.tracks.tolist() == [1, 2, 3], "the fourth is too short"
    assert (answer.windows >= 2).all() and answer.distances.shape == (3, 3)
    assert answer.nearest().all() and answer.one_each().all()
    results = json.loads(json.dumps(report([recording], {"gei": [[answer]]}, "euclidean")))
    figures = results["figures"]["gei"][0]
    assert (figures["tracks"], figures["nearest"], figures["one_each"]) == (3, 3, 3)
    assert figures["nearest_share"] == [1, 1, 1] and figures["eer"] == 0
    assert Section.model_validate(results).tables[0].rows[0][:3] == ("gei", "3", "3")
    listing = results["tables"][1]["rows"]
    assert [row[0] for row in listing] == ["1", "2", "3"] and listing[0][3] == "right"


def test_golden_nearest_and_one_name_each() -> None:
    tracks, windows = np.array([4, 7, 9]), np.full((3, 2), 2)
    distances = np.array([[0.3, 0.2, 0.9], [0.9, 0.1, 0.9], [0.9, 0.9, 0.5]], np.float32)
    answer = Answer(tracks, windows, distances)
    assert answer.nearest().tolist() == [False, True, True]
    assert answer.one_each().tolist() == [True, True, True]
    tie = Answer(tracks[:2], windows[:2], np.full((2, 2), 0.5, np.float32))
    assert not tie.nearest().any(), "a tie counts against the network"
    recording = Recording("a.avi", Path("a"), {}, {t: Life(0, 1) for t in (4, 7, 9)})
    results = report([recording], {"gei": [[answer]], "u": [[answer], [tie]]}, "euclidean")
    first, second = results["tables"][0]["rows"]
    assert first[1:3] == ["3", "2"] and first[4] == "3"
    assert second[2] == "1.0 (0 to 2)"
    assert results["tables"][1]["rows"][0][3:] == ["taken for 7", "taken for 7"]


def test_golden_two_tracks_of_one_person() -> None:
    distances = np.array([[0.3, 0.2, 0.9], [0.9, 0.8, 0.1], [0.9, 0.3, 0.5]], np.float32)
    apart = Answer(np.array([4, 7, 9]), np.full((3, 2), 2), distances)
    assert apart.nearest().tolist() == [False, False, False]
    answer = with_people(apart, [[7, 4]])
    assert answer.own.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    assert answer.nearest().tolist() == [True, False, False], "4 is named by 7's first half"
    recording = Recording("a.avi", Path("a"), {}, {t: Life(0, 1) for t in (4, 7, 9)})
    results = report([recording], {"gei": [[answer]]}, "euclidean")
    assert results["tables"][0]["rows"][0][2] == "1"
    assert "The 3 tracks are 2 people's" in results["text"] and "4 and 7 are one" in results["text"]
    assert "people's" not in report([recording], {"gei": [[apart]]}, "euclidean")["text"]


def test_golden_fusion_is_over_the_tracks_that_all_could_read() -> None:
    windows = np.array([[2, 3], [4, 5], [6, 7]])
    a = Answer(np.array([4, 7, 9]), windows, np.float32([[1, 2, 9], [2, 1, 9], [9, 9, 1]]))
    b = Answer(np.array([4, 7]), windows[:2], np.float32([[30, 40], [20, 10]]))
    both = fused([a, b])
    assert both.tracks.tolist() == [4, 7] and both.windows.tolist() == [[2, 3], [4, 5]]
    expected = (np.array([[1, 2], [2, 1]]) / 2 + np.array([[30, 40], [20, 10]]) / 30) / 2
    np.testing.assert_allclose(both.distances, expected, rtol=1e-6)
    alone = Answer(np.array([4]), windows[:1], np.float32([[3]]))
    assert fused([alone, alone]).nearest().tolist() == [True]


def test_golden_halves_with_too_few_windows() -> None:
    vector = np.ones((2, 2), np.float32)
    halves = {(1, 0): Half(), (1, 1): Half(), (2, 0): Half()}
    for half in halves.values():
        half.add(vector, 1.0)
        half.add(3 * vector, 3.0)
    np.testing.assert_array_equal(halves[1, 0].fused(), 2.5 * vector)
    assert answer_of(halves, Measure()).tracks.tolist() == [1]
    del halves[1, 1]
    nothing = answer_of(halves, Measure())
    assert len(nothing.tracks) == 0 and not nothing.nearest().any()
    recording = Recording("a.avi", Path("a"), {}, {})
    results = report([recording], {"gei": [[nothing]]}, "euclidean")
    assert results["tables"][0]["rows"] == [["gei", "0", "0", "–", "0", "–", "–"]]


def scene() -> Scene:
    mask = np.ones((2, 2), bool)
    frame = tuple(
        TruthPerson(i, name, (0, 0, 2, 2), (0, 0, 2, 2), 1.0, mask)
        for i, name in enumerate(("Ada", "Bo", "Cleo"))
    )
    cameras = tuple(
        TruthCamera(name, np.eye(3), np.eye(3), np.zeros(3), (4, 4), 25.0, (frame,))
        for name in ("a", "b")
    )
    return Scene("room", (Path("a.mp4"), Path("b.mp4")), (cameras[0], cameras[1]))


def test_golden_people_count_by_their_longest_track() -> None:
    verdicts = [
        TrackVerdict("Ada", 1, 2.0, "Bo", "Ada"),
        TrackVerdict("Ada", 2, 5.0, "Ada", "Ada"),
        TrackVerdict("Bo", 3, 4.0, "unknown", "Bo"),
    ]
    longest = by_person(scene(), verdicts)
    assert longest == {"Ada": verdicts[1], "Bo": verdicts[2], "Cleo": None}
    results = scene_report(scene(), {"gei": verdicts})
    assert results["figures"]["gei"] == {
        "people": 3,
        "named_right": 1,
        "nearest_right": 2,
        "tracks": 3,
        "tracks_right": 1,
        "tracks_wrong": 1,
    }
    assert Section.model_validate(results).tables[0].rows == (
        ("gei", "1 of 3", "2 of 3", "1 of 3", "1"),
    )


def test_smoke_the_bundled_scene_opens() -> None:
    found = open_scene(ROOT / "demo")
    assert [camera.name for camera in found.cameras] == ["camera_a", "camera_b"]
    turned = open_scene(ROOT / "demo", ["camera_b", "camera_a"])
    assert turned.clips == found.clips[::-1]
    with pytest.raises(InputError, match="has the cameras camera_a, camera_b"):
        open_scene(ROOT / "demo", ["camera_a", "camera_z"])
    with pytest.raises(InputError, match="is no scene"):
        open_scene(ROOT / "docs")
