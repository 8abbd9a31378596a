"""A real RTSP server on loopback, started, stopped and frozen by tests."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")
PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
)
PROBE = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); gi.require_version('Gst', '1.0');"
    "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
    "assert all(map(Gst.ElementFactory.find, ('qtdemux', 'rtph264pay', 'udpsink')))"
)


class RtspServer:
    """One server after another on the same port."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        """Where the film is."""
        return f"rtsp://127.0.0.1:{self.port}/walk"

    def start(self, film: Path) -> None:
        """Start serving `film`; returns when it listens."""
        command = [PYTHON, str(SERVER), str(film), str(self.port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.strip().isdigit(), f"the RTSP server did not start: {line}"
        self.port = int(line)

    def send(self, number: signal.Signals) -> None:
        """Freeze it (SIGSTOP) or let it go on (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def rtsp() -> Iterator[RtspServer]:
    """A server that is not started yet; skips where Debian's packages are missing."""
    if (
        not Path(PYTHON).exists()
        or subprocess.run(
            [PYTHON, "-c", PROBE], capture_output=True, timeout=60, check=False
        ).returncode
    ):
        pytest.skip(f"needs GStreamer's RTSP server: apt-get install {PACKAGES}")
    server = RtspServer()
    yield server
    server.kill()


def repeat_film(source: Path, target: Path, times: int) -> Path:
    """Write a film over and over into one file, without encoding it again."""
    with av.open(str(target), "w") as made:
        stream, shift = None, 0
        for _ in range(times):
            with av.open(str(source)) as given:
                track = given.streams.video[0]
                stream = stream or made.add_stream_from_template(track)
                for packet in given.demux(track):
                    if packet.dts is None or packet.pts is None:  # the last, empty packet
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    made.mux(packet)
                shift += track.duration or 0
    return target


def smaller_film(source: Path, target: Path, size_wh: tuple[int, int], every: int) -> Path:
    """Write a film at another size, and only each `every`-th frame of it."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        rate = Fraction(given.streams.video[0].average_rate or 25) / every
        stream = made.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        for index, frame in enumerate(given.decode(video=0)):
            if index % every == 0:
                small = frame.reformat(*size_wh)
                small.pts, small.time_base = index // every, 1 / rate
                made.mux(stream.encode(small))
        made.mux(stream.encode(None))
    return target
