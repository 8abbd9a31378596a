"""A rendered scene as a source: every frame in replay, its own speed when watched live."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

pytest.importorskip("numba")

from pipeline.errors import SourceError
from pipeline.stage import EndOfSource
from stages.source import Config, SourceStage
from stages.source.config import is_network, is_synthetic, public_label

SMALL = "synthetic:people=1,size=96x64,fps=10,seconds=1,place=yard,seed=2"


def read_all(stage: SourceStage):
    frames = []
    while True:
        try:
            frame = stage.read(5.0)
        except EndOfSource as end:
            return frames, end.reason
        if frame is not None:
            frames.append(frame)


def test_replay_gives_every_frame_and_the_same_again():
    runs = []
    for _ in range(2):
        stage = SourceStage(Config(uri=SMALL))
        stream = stage.open()
        assert stream.size_wh == (96, 64) and stream.rate_hz == 10 and not stream.live
        assert stream.frames_expected == 10 and stream.label == SMALL
        frames, reason = read_all(stage)
        stage.close()
        assert reason == "" and [f.time_ns for f in frames] == [k * 10**8 for k in range(10)]
        runs.append(frames)
    assert all((a.pixels == b.pixels).all() for a, b in zip(*runs, strict=True))


def test_golden_part_of_a_scene():
    stage = SourceStage(Config(uri=SMALL, start_s=0.3, end_s=0.6))
    assert stage.open().frames_expected == 3
    frames, _ = read_all(stage)
    assert [f.time_ns for f in frames] == [3 * 10**8, 4 * 10**8, 5 * 10**8]


def test_golden_cameras_see_different_pictures():
    pictures = []
    for camera in (0, 1):
        stage = SourceStage(Config(uri=f"{SMALL},cameras=2,camera={camera}"))
        stage.open()
        pictures.append(stage.read(5.0).pixels)
    assert (pictures[0] != pictures[1]).mean() > 0.5


def test_golden_live_goes_at_its_own_speed():
    stage = SourceStage(Config(uri=SMALL, live=True))
    assert stage.open().live
    frames, _ = read_all(stage)
    stage.close()
    assert len(frames) + stage.report()["dropped"] == 10
    # No frame comes before its time.
    first = frames[0]
    for frame in frames:
        ahead = (frame.time_ns - first.time_ns) - (frame.capture_ns - first.capture_ns)
        assert ahead < 2 * 10**8


@pytest.mark.parametrize(
    ("uri", "error", "says"),
    [
        ("synthetic:peple=3", ValidationError, "peple: Extra inputs are not permitted"),
        ("synthetic:cameras=2,camera=2", ValidationError, "expected a camera from 0 to 1"),
        ("synthetic:camera=²", ValidationError, "expected a camera from 0 to 0, got ²"),
        ("synthetic:place=corridor,cameras=2", ValidationError, "has no room for 2 cameras"),
        ("synthetic:backgrounds=/nowhere", ValidationError, "backgrounds /nowhere cannot be read"),
    ],
)
def test_exception_bad_address(uri, error, says):
    with pytest.raises(error) as raised:
        SourceStage(Config(uri=uri)).open()
    assert says in str(raised.value)


def test_exception_nothing_after_the_end():
    with pytest.raises(SourceError, match="1 s long: nothing from second 4"):
        SourceStage(Config(uri=SMALL, start_s=4.0)).open()


def test_exception_extra_is_missing(monkeypatch):
    def fail(_settings):
        raise ImportError("No module named 'numba'")

    monkeypatch.setattr("stages.human.scenes.drawing.draw_scene", fail)
    with pytest.raises(SourceError) as raised:
        SourceStage(Config(uri=SMALL)).open()
    assert "needs the extra 'synth' (No module named 'numba')" in str(raised.value)


def test_golden_addresses():
    assert is_synthetic("synthetic") and is_synthetic(SMALL)
    assert not is_synthetic("synthetic.mp4") and not is_synthetic("rtsp://synthetic:1/")
    assert not is_network("synthetic:backgrounds=file://x")
    assert public_label("synthetic:people=2,backgrounds=/home/me/photos,seed=1") == (
        "synthetic:people=2,seed=1"
    )
