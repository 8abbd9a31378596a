"""The sink as a whole: what goes in, what lies in the folder."""

from __future__ import annotations

import csv
import errno
import json
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sink_scenes import body, frame, identity, in_order, stamp, stream, walk

import stages.sink.video as video_module
from pipeline.errors import (
    ConfigError,
    FrameError,
    InputError,
    MessageError,
    OutputExistsError,
    ResourceError,
)
from pipeline.messages import Bodies, Frame, FrameHandle, Identities, Message, Output, Release
from stages.sink import Config, build
from stages.sink.stage import SinkStage
from stages.sink.window import Window, require_display


def run(
    config: Config,
    messages: Iterable[Message],
    size_wh: tuple[int, int] = (160, 120),
    live: bool = False,
) -> tuple[SinkStage, list[Output]]:
    sink = build(config)
    sink.setup()
    out: list[Output] = []
    try:
        sink.start(stream(size_wh, live=live))
        for message in messages:
            out.extend(sink.process(message))
        out.extend(sink.end("cam"))
    finally:
        sink.close()
    return sink, out


def events_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]


def rows_of(folder: Path) -> list[dict]:
    with (folder / "tracks.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def video_facts(path: Path) -> tuple[int, float, tuple[int, int], str]:
    """Frames, duration in seconds, size, pixel format."""
    with av.open(str(path)) as container:
        shown = list(container.decode(video=0))
        assert container.duration is not None
        picture = shown[0]
        size = picture.width, picture.height
        return len(shown), container.duration / 1e6, size, picture.format.name


def test_smoke_writes_everything(tmp_path: Path) -> None:
    sink, out = run(Config(out_dir=tmp_path, save_silhouettes=True), in_order(walk()))
    assert out == [Release("cam", i) for i in range(6)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "annotated.mp4",
        "events.jsonl",
        "silhouettes",
        "thumbnails",
        "tracks.csv",
    ]
    report = sink.report()
    json.dumps(report, allow_nan=False)
    assert {k: report[k] for k in ("frames", "video_frames", "tracks", "identities")} == {
        "frames": 6,
        "video_frames": 6,
        "tracks": 2,
        "identities": 3,
    }
    assert [t["name"] for t in report["per_track"]] == ["Bea", "unknown"]
    assert report["events"] == len(events_of(tmp_path))


def test_smoke_events(tmp_path: Path) -> None:
    run(Config(out_dir=tmp_path, video=False), in_order(walk()))
    events = events_of(tmp_path)
    assert [(e["type"], e.get("frame_id"), e.get("track_id")) for e in events] == [
        ("start", None, None),
        ("track_start", 0, 1),
        ("track_start", 1, 2),
        ("identity", 2, 1),
        ("identity", 4, 2),
        ("track_end", 4, 2),
        ("identity", 5, 1),
        ("track_end", 5, 1),
        ("end", None, None),
    ]
    assert events[3] == {
        "type": "identity",
        "source_id": "cam",
        "frame_id": 2,
        "time_s": 0.08,
        "track_id": 1,
        "state": "known",
        "name": "Anna",
        "person_id": "p-Anna",
        "score": 0.9123,
        "false_alarm_rate": 0.01,
        "windows": 2,
        "frames": 38,
    }
    assert events[-2]["name"] == "Bea" and events[-2]["frames_seen"] == 6
    assert events[0]["width"] == 160 and "unix_time" not in events[0]


def test_smoke_live_events_tell_time_and_latency(tmp_path: Path) -> None:
    run(Config(out_dir=tmp_path), in_order(walk()), live=True)
    events = events_of(tmp_path)
    first = next(e for e in events if e["type"] == "identity")
    assert first["latency_ms"] == 80.0
    assert first["unix_time"] == 1_700_000_000.08
    assert events[-3]["latency_ms"] is None  # the flushed one came without spans
    assert video_facts(tmp_path / "annotated.mp4")[0] == 6


def test_smoke_table(tmp_path: Path) -> None:
    run(Config(out_dir=tmp_path, video=False), in_order(walk()))
    header = (tmp_path / "tracks.csv").read_text().splitlines()[0]
    assert header == "source_id,frame_id,time_s,track_id,x1,y1,x2,y2,score,name,name_score"
    rows = rows_of(tmp_path)
    assert len(rows) == 9
    named = [(r["frame_id"], r["name"], r["name_score"]) for r in rows if r["track_id"] == "1"]
    assert named[:3] == [("0", "", ""), ("1", "", ""), ("2", "Anna", "0.9123")]
    assert named[-1] == ("5", "Anna", "0.9123")  # "Bea" came after the last frame
    assert (
        rows[0]["x2"] == "80.00" and rows[0]["time_s"] == "0.000" and rows[0]["score"] == "0.8750"
    )


def test_smoke_silhouettes_in_the_layout_of_embed(tmp_path: Path) -> None:
    run(Config(out_dir=tmp_path, save_silhouettes=True, video=False), in_order(walk()))
    folder = tmp_path / "silhouettes" / "2"
    assert [p.name for p in sorted(folder.glob("*.png"))] == [f"{i:06d}.png" for i in (1, 2, 3)]
    mask = cv2.imread(str(folder / "000001.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (70, 30) and set(np.unique(mask)) == {0, 255}
    assert np.array_equal(mask > 0, body(2, (100, 30, 130, 100)).person.mask.unpack())
    theta = np.load(folder / "smpls.npy")
    assert theta.shape == (3, 85) and theta.dtype == np.float32 and (theta == 2).all()
    assert np.load(folder / "keypoints.npy").shape == (3, 17, 3)
    assert (folder / "frames.csv").read_text().splitlines()[1].startswith("1,0.040,100,30,30,70,")


def test_smoke_video_plays_with_right_length(tmp_path: Path) -> None:
    messages = in_order(walk(25, (320, 240)))
    run(Config(out_dir=tmp_path), messages, (320, 240))
    frames, seconds, size, pixel_format = video_facts(tmp_path / "annotated.mp4")
    assert frames == 25 and pixel_format == "yuv420p"
    assert seconds == pytest.approx(1.0, abs=0.002)
    assert size[0] == 320 and 240 < size[1] <= 270
    data = (tmp_path / "annotated.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "a browser wants the index first"


def test_smoke_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    writer = video_module.VideoWriter(
        tmp_path / "v.mp4", (64, 64), 0.0, crf=23, preset="ultrafast", threads=1
    )
    times_ms = [0, 40, 45, 500, 500, 400, 900]
    for t in times_ms:
        writer.write(np.zeros((64, 64, 3), np.uint8), t * 1_000_000)
    writer.finish()
    writer.close()
    with av.open(str(tmp_path / "v.mp4")) as container:
        shown = [round(float(f.pts * f.time_base) * 1000) for f in container.decode(video=0)]
    assert shown == [0, 40, 45, 500, 500, 500, 900]


def test_smoke_empty_stream(tmp_path: Path) -> None:
    sink, out = run(Config(out_dir=tmp_path), [])
    assert out == []
    assert [e["type"] for e in events_of(tmp_path)] == ["start", "end"]
    assert rows_of(tmp_path) == [] and not (tmp_path / "annotated.mp4").exists()
    assert sink.report()["frames"] == 0


def test_smoke_nobody_there(tmp_path: Path) -> None:
    messages = [m(stamp(i)) for i in range(3) for m in (Bodies, Identities)]
    _, out = run(Config(out_dir=tmp_path), [*(frame(i) for i in range(3)), *messages])
    assert len(out) == 3 and not (tmp_path / "thumbnails").exists()
    assert video_facts(tmp_path / "annotated.mp4")[0] == 3


def test_smoke_without_a_folder_nothing_is_written() -> None:
    _, out = run(Config(), in_order(walk()))
    assert len(out) == 6


@pytest.mark.parametrize(
    ("size_wh", "expected"),
    [
        ((1, 1), (2, 2)),
        ((2, 1), (2, 2)),
        ((33, 17), (34, 18)),
        ((641, 361), (642, None)),
        ((3840, 2160), (1920, None)),
        ((9, 3000), (6, 1920)),
    ],
)
def test_shape_any_frame_size(
    tmp_path: Path, size_wh: tuple[int, int], expected: tuple[int, int | None]
) -> None:
    run(Config(out_dir=tmp_path, video_preset="ultrafast"), in_order(walk(2, size_wh)), size_wh)
    frames, _, size, pixel_format = video_facts(tmp_path / "annotated.mp4")
    assert frames == 2 and pixel_format == "yuv420p"
    assert size[0] == expected[0] and size[1] % 2 == 0
    assert expected[1] is None or size[1] == expected[1]


def test_shape_size_changes_in_mid_stream(tmp_path: Path) -> None:
    messages = [
        message
        for i, size in enumerate([(160, 120), (64, 200), (320, 240)])
        for message in (frame(i, size), Bodies(stamp(i), (body(1),)), Identities(stamp(i)))
    ]
    run(Config(out_dir=tmp_path), messages)
    assert video_facts(tmp_path / "annotated.mp4")[0] == 3


@pytest.mark.parametrize(
    "name",
    [
        "Владимир",
        "山田太郎",
        "محمد علي",
        "a" * 256,
        "x\ny\t\x00",
        "=1+1",
        "\ud800",
        "",
        "👩‍👩‍👧",
        'q",',
    ],
)
def test_smoke_any_name(tmp_path: Path, name: str) -> None:
    messages = in_order(walk(3, (320, 240)))
    messages[-1] = Identities(stamp(2), (identity(1, name=name),))
    messages.insert(2, Identities(stamp(0), (identity(1, name=name),)))
    del messages[3]
    run(Config(out_dir=tmp_path), messages, (320, 240))
    shown = name.encode("utf-8", "replace").decode()
    assert next(e for e in events_of(tmp_path) if e["type"] == "identity")["name"] == shown
    assert rows_of(tmp_path)[0]["name"] == shown.replace("\0", "")


@pytest.mark.parametrize(
    "box",
    [
        (-50, -20, 30, 60),
        (150, 100, 400, 500),
        (-500, -500, -400, -400),
        (10, 10, 10, 10),
        (0, 0, 160, 120),
        (float("nan"), 0, 5, 5),
        (1e30, 0, 1e38, 5),
    ],
)
def test_smoke_people_partly_or_wholly_outside(
    tmp_path: Path, box: tuple[float, float, float, float]
) -> None:
    person = body(1)
    odd = body(1, box) if abs(sum(box)) < 1e4 else person
    odd.person.bbox_xyxy_px[:] = box
    odd.person.keypoints_px[3, 0] = np.nan
    odd.person.keypoints_px[4, 1] = 1e30
    messages = [frame(0), Bodies(stamp(0), (odd,)), Identities(stamp(0))]
    _, out = run(Config(out_dir=tmp_path, save_silhouettes=True), messages)
    assert out == [Release("cam", 0)]
    assert video_facts(tmp_path / "annotated.mp4")[0] == 1


def test_smoke_shared_pixels_are_never_written(tmp_path: Path) -> None:
    topics = walk(2)
    before = [m.pixels.copy() for m in topics[0]]  # type: ignore[union-attr]
    run(Config(out_dir=tmp_path), in_order(topics))
    for message, pixels in zip(topics[0], before, strict=True):
        assert np.array_equal(message.pixels, pixels)  # type: ignore[union-attr]


# What travels between stages


@settings(max_examples=40, deadline=None)
@given(order=st.permutations([0] * 5 + [1] * 5 + [2] * 6), live=st.just(False))
def test_property_any_interleaving_gives_the_same_files(order: list[int], live: bool) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        answers = []
        for name, messages in (("a", in_order(walk(5))), ("b", interleave(walk(5), order))):
            config = Config(out_dir=folder / name, video=False, save_silhouettes=True)
            _, out = run(config, messages)
            files = sorted(p for p in (folder / name).rglob("*") if p.is_file())
            content = [(str(p.relative_to(folder / name)), p.read_bytes()) for p in files]
            answers.append((content, out))
        assert answers[0] == answers[1]
        assert answers[1][1] == [Release("cam", i) for i in range(5)]
    finally:
        shutil.rmtree(folder)


def interleave(topics: list[list[Message]], order: list[int]) -> list[Message]:
    queues = [iter(topic) for topic in topics]
    return [next(queues[topic]) for topic in order]


@settings(max_examples=60, deadline=None)
@given(
    lost=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=9),
    order=st.permutations([0] * 6 + [1] * 6 + [2] * 7),
)
def test_property_lost_messages_never_keep_a_frame(
    lost: set[tuple[int, int]], order: list[int]
) -> None:
    topics = walk(6)
    messages = interleave(topics, order)
    kinds = (Frame, Bodies, Identities)
    messages = [m for m in messages if (kinds.index(type(m)), m.stamp.frame_id) not in lost]  # type: ignore[arg-type]
    sink, out = run(Config(), messages)
    frames = [i for i in range(6) if (0, i) not in lost]
    assert out == [Release("cam", i) for i in frames]
    assert sink.report()["frames"] == len(frames)


def test_replay_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(Config(out_dir=tmp_path / name, video_threads=1), in_order(walk()))
    for name in ("events.jsonl", "tracks.csv", "annotated.mp4"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_smoke_two_sources(tmp_path: Path) -> None:
    sink = build(Config(out_dir=tmp_path, by_source=True))
    sink.setup()
    names = ("cam", "../evil/ü")
    for name in names:
        sink.start(stream(source_id=name))
    for name in names:
        for message in (
            frame(0, source_id=name),
            Bodies(stamp(0, name), (body(1),)),
            Identities(stamp(0, name)),
        ):
            released = list(sink.process(message))
        assert released == [Release(name, 0)]
        sink.end(name)
    sink.close()
    assert sorted(p.name for p in (tmp_path / "sources").iterdir()) == [
        "%2E.%2Fevil%2F%C3%BC",
        "cam",
    ]
    assert len(list((tmp_path / "sources").glob("*/annotated.mp4"))) == 2
    assert len(rows_of(tmp_path)) == 2


def test_exception_two_sources_into_one_folder(tmp_path: Path) -> None:
    sink = build(Config(out_dir=tmp_path))
    sink.setup()
    sink.start(stream())
    with pytest.raises(ConfigError, match="by_source"):
        sink.start(stream(source_id="other"))
    with pytest.raises(MessageError, match="began twice"):
        sink.start(stream())
    with pytest.raises(MessageError, match="before it began"):
        sink.process(frame(0, source_id="third"))
    sink.close()


def test_exception_a_bad_frame_is_passed_over(tmp_path: Path) -> None:
    sink = build(Config(out_dir=tmp_path))
    sink.setup()
    sink.start(stream())
    bad = Frame(stamp(0), handle=FrameHandle("store", 0, 120, 160))
    with pytest.raises(FrameError, match="no pixels"):
        sink.process(bad)
    assert list(sink.skip(bad)) == [Release("cam", 0)]
    out: list[Output] = []
    for message in (Bodies(stamp(0), (body(1),)), Identities(stamp(0))):
        out.extend(sink.process(message))
    for message in (frame(1), Bodies(stamp(1)), Identities(stamp(1))):
        out.extend(sink.process(message))
    assert out == [Release("cam", 1)]
    with pytest.raises(FrameError, match="twice or out of order"):
        sink.process(frame(1))
    assert list(sink.skip(frame(1))) == []
    sink.end("cam")
    sink.close()
    assert sink.report()["frames_incomplete"] == 1 and len(rows_of(tmp_path)) == 1


def test_exception_a_frame_that_cannot_be_drawn_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("odd mask")

    sink = build(Config(out_dir=tmp_path))
    sink.setup()
    sink.start(stream())
    monkeypatch.setattr("stages.sink.picture.draw_people", fail)
    last = Identities(stamp(0), (), (1,))
    assert [*sink.process(frame(0)), *sink.process(Bodies(stamp(0), (body(1),)))] == []
    with pytest.raises(FrameError, match="cannot be drawn"):
        sink.process(last)
    assert list(sink.skip(last)) == [Release("cam", 0)]
    sink.end("cam")
    sink.close()
    assert [e["type"] for e in events_of(tmp_path)][-2:] == ["track_end", "end"]


# When it ends badly


@pytest.mark.parametrize("live", [False, True])
def test_exception_abort_leaves_files_that_open(tmp_path: Path, live: bool) -> None:
    sink = build(Config(out_dir=tmp_path, save_silhouettes=True))
    sink.setup()
    sink.start(stream(live=live))
    for message in in_order(walk())[:13]:
        sink.process(message)
    sink.close()
    sink.close()
    assert video_facts(tmp_path / "annotated.mp4")[0] == 4
    assert events_of(tmp_path)[-1]["type"] != "end"
    assert np.load(tmp_path / "silhouettes" / "1" / "smpls.npy").shape == (4, 85)
    sink.report()


def test_exception_a_killed_run_leaves_a_video_that_plays(tmp_path: Path) -> None:
    sink = build(Config(out_dir=tmp_path, video_threads=1))
    sink.setup()
    sink.start(stream())
    for message in in_order(walk(200))[:-1]:
        sink.process(message)
    shutil.copy(tmp_path / "annotated.mp4", tmp_path / "as_killed.mp4")
    sink.close()
    assert video_facts(tmp_path / "as_killed.mp4")[0] >= 100


def test_exception_no_room_for_the_index_keeps_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_module, "join_segments", full_disk)
    with pytest.raises(ResourceError, match=r"annotated\.mp4\.part"):
        run(Config(out_dir=tmp_path), in_order(walk()))
    assert video_facts(tmp_path / "annotated.mp4")[0] == 6
    assert events_of(tmp_path)[-1]["type"] == "end"


def test_exception_overwrite_rules(tmp_path: Path) -> None:
    run(Config(out_dir=tmp_path, save_silhouettes=True), in_order(walk()))
    kept = [
        tmp_path / "notes.txt",
        tmp_path / "silhouettes" / "mine.png",
        tmp_path / "silhouettes" / "1" / "thesis.txt",
    ]
    for path in kept:
        path.write_text("mine")
    with pytest.raises(OutputExistsError, match="events"):
        build(Config(out_dir=tmp_path)).setup()
    run(Config(out_dir=tmp_path, overwrite=True, thumbnails=False), in_order(walk(1)))
    assert all(path.read_text() == "mine" for path in kept)
    assert not (tmp_path / "thumbnails").exists()
    assert not list(tmp_path.glob("silhouettes/1/*.png")) and len(rows_of(tmp_path)) == 1


def test_exception_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        build(Config(out_dir=tmp_path / "file")).setup()
    with pytest.raises(InputError, match="cannot write"):
        build(Config(out_dir=tmp_path / "file" / "below")).setup()


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def break_container(sink: SinkStage) -> None:
    """Let the encoder's next packet find the disk full."""

    class Broken:
        def mux(self, packet: object) -> None:
            full_disk()

        def close(self) -> None:
            full_disk()

    video = sink._sources["cam"].video
    assert video is not None
    video._container.close()
    video._container = Broken()


@pytest.mark.parametrize("what", ["video", "thumbnail", "silhouette"])
def test_exception_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    sink = build(Config(out_dir=tmp_path, save_silhouettes=True, video_preset="ultrafast"))
    sink.setup()
    sink.start(stream())
    messages = in_order(walk(80))
    for message in messages[:3]:
        sink.process(message)
    faults: dict[str, Callable[[], None]] = {
        "video": lambda: break_container(sink),
        "thumbnail": lambda: monkeypatch.setattr(Path, "write_bytes", full_disk),
        "silhouette": lambda: monkeypatch.setattr("stages.sink.silhouettes.append_npy", full_disk),
    }
    faults[what]()
    with pytest.raises(ResourceError, match=r"bytes are free") as caught:
        for message in messages[3:]:
            sink.process(message)
    assert str(tmp_path) in caught.value.message and "Free some space" in caught.value.hint
    if what == "video":
        with pytest.raises(ResourceError, match="bytes are free"):
            sink.close()
    sink.close()
    assert rows_of(tmp_path) and events_of(tmp_path)[-1]["type"] != "end"


# A window


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
def test_exception_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    with pytest.raises(ConfigError, match="no window can be opened"):
        require_display()


def test_exception_keys_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("namedWindow", "resizeWindow", "imshow", "destroyWindow"):
        monkeypatch.setattr(cv2, name, lambda *a, name=name: calls.append(name))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *a: 1.0)
    monkeypatch.setattr(cv2, "waitKey", lambda *a: -1)
    monkeypatch.setattr("stages.sink.stage.require_display", lambda: None)
    sink = build(Config(display=True))
    sink.setup()
    sink.start(stream())
    messages = in_order(walk(2))
    assert [len(list(sink.process(m))) for m in messages[:3]] == [0, 0, 1]
    monkeypatch.setattr(cv2, "waitKey", lambda *a: ord("q"))
    assert not sink.stop_wanted
    assert [len(list(sink.process(m))) for m in messages[3:6]] == [0, 0, 1]
    assert sink.stop_wanted == "stopped from the window"
    sink.process(messages[6])
    sink.end("cam")
    sink.close()
    assert calls == ["namedWindow", "resizeWindow", "imshow", "imshow", "destroyWindow"]
    monkeypatch.setattr(cv2, "waitKey", lambda *a: -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *a: 0.0)
    assert "closed" in Window("w").show(np.zeros((2, 2, 3), np.uint8))


def test_exception_config_names_what_is_wrong() -> None:
    for bad in ({"crf": 99}, {"max_video_side_px": 1}, {"colour": "red"}):
        with pytest.raises(ValidationError):
            Config.model_validate(bad)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_property_another_process_takes_over_anywhere(data: st.DataObject) -> None:
    """What was written after the snapshot is taken back and comes again; files are the same."""
    messages = in_order(walk(14))
    keep = data.draw(st.integers(0, len(messages)))
    die = data.draw(st.integers(keep, len(messages)))
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / name for name in ("unbroken", "broken")]
        configs = [
            Config(out_dir=out, video=False, save_silhouettes=True, thumbnail_side_px=32)
            for out in outs
        ]
        whole = build(configs[0])
        whole.setup()
        whole.start(stream())
        for message in messages:
            whole.process(message)
        whole.end("cam")
        whole.close()
        first = build(configs[1])
        first.setup()
        first.start(stream())
        for message in messages[:keep]:
            first.process(message)
        left = pickle.dumps(first.snapshot())
        for message in messages[keep:die]:
            first.process(message)
        second = build(configs[1])
        second.resumed = True
        second.setup()
        second.restore(pickle.loads(left))
        first.close()  # its files: a process would have taken them along
        for message in messages[keep:]:
            second.process(message)
        second.end("cam")
        second.close()
        assert second.report() == whole.report()
        files = [
            {path.relative_to(out): path.read_bytes() for path in out.rglob("*.*")} for out in outs
        ]
        assert files[0] == files[1] and len(files[0]) > 10


def test_what_happens_to_a_live_run_is_a_line_of_its_events(tmp_path: Path) -> None:
    stage = build(Config(out_dir=tmp_path, video=False))
    stage.setup()
    stage.start(stream(live=True))
    stage.note("source", "source_lost", "source lost (reset)", {"unix_time": 5.25})
    stage.close()
    *_, last = map(json.loads, (tmp_path / "events.jsonl").read_text("utf-8").splitlines())
    assert last == {
        "type": "incident",
        "stage": "source",
        "kind": "source_lost",
        "text": "source lost (reset)",
        "unix_time": 5.25,
    }
