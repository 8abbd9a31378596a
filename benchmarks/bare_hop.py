"""What ZeroMQ takes to bring a small message from one process into another that sleeps meanwhile.

The least that a hop of ours can take while nothing else is to be done: the sender's I/O thread, the
reader's and the reader wake one after the other.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zmq

MESSAGE_BYTES = 1000
COUNT = 30
START_S = 30.0


def bare_hop_ms(rate_hz: float) -> float:
    """Return the median time from before `send` until after `recv`, at so many messages a second.

    Over ipc, PUSH and PULL, no message of which is encoded, checked or acknowledged.
    """
    with tempfile.TemporaryDirectory() as folder:
        address = f"ipc://{Path(folder) / 'hop'}"
        context = zmq.Context()
        socket = context.socket(zmq.PULL)
        socket.setsockopt(zmq.RCVTIMEO, int(1000 * (START_S + 1 / rate_hz)))
        socket.bind(address)
        command = [sys.executable, "-m", "benchmarks.bare_hop", address, str(1 / rate_hz)]
        with subprocess.Popen(command, cwd=Path(__file__).resolve().parents[1]) as sender:
            taken_ms = []
            for _ in range(COUNT):
                try:
                    message = socket.recv()
                except zmq.Again:
                    sender.kill()
                    raise SystemExit("the bare hop's sender sends nothing: see above") from None
                taken_ms.append((time.monotonic_ns() - int(message.split()[0])) / 1e6)
        if sender.returncode:
            raise SystemExit("the bare hop's sender failed: see above")
        context.destroy()
    return statistics.median(taken_ms)


def _send(address: str, gap_s: float) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect(address)
    for _ in range(COUNT):
        time.sleep(gap_s)
        socket.send(f"{time.monotonic_ns()} ".encode().ljust(MESSAGE_BYTES, b"x"))
    socket.close()
    context.term()


if __name__ == "__main__":
    _send(sys.argv[1], float(sys.argv[2]))
