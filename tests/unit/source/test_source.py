"""Sources: every frame of a recording, the newest of a camera, and clear words for broken input."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.errors import ConfigError, SourceError
from pipeline.stage import EndOfSource, RawFrame
from stages.source import Config, SourceStage
from stages.source.config import public_label
from stages.source.images import natural_order

RATE = 25


def write_video(path: Path, frames: int = 30, size: tuple[int, int] = (64, 48)) -> Path:
    """A film whose brightness tells the frame: frame k is about 8*k (mod 256) everywhere."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"g": "10", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(frames):
            pixels = np.full((size[1], size[0], 3), 8 * index % 256, np.uint8)
            pixels[: size[1] // 2, : size[0] // 2] = (0, 0, 255)  # top left is red
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@contextmanager
def opened(**settings: Any) -> Iterator[tuple[SourceStage, Any]]:
    stage = SourceStage(Config(**settings))
    stream = stage.open()
    try:
        yield stage, stream
    finally:
        stage.close()


def read_all(stage: SourceStage) -> tuple[list[RawFrame], str]:
    frames = []
    while True:
        try:
            frame = stage.read(0.1)
        except EndOfSource as end:
            return frames, end.reason
        if frame is not None:
            frames.append(frame)


def test_replay_gives_every_frame_with_the_recordings_clock(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    with opened(uri=str(path)) as (stage, stream):
        frames, reason = read_all(stage)
    assert (stream.size_wh, stream.rate_hz, stream.frames_expected) == ((64, 48), 25.0, 30)
    assert not stream.live and reason == ""
    assert [frame.time_ns for frame in frames] == [index * 40_000_000 for index in range(30)]
    for index, frame in enumerate(frames):
        assert abs(int(frame.pixels[-1, -1, 0]) - 8 * index % 256) <= 6


def test_replay_reads_a_part(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    with opened(uri=str(path), start_s=0.5, end_s=0.8) as (stage, stream):
        frames, reason = read_all(stage)
    assert [frame.time_ns // 1_000_000 for frame in frames] == [520, 560, 600, 640, 680, 720, 760]
    assert abs(int(frames[0].pixels[-1, -1, 0]) - 8 * 13) <= 6
    assert reason == "" and abs(stream.frames_expected - 7) <= 1


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_is_respected(tmp_path: Path, degrees: int) -> None:
    path = write_video(tmp_path / "a.mp4", frames=2)
    rotate_in_header(path, degrees)
    reference = cv2.VideoCapture(str(path))
    reference.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    good, upright = reference.read()
    reference.release()
    assert good
    with opened(uri=str(path)) as (stage, stream):
        frames, _ = read_all(stage)
    assert stream.size_wh == (upright.shape[1], upright.shape[0])
    assert np.abs(frames[0].pixels.astype(int) - upright).max() < 24


def rotate_in_header(path: Path, degrees: int) -> None:
    """Write a rotation into the track header's matrix, as a telephone does."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    data = path.read_bytes()
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    place = data.index(identity, data.index(b"tkhd"))
    path.write_bytes(data[:place] + matrix + data[place + len(matrix) :])


def test_a_recording_behind_an_http_address(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=10)
    with served(tmp_path) as address:
        uri = address.replace("//", "//me:secret@") + "/a.mp4"
        with opened(uri=uri) as (stage, stream):
            frames, _ = read_all(stage)
    assert len(frames) == 10 and "secret" not in stream.label


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[str]:
    """A web server for a folder, and its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_a_stream_joined_in_the_middle_begins_with_a_key_frame(tmp_path: Path, codec: str) -> None:
    """As after a reconnect: what comes before the first key frame must not be shown."""
    rough = np.random.default_rng(3).integers(0, 256, (12, 16, 3), np.uint8)
    picture = cv2.resize(rough, (64, 48), interpolation=cv2.INTER_CUBIC)
    options = {"g": "10", "sc_threshold": "1000000000", "x265-params": "scenecut=0:log-level=0"}
    with av.open(str(tmp_path / "whole.ts"), "w") as made:
        stream = made.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(30):
            shifted = np.ascontiguousarray(np.roll(picture, 2 * index, axis=1))
            made.mux(stream.encode(av.VideoFrame.from_ndarray(shifted, format="bgr24")))
        made.mux(stream.encode(None))
    with (
        av.open(str(tmp_path / "whole.ts")) as given,
        av.open(str(tmp_path / "joined.ts"), "w") as joined,
    ):
        copy = joined.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.dts is not None]
        for packet in packets[3:]:
            packet.stream = copy
            joined.mux(packet)
    with opened(uri=str(tmp_path / "whole.ts")) as (stage, _):
        expected, _ = read_all(stage)
    with opened(uri=str(tmp_path / "joined.ts")) as (stage, _):
        frames, _ = read_all(stage)
    assert 15 <= len(frames) <= 21
    for frame, same in zip(frames, expected[-len(frames) :], strict=True):
        np.testing.assert_array_equal(frame.pixels, same.pixels)


def test_folder_of_images_in_natural_order(tmp_path: Path) -> None:
    for index in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"f{index}.png"), np.full((8, 9, 3), index, np.uint8))
    (tmp_path / "f3.png").write_bytes(b"not a picture")
    (tmp_path / "notes.txt").write_text("x")
    with opened(uri=str(tmp_path), image_rate_hz=10) as (stage, stream):
        frames, reason = read_all(stage)
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [1, 2, 10]
    assert [frame.time_ns // 10**8 for frame in frames] == [0, 1, 3]
    assert "1 images" in reason and stream.size_wh == (9, 8)
    assert sorted(["f10", "f9"], key=natural_order) == ["f9", "f10"]


def test_exception_inputs_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "headless.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"x")
    write_sound(tmp_path / "sound.mp4")
    for name, says in {
        "missing.mp4": "there is no file",
        "empty.mp4": "0 bytes",
        "noise.mp4": "cannot open",
        "headless.mp4": "cannot open",
        "sound.mp4": "no video .* holds audio",
        "none": "no images",
        "bad": "none of the 1 images",
    }.items():
        with pytest.raises(SourceError, match=says), opened(uri=str(tmp_path / name)):
            pass
    with (
        pytest.raises(SourceError, match="ends before second 9"),
        opened(uri=str(tmp_path / "whole.mp4"), start_s=9),
    ):
        pass
    with pytest.raises(SourceError, match="there is no camera 97"), opened(uri="97"):
        pass
    with (
        pytest.raises(SourceError, match=r"cannot open rtsp://127\.0\.0\.1:9/x") as caught,
        opened(uri="rtsp://me:secret@127.0.0.1:9/x", timeout_s=1),
    ):
        pass
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="no source"), opened():
        pass


def test_exception_an_address_that_takes_calls_and_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        with (
            pytest.raises(SourceError, match="cannot open rtsp"),
            opened(uri=address, timeout_s=0.3),
        ):
            pass


def test_a_recording_behind_an_address_is_over_when_it_is_over(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=20)
    with served(tmp_path) as address, opened(uri=f"{address}/a.mp4", live=True) as (stage, _):
        _, reason = read_all(stage)
        incidents = [kind for kind, _, _ in stage.take_incidents()]
    assert reason == "" and incidents == []


def test_a_stream_behind_an_address_that_ends_is_lost(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", frames=60)
    with (
        av.open(str(whole)) as given,
        av.open(str(tmp_path / "stream.ts"), "w") as made,
    ):
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    with served(tmp_path) as address:
        settings = {"uri": f"{address}/stream.ts", "live": True, "reconnect_s": 0.0}
        with opened(**settings) as (stage, _):
            (tmp_path / "stream.ts").unlink()
            _, reason = read_all(stage)
            kinds = [kind for kind, _, _ in stage.take_incidents()]
    assert "not back within 0 s" in reason and kinds[-1] == "source_lost"


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)


def test_a_file_that_breaks_off_keeps_what_was_read(tmp_path: Path) -> None:
    with (
        av.open(str(write_video(tmp_path / "a.mp4", frames=60))) as container,
        av.open(str(tmp_path / "front.mp4"), "w", options={"movflags": "faststart"}) as copy,
    ):
        stream = copy.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    data = (tmp_path / "front.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: int(len(data) * 0.7)])
    with opened(uri=str(path)) as (stage, _):
        frames, reason = read_all(stage)
    assert 10 < len(frames) < 60
    assert f"broke off: {len(frames)} of 60" in reason


def test_damage_in_the_middle_is_counted_and_passed_over(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=60)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 4 + (data.index(b"moov") - data.index(b"mdat")) // 2
    data[middle : middle + 200] = np.random.default_rng(1).bytes(200)
    path.write_bytes(data)
    with opened(uri=str(path)) as (stage, _):
        frames, reason = read_all(stage)
        damaged = stage.report()["damaged"]
    assert len(frames) > 20 and reason
    assert damaged or len(frames) < 60


@pytest.mark.parametrize("size", [(2, 2), (7680, 4320)])
def test_extreme_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "a.mp4", frames=2, size=size)
    with opened(uri=str(path)) as (stage, stream):
        frames, _ = read_all(stage)
    assert stream.size_wh == size and len(frames) == 2


def test_realtime_plays_at_the_recordings_speed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=10)
    begin = time.monotonic()
    with opened(uri=str(path), realtime=True) as (stage, stream):
        frames, _ = read_all(stage)
        dropped = stage.report()["dropped"]
    assert stream.live and len(frames) + dropped == 10
    assert time.monotonic() - begin >= 9 / RATE
    assert frames[-1].time_ns == 9 * 40_000_000


def test_labels_hide_credentials_and_folders() -> None:
    assert public_label("rtsp://me:pass@cam.example/1?token=x") == "rtsp://cam.example/1"
    assert public_label("/home/me/film?.mp4") == "film?.mp4"
    assert public_label("0") == "0"


def test_exception_settings_that_contradict() -> None:
    with pytest.raises(ValidationError, match="end_s must be after start_s"):
        Config(uri="a", start_s=5, end_s=4)
    with pytest.raises(ValidationError, match="loop needs realtime"):
        Config(uri="a", loop=True)


def test_what_comes_while_it_closes_is_no_drop(tmp_path: Path) -> None:
    """A recording that is played slowly must not race to its end, and count all of it as lost."""
    path = write_video(tmp_path / "a.mp4", frames=100)
    with opened(uri=str(path), realtime=True, rate_hz=2.0) as (stage, _):
        assert stage.read(2.0) is not None
    assert stage.report()["dropped"] == 0
