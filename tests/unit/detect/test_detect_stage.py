"""The stage with MediaPipe, on drawn walkers and odd pictures."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from detect_puppet import background, draw, walk
from pydantic import TypeAdapter, ValidationError

from pipeline import codec
from pipeline.errors import FrameError, WeightsError
from pipeline.messages import Frame, FrameHandle, Stamp, StreamStart
from stages.detect import Config, MediapipeConfig, YoloConfig, build
from stages.detect.pool import PosePool
from stages.detect.pose import Roi
from stages.detect.quiet import quiet_start, without_chatter

RATE = 10.0
CLIP = Path(__file__).parents[3] / "demo" / "camera_a.mp4"


def frame(pixels, index, source="a", rate=RATE):
    stamp = Stamp(source, index, round(index * 1e9 / rate), 0, 0)
    return Frame(stamp, pixels=pixels)


def stream(pixels, source="a", rate=RATE, live=False):
    return StreamStart(source, source, (pixels.shape[1], pixels.shape[0]), rate, 0, live, 0)


def run(frames, config=None, rate=RATE, live=False):
    stage = build(config or MediapipeConfig(threads=1))
    stage.setup()
    try:
        stage.start(stream(frames[0], rate=rate, live=live))
        out = [next(iter(stage.process(frame(f, i, rate=rate)))) for i, f in enumerate(frames)]
        report = dict(stage.report())
        assert list(stage.end("a")) == []
    finally:
        stage.close()
    return out, report


def packed(messages):
    return [b"".join(bytes(part) for part in codec.encode(message)) for message in messages]


@pytest.fixture(scope="module")
def walked():
    return run(walk(24))


def test_smoke_a_walker_is_found_followed_and_segmented(walked):
    messages, report = walked
    assert [m.stamp.frame_id for m in messages] == list(range(24))
    late = messages[8:]
    assert all([p.track_id for p in m.people] == [1] for m in late)
    for index, message in enumerate(late, 8):
        person = message.people[0]
        x1, y1, x2, y2 = person.bbox_xyxy_px
        middle = 120 + 6 * (index - 3)
        assert abs((x1 + x2) / 2 - middle) < 10
        assert y1 == pytest.approx(0.93 * 360 - 200, abs=14) and y2 == pytest.approx(335, abs=14)
        mask = person.mask.unpack()
        assert (person.mask.x, person.mask.y) == (x1, y1) and mask.shape == (y2 - y1, x2 - x1)
        assert 0.3 < mask.mean() < 0.9
        assert person.world_landmarks_m.shape == (33, 4)
        assert not person.cut_by_border and not person.occluded
        nose, ankles = person.keypoints_px[0], person.keypoints_px[15:17]
        assert (ankles[:, 1] - nose[1] > 120).all()
    assert report["people"] >= 16 and report["skipped_turns"] == 0


def test_replay_threads_and_runs_give_the_same_bytes():
    scene = background(640, 360)
    frames = []
    for index in range(14):
        picture = scene.copy()
        draw(picture, 150 + 5 * index, 330, 180, 0.6 * index)
        draw(picture, 460 - 5 * index, 340, 190, 0.5 * index, coat=(150, 60, 30))
        frames.append(picture)
    one, _ = run(frames, MediapipeConfig(threads=1))
    two, _ = run(frames, MediapipeConfig(threads=2))
    again, _ = run(frames, MediapipeConfig(threads=2))
    assert max(len(m.people) for m in one) == 2
    assert packed(one) == packed(two) == packed(again)


def test_parity_networks_have_no_memory():
    frames = walk(6, rest=0)
    whole = np.array([0.0, 0.0, 640.0, 360.0])
    with PosePool(2, 0.5) as pool:
        fresh, used = pool._all
        for picture in frames[:4]:
            used.find(picture, whole)
            used.read(picture, Roi(300.0, 200.0, 150.0, 0.3))
        a, b = fresh.find(frames[5], whole), used.find(frames[5], whole)
        assert a == b and len(a) >= 1
        first, second = fresh.read(frames[5], a[0].roi), used.read(frames[5], a[0].roi)
        assert first is not None and second is not None and first.roi == second.roi
        for name in ("landmarks", "world", "mask"):
            assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_somebody_who_stands_still_stays_found():
    scene = background(480, 360)
    frames = [scene.copy() for _ in range(40)]
    for index, picture in enumerate(frames[2:]):
        draw(picture, min(100 + 8 * index, 180), 335, 200, 0.6 * min(index, 10))
    messages, _ = run(frames, MediapipeConfig(threads=1, background_s=0.5))
    assert all([p.track_id for p in m.people] == [1] for m in messages[12:])


def test_an_empty_scene_is_cheap_and_empty():
    messages, report = run([background(640, 360)] * 15)
    assert not any(m.people for m in messages)
    assert report["readings"] <= 4 and report["searches"] <= 8


def test_a_thing_that_moves_is_not_a_person():
    scene = background(640, 360)
    frames = []
    for index in range(20):
        picture = scene.copy()
        picture[120:300, 40 + 12 * index : 130 + 12 * index] = (60, 90, 60)
        frames.append(picture)
    messages, report = run(frames)
    assert not any(m.people for m in messages)
    assert report["searches"] > 0


def test_people_share_the_turns_of_a_tight_live_budget():
    scene = background(760, 300)
    frames = []
    for index in range(30):
        picture = scene.copy()
        for person, coat in enumerate(((40, 40, 160), (150, 60, 30), (50, 140, 60))):
            draw(picture, 120 + 230 * person + 2 * index, 285, 180, 0.6 * index, coat=coat)
        frames.append(picture)
    config = MediapipeConfig(threads=1, max_crops_per_frame=4)
    free, report = run(frames, config)
    assert report["skipped_turns"] == 0
    assert max(len(m.people) for m in free) == 3
    config = MediapipeConfig(threads=1, max_crops_per_frame=2)
    tight, report = run(frames, config, live=True)
    assert report["skipped_turns"] > 0
    seen = [p.track_id for m in tight[15:] for p in m.people]
    assert all(seen.count(number) >= 4 for number in set(seen))
    assert len(set(seen)) >= 2


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((1, 700, 3), np.uint8),
        np.zeros((700, 1, 3), np.uint8),
        np.zeros((15, 15, 3), np.uint8),
        np.zeros((480, 640, 3), np.uint8),
        np.full((240, 320, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8),
        np.zeros((4320, 7680, 3), np.uint8),
    ],
    ids=lambda p: f"{p.shape[1]}x{p.shape[0]}",
)
def test_shape_odd_pictures_have_nobody(picture):
    picture.setflags(write=False)
    messages, _ = run([picture] * 3)
    assert [m.people for m in messages] == [()] * 3


def test_exception_frames_without_source_or_pixels():
    stage = build(MediapipeConfig(threads=1))
    stage.setup()
    picture = background(160, 120)
    with pytest.raises(FrameError, match="not started"):
        stage.process(frame(picture, 0))
    stage.start(stream(picture))
    with pytest.raises(FrameError, match="no pixels"):
        stage.process(Frame(Stamp("a", 1, 0, 0, 0), handle=FrameHandle("s", 0, 120, 160)))
    (answer,) = stage.skip(frame(picture, 2))
    assert answer.people == () and answer.stamp.frame_id == 2
    stage.end("a")
    with pytest.raises(FrameError, match="not started"):
        stage.process(frame(picture, 3))
    stage.close()


def test_sources_do_not_disturb_each_other(walked):
    frames = walk(24)
    stage = build(MediapipeConfig(threads=1))
    stage.setup()
    stage.start(stream(frames[0], "a"))
    stage.start(stream(frames[0], "b"))
    out = {"a": [], "b": []}
    for index, picture in enumerate(frames):
        other = frames[-1 - index]
        out["a"].extend(stage.process(frame(picture, index, "a")))
        out["b"].extend(stage.process(frame(other, index, "b")))
    stage.close()
    assert packed(out["a"]) == packed(walked[0])
    assert {p.track_id for m in out["b"] for p in m.people} == {1}


def test_configuration_words():
    adapter = TypeAdapter(Config)
    assert isinstance(adapter.validate_python({"variant": "mediapipe"}), MediapipeConfig)
    yolo = adapter.validate_python({"variant": "yolo", "weights": "x.pt"})
    assert isinstance(yolo, YoloConfig)
    for bad in ({"variant": "mediapipe", "treads": 2}, {"variant": "yolo"}, {"variant": "x"}):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)
    with pytest.raises(ValidationError):
        MediapipeConfig(min_score=1.5)


def test_exception_yolo_weights_must_exist(tmp_path):
    stage = build(YoloConfig(variant="yolo", weights=tmp_path / "no.pt", threads=1))
    with pytest.raises(WeightsError, match=r"no\.pt"):
        stage.setup()


def test_chatter_is_dropped_and_errors_are_not(capfd):
    with quiet_start():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nreal trouble\n")
    assert capfd.readouterr().err == "real trouble\n"
    assert without_chatter("") == ""


def test_smoke_starting_says_nothing(capfd):
    with PosePool(1, 0.5):
        pass
    assert capfd.readouterr().err == ""


def test_replay_of_the_demo_clip_with_one_and_two_threads():
    import cv2

    video = cv2.VideoCapture(str(CLIP))
    frames = [video.read()[1] for _ in range(120)][95:]  # the room is empty at first
    one, _ = run(frames, MediapipeConfig(threads=1), rate=25.0)
    assert sum(len(message.people) for message in one) > 20
    two, _ = run(frames, MediapipeConfig(threads=2), rate=25.0)
    assert packed(one) == packed(two)


def test_another_process_goes_on_with_the_same_tracks(walked):
    people, frames = walked[0], walk(24)
    half = len(frames) // 2
    first = build(MediapipeConfig(threads=1))
    first.setup()
    first.start(stream(frames[0]))
    for index in range(half):
        first.process(frame(frames[index], index))
    left = pickle.dumps(first.snapshot())
    first.close()
    second = build(MediapipeConfig(threads=1))
    second.setup()
    second.restore(pickle.loads(left))
    rest = [next(iter(second.process(frame(frames[i], i)))) for i in range(half, len(frames))]
    frames_counted = second.report()["frames"]
    second.close()
    assert frames_counted == len(frames)
    unbroken = [[one.track_id for one in each.people] for each in people[half:]]
    found = [[one.track_id for one in each.people] for each in rest]
    assert sum(a != b for a, b in zip(found, unbroken, strict=True)) <= 1
