"""A source that another process takes over goes on with the very next frame."""

from __future__ import annotations

import pickle
import time
from contextlib import suppress
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from test_source import opened, read_all, served, write_video

from pipeline.errors import SourceError
from pipeline.stage import EndOfSource, RawFrame
from stages.source import Config, SourceStage

FRAMES = 37


def noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)


def with_b_frames(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "12", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(FRAMES):
            for packet in stream.encode(av.VideoFrame.from_ndarray(noise(index), format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def mpeg4_in_avi(path: Path) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 10, (64, 48))
    for index in range(FRAMES):
        writer.write(noise(index))
    writer.release()
    return path


def images(path: Path) -> Path:
    path.mkdir()
    for index in range(FRAMES):
        cv2.imwrite(str(path / f"frame{index}.png"), noise(index))
    for index in (0, 5, 6, FRAMES - 1):
        (path / f"frame{index}.png").write_bytes(b"no picture")
    return path


MAKERS = {"h264": with_b_frames, "mpeg4": mpeg4_in_avi, "images": images}


def key(frame: RawFrame) -> tuple[int, bytes]:
    return frame.time_ns, frame.pixels.tobytes()


def goes_on(uri: Path, taken: int, **more: object) -> tuple[list[RawFrame], str, dict[str, object]]:
    return goes_on_from(left_after(uri, taken, **more), uri, **more)


def left_after(uri: Path, taken: int, **more: object) -> object:
    with opened(uri=str(uri), **more) as (stage, _):
        for _ in range(taken):
            assert stage.read(0.1) is not None
        return pickle.loads(pickle.dumps(stage.snapshot()))


def goes_on_from(
    left: object, uri: Path, **more: object
) -> tuple[list[RawFrame], str, dict[str, object]]:
    stage = SourceStage(Config(uri=str(uri), **more))
    stage.restore(left)
    stage.open()
    frames, reason = read_all(stage)
    report = dict(stage.report())
    stage.close()
    return frames, reason, report


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("taken", [0, 1, 2, 11, 12, 13, 30, "all but one", "all"])
def test_parity_with_one_that_was_not_interrupted(
    tmp_path: Path, kind: str, taken: int | str
) -> None:
    uri = MAKERS[kind](tmp_path / f"clip.{'avi' if kind == 'mpeg4' else 'mp4'}")
    with opened(uri=str(uri)) as (stage, _):
        whole, reason = read_all(stage)
        report = dict(stage.report())
    count = {"all": len(whole), "all but one": len(whole) - 1}.get(str(taken), taken)
    assert isinstance(count, int)
    rest, said, counted = goes_on(uri, count)
    assert [key(frame) for frame in rest] == [key(frame) for frame in whole[count:]]
    assert (said, counted) == (reason, report)


def test_parity_of_a_part(tmp_path: Path) -> None:
    uri = with_b_frames(tmp_path / "clip.mp4")
    with opened(uri=str(uri), start_s=0.4, end_s=1.2) as (stage, _):
        whole, _ = read_all(stage)
    rest, reason, _ = goes_on(uri, 7, start_s=0.4, end_s=1.2)
    assert [key(frame) for frame in rest] == [key(frame) for frame in whole[7:]]
    assert reason == ""


def test_a_file_whose_times_mislead_is_read_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = with_b_frames(tmp_path / "clip.mp4")
    with opened(uri=str(uri)) as (stage, _):
        whole, _ = read_all(stage)
    left = left_after(uri, 20)
    monkeypatch.setattr(
        "stages.source.video.VideoReader._seek", lambda reader, time_ns: bool(_one_on(reader))
    )
    rest, _, _ = goes_on_from(left, uri)
    assert [key(frame) for frame in rest] == [key(frame) for frame in whole[20:]]


def _one_on(reader: object) -> bool:
    """A seek that lands where it should not: every time is one frame late from here on."""
    reader._zero_s = -0.04  # type: ignore[attr-defined]
    return True


def test_exception_a_file_that_is_another_one_now(tmp_path: Path) -> None:
    uri = with_b_frames(tmp_path / "clip.mp4")
    with opened(uri=str(uri)) as (stage, _):
        for _ in range(20):
            stage.read(0.1)
        left = stage.snapshot()
    write_video(uri, frames=30)
    again = SourceStage(Config(uri=str(uri)))
    again.restore(left)
    with pytest.raises(SourceError, match=r"has changed: its picture at 0\.760 s"):
        again.open()


def test_a_live_source_keeps_its_clock_and_counts(tmp_path: Path) -> None:
    uri = with_b_frames(tmp_path / "clip.mp4")
    settings = {"uri": str(uri), "realtime": True, "loop": True, "rate_hz": 200.0}
    with opened(**settings) as (first, _):
        before = [first.read(1.0) for _ in range(20)]
        left = pickle.loads(pickle.dumps(first.snapshot()))
    with_clock = SourceStage(Config(**settings))
    with_clock.restore(left)
    with_clock.open()
    after = with_clock.read(1.0)
    with_clock.close()
    assert before[-1] is not None and after is not None
    assert after.time_ns > before[-1].time_ns


def test_a_camera_that_is_away_when_its_process_is_replaced_is_waited_for(tmp_path: Path) -> None:
    with_b_frames(tmp_path / "clip.mp4")
    with served(tmp_path) as address:
        settings = {"uri": f"{address}/clip.mp4", "live": True}
        with opened(**settings) as (first, _):
            with suppress(EndOfSource):  # it may be read through already
                first.read(5.0)
            left = pickle.loads(pickle.dumps(first.snapshot()))
        port = int(address.rpartition(":")[2])
    again = SourceStage(Config(**settings))
    again.restore(left)
    stream = again.open()  # nobody answers there now
    assert stream.size_wh == (64, 48)
    told: list[str] = []
    shown = -int(first.report()["dropped"])  # which it goes on counting from
    deadline = time.monotonic() + 30
    while "source_lost" not in told:
        assert time.monotonic() < deadline
        assert again.read(0.1) is None
        told += [kind for kind, _, _ in again.take_incidents()]
    assert again.report()["lost"]
    with served(tmp_path, port), pytest.raises(EndOfSource):
        while time.monotonic() < deadline:
            shown += again.read(0.1) is not None
    again.close()
    report = again.report()
    assert report["reconnects"] == 1 and not report["lost"]
    assert shown + report["dropped"] == FRAMES
