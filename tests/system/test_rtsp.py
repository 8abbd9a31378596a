"""A real RTSP server on loopback that is killed, frozen and started again under a live source."""

from __future__ import annotations

import csv
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from pipeline.stage import RawFrame
from stages.source import Config, SourceStage
from tests.system.conftest import CLIP_B, Program, summary_of, wait_until_gone
from tests.system.rtsp import RtspServer, repeat_film, rtsp, smaller_film

__all__ = ["rtsp"]

RATE_HZ = 25
DARK_S = 3.0
# So that a busy machine, which takes two frames a second, cuts windows too.
SETTINGS = (
    "sequence.length=6", "sequence.min_length=6", "sequence.stride=2", "sequence.max_gap_s=2",
)  # fmt: skip


def test_a_server_that_dies_and_comes_back_with_another_picture(
    program: Program, tmp_path: Path, rtsp: RtspServer
) -> None:
    rtsp.start(repeat_film(CLIP_B, tmp_path / "long.mp4", 8))
    small = smaller_film(CLIP_B, tmp_path / "once.mp4", (640, 360), every=2)
    small = repeat_film(small, tmp_path / "small.mp4", 8)
    out, gallery = tmp_path / "o", tmp_path / "g.db"
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    program.start(
        "live", "--source", rtsp.address, "--out", out, *settings,
        "--gallery", gallery, "--keep-sightings", "--set", "source.timeout_s=100",
    )  # fmt: skip
    program.wait_for(lambda: len(windows_of(gallery)) >= 3)
    stages = list(program.stages().values())
    rtsp.kill()
    time.sleep(DARK_S)
    rtsp.start(small)
    program.wait_for(lambda: len(windows_after_gap(gallery)) >= 3)
    rtsp.send(signal.SIGSTOP)
    time.sleep(0.5)
    assert program.process is not None
    program.process.send_signal(signal.SIGINT)
    assert program.wait(60) == 0, "it did not wait for the source, which is stuck in a read"
    print(program.output)

    wait_until_gone(stages)
    assert program.run_dirs() == []
    log = program.output
    assert 0 < log.index("source lost") < log.index("source found again after")
    assert "now 640x360 instead of 960x540 pixels" in log
    summary = summary_of(out)
    assert summary["stages"]["source"]["reconnects"] == 1
    assert summary["warnings"] == [] and summary["bad_frames"] == summary["bad_messages"] == 0
    windows = windows_of(gallery)
    lost_s, found_s = longest_gap(windows)
    print(*(f"window from {begin_s:.2f} to {end_s:.2f} s" for begin_s, end_s in windows), sep="\n")
    assert found_s - lost_s > DARK_S
    assert not any(begin_s <= lost_s and end_s >= found_s for begin_s, end_s in windows)
    tracks = tracks_of(out)
    middle_s = (lost_s + found_s) / 2
    assert any(first_s > middle_s for first_s, _ in tracks)
    assert not any(first_s < middle_s < last_s for first_s, last_s in tracks)


def windows_of(gallery: Path) -> list[tuple[float, float]]:
    """When the windows seen so far begin and end, seconds of the source's clock, in order."""
    if not gallery.exists():
        return []
    with closing(sqlite3.connect(f"file:{gallery}?mode=ro", uri=True)) as opened:
        try:
            rows = opened.execute("SELECT start_ns, end_ns FROM sighting_vectors").fetchall()
        except sqlite3.OperationalError:  # it is being made
            return []
    return sorted((begin_ns / 1e9, end_ns / 1e9) for begin_ns, end_ns in rows)


def windows_after_gap(gallery: Path) -> list[tuple[float, float]]:
    """Those that begin after a time at least as long as the server was away."""
    windows = windows_of(gallery)
    lost_s, found_s = longest_gap(windows)
    return [window for window in windows if found_s - lost_s > DARK_S and window[0] >= found_s]


def longest_gap(windows: list[tuple[float, float]]) -> tuple[float, float]:
    """Begin and end of the longest time in which no window begins or ends."""
    moments = sorted(moment for window in windows for moment in window)
    return max(pairwise(moments), key=lambda pair: pair[1] - pair[0])


def tracks_of(out: Path) -> list[tuple[float, float]]:
    """When each track was seen first and last, seconds of the source's clock."""
    times: dict[str, list[float]] = {}
    with (out / "tracks.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            times.setdefault(row["track_id"], []).append(float(row["time_s"]))
    return [(min(each), max(each)) for each in times.values()]


class Watched:
    """A source on the server, and all that it gave: frames with the time they were taken."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self.stage = SourceStage(Config(uri=address, live=True, timeout_s=timeout_s))
        self.stream = self.stage.open()
        self.frames: list[tuple[float, RawFrame]] = []
        self.told: list[tuple[float, str]] = []

    @property
    def kinds(self) -> list[str]:
        return [kind for _, kind in self.told]

    def until(self, ready: Callable[[], bool], every_s: float = 0.0) -> None:
        """Take frames until something is so, one each `every_s`."""
        deadline = time.monotonic() + 60
        while not ready():
            assert time.monotonic() < deadline, f"never: {self.told}"
            frame = self.stage.read(0.05)
            now = time.monotonic()
            if frame is not None:
                self.frames.append((now, frame))
            self.told += [(now, kind) for kind, _, _ in self.stage.take_incidents()]
            time.sleep(every_s)

    def during(self, seconds: float, every_s: float = 0.0) -> None:
        """Take frames for so long."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, every_s)

    def ages_s(self) -> np.ndarray:
        """How much older than the freshest each frame was when it was taken, seconds."""
        ages = [now - number_of(frame.pixels) / RATE_HZ for now, frame in self.frames]
        return np.array(ages) - min(ages)


def test_frames_are_new_however_slowly_they_are_taken(tmp_path: Path, rtsp: RtspServer) -> None:
    rtsp.start(numbered_film(tmp_path / "numbers.mp4", seconds=60))
    watched = Watched(rtsp.address, timeout_s=20)
    time.sleep(3)  # other stages load
    watched.during(2)
    watched.during(6, every_s=0.5)
    assert watched.stage.report()["dropped"] > 50
    assert watched.ages_s().max() < 1.0

    rtsp.send(signal.SIGSTOP)
    watched.until(lambda: "source_stalled" in watched.kinds)
    told_at, last = watched.told[-1][0], watched.frames[-1][1]
    assert told_at - last.capture_ns / 1e9 < 2.0
    watched.during(1.5)
    rtsp.send(signal.SIGCONT)  # it sends all that it owes at once
    watched.until(lambda: "source_flows" in watched.kinds)
    watched.during(2)
    watched.stage.close()
    assert watched.kinds.count("source_stalled") == watched.kinds.count("source_flows") >= 1
    assert watched.stage.report()["reconnects"] == 0
    assert watched.ages_s().max() < 1.0


def test_a_server_that_freezes_is_lost_and_found(tmp_path: Path, rtsp: RtspServer) -> None:
    rtsp.start(numbered_film(tmp_path / "numbers.mp4", seconds=60))
    watched = Watched(rtsp.address, timeout_s=3)
    watched.during(1)
    rtsp.send(signal.SIGSTOP)
    watched.until(lambda: "source_lost" in watched.kinds)
    lost = len(watched.frames)
    watched.during(4)
    assert len(watched.frames) == lost
    rtsp.send(signal.SIGCONT)
    watched.until(lambda: len(watched.frames) > lost + 10)
    watched.stage.close()
    stalled, lost_at, found = map(
        watched.kinds.index, ("source_stalled", "source_lost", "source_found")
    )
    assert stalled < lost_at < found
    assert watched.stage.report()["hangs"] == 0, "FFmpeg's own time-out comes first"
    before, after = watched.frames[lost - 1][1], watched.frames[lost][1]
    assert after.time_ns - before.time_ns > 3.5e9


def numbered_film(path: Path, seconds: int) -> Path:
    """A film of `RATE_HZ` whose frames carry their numbers, see `number_of`."""
    with av.open(str(path), "w") as made:
        stream = made.add_stream(
            "libx264", rate=RATE_HZ, options={"preset": "ultrafast", "tune": "zerolatency"}
        )
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        for number in range(seconds * RATE_HZ):
            bits = np.array([number >> bit & 1 for bit in range(12)], np.uint8)
            row = np.repeat(bits * 255, 16)
            pixels = np.broadcast_to(row[None, :, None], (96, 192, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="bgr24")
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return path


def number_of(pixels: np.ndarray) -> int:
    """The number of a frame of `numbered_film`."""
    bits = pixels[48, 8::16, 0] > 127
    return sum(int(bit) << at for at, bit in enumerate(bits))
