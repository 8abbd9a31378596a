"""When windows come, what is in them, and what ends a stretch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sequence_people import frame_of, make_body, person_mask, stamp_of, with_person

from pipeline.codec import decode, encode
from pipeline.messages import Bodies, Body, StreamStart, Windows
from stages.sequence import Config, SequenceStage, build
from stages.sequence.stage import MAX_TRACKS
from stages.sequence.window import fragment_ratio


def feed(stage: SequenceStage, *messages: Bodies) -> list[Windows]:
    answers = []
    for message in messages:
        (answer,) = stage.process(message)
        assert answer.stamp == message.stamp
        assert answer.ended_tracks == message.ended_tracks
        answers.append(answer)
    return answers


def walk(first: int, count: int, **body: object) -> list[Bodies]:
    return [frame_of(i, make_body(**body)) for i in range(first, first + count)]  # type: ignore[arg-type]


def windows_at(answers: list[Windows]) -> list[int]:
    return [answer.stamp.frame_id for answer in answers for _ in answer.windows]


def test_shape_empty_message_gives_empty_answer() -> None:
    stage = build(Config())
    (answer,) = stage.process(frame_of(0))
    assert answer.windows == () and answer.visible_tracks == ()
    assert list(stage.end("cam")) == []
    assert list(stage.end("never seen")) == []


def test_shape_first_window_after_length_then_every_stride() -> None:
    stage = build(Config())
    answers = feed(stage, *walk(0, 50))
    assert windows_at(answers) == [29, 37, 45]
    window = answers[37].windows[0]
    assert window.silhouettes.shape == (30, 64, 44) and window.silhouettes.any()
    assert window.frame_ids.tolist() == list(range(8, 38))
    assert window.times_ns[0] == stamp_of(8).time_ns
    assert window.theta.shape == (30, 85) and (window.theta == 0.25).all()
    assert window.left_out == 0 and window.quality == pytest.approx(0.9)
    assert answers[3].visible_tracks == (1,)
    assert stage.report()["windows"] == 3


@pytest.mark.parametrize(("length", "stride"), [(2, 1), (10, 10), (10, 25), (30, 60)])
def test_shape_any_length_and_stride(length: int, stride: int) -> None:
    stage = build(Config(length=length, stride=stride, min_length=2))
    expected = list(range(length - 1, 100, stride))
    assert windows_at(feed(stage, *walk(0, 100))) == expected


def test_shape_tracks_and_sources_are_kept_apart() -> None:
    stage = build(Config(length=10, stride=5, min_length=5))
    answers = []
    for i in range(12):
        left = make_body(1, theta=1.0)
        right = make_body(2, at=(400.0, 50.0), theta=2.0)
        answers += feed(
            stage, frame_of(i, left, right), frame_of(i, make_body(1, theta=3.0), source="other")
        )
    full = [(a.stamp.source_id, w) for a in answers for w in a.windows]
    assert [(s, w.track_id, float(w.theta[0, 0])) for s, w in full] == [
        ("cam", 1, 1.0),
        ("cam", 2, 2.0),
        ("other", 1, 3.0),
    ]
    assert all((w.theta == w.theta[0, 0]).all() for _, w in full)


def test_property_a_gap_starts_anew() -> None:
    for gap_s, restarts in ((0.48, 0), (0.6, 1)):
        stage = build(Config())
        first = [frame_of(i, make_body(), time_s=i * 0.04) for i in range(20)]
        later = [
            frame_of(i, make_body(), time_s=19 * 0.04 + gap_s + (i - 20) * 0.04)
            for i in range(20, 60)
        ]
        answers = feed(stage, *first, *later)
        assert stage.report()["restarts"] == ({"gap": 1} if restarts else {})
        assert windows_at(answers)[0] == (49 if restarts else 29)


def test_property_a_gap_of_empty_messages_starts_anew() -> None:
    stage = build(Config())
    messages = walk(0, 20) + [frame_of(i) for i in range(20, 40)] + walk(40, 30)
    assert windows_at(feed(stage, *messages)) == [69]
    assert stage.report()["restarts"] == {"gap": 1}


def test_property_low_frame_rates_work() -> None:
    stage = build(Config())
    messages = [frame_of(i, make_body(), time_s=i / 5) for i in range(30)]
    assert windows_at(feed(stage, *messages)) == [29]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"at": (220.0, 50.0)}, "jump"),
        ({"mask": person_mask(190, 76)}, "size_change"),
        ({"mask": person_mask(100, 76)}, "size_change"),  # the area alone
    ],
)
def test_property_an_identity_switch_starts_anew(other: dict[str, object], reason: str) -> None:
    stage = build(Config())
    answers = feed(stage, *walk(0, 29), *walk(29, 40, theta=9.0, **other))
    assert windows_at(answers)[0] == 58
    assert (answers[58].windows[0].theta == 9.0).all()
    assert stage.report()["restarts"] == {reason: 1}


def test_property_walking_and_slow_growth_are_no_switch() -> None:
    stage = build(Config())
    messages = [
        frame_of(i, make_body(at=(20.0 + 4 * i, 50.0), mask=person_mask(60 + 2 * i, 30 + i)))
        for i in range(60)
    ]
    assert windows_at(feed(stage, *messages)) == [29, 37, 45, 53]


def test_property_far_apart_frames_may_move_far() -> None:
    stage = build(Config(length=4, stride=1, min_length=1))
    messages = [frame_of(i, make_body(at=(110.0 * i, 50.0)), time_s=i * 0.4) for i in range(4)]
    assert windows_at(feed(stage, *messages)) == [3]


def unfit_bodies() -> dict[str, Body]:
    holes = person_mask()
    holes[45:60] = False  # the legs come off
    scattered = np.zeros((100, 40), bool)
    scattered[0, 0] = scattered[-1, -1] = True
    faint = np.zeros((36, 4), bool)
    faint[:, 1] = True
    nan = make_body()
    nan.theta[3] = np.nan
    return {
        "cut_by_border": make_body(cut_by_border=True),
        "occluded": make_body(occluded=True),
        "too_small": make_body(mask=person_mask(31, 14)),
        "bad_mask_area": make_body(mask=np.ones((100, 40), bool)),
        "mask_in_pieces": make_body(mask=holes),
        "too_faint": make_body(mask=faint),
        "bad_body": nan,
    }


@pytest.mark.parametrize("reason", list(unfit_bodies()))
def test_property_unfit_frames_are_left_out_and_counted(reason: str) -> None:
    body = unfit_bodies()[reason]
    box = np.array([100, 50, 140, 150], np.float32)  # small masks must not look like a jump
    if reason in ("too_small", "too_faint"):
        body = with_person(
            body,
            bbox_xyxy_px=box if reason == "too_small" else np.array([100, 50, 104, 86], np.float32),
        )
    stage = build(Config())
    unfit = [frame_of(i, body) for i in range(10, 14)]
    trailing = [frame_of(i, body) for i in range(34, 36)]
    answers = feed(stage, *walk(0, 10), *unfit, *walk(14, 20), *trailing)
    assert windows_at(answers) == [33]
    window = answers[33].windows[0]
    assert window.left_out == 4
    assert window.frame_ids.tolist() == [*range(10), *range(14, 34)]
    assert stage.report()["left_out"] == {reason: 6}
    assert stage.report()["restarts"] == {}
    assert answers[11].visible_tracks == (1,)


def test_property_quality_threshold_and_not_a_number() -> None:
    stage = build(Config(min_quality=0.5))
    feed(stage, *walk(0, 3, quality=0.4), *walk(3, 2, quality=float("nan")), *walk(5, 2))
    assert stage.report()["left_out"] == {"bad_body": 5}


def test_property_unfit_before_the_first_fit_frame_is_not_in_the_window() -> None:
    stage = build(Config())
    answers = feed(stage, *walk(0, 20, occluded=True), *walk(20, 30))
    assert answers[-1].windows[0].left_out == 0


def test_property_more_than_half_unfit_gives_no_window() -> None:
    def messages(unfit_each: int) -> list[Bodies]:
        period = 1 + unfit_each
        return [
            frame_of(i, make_body(occluded=i % period != 0), time_s=i * 0.02) for i in range(120)
        ]

    half = build(Config())
    assert windows_at(feed(half, *messages(1)))[0] == 58  # 29 of 59 left out
    more = build(Config())
    assert windows_at(feed(more, *messages(2))) == []
    assert more.report()["withheld_windows"] == 1


def test_property_windows_come_back_once_half_is_fit_again() -> None:
    stage = build(Config(length=10, stride=4, min_length=5))
    bad = [frame_of(i, make_body(occluded=i % 3 != 0), time_s=i * 0.02) for i in range(60)]
    good = [frame_of(i, make_body(), time_s=i * 0.02) for i in range(60, 80)]
    answers = feed(stage, *bad, *good)
    first = answers[windows_at(answers)[0]].windows[0]
    assert first.left_out <= len(first.silhouettes)
    assert stage.report()["withheld_windows"] == 1


def test_property_long_occlusion_starts_anew() -> None:
    stage = build(Config())
    answers = feed(stage, *walk(0, 20), *walk(20, 30, occluded=True), *walk(50, 30))
    assert windows_at(answers) == [79]
    assert stage.report()["restarts"] == {"unfit_too_long": 1}


@pytest.mark.parametrize(("good", "windows"), [(14, 0), (15, 1), (29, 1)])
def test_property_an_ending_track_leaves_one_short_window(good: int, windows: int) -> None:
    for by_end in (False, True):
        stage = build(Config())
        feed(stage, *walk(0, good))
        if by_end:
            answers = list(stage.end("cam"))
            assert len(answers) == windows
        else:
            answers = feed(stage, frame_of(good, ended=(1,)))
        short = [window for answer in answers for window in answer.windows]
        assert [len(window.silhouettes) for window in short] == [good] * windows
        assert stage.report()["short_windows"] == windows
        assert list(stage.end("cam")) == []


def test_property_a_track_that_gave_a_window_leaves_no_short_one() -> None:
    stage = build(Config())
    feed(stage, *walk(0, 35))
    assert list(stage.end("cam")) == []


def test_property_end_carries_the_last_stamp() -> None:
    stage = build(Config())
    last = frame_of(21, ended=(5,))
    feed(stage, *walk(0, 20), frame_of(20, make_body(7)), last)
    (answer,) = stage.end("cam")
    assert answer.stamp == last.stamp and answer.ended_tracks == ()
    assert [window.track_id for window in answer.windows] == [1]


def test_property_an_ended_track_is_forgotten() -> None:
    stage = build(Config())
    answers = feed(stage, *walk(0, 29), frame_of(29, ended=(1,)), *walk(30, 29))
    assert windows_at(answers) == [29]  # the short one of the first life


def test_property_skip_answers_and_frees() -> None:
    stage = build(Config())
    feed(stage, *walk(0, 20))
    (answer,) = stage.skip(frame_of(20, make_body(), ended=(1,)))
    assert answer.visible_tracks == (1,) and answer.ended_tracks == (1,)
    assert [len(window.silhouettes) for window in answer.windows] == [20]
    assert list(stage.end("cam")) == []


def test_property_time_that_goes_back_starts_anew() -> None:
    stage = build(Config())
    feed(stage, *walk(0, 20), frame_of(20, make_body(), time_s=0.1))
    assert stage.report()["restarts"] == {"time_went_back": 1}


def test_property_frames_of_equal_time_go_on() -> None:
    stage = build(Config())
    assert windows_at(feed(stage, *(frame_of(i, make_body(), time_s=1.0) for i in range(30)))) == [
        29
    ]


def test_property_one_track_twice_in_a_frame_counts_once() -> None:
    stage = build(Config(length=3, stride=1, min_length=1))
    answers = feed(stage, *(frame_of(i, make_body(), make_body()) for i in range(3)))
    assert windows_at(answers) == [2]
    assert stage.report()["left_out"] == {"track_twice_in_a_frame": 3}


def test_property_memory_is_bounded() -> None:
    stage = build(Config())
    for i in range(MAX_TRACKS + 50):
        feed(stage, frame_of(i, make_body(i)))
    assert stage.report()["evicted_tracks"] == 50
    # Views into a message's buffer would keep the whole message alive.
    header, blob = encode(frame_of(10_000, make_body(9999)))
    feed(stage, decode(Bodies, header, blob))
    for source in stage._sources.values():
        for track in source.tracks.values():
            for frame in track.fit:
                for array in (frame.silhouette, frame.theta, frame.keypoints_px):
                    assert array.base is None or array.base.nbytes == array.nbytes


def test_property_start_drops_what_an_earlier_source_left() -> None:
    stage = build(Config())
    feed(stage, *walk(0, 20))
    stage.start(StreamStart("cam", "cam", (640, 480), 25.0, 0, False, 0))
    assert list(stage.end("cam")) == []


def test_replay_same_input_same_output_and_windows_travel() -> None:
    def once() -> list[bytes]:
        stage = build(Config())
        out = []
        for answer in feed(stage, *walk(0, 40), frame_of(40, ended=(1,))):
            header, blob = encode(answer)
            decode(Windows, header, blob)
            out.append(header + bytes(blob))
        return out

    assert once() == once()


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.floats(0.001, 0.7),  # seconds to the next frame
            st.sampled_from(["fit", "fit", "fit", "occluded", "absent", "far", "large"]),
        ),
        max_size=80,
    ),
    length=st.integers(2, 12),
    stride=st.integers(1, 15),
)
def test_property_no_window_breaks_the_rules(
    steps: list[tuple[float, str]], length: int, stride: int
) -> None:
    config = Config(length=length, stride=stride, min_length=min(5, length))
    stage = build(config)
    time_s, answers, seen = 0.0, [], {}
    for frame_id, (elapsed, kind) in enumerate(steps):
        time_s += elapsed
        bodies = {
            "fit": [make_body()],
            "occluded": [make_body(occluded=True)],
            "absent": [],
            "far": [make_body(at=(400.0, 50.0))],
            "large": [make_body(mask=person_mask(190, 76))],
        }[kind]
        seen[frame_id] = kind
        answers += feed(stage, frame_of(frame_id, *bodies, time_s=time_s))
    answers += stage.end("cam")
    for answer in answers:
        for window in answer.windows:
            ids = window.frame_ids.tolist()
            assert len(ids) == length or config.min_length <= len(ids) < length
            assert len({seen[i] for i in ids if seen[i] != "far"}) <= 1
            between = range(ids[0], ids[-1] + 1)
            assert window.left_out == sum(seen[i] == "occluded" for i in between)
            assert window.left_out <= len(ids)
            observed = [i for i in between if seen[i] != "absent"]
            times = np.cumsum([step[0] for step in steps])[observed]
            assert (np.diff(times) <= 0.5 + 1e-6).all()


@pytest.mark.parametrize(
    "bad",
    [
        {"length": 1},
        {"stride": 0},
        {"min_length": 31},
        {"max_gap_s": 0},
        {"unknown": 1},
        {"min_fill": 0.9, "max_fill": 0.5},
    ],
)
def test_exception_bad_config(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(bad)


def test_shape_every_config_field_is_described() -> None:
    assert all(field.description for field in Config.model_fields.values())


def test_property_fragment_ratio() -> None:
    mask = np.zeros((10, 10), bool)
    assert fragment_ratio(mask) == 0.0
    mask[:4] = True
    assert fragment_ratio(mask) == 0.0
    mask[6:8] = True
    assert fragment_ratio(mask) == pytest.approx(0.5)
