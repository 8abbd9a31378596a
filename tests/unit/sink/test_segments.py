"""A video whose writers die holds every frame once, at its own time."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import av
import numpy as np
import pytest

from stages.sink.segments import whole_frames
from stages.sink.video import VideoState, VideoWriter

FRAMES = 60
STEP_NS = 40_000_000


def picture(index: int) -> np.ndarray:
    pixels = np.full((48, 64, 3), index * 4 % 256, np.uint8)
    pixels[:, index % 60 : index % 60 + 4] = 255
    return pixels


def writer(folder: Path, after: VideoState | None) -> VideoWriter:
    return VideoWriter(
        folder / "annotated.mp4", (64, 48), 25.0, crf=20, preset="veryfast", threads=1, after=after
    )


def write_and_die(folder: Path, start: int, after: VideoState | None, last: int) -> None:
    made = writer(folder, after)
    for index in range(start, last):
        made.write(picture(index), index * STEP_NS)
        if index % 7 == 6:
            (folder / "state").write_bytes(pickle.dumps((index + 1, made.state())))
    os._exit(9)


def left_in(folder: Path) -> tuple[int, VideoState | None]:
    state = folder / "state"
    return pickle.loads(state.read_bytes()) if state.exists() else (0, None)


@pytest.mark.parametrize("deaths", [(), (3, 20, 21), (7, 59)])
def test_property_every_frame_once(tmp_path: Path, deaths: tuple[int, ...]) -> None:
    for last in deaths:
        process = multiprocessing.get_context("spawn").Process(
            target=write_and_die, args=(tmp_path, *left_in(tmp_path), last)
        )
        process.start()
        process.join()
        assert process.exitcode == 9
    start, after = left_in(tmp_path)
    made = writer(tmp_path, after)
    assert made.lost == 0
    for index in range(start, FRAMES):
        made.write(picture(index), index * STEP_NS)
    made.finish()
    with av.open(str(tmp_path / "annotated.mp4")) as video:
        frames = list(video.decode(video=0))
    assert [round(frame.time * 25) for frame in frames] == list(range(FRAMES))
    for index, frame in enumerate(frames):
        pixels = frame.to_ndarray(format="bgr24").astype(int)
        assert np.abs(pixels - picture(index)).mean() < 8, index
    assert sorted(path.name for path in tmp_path.glob("*.mp4*")) == ["annotated.mp4"]


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    made = writer(tmp_path, None)
    for index in range(10):
        made.write(picture(index), index * STEP_NS)
    made.close()
    path = tmp_path / "annotated.mp4"
    whole = path.read_bytes()
    assert whole_frames(path) == 10
    assert path.read_bytes() == whole
    last = whole.rindex(b"moof") - 4
    for end in (last + 1, last + 30, whole.rindex(b"mdat") + 6):
        path.write_bytes(whole[:end])
        assert whole_frames(path) == 9
        assert path.stat().st_size == last


def test_a_writer_that_died_after_its_end_is_finished_by_the_next(tmp_path: Path) -> None:
    made = writer(tmp_path, None)
    for index in range(10):
        made.write(picture(index), index * STEP_NS)
    state = made.state()
    made.finish()
    again = writer(tmp_path, state)
    assert (again.frames, again.lost) == (10, 0)
    again.finish()
    with av.open(str(tmp_path / "annotated.mp4")) as video:
        assert [round(frame.time * 25) for frame in video.decode(video=0)] == list(range(10))


def test_a_writer_that_died_while_it_tidied_up_is_finished_by_the_next(tmp_path: Path) -> None:
    """Killed when the whole file was in the first one's place and the second not yet removed."""
    first = writer(tmp_path, None)
    for index in range(6):
        first.write(picture(index), index * STEP_NS)
    state, path = first.state(), tmp_path / "annotated.mp4"
    dead = path.read_bytes()
    first.close()
    path.write_bytes(dead)  # without what closing has added
    second = writer(tmp_path, state)
    for index in range(6, 10):
        second.write(picture(index), index * STEP_NS)
    state = second.state()
    second.close()
    left_over = (tmp_path / "annotated.2.mp4").read_bytes()
    second.finish()
    (tmp_path / "annotated.2.mp4").write_bytes(left_over)
    again = writer(tmp_path, state)
    again.finish()
    assert again.lost == 0
    with av.open(str(tmp_path / "annotated.mp4")) as video:
        assert [round(frame.time * 25) for frame in video.decode(video=0)] == list(range(10))
    assert not (tmp_path / "annotated.2.mp4").exists()
